r"""How well any attack can rebuild one record.

Two kinds of bound, and they are not about the same attackers. *Reconstruction robustness* (Balle,
Cherubin and Hayes, 2022, arXiv:2201.04845) bounds the chance of success of an attacker with any
prior, by the chance :math:`\kappa` of the best guess that saw nothing. Bounds on the *error*
(Guo et al., 2022, arXiv:2201.12383) hold for unbiased attackers only, who know nothing of what
records look like: a mean image, which never saw an update, may well lie below them.

All are per record and assume the strongest attacker there is: one who knows every other record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from scipy.stats import norm
from torch import Tensor
from torch.func import jvp, vmap

from leaklab.bounds.membership import gaussian_mu


def reconstruction_robustness(kappa: float, noise_multiplier: float, releases: int = 1) -> float:
    r"""The highest chance of rebuilding one record from releases of the Gaussian mechanism.

    .. math:: \Phi\bigl(\Phi^{-1}(\kappa) + \sqrt T/\sigma\bigr)

    ``kappa`` is the chance of the best guess without the release: to single out one of N records
    that are equally likely, 1/N. ``noise_multiplier`` is the standard deviation of the noise over
    the clipping norm. The release is told apart from that without the record, so the two means are
    one clipping norm away from each other. Nothing is assumed of the attacker.

    Raises ``ValueError`` for a chance outside (0, 1), noise that is not above 0, or no release.
    Source: Hayes et al. (2023, arXiv:2302.07225), for steps on the whole data; Kaissis et al.
    (2023, arXiv:2307.03928) from the view of testing.
    """
    _require_chance(kappa)
    return float(norm.cdf(norm.ppf(kappa) + gaussian_mu(noise_multiplier, releases)))


def reconstruction_from_rdp(
    kappa: float, orders: Sequence[float], epsilons: Sequence[float]
) -> float:
    r"""The bound where only the Rényi curve of a mechanism is known, one epsilon an order.

    .. math:: \min_\alpha \bigl(\kappa\, e^{\varepsilon_\alpha}\bigr)^{(\alpha - 1)/\alpha}

    Raises ``ValueError`` for a chance outside (0, 1), orders that do not match the epsilons or are
    not above 1. Source: Balle et al. (2022, arXiv:2201.04845).
    """
    _require_chance(kappa)
    if not len(orders) or len(orders) != len(epsilons) or not min(orders) > 1:
        raise ValueError(f"orders, epsilons: {len(orders)}, {len(epsilons)} given, expected as "
                         "many of each, orders above 1")
    return math.exp(min(0.0, *((math.log(kappa) + epsilon) * (order - 1) / order
                               for order, epsilon in zip(orders, epsilons, strict=True))))


def reconstruction_from_zcdp(kappa: float, rho: float) -> float:
    r"""The bound under :math:`\rho`-zCDP: :math:`\exp(-(\sqrt{\ln 1/\kappa} - \sqrt\rho)_+^2)`.

    The least of :func:`reconstruction_from_rdp` over all orders where
    :math:`\varepsilon_\alpha = \alpha\rho`, as for the Gaussian mechanism with
    :math:`\rho = \mu^2/2`. Raises ``ValueError`` for a chance outside (0, 1) or a rho below 0.
    """
    _require_chance(kappa)
    if not rho >= 0:
        raise ValueError(f"rho: {rho} given, expected 0 or more")
    return math.exp(-max(0.0, math.sqrt(-math.log(kappa)) - math.sqrt(rho)) ** 2)


def unbiased_error(
    released: Callable[[Tensor], Tensor], record: Tensor, noise_std: float, *,
    releases: int = 1, chunk: int = 64,
) -> float:
    r"""The least mean squared error an entry that an unbiased attack on ``record`` can have.

    .. math:: \frac{d}{\operatorname{Tr} I(z)} = \frac{d\,s^2}{T\,\lVert J \rVert_F^2}

    ``released`` maps a record to what leaves the hospital before noise of standard deviation
    ``noise_std`` = s falls on every entry, clipping included; J is its Jacobian at ``record``, any
    shape of d entries, found column by column, ``chunk`` at once. Infinite where nothing of the
    record is released.

    Raises ``ValueError`` for noise that is not above 0, or no release.
    Source: Guo et al. (2022, arXiv:2201.12383), from the Cramér-Rao bound.
    """
    if not noise_std > 0:
        raise ValueError(f"noise_std: {noise_std} given, expected a number above 0")
    if releases < 1:
        raise ValueError(f"releases: {releases} given, expected 1 or more")

    def length(direction: Tensor) -> Tensor:
        return jvp(released, (record,), (direction,))[1].square().sum()

    axes = torch.eye(record.numel()).to(record).reshape(-1, *record.shape)
    trace = float(vmap(length, chunk_size=chunk)(axes).sum()) * releases
    return math.inf if trace == 0 else record.numel() * noise_std**2 / trace


def rdp_error(epsilon: float, diameter: float = 1.0) -> float:
    r"""The least mean squared error an entry of an unbiased attack under (2, ``epsilon``)-RDP.

    .. math:: \frac{\text{diameter}^2}{4\,(e^\varepsilon - 1)}

    ``diameter`` is the range of each entry. The Rényi epsilon is that of exchanging one record for
    another: for the Gaussian mechanism :math:`\varepsilon = 4T/\sigma^2`. Looser than
    :func:`unbiased_error`, and the same for all records.

    Raises ``ValueError`` for an epsilon or a diameter that is not above 0.
    Source: Guo et al. (2022, arXiv:2201.12383).
    """
    if not epsilon > 0 or not diameter > 0:
        raise ValueError(f"epsilon, diameter: {epsilon}, {diameter} given, expected numbers "
                         "above 0")
    return diameter**2 / 4 / math.expm1(min(epsilon, 700.0))


def psnr_of(error: float) -> float:
    """The PSNR in dB of a mean squared ``error``, values in [0, 1]: a ceiling from a least error.

    Raises ``ValueError`` for an error that is not above 0.
    """
    if not error > 0:
        raise ValueError(f"error: {error} given, expected a number above 0")
    return -10 * math.log10(error)


def _require_chance(kappa: float) -> None:
    if not 0 < kappa < 1:
        raise ValueError(f"kappa: {kappa} given, expected a number between 0 and 1")
