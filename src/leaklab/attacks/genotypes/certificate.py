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

Mother + father - child is whole at every SNP: it is the genotype of the alleles that the child did
not get, and nobody's. Point 3 tells it from a patient. Where that cannot be tried (too narrow a
layer, another activation than ReLU), rows that have close kin among the rows found are not
certified, nor are rows of which a sum a + b - c is whole. Of families, such a layer then certifies
nobody. With the last rule alone 18 of 56 rows certified in the study's ten such batches were
nobody's.

The certificate is no part of a paper. It is evidence under assumptions, no proof: SNPs are near
independent for point 2, or far more than needed. The sum a + b - c of unrelated people is whole
more often than the mean of two (at common SNPs of Europeans five times in six instead of two in
three), so against it the bits of point 2 are worth about a third: have hundreds of SNPs. And where
point 3 cannot be tried, nobody's genotype is not the only one found of its family.

Source of the kinship: KING-robust, see :mod:`leaklab.attacks.kinship`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.attacks.genotypes.reading import Reading
from leaklab.attacks.kinship import DEGREES, king_robust

WHOLE = 0.25  # the most that an entry may be off
SURE = 12.0  # standard deviations that an entry may be off
CHANCE = 40.0  # bits: one in a million million
SPARE = 16  # neurons that are off, beyond the number of records, for their rank to say something
HEARD = 8.0  # a direction counts as heard above so many times the noise
LOUD = 10.0  # the faintest record, in units of that
CLOSE = DEGREES[1]  # kinship from which two are parent and child, siblings, or nearer
LOOKED_AT = 64  # SNPs on which a sum is tried before all are
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


def heard(seen: Reading, dosages: Tensor) -> tuple[Tensor, Tensor]:
    """Point 3 for dosages (n, snps + 1): whether neurons that are off betray a mixture, and whether
    that could be tried, bool (n,) each.

    It cannot with another activation than ReLU, with too few neurons off, or where some record is
    hardly heard by any. After several steps, off means off at both ends by more than lies between
    them; a neuron that was on in between makes a patient look like a mixture, which costs a
    certificate and gives none away.
    """
    betrayed = torch.zeros(len(dosages), dtype=torch.bool, device=dosages.device)
    tried = betrayed.clone()
    if not seen.patterns:
        return betrayed, tried
    scale = dosages.norm(dim=1)[:, None] * seen.weights.norm(dim=2)[:, None]
    reach = dosages @ seen.weights.mT
    always = (reach < -SLACK * scale).all(0) & (
        reach.amax(0).abs() > reach.amax(0) - reach.amin(0))
    for k, off in enumerate(always):
        number = int(off.sum())
        if number >= seen.rank + SPARE:
            noise = HEARD * seen.noise * (number**0.5 + seen.rank**0.5)
            betrayed[k] = torch.linalg.svdvals(seen.neurons[off])[-1] > noise
            tried[k] = seen.sizes[-1] > LOUD * noise
    return betrayed, tried


def exchangeable(dosages: Tensor) -> Tensor:
    """Which rows (n, snps) have part in a sum a + b - c of three of them that is whole; bool (n,).

    Then a fourth genotype is as good as each of the three, and nobody can say which are true.
    """
    found = torch.zeros(len(dosages), dtype=torch.bool, device=dosages.device)
    if len(dosages) < 3:
        return found
    few = dosages[:, dosages.var(0, correction=0).topk(min(LOOKED_AT, dosages.shape[1])).indices]
    a, b = torch.triu_indices(len(dosages), len(dosages), 1, device=dosages.device)
    for c in range(len(dosages)):
        near = _whole(few[a] + few[b] - few[c]) & (a != c) & (b != c)
        for i, j in zip(a[near].tolist(), b[near].tolist(), strict=True):
            if _whole(dosages[i] + dosages[j] - dosages[c]):
                found[[i, j, c]] = True
    return found


def related(dosages: Tensor) -> Tensor:
    """Which rows (n, snps) have close kin among the others, bool (n,).

    Then the row may be the genotype of the alleles that a child did not get: it is as near to the
    parents and to the child's siblings as the child.
    """
    if len(dosages) < 2:
        return torch.zeros(len(dosages), dtype=torch.bool, device=dosages.device)
    people = dosages.long().cpu().numpy()
    kinship = torch.as_tensor(king_robust(people, people)).fill_diagonal_(0)
    return (kinship > CLOSE).any(1).to(dosages.device)


def _whole(rows: Tensor) -> Tensor:
    return ((rows >= 0) & (rows <= 2)).all(-1)
