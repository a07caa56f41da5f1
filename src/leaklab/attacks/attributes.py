r"""What is missing in the record of a patient who is known to be in an update.

The record is completed with each value that the missing entry may have. The patient's part in the
update is a gradient, and only the true completion has it: so the answer is the value whose gradient
lies closest to the update,

.. math:: \hat v = \arg\max_v \cos\bigl(\nabla_w \ell(x_v, y_v),\; w^t - w_k\bigr).

The entry may be a column of the table or the label. In place of the cosine any statistic of
:mod:`leaklab.attacks.membership.updates` serves: each asks whether one record's gradient is in the
update.

Threat model: a passive observer of a ``View`` with two states, who knows that the patient took
part, knows the rest of the record and, but for the plain cosine, holds public records of the kind.

Sources: Lyu and Chen (2021, arXiv:2108.06910), who search for the attributes of a whole batch by
the cosine; here one record is completed and each value tried. Jayaraman and Evans (2022,
arXiv:2209.01292) for the control without which no number here means anything: what someone fills
in who never saw the update.

Where it fails: on patients who took no part, where it is worse than filling in and gives no
warning; large hospitals, sums and many local steps, in which one gradient drowns;
attributes that hardly change the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from leaklab.attacks.membership.updates import flat_update, record_gradients, update_cosine
from leaklab.updates import Recovered, View

__all__ = ["candidates", "infer_attribute"]

Score = Callable[..., Tensor]
"""How gradients (n, p) fit an update (p,), a third argument being public gradients (m, p), if there
are any; answers (n,), higher is better."""


def candidates(
    inputs: Tensor, targets: Tensor, values: Sequence[float], *, column: int | None = None
) -> tuple[Tensor, Tensor]:
    """The records with each of the ``values`` in turn in one ``column``, or as the label.

    Shapes: inputs (n, d), or (n, ...) where the label is sought; targets (n,). Answers copies
    (values, n, ...) and (values, n). What stood in the place sought does not matter.

    Raises ``ValueError`` for fewer than two values, or a column that the table lacks.
    """
    if len(values) < 2:
        raise ValueError(f"values: {list(values)} given, expected two or more to choose from")
    number = len(values)
    tried = inputs.expand(number, *inputs.shape).clone()
    labels = targets.expand(number, *targets.shape).clone()
    if column is None:
        labels[:] = torch.as_tensor(values, dtype=targets.dtype, device=targets.device)[:, None]
    elif inputs.ndim == 2 and 0 <= column < inputs.shape[1]:
        tried[..., column] = torch.as_tensor(values).to(inputs)[:, None]
    else:
        raise ValueError(f"column: {column} given, expected one of the table's, whose shape is "
                         f"{tuple(inputs.shape)}")
    return tried, labels


def infer_attribute(
    model: nn.Module, view: View, inputs: Tensor, targets: Tensor, *,
    score: Score = update_cosine, public: tuple[Tensor, Tensor] | None = None,
) -> Recovered:
    """Which completion of each record fits the update best.

    ``inputs`` (values, n, ...) and ``targets`` (values, n) are the completions
    (:func:`candidates`); ``public`` are inputs (m, ...) and targets (m,) of other patients, for a
    ``score`` that asks for their gradients. The guess, shape (n,), numbers the values from 0.
    ``score`` (n,) is how far the best value lies ahead of the next, which is no test of whether the
    patient took part.

    Raises ``ValueError`` for completions that do not match, and as
    :func:`leaklab.attacks.observed.mean_gradient` does for a view that tells no gradient.
    """
    if targets.ndim != 2 or inputs.shape[:2] != targets.shape or len(targets) < 2:
        raise ValueError(f"inputs, targets: shapes {tuple(inputs.shape)}, {tuple(targets.shape)} "
                         "given, expected (values, n, ...) and (values, n) with two or more values")
    update = flat_update(model, view)
    outside = () if public is None else (record_gradients(model, view.before, *public),)
    completed = record_gradients(model, view.before, inputs.flatten(0, 1), targets.flatten())
    best = score(completed, update, *outside).reshape(targets.shape).topk(2, dim=0)
    return Recovered(best.indices[0], score=best.values[0] - best.values[1])
