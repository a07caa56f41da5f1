"""Chest radiographs made by arithmetic: normal, or with opacities as in pneumonia.

A posteroanterior view, bright where dense, framed on the thorax. Coordinates run from -1 to 1,
y downwards, x to the reader's right, which is the patient's left. The film adds up densities
along the beam (soft tissue, less air, plus bone) and a window chosen from the image's own
percentiles turns them into grey values. Severity overlaps with the haze of a normal film taken
in shallow inspiration, so no classifier is perfect.
"""

from __future__ import annotations

import numpy as np

from leaklab.data.rendering import (
    BATCH,
    Streams,
    blur,
    checked,
    field,
    grid,
    in_batches,
    normal,
    scanner_column,
    soft,
    streams,
    supersampling,
    uniform,
    vessel,
)

SIDES = (-1, 1)  # patient's right, patient's left
AIR = 0.36  # density a lung lacks; no opacity can give back more
FOCI = 9  # opacities in a film, at most
THORAX_MM = 250.0  # what the two units of width stand for; fit for a child


def chest_radiographs(
    opacity: np.ndarray, scanner: np.ndarray, *, index: np.ndarray, seed: int, size: int = 28,
    batch: int = BATCH,
) -> np.ndarray:
    """Chest radiographs, uint8 (n, size, size).

    Parameters
    ----------
    opacity, scanner, index
        (n,): 0 normal or 1 with opacities; which of the five ``SCANNERS``; which image of the
        infinite series ``seed``.
    batch
        how many are painted together; the pixels do not depend on it.

    Raises ``ValueError`` for arguments of other shapes or ranges.
    """
    opacity, scanner, index = checked(size, seed, opacity=opacity, scanner=scanner, index=index)

    def paint(rows: slice) -> np.ndarray:
        rng = streams(seed, "radiograph", index[rows])
        pixels = size * supersampling(size)
        x, y, aspect = _pose(rng, *grid(pixels, 2.0))
        lungs, heart = _lungs(rng, x, y, aspect), _heart(rng, x, y)
        air = lungs * (1 - 0.85 * heart)
        density = _tissue(rng, x, y, aspect, lungs, heart) + _bones(rng, x, y, aspect)
        density += air * (0.11 * _hilar_vessels(rng, x, y) - AIR)
        sick = opacity[rows, None, None]
        density += air * np.where(sick, _opacities(rng, x, y), _haze(rng, x.shape[-1]))
        return _film(rng, density, scanner[rows])

    return in_batches(paint, len(index), size, "chest radiographs", batch)


