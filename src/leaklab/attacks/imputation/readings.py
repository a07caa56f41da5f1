"""What is known of the victims, as likelihoods; and the checks that imputation begins with."""

from __future__ import annotations

import numpy as np


def checked_panel(
    haplotypes: np.ndarray, observed: np.ndarray, centimorgans: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three as arrays, or a ``ValueError`` that names what is wrong with them.

    Expected are haplotypes (K, M) of 0 and 1, ``observed`` (J,) that numbers some of the M SNPs in
    growing order, and positions (M,) in centimorgans that never fall.
    """
    haplotypes, observed = np.asarray(haplotypes), np.asarray(observed)
    centimorgans = np.asarray(centimorgans, dtype=np.float64)
    whole = haplotypes.ndim == 2 and haplotypes.size and np.isin(haplotypes, (0, 1)).all()
    if not whole:
        raise ValueError(f"haplotypes: shape {haplotypes.shape} given, expected (haplotypes, snps) "
                         "of 0 and 1")
    check_observed(observed, haplotypes.shape[1])
    if centimorgans.shape != haplotypes.shape[1:]:
        raise ValueError(f"centimorgans: shape {centimorgans.shape} given, expected one position "
                         f"per SNP of the panel, {haplotypes.shape[1:]}")
    if not (np.isfinite(centimorgans).all() and (np.diff(centimorgans) >= 0).all()):
        raise ValueError("centimorgans: an unsorted map given, expected finite positions that "
                         "never fall; take one chromosome at a time")
    return haplotypes.astype(np.uint8, copy=False), observed.astype(np.int64), centimorgans


def check_observed(observed: np.ndarray, snps: int) -> None:
    """Raise ``ValueError`` unless ``observed`` numbers some of the SNPs, in growing order."""
    whole = observed.ndim == 1 and observed.size and np.issubdtype(observed.dtype, np.integer)
    if not whole or observed.min() < 0 or observed.max() >= snps or (np.diff(observed) <= 0).any():
        raise ValueError(f"observed: shape {observed.shape} of {observed.dtype} given, expected "
                         f"indices of the {snps} SNPs of the panel in growing order, at least one")


def check_readings(readings: np.ndarray, observed: np.ndarray, name: str) -> None:
    """Raise ``ValueError`` unless ``readings`` are a row for each victim, a column per SNP."""
    if readings.ndim != 2 or readings.shape[1] != len(observed):
        raise ValueError(f"{name}: shape {readings.shape} given, expected (victims, "
                         f"{len(observed)}), one column per observed SNP")


def missing(readings: np.ndarray) -> np.ndarray:
    """Where a call is missing: -1 among whole numbers, ``NaN`` among others."""
    return readings == -1 if np.issubdtype(readings.dtype, np.integer) else np.isnan(readings)


def flips(copies: int, error: float) -> np.ndarray:
    """Chance of reading g copies (column) where the mosaic has s (row), for one or two alleles.

    Each allele is misread or mutated by itself with probability ``error``. Raises ``ValueError``
    unless that lies above 0 and below 1/2.
    """
    if not 0 < error < 0.5:
        raise ValueError(f"error: {error} given, expected a number above 0 and below 1/2")
    same, other = 1 - error, error
    if copies == 1:
        return np.array([[same, other], [other, same]])
    return np.array([[same**2, 2 * same * other, other**2],
                     [same * other, same**2 + other**2, same * other],
                     [other**2, 2 * same * other, same**2]])


def of_calls(calls: np.ndarray, copies: int, name: str) -> np.ndarray:
    """Likelihood (T, J, copies + 1) of called alleles or genotypes for each number of copies.

    A missing call says nothing. Raises ``ValueError`` for a call outside 0 ... ``copies``.
    """
    gone = missing(calls)
    if not np.isin(calls[~gone], range(copies + 1)).all():
        raise ValueError(f"{name}: values outside 0 to {copies} given, expected whole numbers, or "
                         "-1 (NaN among floats) for a missing call")
    return np.where(gone[..., None], 1.0, calls[..., None] == np.arange(copies + 1))


def of_noisy_dosages(dosages: np.ndarray, noise: float | np.ndarray) -> np.ndarray:
    """Likelihood (T, J, 3) of noisy dosages for 0, 1 and 2 copies, the largest of each being 1.

    ``noise`` is the standard deviation in copies: a number, or an array that broadcasts to (T, J),
    as (J,) and (T, 1) do. Raises ``ValueError`` for noise that does not, or is not above 0.
    """
    try:
        spread = np.broadcast_to(np.asarray(noise, dtype=np.float64), dosages.shape)
    except ValueError:
        raise ValueError(f"noise: shape {np.shape(noise)} given, expected a number or an array "
                         f"that broadcasts to {dosages.shape}") from None
    if not (spread > 0).all():
        raise ValueError("noise: 0, less or NaN given, expected standard deviations above 0")
    with np.errstate(invalid="ignore"):
        logs = -0.5 * ((dosages[..., None] - np.arange(3)) / spread[..., None]) ** 2
    logs = np.where(missing(dosages)[..., None], 0.0, logs)
    return np.exp(logs - logs.max(-1, keepdims=True))
