"""Federated averaging over hospitals, and what each observer sees of it. Plain torch.

Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data
(AISTATS 2017, arXiv:1602.05629), Algorithm 1, with every hospital taking part in every round.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from leaklab.data.dataset import Dataset
from leaklab.metrics import accuracy
from leaklab.models import predict
from leaklab.runtime import generator as keyed_generator
from leaklab.runtime import isolated_rng
from leaklab.updates import (
    UNKNOWN,
    Knowledge,
    LocalTraining,
    Observer,
    State,
    Update,
    View,
    copy_state,
    weighted_mean,
)

__all__ = [
    "CLIENT", "EAVESDROPPER", "PUBLIC", "SERVER", "SERVER_BEHIND_SECURE_AGGREGATION",
    "Hospital", "Round", "accuracy_on", "client_views", "eavesdropper_views", "fed_avg",
    "public_views", "secure_aggregation_views", "server_views", "train_on",
]

Defence = Callable[[Update], Update]
"""What a hospital does to its update before it leaves the building."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""What training lowers: outputs of the model and targets, to one number."""


@dataclass(frozen=True)
class Hospital:
    """One client: its records, which never leave it.

    inputs
        Shape (n, ...), floating point, finite.
    targets
        Shape (n,): class labels, integers of at least two classes.

    Raises ``ValueError`` that names the hospital where it holds no records, one class, values
    that are not finite, or targets that do not match the inputs.
    """

    name: str
    inputs: Tensor
    targets: Tensor

    def __post_init__(self):
        def require(holds: bool, complaint: str) -> None:
            if not holds:
                raise ValueError(f"hospital {self.name!r}: {complaint}")

        n = len(self.inputs)
        require(n > 0, "inputs hold no records, expected at least one")
        require(self.targets.shape[:1] == (n,),
                f"targets of shape {tuple(self.targets.shape)} given, expected {n} entries")
        bad = int((~torch.isfinite(self.inputs.reshape(n, -1))).any(1).sum())
        require(bad == 0, f"inputs of {bad} of {n} records hold NaN or infinite values; "
                          "impute or drop them first")
        require(not self.targets.is_floating_point(),
                f"targets of {self.targets.dtype} given, expected integer class labels")
        classes = self.targets.unique().tolist()
        require(len(classes) > 1, f"targets hold only class {classes[0]}, expected two or more")

    @classmethod
    def of(cls, name: str, dataset: Dataset, device: torch.device | str = "cpu") -> Hospital:
        """A hospital that holds the records of ``dataset``."""
        inputs, targets = torch.tensor(dataset.inputs), torch.tensor(dataset.targets)
        return cls(name, inputs.to(device), targets.to(device))

    def __len__(self) -> int:
        return len(self.inputs)

    def train(
        self,
        model: nn.Module,
        training: LocalTraining,
        *,
        generator: torch.Generator,
        round: int = 0,
        defend: Defence | None = None,
    ) -> Update:
        """Train a copy of ``model`` on the hospital's records and return the update.

        ``model`` holds the state received and is left unchanged. ``generator`` (on the CPU) draws
        the batches and any dropout. ``defend`` acts on the update before it leaves.
        """
        update = train_on(model, self.inputs, self.targets, training, generator=generator,
                          round=round, hospital=self.name)
        return defend(update) if defend else update


def train_on(
    model: nn.Module, inputs: Tensor, targets: Tensor, training: LocalTraining, *,
    generator: torch.Generator, round: int = 0, hospital: str = "hospital",
    loss: Loss = cross_entropy,
) -> Update:
    """One hospital's local training on any records, be it a single one; see :class:`Hospital`.

    ``loss`` of (outputs, targets) is one number, which training lowers.
    """
    before = copy_state(model.state_dict())
    local = copy.deepcopy(model)
    local.train(training.mode == "train")
    anchor = [p.detach().clone() for p in local.parameters()]
    optimiser = _optimiser(local, training)
    batches = draw_batches(len(inputs), training, generator)
    with isolated_rng(generator):
        for batch in batches:
            batch = batch.to(inputs.device)
            optimiser.zero_grad()
            loss(local(inputs[batch]), targets[batch]).backward()
            if training.proximal:
                for p, start in zip(local.parameters(), anchor, strict=True):
                    if p.grad is not None:  # frozen parameters have none
                        p.grad.add_(p.detach() - start, alpha=training.proximal)
            optimiser.step()
    return Update(before, copy_state(local.state_dict()), len(inputs), round, hospital)


@dataclass(frozen=True)
class Round:
    """One exchange, the ``number``-th: the model sent out, what came back, the model made of it."""

    number: int
    before: State
    updates: tuple[Update, ...]
    after: State


def fed_avg(
    model: nn.Module,
    hospitals: Sequence[Hospital],
    training: LocalTraining,
    *,
    rounds: int,
    seed: int,
    defend: Defence | None = None,
) -> Iterator[Round]:
    """Yield the rounds of a federation that starts from the weights of ``model``.

    Each hospital trains the global model on its own records; the server replaces it by the mean
    of what comes back, weighted by numbers of records. The draws of a hospital depend on
    ``(seed, round, name)`` only, so neither the order of the hospitals nor the process they run
    in matters. ``model`` is left unchanged: read the last round's ``after``.

    Raises ``ValueError`` for no hospitals, a name used twice, or fewer than one round.
    """
    names = [hospital.name for hospital in hospitals]
    if not names:
        raise ValueError("hospitals: none given, expected at least one")
    if len(set(names)) < len(names):
        raise ValueError(f"hospitals: names {names} given, expected each name once")
    if rounds < 1:
        raise ValueError(f"rounds: {rounds} given, expected 1 or more")
    return _rounds(copy.deepcopy(model), hospitals, training, rounds, seed, defend)


