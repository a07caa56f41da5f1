"""Primitives that paint procedural radiology images in batches, one random stream per image.

An image is a function of ``(seed, kind, index)`` alone: each has its own generator and every
operation treats each image by itself, so any subset, order or batch size gives the same pixels.
Parameters of a batch are arrays (n, 1, 1), made to broadcast against its images (n, size, size).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leaklab.runtime import progress

BATCH = 64  # images painted together; small enough for the arrays to stay in the CPU's cache
KINDS = ("label", "nodule", "radiograph", "hybrid")
Streams = Sequence[np.random.Generator]


@dataclass(frozen=True)
class Scanner:
    """How one (fictional) hospital's scanner renders: blur, noise, calibration, tone.

    psf_mm
        standard deviation of the point spread function.
    noise_hu, shift_hu
        standard deviation of the quantum noise, and calibration offset, in Hounsfield units.
    gamma
        exponent of the tone curve of its radiographs.
    """

    name: str
    psf_mm: float
    noise_hu: float
    shift_hu: float
    gamma: float


# Five hospitals that do not exist, named after plants. Thin slices are sharper and noisier.
SCANNERS = (
    Scanner("Aster", psf_mm=0.45, noise_hu=38, shift_hu=0, gamma=1.00),
    Scanner("Birch", psf_mm=0.50, noise_hu=32, shift_hu=-10, gamma=0.85),
    Scanner("Cedar", psf_mm=0.60, noise_hu=26, shift_hu=15, gamma=1.15),
    Scanner("Dogwood", psf_mm=0.65, noise_hu=24, shift_hu=-5, gamma=0.95),
    Scanner("Elder", psf_mm=0.80, noise_hu=18, shift_hu=25, gamma=1.25),
)


def scanner_column(scanner: np.ndarray, quantity: str) -> np.ndarray:
    """``quantity`` of each image's scanner, shape (n, 1, 1)."""
    values = np.array([getattr(profile, quantity) for profile in SCANNERS])
    return values[scanner][:, None, None]


def checked(size: int, seed: int, **columns) -> list[np.ndarray]:
    """The columns as integers, if all have the length of ``index`` and stay in their range."""
    if not 16 <= size <= 512:
        raise ValueError(f"size: {size} given, expected 16 to 512 pixels")
    if seed < 0:
        raise ValueError(f"seed: {seed} given, expected 0 or more")
    limits = {"malignant": 2, "opacity": 2, "scanner": len(SCANNERS), "index": 2**32}
    n = len(columns["index"])
    arrays = []
    for name, given in columns.items():
        column = np.asarray(given)
        if column.shape != (n,):
            raise ValueError(f"{name}: shape {column.shape} given, expected ({n},), as for index")
        if n and not (column.min() >= 0 and column.max() < limits[name]):
            raise ValueError(f"{name}: values {column.min()} to {column.max()} given, "
                             f"expected integers from 0 to {limits[name] - 1}")
        arrays.append(column.astype(np.int64))
    return arrays


# --- Random numbers: row i comes from the generator of image i --------------------------------


def streams(seed: int, kind: str, index: np.ndarray) -> Streams:
    """One generator per image; ``kind``, one of :data:`KINDS`, gives unrelated streams."""
    entropy = (np.random.SeedSequence([seed, KINDS.index(kind), int(i)]) for i in index)
    return [np.random.default_rng(sequence) for sequence in entropy]


def uniform(rng: Streams, low=0.0, high=1.0, count: int | None = None) -> np.ndarray:
    """(n, 1, 1), or (count, n, 1, 1) to loop over. Bounds may be arrays of that shape."""
    return low + (high - low) * _draw(rng, np.random.Generator.random, count)


def normal(rng: Streams, mean=0.0, std=1.0, count: int | None = None) -> np.ndarray:
    """(n, 1, 1), or (count, n, 1, 1) to loop over. Mean and std may be arrays of that shape."""
    return mean + std * _draw(rng, np.random.Generator.standard_normal, count)


