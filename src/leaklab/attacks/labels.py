r"""What an update says about the labels it was trained on: arithmetic on the last layer's bias.

The gradient of cross-entropy with respect to the bias of class c is :math:`\bar p_c - \bar y_c`:
the mean probability it gives to c, minus the share of c. Who knows the first reads off the second.

After some steps the returned model itself has learnt how common each class is, and asking it is
the plainer attack: :func:`asked_shares`. Once it tells classes apart, both ways depend on the
classes among the auxiliary images.

Threat model: a passive observer of a ``View``. Arithmetic needs two states, the learning rate and
the number of local steps. Both need images of the same kind, here called auxiliary, unlabelled.

Sources: Zhao et al. (2020, arXiv:2001.02610) for one record; Wainakh et al. (2022,
doi:10.2478/popets-2022-0043) for batches; Dimitrov et al. (2022, arXiv:2206.12395) for taking the
parameters between the received and the returned model over several local steps.

Where it fails: a last layer without bias; momentum or Adam, which scale the steps; many steps, over
which :math:`\bar p` does not move evenly; a trained model, whose :math:`\bar p` depends on which
classes the images show, so that the attacker's mix stands in for the secret one; a sum, which tells
the shares of all contributors together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leaklab.attacks.observed import plain_sgd
from leaklab.models import predict
from leaklab.updates import Recovered, State, View


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
    training = plain_sgd(view)
    bias = last_bias(model, auxiliary[:1])
    steps = training.local_steps
    first, last = (mean_prediction(model, state, auxiliary) for state in (view.before, view.after))
    said = first + (steps - 1) / (2 * steps) * (last - first)
    moved = view.after[bias] - view.before[bias]
    return Recovered(guess=said + moved / (training.learning_rate * steps))


def asked_shares(model: nn.Module, view: View, *, auxiliary: Tensor) -> Recovered:
    """What the model after training says of ``auxiliary`` images on average, as a guess of shares.

    Works for every view and every optimiser. The guess has shape (num_classes,).
    """
    return Recovered(guess=mean_prediction(model, view.after, auxiliary))


def mean_prediction(model: nn.Module, state: State, inputs: Tensor) -> Tensor:
    """The mean probability that the model gives to each class; shape (num_classes,)."""
    return torch.softmax(predict(model, state, inputs), 1).mean(0)


def last_bias(model: nn.Module, inputs: Tensor) -> str:
    """The name of the bias of the layer that runs last on ``inputs``, shape (n, ...).

    Raises ``ValueError`` unless that layer is linear and has one.
    """
    ran: list[tuple[str, nn.Module]] = []
    leaves = [pair for pair in model.named_modules() if not list(pair[1].children())]
    hooks = [layer.register_forward_hook(lambda *_, pair=(name, layer): ran.append(pair))
             for name, layer in leaves]
    try:
        predict(model, model.state_dict(), inputs)
    finally:
        for hook in hooks:
            hook.remove()
    name, layer = ran[-1] if ran else ("", model)
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise ValueError(f"model: ends in {layer}, expected a linear layer with a bias")
    return f"{name}.bias" if name else "bias"
