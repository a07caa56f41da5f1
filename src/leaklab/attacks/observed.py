"""What an attack reads off a view before its own algebra starts: the mean gradient of training.

Plain SGD moves the weights by minus the learning rate times a gradient, step after step. So the
two ends of a view give the mean of those gradients; for one step, the gradient itself.

Where it fails: momentum, Adam and FedProx, which send something else than a sum of gradients; a
released model, of which only one end is known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leaklab.updates import LocalTraining, View


def plain_sgd(view: View) -> LocalTraining:
    """The training behind ``view``, for attacks that need it to be plain SGD.

    Raises ``ValueError`` where the view has no state before, or the training is unknown, or has
    momentum, a proximal term or another optimiser.
    """
    if view.before is None:
        raise ValueError(f"view: a {view.artefact} given, expected one with a state before it")
    training = view.knowledge.training
    if training is None:
        raise ValueError("view: training unknown, expected learning rate and local steps")
    if training.optimiser != "sgd" or training.momentum or training.proximal:
        raise ValueError(f"view: {training} given, expected SGD without momentum or proximal term")
    return training


def mean_gradient(model: nn.Module, view: View) -> dict[str, Tensor]:
    r""":math:`(w - w')/(\eta E)` for each parameter of ``model``, by name; buffers are left out.

    Parameters that were frozen have a gradient of zero. Raises ``ValueError`` as
    :func:`plain_sgd` does, and where the states of the view are not those of ``model``.
    """
    training = plain_sgd(view)
    require_same_model(model, view)
    scale = training.learning_rate * training.local_steps
    return {name: (view.before[name] - view.after[name]) / scale
            for name, _ in model.named_parameters()}


def rounding(model: nn.Module, view: View) -> dict[str, Tensor]:
    """How far storing the weights may have moved each entry of :func:`mean_gradient`.

    A weight is stored to half a unit in its last place, at each step. An attacker knows this
    bound: it needs the two states and nothing else. It holds for the state of one hospital; a mean
    of several is rounded once more, and taking one's own part out of it magnifies that. Shapes as
    the parameters.
    """
    rate = plain_sgd(view).learning_rate
    require_same_model(model, view)
    unit = {name: torch.finfo(view.after[name].dtype).eps / 2
            for name, _ in model.named_parameters()}
    return {name: unit[name] * torch.maximum(view.before[name].abs(), view.after[name].abs()) / rate
            for name in unit}


def require_same_model(model: nn.Module, view: View) -> None:
    """Raise ``ValueError`` that lists the tensors in which ``view`` and ``model`` differ."""
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    for state in filter(None, (view.before, view.after)):
        given = {name: tuple(t.shape) for name, t in state.items()}
        if expected == given:
            continue
        odd = sorted(name for name in expected | given if expected.get(name) != given.get(name))
        listed = ", ".join(f"{name} {given.get(name, 'missing')} against "
                           f"{expected.get(name, 'none')}" for name in odd[:4])
        raise ValueError(f"view: states that are not those of the model given "
                         f"({len(odd)} tensors differ: {listed})")


def known_labels(view: View, labels: Tensor | None, records: int) -> Tensor:
    """``labels``, or those of ``view.knowledge``, shape (records,), on the device of the view.

    Raises ``ValueError`` where there are none, or another number.
    """
    labels = view.knowledge.labels if labels is None else labels
    if labels is None:
        raise ValueError("labels: unknown; give them, or read them off the update first "
                         "(leaklab.attacks.labels)")
    if len(labels) != records:
        raise ValueError(f"labels: {len(labels)} given, expected {records}, one a record")
    return labels.to(next(iter(view.after.values())).device)
