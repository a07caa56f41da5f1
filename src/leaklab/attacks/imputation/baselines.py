"""What is guessed without a model of the chromosome: by frequency, by one SNP, by the reading."""

from __future__ import annotations

import numpy as np

from leaklab.attacks.imputation import readings

BLOCK = 2000
"""SNPs whose correlations are held in memory at once."""


def genotype_probabilities(frequencies: np.ndarray) -> np.ndarray:
    """Chances (M, 3) of 0, 1 and 2 copies where the allele has these frequencies (M,).

    The two alleles of a person are drawn independently (Hardy-Weinberg proportions). Raises
    ``ValueError`` for frequencies outside [0, 1].
    """
    f = np.asarray(frequencies, dtype=np.float64)
    if f.ndim != 1 or not ((f >= 0) & (f <= 1)).all():
        raise ValueError(f"frequencies: shape {f.shape} given, expected one number from 0 to 1 "
                         "per SNP")
    return np.stack(((1 - f) ** 2, 2 * f * (1 - f), f**2), axis=-1)


def by_frequency(frequencies: np.ndarray, people: int) -> np.ndarray:
    """The likeliest genotype of each SNP, the same for everyone: int64 (people, M).

    The baseline that needs nothing of the victim. Errors as :func:`genotype_probabilities`.
    """
    return np.tile(genotype_probabilities(frequencies).argmax(1), (people, 1))


def by_prior(
    dosages: np.ndarray, noise: float | np.ndarray, frequencies: np.ndarray
) -> np.ndarray:
    """The likeliest genotype given its own noisy dosage and its frequency, int64 (T, J).

    Each SNP by itself: the best that can be done where neighbours tell nothing. Shapes: dosages
    (T, J), frequencies (J,), noise as in :func:`leaklab.attacks.imputation.decode`. Raises
    ``ValueError`` for shapes that do not fit.
    """
    dosages, prior = np.asarray(dosages, dtype=np.float64), genotype_probabilities(frequencies)
    readings.check_readings(dosages, prior, "dosages")
    return (readings.of_noisy_dosages(dosages, noise) * prior).argmax(-1)


def by_tag(reference: np.ndarray, observed: np.ndarray, genotypes: np.ndarray) -> np.ndarray:
    """Dosages (T, M) by a straight line from the one observed SNP that correlates best.

    Shapes: reference (n, M) genotypes of unphased people, observed (J,), genotypes (T, J), missing
    calls as in :func:`leaklab.attacks.imputation.decode` and taken as the mean. Observed SNPs keep
    their genotypes. A SNP at which all of the reference agree tells nothing and is told by nothing:
    its dosage is theirs. Raises ``ValueError`` for shapes that do not fit or values outside 0 to 2.
    """
    people, observed, known = centred(reference, observed, genotypes)
    mean, spread = people.mean(0), people.std(0)
    scaled = np.divide(people - mean, spread, out=np.zeros_like(people), where=spread > 0)
    steps = np.divide(known, spread[observed], out=np.zeros_like(known),
                      where=spread[observed] > 0)
    dosages = np.empty((len(known), people.shape[1]), dtype=np.float32)
    for first in range(0, people.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        correlation = scaled[:, observed].T @ scaled[:, part] / len(people)
        tag = np.abs(correlation).argmax(0)
        slope = correlation[tag, np.arange(len(tag))] * spread[part]
        dosages[:, part] = mean[part] + slope * steps[:, tag]
    dosages[:, observed] = known + mean[observed]
    return dosages.clip(0, 2)


def centred(
    reference: np.ndarray, observed: np.ndarray, genotypes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reference (n, M) float32, observed (J,), and genotypes less the reference's mean (T, J).

    A missing call is 0 there. Raises ``ValueError`` for fewer than two people in the reference,
    shapes that do not fit, or values outside 0, 1, 2.
    """
    reference, observed, genotypes = map(np.asarray, (reference, observed, genotypes))
    whole = reference.ndim == 2 and len(reference) > 1 and np.isin(reference, (0, 1, 2)).all()
    if not whole:
        raise ValueError(f"reference: shape {reference.shape} given, expected genotypes 0, 1, 2 of "
                         "(people, snps), two people or more")
    readings.check_observed(observed, reference.shape[1])
    readings.check_readings(genotypes, observed, "genotypes")
    gone = readings.missing(genotypes)
    if ((genotypes < 0) | (genotypes > 2))[~gone].any():
        raise ValueError("genotypes: values outside 0 to 2 given, expected dosages, or -1 (NaN "
                         "among floats) for a missing call")
    people = reference.astype(np.float32)
    known = np.where(gone, 0, genotypes - people[:, observed].mean(0)).astype(np.float32)
    return people, observed, known
