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
from collections.abc import Callable

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


def _require_chance(kappa: float) -> None:
    if not 0 < kappa < 1:
        raise ValueError(f"kappa: {kappa} given, expected a number between 0 and 1")
