r"""RMIA, the robust membership inference attack: with few shadow models, compare with the public.

Zarifzadeh, Liu and Shokri (2024, arXiv:2312.03262) compare a record x with records z that are known
not to be members. With :math:`p_\theta` the probability of the right class under the target and
:math:`\bar p` its mean over models with and without the record, the score is the share of z for
which :math:`\frac{p_\theta(x)/\bar p(x)}{p_\theta(z)/\bar p(z)} > \gamma`.

Threat model: that of LiRA, plus public records z of the population for the published score.

Where it fails: the share has at most one value more than there are public records, so with few of
them the most suspect records tie, and no low false-positive rate is within reach. The share rises
with :math:`p_\theta(x)/\bar p(x)`, so for one target that ratio ranks records the same way without
ties: :func:`rmia_ratio`. Over many targets under one threshold the two may differ. With many
shadows LiRA tells more where spreads differ between records.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leaklab.attacks.membership.shadows import moments

__all__ = ["rmia_ratio"]

OFFLINE_A = 0.3
"""The default of the authors' code: a links the members' mean to that of the others."""


def rmia_ratio(
    log_probability: Tensor, shadow_log_probabilities: Tensor, shadow_members: Tensor, *,
    offline_a: float | None = None,
) -> Tensor:
    r"""The logarithm of :math:`p_\theta(x)/\bar p(x)` for each record, float64 (n,).

    :math:`\bar p` is the mean of the two sides, :math:`(\bar p_{in} + \bar p_{out})/2`; with
    ``offline_a`` a, no shadow has seen the record, and the members' mean is taken to be
    :math:`a\,\bar p_{out} + 1 - a`.

    Shapes: log_probability (n,), shadows (K, n); log-probabilities of the right class, that is,
    negative losses. Raises ``ValueError`` for an a outside [0, 1], a positive log-probability, and
    for a record that some side lacks.
    """
    if float(shadow_log_probabilities.max()) > 0 or float(log_probability.max()) > 0:
        raise ValueError("log_probability: a number above 0 given, expected logarithms of "
                         "probabilities")
    probabilities = shadow_log_probabilities.double().exp()
    outside = moments(probabilities, ~shadow_members).mean
    if offline_a is None:
        inside = moments(probabilities, shadow_members).mean
    elif 0 <= offline_a <= 1:
        inside = offline_a * outside + (1 - offline_a)
    else:
        raise ValueError(f"offline_a: {offline_a} given, expected None or a number from 0 to 1")
    tiny = torch.finfo(torch.float64).tiny  # of a record that every shadow is certain to get wrong
    return log_probability.double() - ((inside + outside) / 2).clamp(min=tiny).log()


def rmia_share(log_ratio: Tensor, public_log_ratio: Tensor, *, gamma: float = 1.0) -> Tensor:
    """The published score: the share of public records that each record's ratio beats, (n,).

    Shapes: log_ratio (n,), public_log_ratio (m,), both of one target, from :func:`rmia_ratio` or,
    for public records, which no shadow has seen, with every shadow counted as outside. Raises
    ``ValueError`` for no public records and for ``gamma`` not above 0.
    """
    if not len(public_log_ratio) or not gamma > 0:
        raise ValueError(f"public_log_ratio, gamma: {len(public_log_ratio)} records, {gamma} "
                         "given, expected at least one and a number above 0")
    bar, _ = (public_log_ratio.double() + math.log(gamma)).sort()
    beaten = torch.searchsorted(bar, log_ratio.double().contiguous())  # strictly below
    return beaten.double() / len(bar)
