"""What was sent, and what is known of how it was made."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from leaklab.attacks.diagnose.finding import Finding, listed
from leaklab.updates import State, View

UNREADABLE = {"other_model", "buffers_missing", "not_tensors", "stored_type", "not_finite",
              "released_model"}
"""Codes of findings after which no number of the payload means anything."""
WRAPPERS = ("module.", "_orig_mod.", "_module.")
"""What DataParallel, torch.compile and Opacus put before every name."""


def payload_findings(model: nn.Module, view: View) -> Iterator[Finding]:
    """Whether the states of ``view`` are states of ``model``, and numbers."""
    if view.before is None:
        yield Finding("released_model", "blocks", "Only the released model is seen, no update.",
                      "Ask what the model itself gives away, such as membership.")
    sides = [state for state in (view.before, view.after) if state is not None]
    alien = sorted({type(t).__name__ for state in sides for t in state.values()
                    if not isinstance(t, Tensor)})
    if alien:
        yield Finding("not_tensors", "blocks", f"The states hold {listed(alien)}, not tensors.",
                      "Convert each value by torch.as_tensor.")
        return
    expected = model.state_dict()
    parameters = {name for name, _ in model.named_parameters()}
    odd = sorted({name for state in sides for name in expected.keys() | state.keys()
                  if _shape(expected, name) != _shape(state, name)})
    if odd:
        lost = all(name in expected and name not in parameters
                   and all(name not in state or _shape(state, name) == _shape(expected, name)
                           for state in sides) for name in odd)
        yield _buffers_missing(odd) if lost else _other_model(odd, expected, sides)
    coded = sorted({f"{name} {state[name].dtype}" for state in sides for name in parameters
                    if name in state and not state[name].is_floating_point()})
    if coded:
        yield Finding("stored_type", "blocks", f"{len(coded)} parameters are not stored as "
                      f"floating point: {listed(coded)}.", "Undo the client's quantisation first.")
    broken = sorted({name for state in sides for name, t in state.items()
                     if not bool(torch.isfinite(t).all())})
    if broken:
        yield Finding("not_finite", "blocks", f"{len(broken)} tensors hold NaN or infinity: "
                      f"{listed(broken)}.", "The client diverged; take another round.")


def _buffers_missing(names: list[str]) -> Finding:
    return Finding(
        "buffers_missing", "blocks",
        f"{len(names)} buffers of the model are not in the payload: {listed(names)}.",
        "A client that trains in train mode does not use them: merge the model's own, "
        "{**model.state_dict(), **payload}, into both states. One in eval mode does: get its "
        "buffers, or the simulated gradient is that of another model.")


def _other_model(odd: list[str], expected: State, sides: list[State]) -> Finding:
    shapes = [f"{name} {' and '.join(sorted({str(_shape(state, name)) for state in sides}))} "
              f"against {_shape(expected, name)}" for name in odd]
    remedy = "Build the model by the client's own code and configuration."
    for prefix in WRAPPERS:
        if all({n.removeprefix(prefix) for n in state} == set(expected) for state in sides):
            remedy = f"Take {prefix!r} off the front of all names; a wrapper put it there."
    return Finding("other_model", "blocks", f"{len(odd)} tensors of the payload are not those of "
                   f"the model: {listed(shapes)}.", remedy)


def _shape(state: State, name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def training_findings(view: View, records: int | None) -> Iterator[Finding]:
    """Whether the update is one gradient of one batch, as far as is known."""
    training = view.knowledge.training
    if training is None:
        yield Finding("training_unknown", "blocks", "Learning rate and local steps are unknown.",
                      "The configuration that the server sends to clients names them.")
        return
    odd = [word for word, used in (("Adam", training.optimiser == "adam"),
                                   ("momentum", training.momentum > 0),
                                   ("FedProx", training.proximal > 0)) if used]
    if odd:
        once = training.local_steps == 1 and "Adam" not in odd
        yield Finding(
            "optimiser", "blocks", f"{' and '.join(odd)}: the update is no sum of gradients.",
            "In the first step they change nothing, and there is only one: state plain SGD."
            if once else "Simulate this optimiser. One step of Adam leaves signs only.")
    if training.local_steps > 1:
        # Taken for one gradient (B = 1): uplift 15 to 23 dB at one step; -4 to 2 at five of
        # learning rate 0.01, -8 to -5 at five of 0.1 or twenty of 0.01.
        yield Finding("local_steps", "misleads", f"The update is the sum of {training.local_steps} "
                      f"steps at learning rate {training.learning_rate:g}, not one gradient.",
                      "Unroll the client inside the search; formulas for one gradient are off.")
        size = training.batch_size
        if (training.batch_order == "shuffled" and size is not None
                and (records is None or size < records)):
            yield Finding("batch_order", "weakens", f"Batches of {size} were drawn in an order "
                          "that nobody saw.", "Simulate several orders and keep the best loss.")


def record_findings(view: View, records: int | None) -> Iterator[Finding]:
    """Whether number and labels of the records are known, and whose they are."""
    labels, defence = view.knowledge.labels, view.knowledge.defence
    if records is None:
        yield Finding("batch_size_unknown", "weakens", "The number of records is unknown.",
                      "The rank of a dense layer's gradient bounds it from below.")
    if labels is None:
        yield Finding("labels_unknown", "weakens", "The labels are unknown.",
                      "Read their counts off the last bias (leaklab.attacks.labels).")
    elif records is not None and len(labels) != records:
        yield Finding("batch_size_contradicted", "misleads", f"{len(labels)} labels are known, for "
                      f"{records} records.", "Settle which: no batch of a wrong size fits.")
    if view.artefact != "released model" and len(view.contributors) > 1:
        yield Finding("several_hospitals", "weakens", f"The {view.artefact} mixes "
                      f"{len(view.contributors)} hospitals.", "Where each took one step on all its "
                      "records, it is the gradient of them all: add their numbers up.")
    if defence is not None and not hasattr(defence, "surrogate"):
        yield Finding("defence", "misleads", f"The defence {type(defence).__name__} is known and "
                      "cannot be simulated.", "Give it a surrogate, its effect on a gradient.")


def known_records(view: View) -> int | None:
    """The number of records behind ``view`` where it follows from what is known."""
    if view.knowledge.labels is not None:
        return len(view.knowledge.labels) or None
    training = view.knowledge.training
    if view.weights is None or training is None:
        return None
    seen = math.inf if training.batch_size is None else training.batch_size * training.local_steps
    return int(sum(min(weight, seen) for weight in view.weights)) or None
