r"""Genotypes from their mixtures: independent component analysis, then whole numbers.

The gradient of a batch tells the space that its records span, not the records. Of unrelated people,
dosages standardised by allele frequency are independent and far from Gaussian, since most SNPs are
rare in somebody; so among all directions of the space those of single people stand out. FastICA
finds them roughly, and whole numbers make them exact: round the entries that are near 0, 1 or 2,
find the nearest point of the space, repeat.

Sources: Kariyappa et al. (2023, arXiv:2209.05578), the Cocktail Party Attack, which unmixes images
by independent component analysis; Hyvarinen (1999, doi:10.1109/72.761722) for FastICA. The last
step, rounding, uses what genotypes add.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.attacks.genotypes.certificate import nearest, values
from leaklab.attacks.genotypes.reading import Reading

ITERATIONS = 200
SETTLED = 1e-4  # change of a direction at which FastICA stops
ROUNDINGS = 40
NEAR = 0.25  # entries within this of a dosage are rounded, others keep their value
COMMON = 0.005  # frequencies are taken to be at least this far from 0 and 1


def fast_ica(mixtures: Tensor, generator: torch.Generator, iterations: int = ITERATIONS) -> Tensor:
    """Symmetric FastICA with tanh on white ``mixtures`` (k, samples); an orthogonal (k, k).

    ``result @ mixtures`` are the independent components. Source: Hyvarinen (1999), equations 20
    and 26.
    """
    k, samples = mixtures.shape
    start = torch.randn(k, k, generator=generator, dtype=torch.float64).to(mixtures)
    unmixing = _orthogonal(start)
    for _ in range(iterations):
        before = unmixing
        bent = torch.tanh(before @ mixtures)
        slope = 1 - bent.square().mean(1, keepdim=True)
        unmixing = _orthogonal(bent @ mixtures.T / samples - slope * before)
        if (1 - (unmixing * before).sum(1).abs()).max() < SETTLED:
            break
    return unmixing


def _orthogonal(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to ``matrix``."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


def whiten(seen: Reading, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """White mixtures (rank, snps) of standardised dosages, and the matrix (rank, rank) that makes
    them from coordinates."""
    f = frequencies.clamp(COMMON, 1 - COMMON)
    centred = seen.basis[:, :-1] - seen.basis[:, -1:] * 2 * f
    scaled = centred / (2 * f * (1 - f)).sqrt()
    sizes, turn = torch.linalg.eigh(scaled @ scaled.T / scaled.shape[1])
    whitening = (turn / sizes.clamp_min(1e-12 * sizes[-1]).sqrt()).T
    return whitening @ scaled, whitening


def unmix(white: Tensor, whitening: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
    """Coordinates (rank - known, rank) of people other than ``known`` (n, rank), roughly."""
    rank = len(whitening)
    found = torch.linalg.solve(whitening.T, known.T)  # directions of those found, as columns
    free = torch.linalg.qr(found, mode="complete")[0][:, len(known):].T
    if not len(free):
        return whitening.new_zeros(0, rank)
    return fast_ica(free @ white, generator) @ free @ whitening


def whole(seen: Reading, coordinates: Tensor, roundings: int = ROUNDINGS) -> Tensor:
    """Coordinates (n, rank) drawn to dosages: rounded and projected back, again and again.

    An entry that is not near a dosage is left as it is, which makes the fixed point that of least
    squares over the near ones.
    """
    for _ in range(roundings):
        rows = values(seen, coordinates).nan_to_num()
        dosages = nearest(rows)
        near = (rows - dosages).abs() < NEAR
        near[:, -1] = True
        drawn = torch.where(near, dosages, rows) @ seen.basis.T
        settled = (drawn - coordinates).abs().max() < 1e-9 if len(drawn) else True
        coordinates = drawn
        if settled:
            break
    return coordinates