def _draw(rng: Streams, method: Callable, count: int | None) -> np.ndarray:
    drawn = np.empty((len(rng), count or 1))
    for generator, row in zip(rng, drawn, strict=True):
        method(generator, out=row)
    columns = drawn.T[:, :, None, None]
    return columns if count else columns[0]


def field(rng: Streams, size: int, sigma: float) -> np.ndarray:
    """Correlated Gaussian noise (n, size, size), zero mean, unit variance, ``sigma`` in pixels.

    White noise on a grid no finer than ``sigma`` needs, smoothed by a Gaussian. The rows of the
    smoothing matrix have unit length, so the variance is exactly 1 everywhere.
    """
    step = max(1.0, sigma)
    nodes = int(np.ceil((size + 6 * sigma) / step))
    at = (np.arange(nodes) - (nodes - 1) / 2) * step
    smooth = np.exp(-((_pixels(size)[:, None] - at) ** 2) / (2 * sigma**2))
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    white = np.empty((len(rng), nodes, nodes))
    for generator, grid in zip(rng, white, strict=True):
        generator.standard_normal(out=grid)
    return smooth @ white @ smooth.T


# --- Shapes -----------------------------------------------------------------------------------


def soft(x: np.ndarray) -> np.ndarray:
    """The logistic function: an edge, 1 inside (x > 0) and 0 outside."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def grid(size: int, extent: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres x (1, size) and y (size, 1) of a square ``extent`` wide, 0 in the middle."""
    x = _pixels(size)[None] * (extent / size)
    return x, x.T


def vessel(x, y, *, foot, angle, bend, wave, phase, radius, taper, edge) -> np.ndarray:
    """A tapering, gently winding vessel seen from the side, (n, size, size) in 0 to 1.

    It starts at ``foot`` = (x, y), runs towards ``angle``, and its centre line leaves the axis by
    ``bend * u**2 + wave * sin(u * phase)`` at distance u. The radius shrinks by ``taper`` per
    unit of length and the vessel ends where nothing is left; ``edge`` is the blur of its wall.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    along = (x - foot[0]) * cos + (y - foot[1]) * sin
    across = (y - foot[1]) * cos - (x - foot[0]) * sin
    distance = np.abs(across - along * (bend * along) - wave * np.sin(along * phase))
    distance /= np.sqrt(1 + (2 * bend * along) ** 2)
    left = np.minimum(radius - taper * along, radius + along)
    return soft((left - distance) / edge) * np.clip(left / (0.3 * radius), 0, 1)


def blur(images: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Gaussian blur; ``sigma`` in pixels (n, 1, 1). At the border the weights inside sum to 1."""
    at = _pixels(images.shape[-1])
    kernel = np.exp(-((at[:, None] - at) ** 2) / (2 * np.maximum(sigma, 1e-3) ** 2))
    kernel /= kernel.sum(-1, keepdims=True)
    return kernel @ images @ kernel.transpose(0, 2, 1)


def _pixels(size: int) -> np.ndarray:
    return np.arange(size) - (size - 1) / 2


# --- Batches ----------------------------------------------------------------------------------


def supersampling(size: int) -> int:
    """Sub-pixels a side: small images are painted twice as fine and averaged."""
    return 2 if size < 48 else 1


def in_batches(
    paint: Callable[[slice], np.ndarray], n: int, size: int, label: str, batch: int = BATCH
) -> np.ndarray:
    """``paint(rows)`` for batches of rows, as uint8 (n, size, size): 0 to 1 becomes 0 to 255."""
    images = np.empty((n, size, size), np.uint8)
    fine = supersampling(size)
    for rows in progress(list(_slices(n, batch)), label):
        painted = paint(rows)
        painted = painted.reshape(len(painted), size, fine, size, fine).mean((2, 4))
        images[rows] = np.round(255 * np.clip(painted, 0, 1))
    return images


def _slices(n: int, batch: int) -> Iterator[slice]:
    return (slice(start, min(start + batch, n)) for start in range(0, n, batch))
