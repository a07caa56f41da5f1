"""What a model's answer about a record says: one number, higher the surer of the right class.

Both functions take logits with any leading shape, such as (K, n, classes) from a stack of models,
and answer in float64: a trained model is so sure of its members that in single precision many of
its probabilities round to 1, and all of those would tie.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["logit_margin"]


def logit_margin(logits: Tensor, targets: Tensor) -> Tensor:
    r"""The logit of the probability of the right class, :math:`\log p_y - \log(1 - p_y)`.

    Computed as :math:`z_y - \log\sum_{j \ne y} e^{z_j}`, which needs no probability. Over models it
    is close to normal, which LiRA needs (Carlini et al., 2022, arXiv:2112.03570, section IV-C).

    Shapes: logits (..., n, classes), targets (n,), result (..., n). Raises ``ValueError`` for
    shapes that do not fit, a single class, and a target that is no class.
    """
    own, scores = _own_logit(logits, targets)
    others = scores.scatter(-1, _index(scores, targets), -torch.inf)
    return own - others.logsumexp(-1)


def negative_loss(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Minus the cross-entropy loss, :math:`\log p_y`; shapes and errors as above."""
    own, scores = _own_logit(logits, targets)
    return own - scores.logsumexp(-1)


def _own_logit(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if logits.ndim < 2 or logits.shape[-2] != len(targets) or logits.shape[-1] < 2:
        raise ValueError(f"logits: shape {tuple(logits.shape)} given, expected (..., "
                         f"{len(targets)}, classes) with at least two classes")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[-1]:
        raise ValueError(f"targets: {int(targets.min())} to {int(targets.max())} given, expected "
                         f"0 to {logits.shape[-1] - 1}")
    scores = logits.double()
    return scores.gather(-1, _index(scores, targets))[..., 0], scores


def _index(scores: Tensor, targets: Tensor) -> Tensor:
    return targets.long().expand(scores.shape[:-1])[..., None]
