"""Lung nodules in CT, made by arithmetic.

No patient stands behind a pixel, except that :func:`hybrid_patches` paints outlines which
radiologists drew. They are made to be learnt from and attacked at the sizes of the course, not to
fool a radiologist: bright is dense, and CT is shown in a lung window of -1000 to 400 HU.
Typical attenuations and the signs of malignancy follow Hansell et al. 2008 (Fleischner Society
glossary), Radiology 246:697-722, doi:10.1148/radiol.2462070712. The two classes overlap in every
sign, as they do in clinics, so no classifier is perfect.
"""

from __future__ import annotations

from collections.abc import Mapping

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

PATCH_MM = 40.0  # side of a procedural nodule patch
OUTLINE_MM = 28.0  # side of a patch around a LIDC outline, and of the outline
WINDOW = (-1000.0, 400.0)  # HU shown as black and white
SPICULES = 16  # at most

# What ratings stand for. LIDC rates by words; these values in HU (and, for subtlety, the share of
# its contrast that a nodule keeps) are ours.
RATED = ("texture", "calcification", "spiculation", "margin", "subtlety")
TEXTURE_HU = (1, 2, 3, 4, 5), (-620, -500, -330, -90, 25)
CALCIUM_HU = (1, 3, 5, 6), (650, 520, 200, 0)
SUBTLETY = (1, 3, 5), (0.35, 0.65, 1.0)


def nodule_patches(
    malignant: np.ndarray, scanner: np.ndarray, *, index: np.ndarray, seed: int, size: int = 28,
    batch: int = BATCH,
) -> np.ndarray:
    """Axial CT patches of lung nodules, uint8 (n, size, size), 40 mm wide.

    Parameters
    ----------
    malignant, scanner, index
        (n,): 0 or 1; which of the five ``SCANNERS``; which image of the infinite series ``seed``.
    batch
        how many are painted together; the pixels do not depend on it.

    Raises ``ValueError`` for arguments of other shapes or ranges.
    """
    malignant, scanner, index = checked(
        size, seed, malignant=malignant, scanner=scanner, index=index)

    def paint(rows: slice) -> np.ndarray:
        rng = streams(seed, "nodule", index[rows])
        x, y = grid(size * supersampling(size), PATCH_MM)
        tissue = _chest_wall(rng, _parenchyma(rng, x, y), x, y)
        tissue = _nodule(rng, tissue, malignant[rows, None, None], x, y)
        return _ct(rng, tissue, scanner[rows], PATCH_MM)

    return in_batches(paint, len(index), size, "nodule patches", batch)


def hybrid_patches(
    outlines: np.ndarray, ratings: Mapping[str, np.ndarray], scanner: np.ndarray, *,
    index: np.ndarray, seed: int, size: int = 28, batch: int = BATCH,
) -> np.ndarray:
    """Real outlines filled with and set in procedural tissue, uint8 (n, size, size), 28 mm wide.

    Parameters
    ----------
    outlines
        (n, 28, 28) uint8, 255 inside, as in :class:`leaklab.data.lidc.Nodules`.
    ratings
        (n,) each, what the readers saw and an outline does not show: ``texture`` (1 ground glass
        to 5 solid), ``calcification`` (1 full to 6 none), ``spiculation`` (1 none to 5 marked),
        ``margin`` (1 blurred to 5 sharp), ``subtlety`` (1 hardly seen to 5 obvious).
    scanner, index, batch
        as in :func:`nodule_patches`.
    """
    scanner, index = checked(size, seed, scanner=scanner, index=index)

    def paint(rows: slice) -> np.ndarray:
        rng = streams(seed, "hybrid", index[rows])
        x, y = grid(size * supersampling(size), OUTLINE_MM)
        seen = {name: np.asarray(ratings[name])[rows, None, None] for name in RATED}
        tissue = _outlined(rng, _parenchyma(rng, x, y), x, y, outlines[rows] / 255, seen)
        return _ct(rng, tissue, scanner[rows], OUTLINE_MM)

    return in_batches(paint, len(index), size, "hybrid patches", batch)


# --- CT: lung, chest wall, nodule, scanner; in HU, lengths in mm ------------------------------


