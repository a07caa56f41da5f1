"""How a guessed genome is scored, beside the share of genotypes that are right.

A share alone flatters: at most SNPs most people carry no copy of the rarer allele, so that the
commonest genotype is right three times in four. Hence whole genomes, carriers, and the correlation
within a SNP, where a guess that is the same for everybody scores 0.

Genotypes are numbers of copies of the alternate allele, 0, 1 or 2; dosages may lie between.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

__all__ = ["accuracy"]

MAF_EDGES = (0.01, 0.05, 0.5)
"""Edges of the bins of minor allele frequency: low-frequency and common variants."""


def accuracy(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of SNPs guessed right, per person.

    Shapes: guess, truth (people, snps); answers float64 (people,). Dosages between genotypes are
    rounded. Raises ``ValueError`` for shapes that differ, no SNP, or a truth that is no genotype.
    """
    called, truth = _calls(guess, truth)
    return (called == truth).mean(1)


def exact(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether every genotype of a person is right; shapes and errors as :func:`accuracy`."""
    called, truth = _calls(guess, truth)
    return (called == truth).all(1)


def non_reference_concordance(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share right among SNPs at which the truth or the guess has an alternate allele, per person.

    Shapes and errors as :func:`accuracy`; ``NaN`` for a person without any such SNP. The many
    SNPs that are rightly called homozygous for the reference do not count.
    """
    called, truth = _calls(guess, truth)
    counted = (called > 0) | (truth > 0)
    right = ((called == truth) & counted).sum(1)
    number = counted.sum(1)
    return np.divide(right, number, out=np.full(len(truth), np.nan), where=number > 0)


def dosage_r2_per_snp(dosages: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared correlation of dosages with genotypes over people, at each SNP, shape (snps,).

    Shapes and errors as :func:`accuracy`, with two people or more. ``NaN`` where all these people
    have the same genotype, since nothing can be told there; 0 where the dosage is the same for
    all of them.
    """
    _, truth = _calls(dosages, truth)
    if len(truth) < 2:
        raise ValueError(f"truth: {len(truth)} people given, expected two or more")
    centred = np.asarray(dosages, dtype=np.float64)
    centred = centred - centred.mean(0)
    of_truth = truth - truth.mean(0)
    spread = (centred**2).sum(0)
    informative = spread > 1e-12 * len(truth)  # rounding leaves a trace of a constant
    bound = spread * (of_truth**2).sum(0)
    products = (centred * of_truth).sum(0) ** 2
    r2 = np.divide(products, bound, out=np.zeros(truth.shape[1]), where=informative & (bound > 0))
    return np.where((of_truth**2).sum(0) > 0, r2, np.nan)


def dosage_r2(
    dosages: np.ndarray, truth: np.ndarray, minor: np.ndarray,
    edges: Sequence[float] = MAF_EDGES,
) -> np.ndarray:
    """Mean over SNPs of :func:`dosage_r2_per_snp`, by bin of minor allele frequency.

    ``minor`` (snps,) are minor allele frequencies, best of a reference rather than of the few
    people scored. Answers (len(edges) - 1,), each bin with its left edge and the last with both;
    ``NaN`` for a bin in which nothing varies.

    Raises ``ValueError`` as there, and for ``minor`` of another length or edges that do not grow.
    """
    if np.shape(minor) != np.shape(truth)[1:]:
        raise ValueError(f"minor: shape {np.shape(minor)} given, expected one per SNP, "
                         f"{np.shape(truth)[1:]}")
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges: {tuple(edges)} given, expected two or more that grow")
    per_snp = dosage_r2_per_snp(dosages, truth)
    means = []
    for low, high in pairwise(edges):
        within = (minor >= low) & ((minor < high) | ((minor == high) & (high == edges[-1])))
        values = per_snp[within & ~np.isnan(per_snp)]
        means.append(values.mean() if values.size else np.nan)
    return np.array(means)


def _calls(guess: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 genotypes, checked."""
    guess, truth = np.asarray(guess), np.asarray(truth)
    if guess.ndim != 2 or guess.shape != truth.shape or guess.shape[1] == 0:
        raise ValueError(f"guess, truth: shapes {guess.shape}, {truth.shape} given, expected the "
                         "same (people, snps) with at least one SNP")
    if not np.isin(truth, (0, 1, 2)).all():
        raise ValueError("truth: values outside 0, 1, 2 given, expected genotypes")
    return np.rint(guess).astype(np.int64), truth.astype(np.int64)