def _rounds(model, hospitals, training, rounds, seed, defend) -> Iterator[Round]:
    for number in range(1, rounds + 1):
        before = copy_state(model.state_dict())
        updates = tuple(
            hospital.train(model, training, round=number, defend=defend,
                           generator=keyed_generator(seed, number, hospital.name))
            for hospital in hospitals
        )
        after = weighted_mean([u.after for u in updates], [u.num_examples for u in updates])
        model.load_state_dict(after)
        yield Round(number, before, updates, after)


def accuracy_on(model: nn.Module, state: State, dataset: Dataset) -> float:
    """Test accuracy on ``dataset`` of ``model`` with the weights ``state``, on their device.

    The share of examples whose largest logit is that of their class.
    """
    device = next(iter(state.values())).device
    logits = predict(model, state, torch.tensor(dataset.inputs).to(device))
    return accuracy(logits.cpu(), torch.tensor(dataset.targets))


def agreement(step: Round) -> float:
    """Mean cosine between the updates of two hospitals in one round.

    1 where all go the same way, 0 where their ways are unrelated: because their patients differ,
    or because single batches are noisy.
    """
    flat = [torch.cat([t.flatten() for t in update.delta.values()]) for update in step.updates]
    pairs = [cosine_similarity(a, b, dim=0) for a, b in combinations(flat, 2)]
    return float(torch.stack(pairs).mean())


def draw_batches(n: int, training: LocalTraining, generator: torch.Generator) -> list[Tensor]:
    """The record indices of each local step, shape (batch,) each.

    Passes through the records follow one another until ``local_steps`` batches are drawn; the
    last batch of a pass may be smaller.
    """
    size = training.batch_size or n
    shuffled = training.batch_order == "shuffled" and size < n
    batches: list[Tensor] = []
    while len(batches) < training.local_steps:
        order = torch.randperm(n, generator=generator) if shuffled else torch.arange(n)
        batches += order.split(size)
    return batches[: training.local_steps]


def _optimiser(model: nn.Module, training: LocalTraining) -> torch.optim.Optimizer:
    if training.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), lr=training.learning_rate)
    return torch.optim.SGD(
        model.parameters(), lr=training.learning_rate, momentum=training.momentum
    )


# --- What each observer sees of a round -----------------------------------------------------

SERVER = Observer("server")
"""Honest but curious: it follows the protocol and reads each update."""
SERVER_BEHIND_SECURE_AGGREGATION = Observer("server behind secure aggregation")
"""The same server where only a sum can be opened."""
CLIENT = Observer("client")
"""Another hospital of the federation, which knows its own part of each sum."""
EAVESDROPPER = Observer("eavesdropper")
"""Someone on the network between the hospitals and the server."""
PUBLIC = Observer("public")
"""Anyone who holds the released model."""


def update_view(
    update: Update, knowledge: Knowledge = UNKNOWN, observer: Observer = SERVER
) -> View:
    """What ``observer`` sees where one hospital's update reaches it by itself."""
    return View(observer, "update", copy_state(update.before), copy_state(update.after),
                (update.hospital,), (update.num_examples,), knowledge)


def server_views(round: Round, knowledge: Knowledge = UNKNOWN) -> tuple[View, ...]:
    """An honest-but-curious server: every single update, by name."""
    return tuple(update_view(update, knowledge) for update in round.updates)


def secure_aggregation_views(round: Round, knowledge: Knowledge = UNKNOWN) -> tuple[View, ...]:
    """The same server where only the weighted mean can be opened: one sum, weights unknown.

    Source: Bonawitz et al. (2017, doi:10.1145/3133956.3133982);
    :mod:`leaklab.defences.secure_aggregation` is the protocol.
    """
    names = tuple(update.hospital for update in round.updates)
    return (View(SERVER_BEHIND_SECURE_AGGREGATION, "sum", copy_state(round.before),
                 copy_state(round.after), names, knowledge=knowledge),)


def client_views(round: Round, own: str, knowledge: Knowledge = UNKNOWN) -> tuple[View, ...]:
    """A hospital that takes its own part out of the new global model.

    Knowing its own update and its share of the weights, hospital ``own`` recovers the weighted
    mean of the others; of two hospitals, the other's model exactly. In a federation of one
    there is nothing to see.

    Raises ``ValueError`` if ``own`` took no part in the round.
    """
    mine = [update for update in round.updates if update.hospital == own]
    others = [update for update in round.updates if update.hospital != own]
    if not mine:
        names = [update.hospital for update in round.updates]
        raise ValueError(f"own: {own!r} given, expected one of {names}")
    if not others:
        return ()
    total = sum(update.num_examples for update in round.updates)
    rest = weighted_mean([round.after, mine[0].after], [total, -mine[0].num_examples])
    names = tuple(update.hospital for update in others)
    return (View(CLIENT, "difference", copy_state(round.before), rest, names,
                 knowledge=knowledge),)


def eavesdropper_views(
    round: Round, *, encrypted: bool, knowledge: Knowledge = UNKNOWN
) -> tuple[View, ...]:
    """Someone on the network: every single update in the clear, nothing under TLS."""
    if encrypted:
        return ()
    return tuple(update_view(update, knowledge, EAVESDROPPER) for update in round.updates)


def public_views(round: Round, knowledge: Knowledge = UNKNOWN) -> tuple[View, ...]:
    """Anyone who downloads the released model: its weights, and nothing of the way there."""
    names = tuple(update.hospital for update in round.updates)
    return (View(PUBLIC, "released model", None, copy_state(round.after), names,
                 knowledge=knowledge),)
