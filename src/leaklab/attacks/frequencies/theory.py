r"""How far members stand out of a cohort's frequencies, before anyone is attacked.

For m unlinked SNPs, a cohort of n and a reference of r people, the likelihood ratio of a member
lies :math:`d' = \sqrt{(m/n) \cdot r/(n + r)}` standard deviations above that of a non-member. At
each SNP a member shifts the standardised score by :math:`1/n`, and the errors of both frequencies
spread it by :math:`\sqrt{1/n + 1/r}`; m SNPs add up. Scores are then nearly normal, which gives
the area under the ROC curve and the power.

Sources: Sankararaman et al. (2009, doi:10.1038/ng.436); Visscher and Hill (2009,
doi:10.1371/journal.pgen.1000628), who have the power rise with m over n. The forms with noise and
with linkage follow from the same two moments.

Where it fails: few SNPs, so that scores are not normal; frequencies near 0 or 1 in a small
cohort; linked SNPs, for which :func:`effective_snps` has to stand in for m, and even then scores
have heavier tails; another ancestry, which moves everybody.
"""

from __future__ import annotations

import math

import torch
from scipy.stats import norm
from torch import Tensor


def expected_distance(
    snps: float, cohort: float, reference: float = math.inf, *, relatedness: float = 1.0
) -> float:
    r""":math:`d' = R \sqrt{(m/n) \cdot r/(n + r)}`, in standard deviations of a non-member.

    ``snps`` m, ``cohort`` n and ``reference`` r people; with r infinite the frequencies of the
    population are known. ``relatedness`` R is 1 for the member and twice the kinship for a
    relative: 0.5 for a sibling, parent or child.

    Raises ``ValueError`` for sizes that are not above 0 or a relatedness outside 0 to 1.
    """
    for name, given in (("snps", snps), ("cohort", cohort), ("reference", reference)):
        if not given > 0:
            raise ValueError(f"{name}: {given} given, expected a number above 0")
    if not 0 <= relatedness <= 1:
        raise ValueError(f"relatedness: {relatedness} given, expected a number from 0 to 1")
    share = 1.0 if math.isinf(reference) else reference / (cohort + reference)
    return relatedness * math.sqrt(snps / cohort * share)


def noisy_distance(
    frequencies: Tensor, noise: Tensor | float, cohort: float, reference: float = math.inf
) -> float:
    r"""The best linear test's d' where Gaussian noise was added to each released frequency.

    .. math:: d'^2 = \frac{1}{n^2} \sum_j
              \left[\frac1n + \frac1r + \frac{2 \tau_j^2}{f_j (1 - f_j)}\right]^{-1}

    ``frequencies`` (m,) of the population, strictly between 0 and 1; ``noise`` is the standard
    deviation :math:`\tau`, a number or (m,). Without noise this is :func:`expected_distance`.

    Raises ``ValueError`` for a frequency of 0 or 1, negative noise or sizes not above 0.
    """
    f = frequencies.to(torch.float64)
    tau = torch.as_tensor(noise, dtype=torch.float64, device=f.device)
    if not ((f > 0) & (f < 1)).all() or not (tau >= 0).all() or not min(cohort, reference) > 0:
        raise ValueError(f"frequencies, noise, cohort, reference: from {float(f.min()):g} to "
                         f"{float(f.max()):g}, {tau.tolist()}, {cohort}, {reference} given, "
                         "expected inside (0, 1), 0 or more, above 0 and above 0")
    spread = 1 / cohort + 1 / reference + 2 * tau**2 / (f * (1 - f))
    return float((1 / spread).sum().sqrt()) / cohort


def auc(distance: float) -> float:
    r""":math:`\Phi(d'/\sqrt2)`: the chance that a member scores above a non-member."""
    return float(norm.cdf(distance / math.sqrt(2)))


def power(distance: float, fpr: float) -> float:
    r""":math:`\Phi(d' - z_{1-\alpha})`: the share of members named at a false-positive rate.

    Raises ``ValueError`` for a rate outside (0, 1).
    """
    if not 0 < fpr < 1:
        raise ValueError(f"fpr: {fpr} given, expected a number between 0 and 1")
    return float(norm.cdf(distance - norm.isf(fpr)))


def effective_snps(dosages: Tensor) -> float:
    r"""How many unlinked SNPs these are worth to an attacker; dosages (people, m).

    Linked SNPs leave a member's expected shift as it is and widen everybody's spread: m in
    :func:`expected_distance` becomes :math:`m^2 / \operatorname{tr} R^2`, with R the correlation of
    the SNPs: the participation ratio :math:`(\sum \lambda)^2 / \sum \lambda^2` of its eigenvalues.

    A sample correlates SNPs by chance. So each :math:`r^2` off the diagonal is replaced by
    :math:`r^2 - (1 - r^2)/(N - 2)`, which has the right mean (Bulik-Sullivan et al., 2015,
    doi:10.1038/ng.3211); otherwise N people could never show more than N. An estimate above m is
    cut to m. Relatedness and mixed ancestry among the people correlate SNPs too.

    Raises ``ValueError`` for fewer than four people or a SNP that all of them have alike.
    """
    x = dosages.to(torch.float64)
    people, snps = x.shape
    x = x - x.mean(0)
    length = x.norm(dim=0)
    flat = int((length == 0).sum())
    if people < 4 or flat:
        raise ValueError(f"dosages: {people} people and {flat} SNPs without variation given, "
                         "expected four people or more and none")
    standard = x / length
    squares = float((standard @ standard.T).square().sum())  # = tr R^2: the smaller Gram matrix
    chance = (snps**2 - squares) / (people - 2)  # the diagonal has 1 - r^2 = 0
    return min(snps, snps**2 / max(squares - chance, snps))
