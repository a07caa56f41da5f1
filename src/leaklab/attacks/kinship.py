r"""Whose genome is this, and who is of the same family? Two comparisons, each a matrix product.

Kinship is estimated by KING-robust (Manichaikul et al., 2010, doi:10.1093/bioinformatics/btq559),
the estimator between families, which needs no allele frequencies. In copies x, y of an allele, and
h the number of SNPs at which a person has one copy, it is a scaled distance:

.. math:: \hat\phi = \tfrac12 - \frac{\lVert x - y\rVert^2}{4\min(h_x, h_y)}

Two of the genome itself have 1/2, parent and child or full siblings 1/4, cousins 1/16, strangers 0.
A search through a database finds relatives of people who are not in it: Erlich et al. (2018,
doi:10.1126/science.aau4832) show it at the size of genealogy sites, by the length of shared
segments instead of such a number. A genotype seen through noise is compared with the samples of a
panel by likelihood, as Edge et al. (2017, doi:10.1073/pnas.1619944114) match records that share no
marker.

Threat model: the attacker holds genotypes recovered from an update, exactly or with errors, and a
public panel or database under codes. It learns a code or a degree of kinship, not a name.

Where it fails: cousins of the second degree and beyond share too little for a mean over SNPs (the
length of shared segments tells them, which is not done here). Two people of different ancestry come
out below 0, and strangers of one small population above it. Few SNPs, or many of one short region,
leave the estimate noisy however many they are. And errors are not neutral: random ones lower the
kinship to everybody, and genotypes guessed by frequency move it for all alike, down where alleles
are rare and up where they are common. At common SNPs a genome with nothing in it seems everybody's
relative: call guesses missing.

Genotypes are numpy arrays of 0, 1 and 2, rows people and columns SNPs; -1 is a missing call, and a
pair is then compared at the SNPs that both have, as by ``plink2 --make-king``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

__all__ = ["degree", "king_robust", "search"]

MISSING = -1
DEGREES = (0.354, 0.177, 0.0884, 0.0442)
"""Least kinship of the genome itself and of the first to the third degree: powers of 2 half way
between the expected ones, as in the paper's Table 1."""
TILE = 4096
"""Columns of a database that are compared at once: keeps the memory of a search small."""


@dataclass(frozen=True)
class Hits:
    """What a search through a database gives for each victim, the closest first.

    index
        Rows of the database, int64, shape (victims, top).
    kinship
        Their kinship to the victim, float64, of the same shape.
    """

    index: np.ndarray
    kinship: np.ndarray


