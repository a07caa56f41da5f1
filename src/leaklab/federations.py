"""Many federations trained side by side, for experiments that need more than one.

What :func:`leaklab.federation.fed_avg` does one hospital after another, this does for the hospitals
of all federations as one tensor program (:mod:`leaklab.stack`). Every federation has its own model,
its own members among the same pool of records, and its own rounds; the rounds are plain
:class:`leaklab.federation.Round` values, from which every observer's view follows as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from leaklab.federation import Defence, Round
from leaklab.runtime import progress
from leaklab.stack import Stack, state_of, train_stack
from leaklab.updates import LocalTraining, State, Update, weighted_mean


def train_federations(
    models: Stack, inputs: Tensor, targets: Tensor, owners: Tensor, training: LocalTraining, *,
    rounds: int, generator: torch.Generator, defend: Defence | None = None,
) -> list[tuple[Round, ...]]:
    """Train F federations for ``rounds`` rounds and return the rounds of each.

    models
        The F initial models.
    inputs, targets
        The pool of records, (N, ...) and (N,).
    owners
        Integers, (F, N): in federation f, record i lies at hospital ``owners[f, i]``, or nowhere
        where that is -1. Hospitals count from 0 and hold at least one record in each federation;
        their names are "Hospital 1" and so on.

    ``defend`` acts on every update before it leaves. Raises ``ValueError`` that names the argument
    for shapes that do not fit, a hospital without records, and fewer than one round.
    """
    _check(models, inputs, owners, rounds)
    number = int(owners.max()) + 1
    sizes = (owners[..., None] == torch.arange(number)).sum(1).tolist()
    members = (owners[:, None] == torch.arange(number)[:, None]).flatten(0, 1)
    states = [state_of(models, f) for f in range(len(models))]
    found: list[list[Round]] = [[] for _ in states]
    for step in progress(range(1, rounds + 1), "federated rounds"):
        sent_out = _stack_of(models, [state for state in states for _ in range(number)])
        local = train_stack(sent_out, inputs, targets, members, training, generator)
        for f, before in enumerate(states):
            updates = tuple(
                Update(before, state_of(local, f * number + k), sizes[f][k], step,
                       f"Hospital {k + 1}") for k in range(number))
            if defend:
                updates = tuple(map(defend, updates))
            states[f] = weighted_mean([update.after for update in updates], sizes[f])
            found[f].append(Round(step, before, updates, states[f]))
    return [tuple(steps) for steps in found]


def _stack_of(like: Stack, states: Sequence[State]) -> Stack:
    return replace(like, **{kind: {name: torch.stack([state[name] for state in states])
                                   for name in getattr(like, kind)}
                            for kind in ("parameters", "buffers")})


def _check(models: Stack, inputs: Tensor, owners: Tensor, rounds: int) -> None:
    expected = (len(models), len(inputs))
    if owners.shape != expected or owners.is_floating_point():
        raise ValueError(f"owners: {owners.dtype} {tuple(owners.shape)} given, expected integers "
                         f"{expected}: one row a federation, one column a record")
    for f, row in enumerate(owners):
        if missing := sorted(set(range(int(owners.max()) + 1)) - set(row.tolist())):
            raise ValueError(f"owners: hospitals {missing} hold no record in federation {f}, "
                             "expected at least one")
    if rounds < 1:
        raise ValueError(f"rounds: {rounds} given, expected 1 or more")
