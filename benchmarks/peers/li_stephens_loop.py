"""Li and Stephens' model as plain Python loops, O(K) a site: what vectors are timed against.

No step is left out and none is done twice; the loops run over Python lists of floats, which they
read faster than arrays.
"""

from __future__ import annotations

import math
from itertools import pairwise


def haploid_loop(
    haplotypes: list[list[int]], observed: list[int], alleles: list[int],
    centimorgans: list[float], *, error: float = 1e-3, effective_size: float = 1e4,
) -> list[float]:
    """The chance of an alternate allele at every SNP of one phased victim.

    ``haplotypes`` holds K lists of M alleles; the other arguments are those of
    :func:`leaklab.attacks.imputation.haploid` for one victim, without missing calls.
    """
    size, sites = len(haplotypes), len(observed)
    rho = [1.0]
    for before, site in pairwise(observed):
        morgans = max(centimorgans[site] - centimorgans[before], 1e-7) / 100
        rho.append(-math.expm1(-4 * effective_size * morgans / size))
    filters, state = [], [1 / size] * size
    for j in range(sites):
        moved = []
        for k in range(size):
            reading = 1 - error if haplotypes[k][observed[j]] == alleles[j] else error
            moved.append(((1 - rho[j]) * state[k] + rho[j] / size) * reading)
        total = sum(moved)
        state = [value / total for value in moved]
        filters.append(state)
    posteriors, behind = [[]] * sites, [1.0] * size
    for j in range(sites - 1, -1, -1):
        both = [filters[j][k] * behind[k] for k in range(size)]
        total = sum(both)
        posteriors[j] = [value / total for value in both]
        read = [behind[k] * (1 - error if haplotypes[k][observed[j]] == alleles[j] else error)
                for k in range(size)]
        mean = sum(read) / size
        behind = [(1 - rho[j]) * value / mean + rho[j] for value in read]
    return _filled(haplotypes, observed, alleles, centimorgans, posteriors)


def _filled(haplotypes, observed, alleles, centimorgans, posteriors) -> list[float]:
    answer, left = [], 0
    known = dict(zip(observed, alleles, strict=True))
    for snp in range(len(centimorgans)):
        while left + 1 < len(observed) and observed[left + 1] <= snp:
            left += 1
        if snp in known:
            answer.append(float(known[snp]))
            continue
        right = min(left + 1, len(observed) - 1) if snp > observed[0] else left
        start, end = centimorgans[observed[left]], centimorgans[observed[right]]
        share = (centimorgans[snp] - start) / max(end - start, 1e-7) if right > left else 0.0
        total = 0.0
        for k, row in enumerate(haplotypes):
            if row[snp]:
                total += (1 - share) * posteriors[left][k] + share * posteriors[right][k]
        answer.append(total)
    return answer
