r"""Membership from many rounds: what a federation adds is another look, and another.

A federation shows its members' records to the model again and again, and each round an observer
sees the result. For every round a statistic of :mod:`leaklab.attacks.membership.updates`, or of the
models' answers, is computed for each view; then the rounds are put together (their mean), the
hospitals compared with each other (:func:`fed_mia`), or the likeliest of them named
(:func:`source_inference`).

Threat model: as in ``updates``; the observer keeps what it saw of each round, and views of round r
come in the same order of hospitals as those of round 1.

Sources: Nasr et al. (2019, arXiv:1812.00910) for several observed rounds; Zhu et al. (2025,
FedMIA, arXiv:2402.06289); Hu et al. (2021, arXiv:2109.05659) for the source of a member.

Where it fails: raw losses, whose mean over rounds is led by how hard a record is and not by whose
it is; few hospitals, from which FedMIA cannot tell a spread; all that fails in one round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.special import ndtr

from leaklab.attacks.membership.signals import negative_loss
from leaklab.attacks.membership.updates import flat_update, record_gradients
from leaklab.models import predict
from leaklab.updates import View

__all__ = ["fed_mia", "source_inference"]

Signal = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(gradients (n, p), updates (V, p), public gradients (m, p)) -> scores (V, n)."""

Views = Sequence[Sequence[View]]
"""The views of one observer: for each round a sequence of V, in one order of hospitals."""


def update_scores(
    model: nn.Module, rounds: Views, records: tuple[Tensor, Tensor],
    public: tuple[Tensor, Tensor], signals: Mapping[str, Signal],
) -> dict[str, Tensor]:
    """Each of ``signals`` for every round, view and record; float64, (rounds, V, n) by name.

    ``records`` are the n inputs and targets asked about, ``public`` m others of the same kind.
    Gradients are taken once a round, at the model that was sent out. Raises ``ValueError`` for
    views that do not line up or have no state before, and as ``flat_update`` does.
    """
    _check(rounds)
    found: dict[str, list[Tensor]] = {name: [] for name in signals}
    for views in rounds:
        if views[0].before is None:
            raise ValueError(f"rounds: a {views[0].artefact} given, expected views with a state "
                             "before them")
        gradients, known = (record_gradients(model, views[0].before, *some)
                            for some in (records, public))
        sent = torch.stack([flat_update(model, view) for view in views])
        for name, signal in signals.items():
            found[name].append(signal(gradients, sent, known))
    return {name: torch.stack(scores) for name, scores in found.items()}


def loss_scores(
    model: nn.Module, rounds: Views, records: tuple[Tensor, Tensor], *, drop: bool = False
) -> Tensor:
    """Minus the loss of each record under every model returned; float64, (rounds, V, n).

    With ``drop``, how much the round took off it: less the same of the model that was sent out.
    Raises ``ValueError`` for views that do not line up.
    """
    _check(rounds)
    inputs, targets = records

    def answers(state):
        return negative_loss(predict(model, state, inputs), targets)

    after = torch.stack([torch.stack([answers(view.after) for view in views]) for views in rounds])
    if not drop:
        return after
    return after - torch.stack([answers(views[0].before) for views in rounds])[:, None]


def so_far(scores: Tensor) -> Tensor:
    """The mean over the rounds seen up to each, from the first on; (rounds, ...) as given."""
    count = torch.arange(1, len(scores) + 1, dtype=scores.dtype, device=scores.device)
    return scores.cumsum(0) / count.reshape(-1, *[1] * (scores.ndim - 1))


def end_to_end(scores: Tensor, lengths: Tensor) -> Tensor:
    r"""The matched filter of all rounds seen up to each, put end to end; (rounds, V, n).

    .. math:: \frac{\sum_r d_r s_r}{\sqrt{\sum_r d_r^2}}

    of ``scores`` :math:`s_r`, (rounds, V, n), by ``whitened``, and ``lengths`` :math:`d_r`,
    (rounds, 1, n), by ``whitened_length``: what ``whitened`` would give for gradients, updates and
    covariances of all rounds joined into long ones. A round in which a record is quiet has little
    say, where in a plain mean it has as much as any. This package's own, as ``whitened`` is.
    """
    return (scores * lengths).cumsum(0) / lengths.square().cumsum(0).sqrt()


def fed_mia(scores: Tensor) -> Tensor:
    r"""One-sided test against the other hospitals, added up over rounds; (V, n), 0 to rounds.

    .. math:: \sum_r \Phi\!\left(\frac{s_{rk} - m_{rk}}{d_{rk}}\right)

    with m and d the mean and the standard deviation, for the same record and round, of the scores
    of all hospitals but k: of a record, at most one hospital is the true one, so the others say
    what the score is without it. Scores (rounds, V, n) of at least three hospitals: of negative
    losses (FedMIA-I) or of update cosines (FedMIA-II). Raises ``ValueError`` for another shape.

    Source: Zhu et al. (2025, arXiv:2402.06289).
    """
    if scores.ndim != 3 or scores.shape[1] < 3:
        raise ValueError(f"scores: shape {tuple(scores.shape)} given, expected (rounds, V, n) "
                         "with V of 3 or more")
    views = range(scores.shape[1])
    z = []
    for k in views:
        others = scores[:, [j for j in views if j != k]]
        spread = (others.var(1, correction=0) + 1e-8).sqrt()
        z.append((scores[:, k] - others.mean(1)) / spread)
    return ndtr(torch.stack(z, 1)).sum(0)


def source_inference(scores: Tensor) -> Tensor:
    """The hospital that each record most likely lies at, given that it lies at one; int64, (n,).

    Scores (V, n), one row a hospital: Hu et al. (2021, arXiv:2109.05659) take minus the loss of
    the models returned. Chance is 1/V. Raises ``ValueError`` for another shape.
    """
    if scores.ndim != 2 or len(scores) < 2:
        raise ValueError(f"scores: shape {tuple(scores.shape)} given, expected (V, n) with V of "
                         "2 or more")
    return scores.argmax(0)


def _check(rounds: Views) -> None:
    if not rounds or not rounds[0]:
        raise ValueError("rounds: no views given, expected at least one in each round")
    order = [view.contributors for view in rounds[0]]
    for number, views in enumerate(rounds, start=1):
        if [view.contributors for view in views] != order:
            raise ValueError(f"rounds: other hospitals, or another order, in round {number} than "
                             "in the first, expected the same")
