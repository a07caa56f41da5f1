r"""Linear imputation from an unphased reference: the conditional mean of a normal distribution.

.. math:: \hat x_h = \mu_h + \Sigma_{ho}\,\Sigma_{oo}^{-1}\,(x_o - \mu_o).

Mean and covariance are those of the reference, shrunk as Li and Stephens' model would have them:
:math:`\Sigma = (1-\theta)^2 S + 2\cdot\tfrac{\theta}{2}(1-\tfrac{\theta}{2})\,I`, where S is
the sample covariance of genotypes times :math:`e^{-4N_e c_{ij}/n}` for SNPs that lie
:math:`c_{ij}` morgans apart in a reference of n haplotypes. Nothing is tuned. It needs no phased
panel, and it is weaker.

Source: Wen and Stephens (2010, doi:10.1214/10-AOAS338), who call it BLIMP.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from leaklab.attacks.imputation.baselines import centred

BLOCK = 1000
"""SNPs that are filled in from one solution."""


def by_linear(
    reference: np.ndarray, observed: np.ndarray, genotypes: np.ndarray, centimorgans: np.ndarray, *,
    effective_size: float = 1e4, reach: float = 1.0,
) -> np.ndarray:
    """Dosages (T, M) from the observed SNPs within ``reach`` centimorgans, observed ones kept.

    Shapes: reference (n, M) genotypes of unphased people, observed (J,), genotypes (T, J), missing
    calls as in :func:`leaklab.attacks.imputation.decode` and taken as the mean; centimorgans (M,).
    A SNP at which all of the reference agree keeps about their dosage. Raises ``ValueError`` for
    shapes that do not fit, values outside 0, 1, 2, or an unsorted map.
    """
    people, observed, known = centred(reference, observed, genotypes)
    where = np.asarray(centimorgans, dtype=np.float64)
    if where.shape != people.shape[1:] or not (np.diff(where) >= 0).all():
        raise ValueError(f"centimorgans: shape {where.shape} given, expected one position per SNP, "
                         f"{people.shape[1:]}, that never falls")
    harmonic = 1 / (1 / np.arange(1, 2 * len(people))).sum()
    theta = harmonic / (2 * len(people) + harmonic)
    mean = people.mean(0)
    spread = people - mean
    dosages = np.empty((len(known), people.shape[1]), dtype=np.float32)
    for first in range(0, people.shape[1], BLOCK):
        block = np.arange(first, min(first + BLOCK, people.shape[1]))
        near = np.flatnonzero((where[observed] >= where[block[0]] - reach)
                              & (where[observed] <= where[block[-1]] + reach))
        told = observed[near]

        def shrunk(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            apart = np.abs(where[rows][:, None] - where[columns]) / 100
            keep = (1 - theta) ** 2 * np.exp(-2 * effective_size * apart / len(people))
            return keep * (spread[:, rows].T @ spread[:, columns]) / len(people)

        within = shrunk(told, told) + theta * (1 - theta / 2) * np.eye(len(told))
        weights = linalg.solve(within, shrunk(told, block), assume_a="pos")
        dosages[:, block] = mean[block] + known[:, near] @ weights
    dosages[:, observed] = known + mean[observed]
    return dosages.clip(0, 2)
