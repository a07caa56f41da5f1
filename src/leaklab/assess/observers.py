"""One round of a federation, and what each of its observers is given to attack.

A measurement needs to know which records stand behind a round. So hospitals here train on exactly
the records given, be it one each, and every observer is told what an attacker is granted: the
training, and the labels of all records behind its view, in the order of the hospitals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab import federation
from leaklab.federation import Loss, Round, train_on
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View, copy_state, weighted_mean

Records = Mapping[str, tuple[Tensor, Tensor]]
"""Inputs (n, ...) and labels (n,) of each hospital, by name."""


def one_round(
    model: nn.Module, records: Records, training: LocalTraining, seed: int, *,
    loss: Loss = cross_entropy,
) -> Round:
    """Every hospital trains ``model`` on its ``records``; the server takes the weighted mean.

    The draws of a hospital depend on ``(seed, name)`` only; ``model`` is left unchanged. Raises
    ``ValueError`` where there is no hospital.
    """
    if not records:
        raise ValueError("records: no hospital given, expected at least one")
    updates = tuple(
        train_on(model, inputs, labels, training, generator=generator(seed, 1, name), round=1,
                 hospital=name, loss=loss)
        for name, (inputs, labels) in records.items())
    after = weighted_mean([u.after for u in updates], [u.num_examples for u in updates])
    return Round(1, copy_state(model.state_dict()), updates, after)


def views_by_observer(
    round: Round, own: str, records: Records, training: LocalTraining
) -> dict[str, tuple[View, ...]]:
    """What each passive observer of ``round`` holds; hospital ``own`` is the client.

    Raises ``ValueError`` if ``own`` took no part in the round.
    """
    seen = {
        "server": federation.server_views(round),
        "eavesdropper, plain line": federation.eavesdropper_views(round, encrypted=False),
        "client": federation.client_views(round, own),
        "server behind secure aggregation": federation.secure_aggregation_views(round),
        "eavesdropper, TLS": federation.eavesdropper_views(round, encrypted=True),
    }
    return {who: tuple(_told(view, records, training) for view in views)
            for who, views in seen.items()}


def inputs_behind(view: View, records: Records) -> Tensor:
    """The records that shaped ``view``, (n, ...), in the order of its labels."""
    return torch.cat([records[name][0] for name in view.contributors])


def _told(view: View, records: Records, training: LocalTraining) -> View:
    labels = torch.cat([records[name][1] for name in view.contributors])
    return replace(view, knowledge=Knowledge(training, labels))