def _parenchyma(rng: Streams, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lung with vessels that cross the patch, some with a branch, and some seen end-on."""
    size, mm = x.shape[1], x[0, 1] - x[0, 0]
    half = -x[0, 0]
    lung = -870 + 35 * field(rng, size, 6 / mm) + 30 * field(rng, size, 1.5 / mm)
    vessels = np.zeros_like(lung)
    shown = uniform(rng, count=3)
    for k in range(3):
        around = uniform(rng, 0, 2 * np.pi)
        start = 1.45 * half * np.cos(around), 1.45 * half * np.sin(around)
        angle = around + np.pi + normal(rng, 0, 0.45)
        radius = np.exp(normal(rng, np.log(0.85), 0.4))
        bend = normal(rng, 0, 0.10) / half
        trunk = dict(
            bend=bend, wave=normal(rng, 0, 0.5), phase=uniform(rng, 3, 6) / half, edge=0.28)
        dense = uniform(rng, 0.5, 0.9) * (shown[k] < (1.0, 0.67, 0.33)[k])
        np.maximum(vessels, dense * vessel(
            x, y, foot=start, angle=angle, radius=radius, taper=0.2 * radius / half, **trunk),
            out=vessels)
        run = uniform(rng, 0.6, 1.6) * half  # the branch leaves the trunk here
        fork = tuple(s + run * f(angle) + run * bend * run * g for s, f, g in zip(
            start, (np.cos, np.sin), (-np.sin(angle), np.cos(angle)), strict=True))
        turn = np.where(uniform(rng) < 0.5, -1, 1) * uniform(rng, 0.5, 1.1)
        branch = dense * (uniform(rng) < 0.6)
        np.maximum(vessels, branch * vessel(
            x, y, foot=fork, angle=angle + turn, radius=0.6 * radius, taper=0.4 * radius / half,
            **trunk), out=vessels)
    places = uniform(rng, -half, half, count=10)
    sizes, count = uniform(rng, 0.5, 1.4, count=5), uniform(rng, 0, 6)
    for k in range(5):
        away = np.hypot(x - places[2 * k], y - places[2 * k + 1])
        np.maximum(vessels, soft(4 * (sizes[k] - away)) * (k < np.floor(count)), out=vessels)
    return lung + 830 * vessels


def _chest_wall(rng: Streams, tissue: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Three patches in ten touch the pleura: soft tissue beyond a curved edge."""
    angle = uniform(rng, 0, 2 * np.pi)
    offset, curvature = uniform(rng, 9, 20), uniform(rng, 60, 160)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    wall = soft(2.2 * (along - offset + across**2 / (2 * curvature))) * (uniform(rng) < 0.3)
    return tissue + wall * (40 - tissue)


def _nodule(
    rng: Streams, tissue: np.ndarray, malignant: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """A star-shaped nodule; malignant ones tend to be larger, lobulated, spiculated, part-solid."""
    size, mm = x.shape[1], x[0, 1] - x[0, 0]
    diameter = np.clip(np.exp(normal(rng, np.log(8.2 + 7.3 * malignant), 0.30)), 4, 28)
    lobulation = np.abs(normal(rng, 0.05 + 0.10 * malignant, 0.045))
    spiculation = np.maximum(0, normal(rng, 0.08 + 0.70 * malignant, 0.25))
    kind = uniform(rng)
    glass = kind < 0.12
    part = ~glass & (kind < 0.20 + 0.18 * malignant)
    calcified = (malignant == 0) & (uniform(rng) < 0.22)
    dx, dy = x - normal(rng, 0, 1.4), y - normal(rng, 0, 1.4)
    away = np.hypot(dx, dy)
    radius = _star(rng, np.arctan2(dy, dx), lobulation) * diameter / 2
    edge = uniform(rng, 0.45, 0.9) + 1.1 * glass + 0.25 * malignant
    inside = soft(2 * (radius - away) / edge)

    dense = np.where(glass, -600.0, np.where(part, -420.0, 30.0)) + normal(rng, 0, 25)
    dense = dense + 25 * field(rng, size, 1.2 / mm)
    dense += part * 430 * soft(2 * (radius * uniform(rng, 0.45, 0.7) - away))
    dense += calcified * 420 * soft(3 * (diameter * uniform(rng, 0.12, 0.25) - away))
    tissue = _add_spicules(rng, tissue, dx, dy, diameter, spiculation)
    return tissue + inside * (np.maximum(dense, 0.3 * tissue) - tissue)


def _star(rng: Streams, theta: np.ndarray, lobulation: np.ndarray) -> np.ndarray:
    """Radius of a star-convex outline in direction ``theta``, as a multiple of its mean."""
    radius = 1 + uniform(rng, 0, 0.22) * np.cos(2 * (theta - uniform(rng, 0, np.pi)))
    for k in range(2, 8):
        height = lobulation * np.clip(normal(rng), -1.4, 1.4) / (k - 1) ** 0.6
        radius += height * np.cos(k * theta + uniform(rng, 0, 2 * np.pi))
    return np.clip(radius, 0.5, 1.5)


def _add_spicules(rng: Streams, tissue, dx, dy, diameter, spiculation) -> np.ndarray:
    """Thin tapering lines that radiate from the nodule at (0, 0)."""
    count = np.round(spiculation * uniform(rng, 8, 18))
    angles = uniform(rng, 0, 2 * np.pi, count=SPICULES)
    reach = diameter / 2 * uniform(
        rng, 1.2, 1.2 + 0.9 * np.minimum(spiculation, 1.2), count=SPICULES)
    dx, dy = np.broadcast_to(dx, tissue.shape), np.broadcast_to(dy, tissue.shape)
    depth = np.full(tissue.shape, -9.0)
    width = 0.55 * (1 + diameter / 30)
    for k in range(int(min(count.max(), SPICULES))):
        rows = np.flatnonzero(count.ravel() > k)
        cos, sin = np.cos(angles[k, rows]), np.sin(angles[k, rows])
        along = dx[rows] * cos + dy[rows] * sin
        across = np.abs(dy[rows] * cos - dx[rows] * sin)
        thick = width[rows] * np.minimum(1, 1.2 * (1 - along / reach[k, rows]))
        line = np.minimum(thick - across, 2 * along)
        depth[rows] = np.maximum(depth[rows], line)
    return tissue + 0.85 * soft(4 * depth) * np.maximum(0, -150 - tissue)


def _outlined(
    rng: Streams, tissue: np.ndarray, x: np.ndarray, y: np.ndarray, outlines: np.ndarray,
    ratings: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The tissue with a nodule of this outline and these ratings in the middle."""
    size = tissue.shape[-1]
    mm = OUTLINE_MM / size
    to_grid = _linear(outlines.shape[-1], size)
    sharp = np.interp(ratings["margin"], [1, 5], [1.0, 0.4])
    inside = blur(to_grid @ outlines @ to_grid.T, sharp / mm)
    inside = np.clip(1.15 * inside, 0, 1) ** 0.8 * np.interp(ratings["subtlety"], *SUBTLETY)
    # the diameter of the circle whose area the outline has; its pixels are 1 mm wide
    diameter = np.sqrt(4 / np.pi * outlines.sum((1, 2), keepdims=True))
    tissue = _add_spicules(rng, tissue, x, y, diameter, (ratings["spiculation"] - 1) / 4)
    dense = np.interp(ratings["texture"], *TEXTURE_HU) + normal(rng, 0, 30)
    mottle = np.where(ratings["texture"] > 4, 30, 80)
    dense = dense + mottle * field(rng, size, 1.2 / mm)
    core = blur((inside > 0.8) * 1.0, np.full_like(diameter, 0.75) / mm) ** 2
    dense += np.interp(ratings["calcification"], *CALCIUM_HU) * core
    return tissue + inside * (dense - tissue)


def _linear(coarse: int, fine: int) -> np.ndarray:
    """(fine, coarse) matrix of linear interpolation between pixel centres of two grids."""
    at = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(coarse)))


def _ct(rng: Streams, tissue: np.ndarray, scanner: np.ndarray, extent: float) -> np.ndarray:
    """What the scanner makes of the tissue, 0 to 1 in the lung window."""
    mm = extent / tissue.shape[-1]
    seen = blur(tissue, scanner_column(scanner, "psf_mm") / mm)
    seen += scanner_column(scanner, "noise_hu") * field(rng, tissue.shape[-1], 0.45 / mm)
    seen += scanner_column(scanner, "shift_hu")
    low, high = WINDOW
    return np.clip((seen - low) / (high - low), 0, 1)
