r"""Membership from a beacon, a server that says whether anyone in it carries an allele.

The attacker asks about alleles that the person carries. Of a member every answer is "yes". Of a
stranger a rare allele may get a "no", and that is nearly a proof: only a wrong genotype explains
it. Among n people an allele of frequency f is missing with chance :math:`D_n = (1 - f)^{2n}`. With
:math:`\delta` the chance that a genotype is wrong, each answer adds

.. math:: \ln \frac{1 - \delta D_{n-1}}{1 - D_n} \quad\text{(yes)}, \qquad
          \ln \frac{\delta D_{n-1}}{D_n} \quad\text{(no)}.

Threat model: anyone who may ask, holds the person's genotypes, and knows the number of people in
the beacon and public allele frequencies.

Sources: Shringarpure and Bustamante (2015, doi:10.1016/j.ajhg.2015.09.010), who take the mean of
:math:`D_n` over the frequencies one expects; with known frequencies, and the rarest alleles first,
it is the stronger attack of Raisaro et al. (2017, doi:10.1093/jamia/ocw167).

Where it fails: common alleles and large beacons, which always say yes; a frequency taken from
people of another ancestry; linked SNPs, whose answers repeat each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["beacon_score"]


def answers(dosages: Tensor) -> Tensor:
    """What a beacon of these people says: does any carry the allele? Dosages (n, m); bool (m,)."""
    return (dosages > 0).any(0)


def absent(frequencies: Tensor, people: int) -> Tensor:
    """Chance that none of so many people carries the allele; float64, shape of frequencies."""
    return (1 - frequencies.to(torch.float64)) ** (2 * people)


def rarest_first(dosages: Tensor, frequencies: Tensor, queries: int) -> Tensor:
    """The alleles that one person carries, the rarest first: indices, at most ``queries``.

    Shapes: dosages (m,), frequencies (m,). Raises ``ValueError`` for a person who carries none.
    """
    carried = (dosages > 0).nonzero()[:, 0]
    if len(carried) == 0:
        raise ValueError("dosages: no allele carried, expected at least one")
    return carried[frequencies[carried].argsort(stable=True)][:queries]


def beacon_score(
    said: Tensor, frequencies: Tensor, *, people: int, mismatch: float = 1e-6
) -> Tensor:
    """Log-likelihood ratio of a member over a stranger, from answers about carried alleles.

    Shapes: ``said`` bool (..., queries), ``frequencies`` the same or (queries,); result (...).
    ``people`` are in the beacon. Raises ``ValueError`` for frequencies outside (0, 1), no people,
    or a ``mismatch`` outside (0, 1): with none, a single "no" would be worth minus infinity.
    """
    inside = (frequencies > 0) & (frequencies < 1)
    if not inside.all() or people < 1 or not 0 < mismatch < 1:
        raise ValueError(f"frequencies, people, mismatch: {int((~inside).sum())} outside (0, 1), "
                         f"{people}, {mismatch} given, expected none, 1 or more, inside (0, 1)")
    stranger, member = absent(frequencies, people), mismatch * absent(frequencies, people - 1)
    yes = torch.log1p(-member) - torch.log1p(-stranger)
    no = member.log() - stranger.log()
    return torch.where(said, yes, no).sum(-1)
