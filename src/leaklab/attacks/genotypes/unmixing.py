r"""Genotypes from their mixtures: independent component analysis, then whole numbers.

The gradient of a batch tells the space that its records span, not the records. Of unrelated people,
dosages standardised by allele frequency are independent and far from Gaussian, so among all
directions of the space those of single people stand out. FastICA finds them roughly
(:func:`unmix`). Whole numbers make them exact: entries are drawn towards 0, 1 and 2, softly at
first (:func:`attract`), then by rounding (:func:`whole`), each time followed by a step back to the
nearest point of the space. People who are certain are set aside, and the rest is unmixed again
beside them.

Sources: Kariyappa et al. (2023, arXiv:2209.05578), the Cocktail Party Attack, which unmixes images
by independent component analysis; Hyvarinen (1999, doi:10.1109/72.761722) for FastICA. Not in the
former are: FastICA as the solver and allele frequencies for whitening; drawing to whole numbers,
softly or hard; setting aside those found; and, in every other round, a weight for each SNP in the
contrast. A rare allele makes dosages more peaked than a Gaussian, a common one flatter, and
unweighted the two work against each other. The frequency foretells the excess kurtosis,
:math:`1/(2f(1-f)) - 3`. What the weights alone add was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaklab.attacks.genotypes.certificate import nearest, values
from leaklab.attacks.genotypes.reading import Reading

ITERATIONS = 100
SETTLED = 1e-4  # change of a direction at which FastICA stops
ROUNDINGS = 40
NEAR = 0.25  # entries within this of a dosage are rounded, others keep their value
SOFT, SHRINK, HARD = 0.35, 0.96, 0.08  # noise that soft rounding assumes: first, step, last
SOFT_STEPS = 60
COMMON = 0.005  # frequencies are taken to be at least this far from 0 and 1


def fast_ica(mixtures: Tensor, generator: torch.Generator, *, contrast: str = "tanh",
             weights: Tensor | None = None, iterations: int = ITERATIONS) -> Tensor:
    r"""Symmetric FastICA on white ``mixtures`` (k, samples); an orthogonal (k, k).

    ``result @ mixtures`` are the independent components. ``contrast`` names the bend g in
    :math:`w \leftarrow E[y g(w^\top y)] - E[g'(w^\top y)] w`: ``"tanh"``, or ``"bell"``,
    :math:`s e^{-s^2/2}`. ``weights`` (samples,), by default ones, say how much each sample counts,
    and with which sign. Source: Hyvarinen (1999, equations 20 and 26).
    """
    k, samples = mixtures.shape
    weights = torch.ones_like(mixtures[0]) if weights is None else weights
    start = torch.randn(k, k, generator=generator, dtype=torch.float64)
    unmixing = _orthogonal(start.to(mixtures))
    for _ in range(iterations):
        before, components = unmixing, unmixing @ mixtures
        if contrast == "tanh":
            bent = torch.tanh(components)
            slope = 1 - bent.square()
        else:
            bell = torch.exp(-components.square() / 2)
            bent, slope = components * bell, (1 - components.square()) * bell
        slopes = (slope * weights).mean(1, keepdim=True)
        unmixing = _orthogonal((bent * weights) @ mixtures.T / samples - slopes * before)
        if (1 - (unmixing * before).sum(1).abs()).max() < SETTLED:
            break
    return unmixing


def _orthogonal(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to ``matrix``."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


@dataclass(frozen=True)
class White:
    """``mixtures`` (rank, snps) of standardised dosages; ``matrix`` (rank, rank) makes them from
    coordinates; ``weights`` (snps,): the excess kurtosis that each frequency foretells."""

    mixtures: Tensor
    matrix: Tensor
    weights: Tensor


def whiten(seen: Reading, frequencies: Tensor) -> White:
    """The space of the records, white for people drawn by these allele frequencies (snps,)."""
    f = frequencies.clamp(COMMON, 1 - COMMON)
    centred = seen.basis[:, :-1] - seen.basis[:, -1:] * 2 * f
    scaled = centred / (2 * f * (1 - f)).sqrt()
    sizes, turn = torch.linalg.eigh(scaled @ scaled.T / scaled.shape[1])
    matrix = (turn / sizes.clamp_min(1e-12 * sizes[-1]).sqrt()).T
    return White(matrix @ scaled, matrix, 1 / (2 * f * (1 - f)) - 3)


def unmix(white: White, known: Tensor, generator: torch.Generator, *, weighted: bool) -> Tensor:
    """Coordinates (rank - known, rank) of people other than ``known`` (n, rank), roughly."""
    found = torch.linalg.solve(white.matrix.T, known.T)  # directions of those found, as columns
    free = torch.linalg.qr(found, mode="complete")[0][:, len(known):].T
    if not len(free):
        return known[:0]
    contrast, weights = ("bell", white.weights) if weighted else ("tanh", None)
    return fast_ica(free @ white.mixtures, generator, contrast=contrast,
                    weights=weights) @ free @ white.matrix


def attract(seen: Reading, coordinates: Tensor) -> Tensor:
    """Coordinates (n, rank) drawn towards dosages, softly at first.

    Each entry is replaced by its mean over 0, 1 and 2, weighed by how well they fit under Gaussian
    noise that shrinks from step to step; then the nearest point of the space is taken.
    """
    basis = seen.basis.float()  # in single precision: `whole` has the last word
    coordinates = coordinates.float()
    for step in range(SOFT_STEPS):
        rows = coordinates @ basis
        rows = (rows[:, :-1] / rows[:, -1:]).nan_to_num().clamp(-2, 4)
        precision = 1 / (2 * max(HARD, SOFT * SHRINK**step) ** 2)
        zero = ((1 - 2 * rows) * precision).clamp(-40, 40).exp()  # odds against 1
        two = ((2 * rows - 3) * precision).clamp(-40, 40).exp()
        mean = (1 + 2 * two) / (1 + zero + two)
        coordinates = torch.cat([mean, torch.ones_like(mean[:, :1])], 1) @ basis.T
    return coordinates.to(seen.basis)


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
