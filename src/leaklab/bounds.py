"""What theory allows: limits that hold for every attack, whatever its prior and its budget."""

from __future__ import annotations

from scipy.stats import norm


def reconstruction_robustness(kappa: float, noise_multiplier: float) -> float:
    r"""The highest chance of rebuilding one record from one release of the Gaussian mechanism.

    .. math:: \Phi\bigl(\Phi^{-1}(\kappa) + 1/\sigma\bigr)

    ``kappa`` is the chance of the best guess without the release: to single out one of N records
    that are equally likely, 1/N. ``noise_multiplier`` is the standard deviation of the noise over
    the clipping norm. The release is told apart from that without the record, so the two means are
    one clipping norm away from each other. Nothing is assumed of the attacker.

    Raises ``ValueError`` for a chance outside (0, 1) or noise that is not above 0.
    Source: Hayes et al. (2023, arXiv:2302.07225), for one step on the whole data.
    """
    if not 0 < kappa < 1:
        raise ValueError(f"kappa: {kappa} given, expected a number between 0 and 1")
    if not noise_multiplier > 0:
        raise ValueError(f"noise_multiplier: {noise_multiplier} given, expected a number above 0")
    return float(norm.cdf(norm.ppf(kappa) + 1 / noise_multiplier))
