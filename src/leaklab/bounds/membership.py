r"""How well any attack can tell whether one record was there.

Gaussian differential privacy gives the whole curve: at a false positive rate :math:`\alpha` no test
has a true positive rate above :math:`\Phi(\Phi^{-1}(\alpha) + \mu)` (Dong, Roth and Su, 2022,
arXiv:1905.02383), and the likelihood-ratio test has that one. Of a mechanism of which only
:math:`(\varepsilon, \delta)` is known, two straight lines bound the curve (Kairouz, Oh and
Viswanath, 2015, arXiv:1311.0776).

Where they say little: :math:`\mu` above 3 or :math:`\varepsilon` above 5 allows nearly anything.
They are about one record added or removed, all others known to the attacker.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr
from scipy.stats import norm


def gaussian_mu(noise_multiplier: float, releases: int = 1) -> float:
    r""":math:`\mu = \sqrt T/\sigma` of so many ``releases`` of the Gaussian mechanism.

    ``noise_multiplier`` is the standard deviation of the noise over the clipping norm; every
    record takes part in every release. Raises ``ValueError`` for noise that is not above 0, or no
    release.
    """
    if not noise_multiplier > 0:
        raise ValueError(f"noise_multiplier: {noise_multiplier} given, expected a number above 0")
    if releases < 1:
        raise ValueError(f"releases: {releases} given, expected 1 or more")
    return math.sqrt(releases) / noise_multiplier


def epsilon_of(mu: float, delta: float) -> float:
    r"""The least :math:`\varepsilon` of ``mu``-GDP at ``delta``: Dong, Roth and Su, Corollary 2.13.

    Solves :math:`\delta = \Phi(-\varepsilon/\mu + \mu/2) - e^\varepsilon \Phi(-\varepsilon/\mu -
    \mu/2)`; 0 where ``delta`` allows it, infinite where it is 0 or ``mu`` infinite. Raises
    ``ValueError`` for a mu below 0 or a delta outside [0, 1).
    """
    _require_mu(mu)
    if not 0 <= delta < 1:
        raise ValueError(f"delta: {delta} given, expected 0 or more and below 1")

    def excess(epsilon: float) -> float:
        return (ndtr(-epsilon / mu + mu / 2)
                - math.exp(epsilon + log_ndtr(-epsilon / mu - mu / 2)) - delta)

    if mu == 0 or (mu < math.inf and excess(0.0) <= 0):
        return 0.0
    if mu == math.inf or delta == 0:
        return math.inf
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high))


def tpr_ceiling(fpr: float, mu: float) -> float:
    r"""The highest true positive rate at false positive rate ``fpr`` against ``mu``-GDP.

    Raises ``ValueError`` for a rate outside [0, 1] or a mu below 0.
    """
    _require_rate(fpr)
    _require_mu(mu)
    return 1.0 if mu == math.inf else float(norm.cdf(norm.ppf(fpr) + mu))


def auc_ceiling(mu: float) -> float:
    r"""The most that any attack on ``mu``-GDP reaches in AUC, :math:`\Phi(\mu/\sqrt 2)`.

    Of telling whether one record was there, all others alike: no test beats telling
    :math:`N(0, 1)` from :math:`N(\mu, 1)`, so no ROC curve lies above the one of that test, whose
    area this is. Where a non-member leaves its place to another record, two differ, and an AUC over
    members and non-members of one training run is bounded by :func:`ranking_ceiling`. Raises
    ``ValueError`` for a mu below 0.
    """
    _require_mu(mu)
    return float(ndtr(mu / math.sqrt(2)))


def ranking_ceiling(mu: float) -> float:
    r"""The most often that any attack ranks a member above a non-member, :math:`\Phi(\mu)`.

    Of a training run on a fixed number of records, dealt so that the two might as well have changed
    places. That exchange moves a sum of clipped gradients by up to 2C where the presence of one
    record moves it by C, so it is hidden by ``2 * mu``-GDP; and who guesses which of two equally
    likely normal distributions at a distance of :math:`2\mu` a value comes from is right with
    probability :math:`\Phi(\mu)` at best. Raises ``ValueError`` for a mu below 0.
    """
    return auc_ceiling(math.sqrt(2) * mu)


def tpr_ceiling_from_dp(fpr: float, epsilon: float, delta: float = 0.0) -> float:
    r"""The highest true positive rate against :math:`(\varepsilon, \delta)`-DP.

    The smaller of :math:`e^\varepsilon \alpha + \delta` and
    :math:`1 - e^{-\varepsilon}(1 - \delta - \alpha)`, at most 1. Raises ``ValueError`` for a rate
    outside [0, 1], an epsilon below 0, or a delta outside [0, 1].
    """
    _require_rate(fpr)
    _require_dp(epsilon, delta)
    low = math.exp(min(epsilon, 700.0)) * fpr + delta
    return min(1.0, low, 1 - math.exp(-epsilon) * (1 - delta - fpr))


def _require_mu(mu: float) -> None:
    if not mu >= 0:
        raise ValueError(f"mu: {mu} given, expected 0 or more")


def _require_rate(fpr: float) -> None:
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr: {fpr} given, expected a number from 0 to 1")


def _require_dp(epsilon: float, delta: float) -> None:
    if not epsilon >= 0:
        raise ValueError(f"epsilon: {epsilon} given, expected 0 or more")
    if not 0 <= delta <= 1:
        raise ValueError(f"delta: {delta} given, expected a number from 0 to 1")
