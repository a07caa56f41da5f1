r"""LiRA, the likelihood-ratio attack: is the model's answer about this record a member's?

Carlini et al. (2022, arXiv:2112.03570): shadow models with and without a record tell how sure of it
models are in either case, two normal distributions of the logit margin. The score compares them at
the target's own margin. The comparison is with the same record, so an easy one is no more suspect
than a hard one; that is why few false alarms suffice to name many members.

Threat model: outputs of the released model for a record with its label, and shadow models trained
in the same way on records of the same population, half of them on the record in question. Offline,
no shadow has seen the record, and its distribution as a member is unknown.

Where it fails: with few shadows a spread cannot be estimated (then ``variance="shared"``, the
shrunken form, or ``rmia``); where training and population of the shadows are not the target's; and
wherever a record hardly moves the model, which is most records of a model that does not overfit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leaklab.attacks.membership.shadows import Moments, moments

__all__ = ["lira_offline", "lira_online"]

PRIOR_MODELS = 4.0
"""How many shadow models the pooled variance counts for in :func:`lira_shrunken`."""


def lira_online(
    signal: Tensor, shadow_signals: Tensor, shadow_members: Tensor, *, variance: str = "record"
) -> Tensor:
    r"""Log-likelihood ratio :math:`\log N(\phi;\mu_{in},\sigma_{in}^2) - \log
    N(\phi;\mu_{out},\sigma_{out}^2)` of each record.

    ``variance`` is each record's own (``"record"``) or one of all records, each about its own mean
    (``"shared"``), which the paper advises below about 64 shadows. A spread of 0 says that too few
    shadows were seen: it is replaced by the shared one, and where there is none either, by that of
    all shadow signals on both sides alike, so that the nearer mean wins.

    Shapes: signal (n,), shadow_signals and shadow_members (K, n); result float64 (n,). Raises
    ``ValueError`` for another ``variance`` and for a record that some side lacks.
    """
    sides = [moments(shadow_signals, where) for where in (shadow_members, ~shadow_members)]
    inside, outside = (_log_normal(signal, side, _variance(side, variance, shadow_signals))
                       for side in sides)
    return inside - outside


def lira_offline(
    signal: Tensor, shadow_signals: Tensor, shadow_members: Tensor, *, variance: str = "record"
) -> Tensor:
    r"""How far the margin lies above what non-members have, :math:`(\phi-\mu_{out})/\sigma_{out}`.

    One-sided, as in the paper: its score :math:`\Pr[N(\mu_{out},\sigma_{out}^2) < \phi]` rises with
    this one and would round to 1. Uses only shadows that did not see the record. Arguments as for
    :func:`lira_online`.
    """
    side = moments(shadow_signals, ~shadow_members)
    return (signal.double() - side.mean) / _variance(side, variance, shadow_signals).sqrt()


def lira_shrunken(
    signal: Tensor, shadow_signals: Tensor, shadow_members: Tensor, *,
    prior_models: float = PRIOR_MODELS,
) -> Tensor:
    r"""LiRA with variances drawn towards the pooled one, and what is not known of them allowed for.

    Under a conjugate prior, which counts for ``prior_models`` :math:`\nu_0` shadows of the pooled
    variance :math:`s_0^2` (n - 1 in the denominators), and a flat one for the mean, a new margin
    follows Student's t with :math:`\nu_0+n-1` degrees of freedom and squared scale
    :math:`\frac{\nu_0 s_0^2 + SS}{\nu_0 + n - 1}(1 + 1/n)`. Brännvall (2026, arXiv:2603.11799)
    proposes such a prior for membership inference; ``prior_models`` and the flat prior of the mean
    are ours. Shapes as for :func:`lira_online`; raises ``ValueError`` unless ``prior_models > 0``.
    """
    if not prior_models > 0:
        raise ValueError(f"prior_models: {prior_models} given, expected a number above 0")
    sides = [moments(shadow_signals, where) for where in (shadow_members, ~shadow_members)]
    inside, outside = (_log_student(signal, side, prior_models, shadow_signals) for side in sides)
    return inside - outside


def _variance(side: Moments, kind: str, signals: Tensor) -> Tensor:
    if kind not in ("record", "shared"):
        raise ValueError(f"variance: {kind!r} given, expected 'record' or 'shared'")
    shared = _or_overall(side.squares.sum() / side.count.sum(), signals)
    if kind == "shared":
        return shared.expand_as(side.mean)
    own = side.squares / side.count
    return own.where(own > 0, shared)


def _or_overall(variance: Tensor, signals: Tensor) -> Tensor:
    if variance > 0:
        return variance
    overall = signals.double().var(correction=0)
    return overall if overall > 0 else torch.ones_like(overall)


def _log_normal(signal: Tensor, side: Moments, variance: Tensor) -> Tensor:
    squared = (signal.double() - side.mean).square() / variance
    return -0.5 * (squared + variance.log() + math.log(2 * math.pi))


def _log_student(signal: Tensor, side: Moments, prior_models: float, signals: Tensor) -> Tensor:
    free = (side.count - 1).sum().clamp(min=1)
    pooled = _or_overall(side.squares.sum() / free, signals)
    degrees = prior_models + side.count - 1
    scale = (prior_models * pooled + side.squares) / degrees * (1 + 1 / side.count)
    squared = (signal.double() - side.mean).square() / scale
    height = torch.lgamma((degrees + 1) / 2) - torch.lgamma(degrees / 2)
    return height - 0.5 * (degrees * math.pi * scale).log() - (degrees + 1) / 2 * torch.log1p(
        squared / degrees)
