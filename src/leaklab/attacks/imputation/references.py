"""Which haplotypes of a panel a victim may be a mosaic of, where all of them would be too many."""

from __future__ import annotations

import numpy as np


def closest(
    haplotypes: np.ndarray, likelihoods: np.ndarray, number: int, windows: int
) -> np.ndarray:
    """Indices (T, number) of the haplotypes that fit best in some window of the observed SNPs.

    ``haplotypes`` (K, J) at the observed SNPs, ``likelihoods`` (T, J, 3) of each victim's readings
    for 0, 1 and 2 copies. A haplotype fits as well as the reading is likely if it is one of the
    two copied, the other one being drawn by the panel's allele frequencies; for exact genotypes,
    what tells haplotypes apart are opposite homozygotes. Ranks are taken window by window, since a
    mosaic takes each piece from someone else, and a haplotype counts by its best one. Ties go to
    the first in the panel. Indices grow; all of them if the panel has no more than ``number``.

    Raises ``ValueError`` for a ``number`` or ``windows`` below 1.
    """
    if number < 1 or windows < 1:
        raise ValueError(f"references, windows: {number}, {windows} given, expected 1 or more")
    size = len(haplotypes)
    if number >= size:
        return np.tile(np.arange(size), (len(likelihoods), 1))
    rare = haplotypes.mean(0)
    expected = [(1 - rare) * likelihoods[..., a] + rare * likelihoods[..., a + 1] for a in (0, 1)]
    gain = np.log(np.maximum(expected[1], 1e-12)) - np.log(np.maximum(expected[0], 1e-12))
    best = np.full((len(likelihoods), size), size)
    for part in np.array_split(np.arange(haplotypes.shape[1]), windows):
        fit = gain[:, part] @ haplotypes[:, part].T
        best = np.minimum(best, (-fit).argsort(1, kind="stable").argsort(1, kind="stable"))
    return np.sort(best.argsort(1, kind="stable")[:, :number], axis=1)
