r"""One threshold for all, one for each class, and a learnt rule: attacks that look at no record.

Yeom et al. (2018, arXiv:1709.01604) call a member whoever has a loss below a threshold. Song and
Mittal (2021, arXiv:2003.10595) choose a threshold for each class on shadow models. Shokri et al.
(2017, arXiv:1610.05820) train a network for each class on what shadow models answer about their
members and non-members.

Threat model: outputs of the released model for a record with its label; for the last two, shadow
models and which records each of them saw.

Where they fail: a record that any model finds easy has a small loss, member or not. No rule about
losses alone can tell it from a hard one that was learnt, so hardly anyone is named without false
alarms. That takes a comparison record by record: ``lira``, ``rmia``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.attacks.membership.signals import negative_loss
from leaklab.models import mlp

__all__ = ["loss_threshold"]


def loss_threshold(logits: Tensor, targets: Tensor) -> Tensor:
    """Score of Yeom et al. (2018): minus the loss; logits (..., n, classes), result (..., n).

    Shapes: targets (n,), the classes. The result is float64.
    """
    return negative_loss(logits, targets)


def class_thresholds(
    signal: Tensor, shadow_signals: Tensor, shadow_members: Tensor, targets: Tensor
) -> Tensor:
    """Score of Song and Mittal (2021): how far a signal lies above the threshold of its class.

    A class's threshold is the one that has the highest balanced accuracy on the shadow models.
    Shapes: signal (n,), shadows (K, n) with their members, targets (n,); result (n,). Raises
    ``ValueError`` for a class of which the shadows have no members or no non-members.
    """
    score = signal.double().clone()
    for kind in targets.unique():
        own = targets == kind
        score[own] -= _best_cut(shadow_signals[:, own], shadow_members[:, own], int(kind))
    return score


def shadow_classifier(
    logits: Tensor, shadow_logits: Tensor, shadow_members: Tensor, targets: Tensor, *,
    generator: torch.Generator, width: int = 64, steps: int = 100, learning_rate: float = 0.01,
) -> Tensor:
    """Score of Shokri et al. (2017): how much a network that saw the shadows believes "member".

    For each class a network of one hidden layer learns from the shadows' log-probabilities, by
    ``steps`` of Adam on all of them. Shapes: logits (n, classes), shadow_logits (K, n, classes),
    shadow_members (K, n), targets (n,); result (n,).
    """
    answers, shadow_answers = (z.double().log_softmax(-1).float() for z in (logits, shadow_logits))
    score = torch.empty(len(targets), dtype=torch.float64, device=logits.device)
    for kind in targets.unique():
        own = targets == kind
        known, truth = shadow_answers[:, own].flatten(0, 1), shadow_members[:, own].flatten()
        by = known.mean(0), known.std(0) + 1e-6
        net = mlp(generator, num_features=logits.shape[-1], width=width).to(logits.device)
        _fit(net, (known - by[0]) / by[1], truth.long(), steps, learning_rate)
        with torch.no_grad():
            said = net((answers[own] - by[0]) / by[1]).double()
        score[own] = said[:, 1] - said[:, 0]
    return score


def _best_cut(signals: Tensor, members: Tensor, kind: int) -> Tensor:
    """The threshold of the highest true-positive less false-positive rate."""
    if not members.any() or members.all():
        raise ValueError(f"shadow_members: class {kind} has no members or no non-members, "
                         "expected both")
    values, order = signals.double().flatten().sort(descending=True)
    truth = members.flatten()[order]
    gain = truth.cumsum(0) / truth.sum() - (~truth).cumsum(0) / (~truth).sum()
    last = torch.ones_like(truth)
    last[:-1] = values[1:] != values[:-1]  # a threshold takes all of its ties
    return values[gain.where(last, -torch.inf).argmax()]


def _fit(net, inputs, targets, steps, learning_rate) -> None:
    optimiser = torch.optim.Adam(net.parameters(), learning_rate)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), targets).backward()
        optimiser.step()
