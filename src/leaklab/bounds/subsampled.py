r"""The bounds where every step draws its batch by chance: the subsampled Gaussian mechanism.

A record that is in the batch with probability q is hidden by its own absence too, and no closed
formula is exact. The privacy loss distribution of ``dp-accounting`` (Koskela, Jälkö and Honkela,
2020, arXiv:1906.03049; Doroshenko et al., 2022, arXiv:2207.04380) is an upper bound by
construction, up to a grid. Its curve :math:`\delta(\varepsilon)` is a bundle of straight lines
above every test; the lowest of them is the ceiling.

Holds for Poisson batches only: every record by its own draw, batches of any size. Batches of one
size from a shuffled list, as most software deals them, are another mechanism.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leaklab.bounds.membership import tpr_ceiling_from_dp

LARGEST_EPSILON = 60.0  # beyond it delta is below what a float can hold beside 1
GRID = 241


@dataclass(frozen=True)
class Profile:
    r"""All that a mechanism promises about one record: :math:`\delta` at every :math:`\varepsilon`.
    """

    delta: Callable[[float], float]

    def epsilon(self, delta: float) -> float:
        """The least epsilon at ``delta``, to a thousandth, rounded up.

        Raises ``ValueError`` for a delta outside (0, 1), or one that none below 60 allows.
        """
        if not 0 < delta < 1:
            raise ValueError(f"delta: {delta} given, expected a number between 0 and 1")
        low, high = -1, int(LARGEST_EPSILON * 1000)
        if self.delta(high / 1000) > delta:
            raise ValueError(f"delta: {delta} given, expected one that an epsilon up to "
                             f"{LARGEST_EPSILON:g} allows")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.delta(middle / 1000) <= delta else (middle, high)
        return high / 1000

    def tpr_ceiling(self, fpr: float) -> float:
        """The highest true positive rate at false positive rate ``fpr``, of any attack."""
        return min(tpr_ceiling_from_dp(fpr, epsilon, self.delta(epsilon))
                   for epsilon in np.geomspace(1, LARGEST_EPSILON + 1, GRID) - 1)

    def reconstruction_robustness(self, kappa: float) -> float:
        """The highest chance to rebuild one record that a guess would have with ``kappa``.

        The same curve: an attack that rebuilds more often is a test that tells better (Hayes et
        al., 2023, arXiv:2302.07225; Kaissis et al., 2023, arXiv:2307.03928).
        """
        return self.tpr_ceiling(kappa)


def subsampled_gaussian(
    noise_multiplier: float, sampling_rate: float, releases: int
) -> Profile:
    """The profile of so many ``releases``, each record in each batch with ``sampling_rate``.

    ``noise_multiplier`` is the standard deviation of the noise over the clipping norm. For adding
    or removing one record. Raises ``ValueError`` for arguments out of range, and
    ``ModuleNotFoundError`` without the package ``dp-accounting``.
    """
    if not noise_multiplier > 0 or not 0 < sampling_rate <= 1 or releases < 1:
        raise ValueError(f"noise_multiplier, sampling_rate, releases: {noise_multiplier}, "
                         f"{sampling_rate}, {releases} given, expected a number above 0, one in "
                         "(0, 1] and 1 or more")
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.pld import PLDAccountant
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("bounds of subsampled training need dp-accounting: "
                                  "pip install 'leaklab[defences]'") from missing
    step = PoissonSampledDpEvent(sampling_rate, GaussianDpEvent(noise_multiplier))
    accountant = PLDAccountant().compose(step, releases)
    return Profile(lambda epsilon: float(accountant.get_delta(epsilon)))