def king_robust(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kinship of each person in ``a`` with each in ``b``, float64, (n, k).

    Shapes: a (n, m), b (k, m), genotypes as the module says. Raises ``ValueError`` for other
    values, other SNP numbers, and a pair of which one has no heterozygous SNP to compare.
    """
    x, y = _genotypes(a, "a"), _genotypes(b, "b", like=a)
    seen_x, seen_y = x >= 0, y >= 0
    if seen_x.all() and seen_y.all():  # then one product does, instead of five
        apart = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * (x @ y.T)
        fewer = np.minimum((x == 1).sum(1)[:, None], (y == 1).sum(1))
    else:
        known_x, known_y = (seen.astype(np.float32) for seen in (seen_x, seen_y))
        x, y = x * known_x, y * known_y
        apart = x**2 @ known_y.T + known_x @ (y**2).T - 2 * (x @ y.T)
        fewer = np.minimum(_is(x, 1) @ known_y.T, known_x @ _is(y, 1).T)
    if (fewer == 0).any():
        i, j = np.argwhere(fewer == 0)[0]
        raise ValueError(f"a, b: row {i} of a and row {j} of b given, one of them with no "
                         "heterozygous SNP among those compared, expected one or more in each")
    return 0.5 - apart.astype(np.float64) / (4 * fewer)


def opposite_homozygotes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of SNPs at which one has two copies and the other none (IBS0), float64, (n, k).

    A parent hands on one of its two alleles, so that parent and child have none but errors; full
    siblings, of the same kinship, have some. Arguments and errors as for :func:`king_robust`.
    """
    x, y = _genotypes(a, "a"), _genotypes(b, "b", like=a)
    compared = (x >= 0).astype(np.float32) @ (y >= 0).astype(np.float32).T
    if (compared == 0).any():
        raise ValueError("a, b: a pair without a SNP that both have given, expected one or more")
    opposite = _is(x, 0) @ _is(y, 2).T + _is(x, 2) @ _is(y, 0).T
    return opposite.astype(np.float64) / compared


def degree(kinship: np.ndarray | float) -> np.ndarray:
    """Degree of relationship by the paper's limits, int64: 0 the genome itself (or an identical
    twin), 1, 2 or 3, and 4 for anything further.

    Raises ``ValueError`` for NaN.
    """
    kinship = np.asarray(kinship, dtype=np.float64)
    if np.isnan(kinship).any():
        raise ValueError("kinship: NaN given, expected numbers")
    return (kinship[..., None] < np.array(DEGREES)).sum(-1)


def search(victims: np.ndarray, database: np.ndarray, *, top: int = 10) -> Hits:
    """The ``top`` closest people in the ``database`` to each victim, by KING-robust.

    Shapes: victims (n, m), database (k, m). Raises ``ValueError`` as :func:`king_robust`, and for a
    ``top`` outside 1 to k.
    """
    if not 1 <= top <= len(database):
        raise ValueError(f"top: {top} given, expected 1 to {len(database)}, the database's size")
    kinship = np.concatenate([king_robust(victims, database[start:start + TILE])
                              for start in range(0, len(database), TILE)], axis=1)
    index = np.argsort(-kinship, axis=1, kind="stable")[:, :top]
    return Hits(index, np.take_along_axis(kinship, index, 1))


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Place of each row's ``right`` column in the order of its scores, int64; 1 is the highest.

    A tie counts against the attacker: of two with one score, the right one comes second.
    Shapes: scores (n, k), right (n,). Raises ``ValueError`` for another length, a column that does
    not exist, or NaN among the scores.
    """
    right = np.asarray(right)
    if right.shape != (len(scores),) or not ((right >= 0) & (right < scores.shape[1])).all():
        raise ValueError(f"right: shape {right.shape} given, expected a column from 0 to "
                         f"{scores.shape[1] - 1} for each of {len(scores)} rows")
    if np.isnan(scores).any():
        raise ValueError("scores: NaN given, expected numbers")
    own = np.take_along_axis(scores, right[:, None], 1)
    return (scores >= own).sum(1)


def log_likelihood_match(
    noisy: np.ndarray, sd: np.ndarray | float, panel: np.ndarray
) -> np.ndarray:
    r"""How well each sample of a panel explains each noisy record: Gaussian log-likelihood, (n, k).

    :math:`-\tfrac12\sum_j (y_j - g_j)^2/\sigma_j^2`, up to a term that is the same for all samples;
    if one of them is the right one and each as likely at the outset, the highest is the best guess
    (MAP). ``noisy`` are genotypes with noise of standard deviation ``sd``, one number or one a
    column, and ``panel`` genotypes; or clipped gradients, with the noise of the defence, and those
    that the samples would have caused.

    Shapes: noisy (n, m), panel (k, m), result float64. Raises ``ValueError`` for another number of
    columns, or an ``sd`` that is not above 0.
    """
    if noisy.ndim != 2 or panel.ndim != 2 or noisy.shape[1] != panel.shape[1]:
        raise ValueError(f"panel: shape {panel.shape} given, expected (k, m) with the columns of "
                         f"noisy, {noisy.shape}")
    sd = np.broadcast_to(np.asarray(sd, dtype=np.float64), noisy.shape[1:])
    if not (sd > 0).all():
        raise ValueError(f"sd: {sd.min()} given, expected numbers above 0")
    y, g = (np.asarray(part, dtype=np.float64) / sd for part in (noisy, panel))
    return y @ g.T - 0.5 * ((y**2).sum(1)[:, None] + (g**2).sum(1))


def top_one(separation: float, candidates: int) -> float:
    r"""How often the right one of so many candidates scores highest, if scores are independent.

    The right score is :math:`N(d, 1)`, the others :math:`N(0, 1)`:
    :math:`\int \varphi(t - d)\,\Phi(t)^{N-1}\,dt`, the detection of one of N orthogonal signals.
    1/N at a ``separation`` of 0. Raises ``ValueError`` for fewer than one candidate.
    """
    if candidates < 1:
        raise ValueError(f"candidates: {candidates} given, expected 1 or more")
    t = np.linspace(-9, 9, 4001)
    log_density = -0.5 * t**2 + (candidates - 1) * log_ndtr(t + separation)
    return float(np.exp(log_density).sum() / np.exp(-0.5 * t**2).sum())


def _is(genotypes: np.ndarray, value: int) -> np.ndarray:
    """Where a genotype has this value, as numbers that a product can count; exact below 2^24."""
    return (genotypes == value).astype(np.float32)


def _genotypes(values: np.ndarray, name: str, like: np.ndarray | None = None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name}: shape {values.shape} given, expected (people, SNPs)")
    if like is not None and values.shape[1] != np.shape(like)[1]:
        raise ValueError(f"{name}: {values.shape[1]} SNPs given, expected {np.shape(like)[1]}")
    low, high = values.min(), values.max()
    whole = values.dtype.kind in "bui" or (values == np.rint(values)).all()
    if not (low >= MISSING and high <= 2 and whole):  # NaN fails each comparison
        raise ValueError(f"{name}: values from {low} to {high} given, expected genotypes 0, 1 and "
                         "2, or -1 for a missing call (round dosages first)")
    return values.astype(np.float32)
