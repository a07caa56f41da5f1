"""Shadow models: models of the attacker's own, half of which learnt from the record in question.

A row of ``members`` (K, n), bool, says on which records one model was trained. Models 2j and 2j+1
are a pair: one half of the records each, as :func:`leaklab.stack.paired_members` draws them. Every
model is attacked in turn with the others as its shadows, its pair partner left out. That matters:
where each record is IN half of all models, whoever knows the other K - 1 rows can count which row
is missing, and reads membership off the design of the experiment (Carlini et al., 2022, train such
balanced masks). Without the pair, each record is IN exactly half of the shadows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``score(answers, shadow_answers, shadow_members)`` with shapes (n, ...), (K, n, ...), (K, n)."""


class Moments(NamedTuple):
    """Of the shadows on one side of each record: how many, their mean, their sum of squares
    about it; each (n,)."""

    count: Tensor
    mean: Tensor
    squares: Tensor


def in_turn(score: Score, answers: Tensor, members: Tensor, *, shadows: int | None = None
            ) -> Tensor:
    """Scores of every model as the target, (K, n); its shadows are the others without its pair.

    Shapes: answers (K, n, ...), whatever ``score`` works on, members (K, n). ``shadows`` takes so
    many, in whole pairs, from those that follow the target's; all K - 2 by default.

    Raises ``ValueError`` if the rows of ``members`` are not complementary in pairs, and for a
    number of shadows that is odd or out of range.
    """
    number = len(members)
    if number % 2 or not torch.equal(members[0::2], ~members[1::2]):
        raise ValueError(f"members: {number} rows given, expected pairs: rows 2j and 2j + 1 "
                         "complementary halves of the records")
    most = number - 2
    used = most if shadows is None else shadows
    if used % 2 or not 2 <= used <= most:
        raise ValueError(f"shadows: {used} given with {number} models, expected an even number "
                         f"from 2 to {most}")
    after = torch.arange(2, 2 + used, device=members.device)
    rows = [(t - t % 2 + after) % number for t in range(number)]
    return torch.stack([score(answers[t], answers[row], members[row])
                        for t, row in enumerate(rows)])


def moments(signals: Tensor, where: Tensor) -> Moments:
    """Mean and spread of ``signals`` (K, n) over the models that ``where`` (K, n) marks, float64.

    The squares are about each record's own mean. Taken about the mean of all records, as in some
    published code, they would measure how records differ and not how models do.

    Raises ``ValueError`` for shapes that differ and for a record no model is marked for.
    """
    if signals.shape != where.shape or where.dtype != torch.bool:
        raise ValueError(f"shadow_members: shape {tuple(where.shape)}, {where.dtype} given, "
                         f"expected {tuple(signals.shape)}, bool")
    count = where.sum(0)
    if not count.all():
        raise ValueError(f"shadow_members: record {int((count == 0).nonzero()[0])} lies on one "
                         "side of all shadows, expected some on each")
    values = signals.double().where(where, 0.0)
    mean = values.sum(0) / count
    squares = (values - mean).where(where, 0.0).square().sum(0)
    rounding = count * (8 * torch.finfo(torch.float64).eps * mean).square()
    return Moments(count, mean, squares.where(squares > rounding, 0.0))  # equal values have none
