r"""Which candidate rows are genotypes: the integrality certificate.

A candidate is a weighted mean of records (the weights sum to one, some may be negative). A record's
entries are 0, 1 or 2; those of a mixture are not. So a candidate is certified if

1.  each of its entries is within the noise of 0, 1 or 2;
2.  luck cannot explain that. The mean of two people is whole at a SNP where both are heterozygous
    or neither is, probability :math:`1 - 2H(1-H)` with H the heterozygosity. Over all SNPs that has
    to be less likely than one in :math:`2^{40}`, after one SNP is given away for each record (the
    mixture has as many weights to choose) and all candidates are counted;
3.  where the model allows it, the neurons that it switches off for such a genotype have not heard
    of it: without one record, the rows of those neurons span one direction less.

Assumptions: SNPs are near independent for point 2, or far more than needed; and no family is in the
batch where point 3 cannot be tried. Mother + father - child is whole at every SNP: it is the
genotype of the alleles that the child did not get, and nobody's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.attacks.genotypes.reading import Reading

WHOLE = 0.25  # the most that an entry may be off
SURE = 12.0  # standard deviations that an entry may be off
CHANCE = 40.0  # bits: one in a million million
SPARE = 4  # neurons that are off, beyond the number of records, for their rank to say something
HEARD = 8.0  # a direction counts as heard above so many times the noise
SLACK = 1e-4  # of its scale: a neuron this near to its threshold is neither on nor off


def values(seen: Reading, coordinates: Tensor) -> Tensor:
    """Candidates (n, snps + 1) of which the last entry is one, from coordinates (n, rank)."""
    rows = coordinates @ seen.basis
    return rows / rows[:, -1:]


def nearest(rows: Tensor) -> Tensor:
    """The nearest dosages to ``rows``, the last column one."""
    dosages = rows.round().clamp(0, 2)
    dosages[:, -1] = 1.0
    return dosages


def integral(seen: Reading, coordinates: Tensor, *, tried: int | None = None) -> Tensor:
    """Points 1 and 2 for candidates of coordinates (n, rank); bool (n,).

    ``tried`` candidates were looked at to choose these; by default as many as there are.
    """
    rows = values(seen, coordinates)
    dosages = nearest(rows)
    last = (coordinates @ seen.basis[:, -1]).abs()
    spread = seen.noise * (coordinates / seen.sizes).norm(dim=1) / last
    off = (rows - dosages).abs().amax(1)
    tried = torch.tensor(float(max(1, len(rows) if tried is None else tried))).log2()
    return (off < (SURE * spread).clamp(1e-6, WHOLE)) & (
        bits(dosages[:, :-1]) > CHANCE + seen.rank + tried)


def bits(dosages: Tensor) -> Tensor:
    """How unlikely it is, in bits, that a mean of two such people is whole throughout; (n,)."""
    heterozygous = (dosages == 1).double().mean(1)
    return -dosages.shape[1] * (1 - 2 * heterozygous * (1 - heterozygous)).log2()


def unheard(seen: Reading, dosages: Tensor) -> Tensor:
    """Point 3 for dosages (n, snps + 1): False where a neuron that is off betrays a mixture.

    True where it cannot be tried: another activation, several steps, too few neurons that are off.
    """
    if not seen.patterns:
        return torch.ones(len(dosages), dtype=torch.bool, device=dosages.device)
    reach = dosages @ seen.weights.T
    scale = dosages.norm(dim=1)[:, None] * seen.weights.norm(dim=1)
    return torch.stack([_one_less(seen, off) for off in reach < -SLACK * scale]) if len(
        dosages) else torch.zeros(0, dtype=torch.bool, device=dosages.device)


def _one_less(seen: Reading, off: Tensor) -> Tensor:
    """Whether the rows ``off`` (neurons,) span fewer directions than all records; a bool tensor."""
    number = int(off.sum())
    if number < seen.rank + SPARE:
        return torch.tensor(True, device=off.device)
    smallest = torch.linalg.svdvals(seen.left[off] * seen.sizes)[-1]
    return smallest < HEARD * seen.noise * (number**0.5 + seen.rank**0.5)
