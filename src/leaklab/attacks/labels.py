r"""What an update says about the labels it was trained on: arithmetic on the last layer's bias.

The gradient of cross-entropy with respect to the bias of class c is :math:`\bar p_c - \bar y_c`:
how often the model says c, minus how often it is c. Who knows the first reads off the second.

Threat model: a passive observer of a ``View`` that lies between two known states, who knows the
learning rate and the number of local steps. It has its own unlabelled images of the same kind, here
called auxiliary, to estimate what the model says on average.

Sources: Zhao et al. (2020, arXiv:2001.02610) for one record; Wainakh et al. (2022,
doi:10.2478/popets-2022-0043) for batches and several local steps.

Where it fails: a last layer without bias; an optimiser other than plain SGD, since momentum and
Adam scale the steps; a model trained for long, whose :math:`\bar p` already follows
:math:`\bar y`, so that little but noise is left; a sum, which tells the shares of all
contributors together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leaklab.models import predict
from leaklab.updates import LocalTraining, Recovered, State, View


def class_shares(model: nn.Module, view: View, *, auxiliary: Tensor) -> Recovered:
    r"""The share of each class among the records behind ``view``.

    One step moves the last bias by :math:`-\eta(\bar p - \bar y)`. Over :math:`E` steps
    :math:`\bar p` is taken to move evenly from :math:`\bar p_0` of the model received to
    :math:`\bar p_E` of the model returned. The steps are taken before each move, so their mean is
    :math:`\bar p_0 + \frac{E-1}{2E}(\bar p_E - \bar p_0)`, for one step :math:`\bar p_0`.
    Both are estimated on ``auxiliary``, shape (n, ...). The guess has shape (num_classes,), sums
    to one and is not clipped: a share below 0 tells of an estimate gone wrong.

    Raises ``ValueError`` where the view has no state before, the training is unknown or not plain
    SGD, or the model does not end in a linear layer with a bias.
    """
    training = _plain_sgd(view)
    bias = last_bias(model)
    steps = training.local_steps
    first, last = (mean_prediction(model, state, auxiliary) for state in (view.before, view.after))
    said = first + (steps - 1) / (2 * steps) * (last - first)
    moved = view.after[bias] - view.before[bias]
    return Recovered(guess=said + moved / (training.learning_rate * steps))


def mean_prediction(model: nn.Module, state: State, inputs: Tensor) -> Tensor:
    """How often, on average, the model says each class; shape (num_classes,)."""
    return torch.softmax(predict(model, state, inputs), 1).mean(0)


def last_bias(model: nn.Module) -> str:
    """The name of the bias of the model's last layer.

    Raises ``ValueError`` unless that layer is linear and has one.
    """
    name, layer = list(model.named_modules())[-1]
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise ValueError(f"model: ends in {layer}, expected a linear layer with a bias")
    return f"{name}.bias" if name else "bias"


def _plain_sgd(view: View) -> LocalTraining:
    if view.before is None:
        raise ValueError(f"view: a {view.artefact} given, expected one with a state before it")
    training = view.knowledge.training
    if training is None:
        raise ValueError("view: training unknown, expected learning rate and local steps")
    if training.optimiser != "sgd" or training.momentum or training.proximal:
        raise ValueError(f"view: {training} given, expected SGD without momentum or proximal term")
    return training