def _pose(rng: Streams, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Coordinates of the body under the film, and how wide this body is."""
    scale, tilt = uniform(rng, 0.98, 1.2), normal(rng, 0, 0.035)
    x, y = (x - normal(rng, 0, 0.05)) / scale, (y - normal(rng, 0, 0.06)) / scale
    return x + tilt * y, y - tilt * x, uniform(rng, 0.9, 1.08)


def _lungs(rng: Streams, x: np.ndarray, y: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """1 where the beam crosses air: two silhouettes with a dome below and a cardiac notch."""
    both = 0.0
    for side in SIDES:
        base = (0.58 if side < 0 else 0.64) + normal(rng, 0, 0.05)
        apex = -0.80 + normal(rng, 0, 0.03)
        depth = np.clip((y - apex) / (base - apex), 0, 1.3)
        out = side * x
        wall = aspect * (0.24 + 0.50 * (1 - np.exp(-3.6 * depth)) - 0.02 * depth)
        notch = (0.20 if side > 0 else 0.05) * soft(11 * (depth - 0.62))
        hilum = 0.10 + 0.035 * np.sin(3 * depth) + notch
        dome = base - 0.17 + 0.9 * (out - 0.33) ** 2 + 0.07 * soft(10 * (out - 0.55))
        crown = apex + 1.6 * (out - 0.24) ** 2
        # a pixel is as deep inside the lung as its nearest edge says
        inside = np.minimum(np.minimum(22 * (wall - out), 26 * (out - hilum)),
                            24 * np.minimum(y - crown, dome - y))
        both = np.maximum(both, soft(inside))
    return both


def _half_width(y: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    return aspect * (0.86 + 0.16 * np.tanh(2.2 * (y + 0.55)))


def _heart(rng: Streams, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    radius = uniform(rng, 0.25, 0.34)
    right, down = x - 0.10 - normal(rng, 0, 0.03), y - 0.28 - normal(rng, 0, 0.03)
    long = (0.9 * right + 0.35 * down) / (1.25 * radius)
    short = (0.9 * down - 0.35 * right) / radius
    return soft(4.5 * (1 - long**2 - short**2))


def _tissue(rng: Streams, x, y, aspect, lungs, heart) -> np.ndarray:
    """Soft tissue: trunk, neck, arms, heart, mediastinum, abdomen."""
    off = np.abs(x)
    half = _half_width(y, aspect)
    shoulders = y + 0.93 - 0.25 * np.minimum(off, 0.5)
    trunk = soft(14 * np.minimum(half - off, shoulders))
    trunk = np.maximum(trunk, soft(16 * (0.24 - off)) * (y < -0.4))
    arms = soft(14 * np.minimum(off - half + 0.02, 0.6 * (y + 0.62 + 0.1 * off)))
    mediastinum = soft(22 * (0.115 + 0.03 * np.cos(4 * y + 1) - off))
    abdomen = soft(10 * (y - 0.45)) * (1 - lungs)
    uneven = 0.020 * field(rng, x.shape[-1], x.shape[-1] / 7)
    trunk = trunk * (0.50 + 0.10 * heart + 0.10 * mediastinum + 0.17 * abdomen + uneven)
    return trunk + arms * uniform(rng, 0.12, 0.42)


def _bones(rng: Streams, x, y, aspect) -> np.ndarray:
    """Ten pairs of ribs seen twice, behind (falling outwards) and in front; spine; clavicles."""
    off = np.abs(x)
    gap, first = uniform(rng, 0.14, 0.17), uniform(rng, 0, 0.16) - 0.92
    behind = first - 0.06 + 0.40 * np.maximum(off - 0.12, 0) ** 1.25
    ahead = first + 0.40 - 0.40 * off
    ribs = _arcs(y - behind, gap, 0.026) * (off > 0.10)
    ribs += 0.45 * _arcs(y - ahead, gap, 0.022) * (off > 0.28)
    ribs *= soft(20 * np.minimum(_half_width(y, aspect) - 0.03 - off, 0.4 * (0.66 - y)))
    spine = np.exp(-((x / 0.07) ** 2)) * (1 + 0.15 * np.cos(2 * np.pi * y / 0.13))
    spine *= soft(14 * (y + 0.95))
    bones = 0.06 * ribs + 0.09 * spine
    for side in SIDES:
        middle = -0.66 - 0.16 * (off - 0.1) + normal(rng, 0, 0.015)
        shaft = soft(20 * np.minimum(2 * (side * x - 0.10), 0.72 - side * x))
        bones += 0.09 * shaft * np.exp(-(((y - middle) / 0.032) ** 2) / 2)
    return bones


def _arcs(y: np.ndarray, gap: np.ndarray, width: float) -> np.ndarray:
    """Ten parallel arcs, a ``gap`` apart: a pixel belongs to the nearest."""
    nearest = np.clip(np.round(y / gap), 0, 9) * gap
    return np.exp(-(((y - nearest) / width) ** 2) / 2)


def _hilar_vessels(rng: Streams, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    tree = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for side in SIDES:
        for _ in range(6):
            angle = uniform(rng, -1.2, 1.3)
            np.maximum(tree, 0.8 * vessel(
                x, y, foot=(side * 0.15, -0.05 + normal(rng, 0, 0.07)),
                angle=angle if side > 0 else np.pi - angle, bend=normal(rng, 0, 0.35),
                wave=0.015, phase=uniform(rng, 6, 14), radius=0.032, taper=0.05, edge=0.010),
                out=tree)
    return tree


def _opacities(rng: Streams, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Consolidation, in one lung or (four films in ten) both: fluid in the place of air."""
    severity = np.clip(normal(rng, 1.25, 0.35), 0.35, 2.2)
    diffuse = uniform(rng) < 0.4
    count = np.floor(np.where(diffuse, uniform(rng, 5, 10), uniform(rng, 2, 5)))
    side = np.where(uniform(rng) < 0.5, -1, 1)
    clouds = np.zeros_like(x)
    for k in range(FOCI):
        here = np.where(diffuse, np.where(uniform(rng) < 0.5, -1, 1), side)
        width = uniform(rng, 0.09, 0.26)
        across = (x - here * (0.38 + normal(rng, 0, 0.13))) / width
        down = (y - normal(rng, 0.08, 0.28)) / (width * uniform(rng, 0.7, 1.4))
        cloud = np.exp(-(across**2 + down**2) / 2) * uniform(rng, 0.6, 1.0)
        np.maximum(clouds, cloud * (k < count), out=clouds)
    clouds *= np.clip(1 + 0.35 * field(rng, x.shape[-1], x.shape[-1] / 20), 0.3, 1.7)
    return AIR * (1 - np.exp(-1.4 * severity * clouds))


def _haze(rng: Streams, size: int) -> np.ndarray:
    """What a normal film may show as well: shallow inspiration, thymus, skin folds."""
    amount = 1 - np.sqrt(uniform(rng))  # Beta(1, 2)
    return 0.07 * amount * (1 + 0.5 * field(rng, size, size / 10))


def _film(rng: Streams, density: np.ndarray, scanner: np.ndarray) -> np.ndarray:
    """Blur, noise, window from 1st to 99th percentile, tone curve; 0 to 1."""
    size = density.shape[-1]
    sharpness = scanner_column(scanner, "psf_mm") * 3.0  # screen and motion blur more than CT does
    film = blur(density, sharpness * size / THORAX_MM)
    film += scanner_column(scanner, "noise_hu") / 2800 * field(rng, size, 0.6)
    low, high = np.percentile(film, [1, 99], axis=(1, 2))[:, :, None, None]
    tone = scanner_column(scanner, "gamma") * np.exp(normal(rng, 0, 0.12))
    return np.clip((film - low) / (high - low), 0, 1) ** tone
