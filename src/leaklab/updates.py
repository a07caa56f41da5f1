"""The values that flow through the project. Learn them and you know the house.

    data -> Hospital.train -> Update -> View of an observer -> attack -> Recovered

All are frozen: a defence or an attack answers with a new value and never edits one in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Knowledge", "LocalTraining", "Observer", "Recovered", "Update", "View", "weighted_mean"]

State = Mapping[str, Tensor]
"""Everything in ``model.state_dict()``: parameters and buffers, by name."""

ARTEFACTS = ("update", "sum", "difference", "released model")


@dataclass(frozen=True)
class LocalTraining:
    """How a hospital turns the model it received into the one it sends back.

    learning_rate, momentum, optimiser
        Of ``torch.optim.SGD`` (``"sgd"``) or ``torch.optim.Adam`` (``"adam"``, without momentum).
        The optimiser starts afresh in each round, as in McMahan et al. (2017).
    local_steps
        Number of optimiser steps between two exchanges.
    batch_size
        Records per step; ``None`` takes all of them in each step.
    batch_order
        ``"shuffled"``: each pass through the records in a new order; ``"sequential"``: as stored.
    mode
        ``"train"`` or ``"eval"``: how BatchNorm and dropout behave during local training.
    proximal
        The weight mu of FedProx's pull towards the received model (Li et al., 2020); 0 is FedAvg.

    Raises ``ValueError`` that names the argument for a value out of range.
    """

    learning_rate: float
    local_steps: int = 1
    batch_size: int | None = None
    optimiser: str = "sgd"
    momentum: float = 0.0
    batch_order: str = "shuffled"
    mode: str = "train"
    proximal: float = 0.0

    def __post_init__(self):
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a number above 0")
        _require(self.local_steps >= 1, "local_steps", self.local_steps, "1 or more")
        _require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size,
                 "None or 1 or more")
        _require(self.optimiser in ("sgd", "adam"), "optimiser", self.optimiser, "'sgd' or 'adam'")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")
        _require(self.batch_order in ("shuffled", "sequential"), "batch_order", self.batch_order,
                 "'shuffled' or 'sequential'")
        _require(self.mode in ("train", "eval"), "mode", self.mode, "'train' or 'eval'")
        _require(self.proximal >= 0, "proximal", self.proximal, "0 or more")


@dataclass(frozen=True)
class Update:
    """What one hospital sent in one round: the model it received and the model it returned.

    ``num_examples`` is what the mean of a round weights it by; ``hospital`` is a name.
    """

    before: State
    after: State
    num_examples: int
    round: int
    hospital: str

    @property
    def delta(self) -> dict[str, Tensor]:
        """``after - before``, by name; for one full-batch SGD step, minus the gradient times
        the learning rate."""
        return {name: self.after[name] - self.before[name] for name in self.before}

    @property
    def num_bytes(self) -> int:
        """Bytes of the returned state as it is sent: no compression, no headers."""
        return num_bytes(self.after)


@dataclass(frozen=True)
class Observer:
    """Someone who sees part of the federation. Active ones may also change what they send."""

    name: str
    active: bool = False


@dataclass(frozen=True)
class Knowledge:
    """What an observer knows beside the artefact; ``None`` means unknown.

    An attack that needs what is unknown refuses with a clear error rather than guessing.
    """

    training: LocalTraining | None = None
    labels: Tensor | None = None
    defence: object | None = None


UNKNOWN = Knowledge()
"""Nothing is known beside the artefact."""


@dataclass(frozen=True)
class View:
    """What one adversary sees of one round, and the only thing an attack is given.

    observer
        Who sees it.
    artefact
        ``"update"`` (of one hospital), ``"sum"`` (the weighted mean of several, behind secure
        aggregation), ``"difference"`` (of consecutive global models, the observer's own part
        removed) or ``"released model"`` (then ``before`` is ``None``).
    before, after
        The states the artefact lies between.
    contributors
        The hospitals whose records shaped it.
    weights
        Each contributor's number of examples, or ``None`` where the observer does not learn them.
    """

    observer: Observer
    artefact: str
    before: State | None
    after: State
    contributors: tuple[str, ...]
    weights: tuple[int, ...] | None = None
    knowledge: Knowledge = UNKNOWN

    def __post_init__(self):
        _require(self.artefact in ARTEFACTS, "artefact", self.artefact, f"one of {ARTEFACTS}")
        released = self.artefact == "released model"
        _require((self.before is None) == released, "before", type(self.before).__name__,
                 "None for a released model, a state for every other artefact")


@dataclass(frozen=True)
class Recovered:
    """What an attack answers.

    guess
        The records, in the shape of the model's input; or the fact inferred about them.
    labels
        Their labels, where the attack infers or is given them.
    score
        The attack's own figure of merit, one per record; higher is better.
    certificate
        Per record, whether the attacker knows, without the truth, that the guess is right;
        ``None`` where the attack has no such test.
    trajectory
        Guesses along the way, shape ``(steps, *guess.shape)``, where the attack searches.
    """

    guess: Tensor
    labels: Tensor | None = None
    score: Tensor | None = None
    certificate: Tensor | None = None
    trajectory: Tensor | None = None


def copy_state(state: State) -> dict[str, Tensor]:
    """A detached copy that shares no memory with ``state``."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def num_bytes(state: State) -> int:
    """Bytes of a state as it is sent: elements times element size, summed over tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def weighted_mean(states: list[State], weights: list[float]) -> dict[str, Tensor]:
    r"""FedAvg's aggregation: :math:`\sum_k w_k s_k / \sum_k w_k`, tensor by tensor.

    Sums in float64, so that the result does not depend on the order of the hospitals beyond the
    last bit, and returns each tensor in its own dtype; integer buffers are rounded. A negative
    weight takes a state out of a mean.

    Raises ``ValueError`` if the states differ in names or shapes, or the weights are unusable.
    Source: McMahan et al. (2017), Algorithm 1.
    """
    _require(len(states) == len(weights) and len(states) > 0, "weights", len(weights),
             f"one per state ({len(states)}), at least one")
    _require(sum(weights) > 0, "weights", weights, "numbers with a sum above 0")
    shapes = {name: tensor.shape for name, tensor in states[0].items()}
    for k, state in enumerate(states):
        _require({name: t.shape for name, t in state.items()} == shapes, f"states[{k}]",
                 "other names or shapes", "those of states[0]")
    total = float(sum(weights))
    mean = {}
    for name, first in states[0].items():
        acc = torch.zeros_like(first, dtype=torch.float64)
        for state, weight in zip(states, weights, strict=True):
            acc += state[name].to(torch.float64) * (weight / total)
        exact = first.is_floating_point()
        mean[name] = (acc if exact else acc.round()).to(first.dtype)
    return mean


def _require(holds: bool, argument: str, given: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{argument}: {given!r} given, expected {expected}")
