r"""Model inconsistency: what secure aggregation hides, if all were sent the same model.

The server sends the model to one hospital, and to the others one with a layer that is never on.
Behind a dead ReLU no gradient passes: their updates are zero but for biases that come after it.
The sum that secure aggregation opens is then the update of the one hospital, times its share of
the records.

Threat model: an active server behind secure aggregation, which may send each hospital another
model. The masks cancel as ever.

Source: Pasquini et al. (2022, arXiv:2111.07380).

Where it fails: hospitals that compare a hash of what they were sent, or bind their masks to it
(:func:`leaklab.defences.detectors.same_model`); networks without ReLU, in which nothing dies; skip
connections around the dead layer; the rounding of secure aggregation to whole numbers, which is
not simulated here and weighs more the smaller the share.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from leaklab.attacks.layers import running_order
from leaklab.attacks.malicious_server import ACTIVE_SERVER_BEHIND_SECURE_AGGREGATION
from leaklab.updates import UNKNOWN, Knowledge, Update, View, copy_state, weighted_mean

__all__ = ["opened_sum", "silenced"]


def silenced(model: nn.Module) -> nn.Module:
    """A copy of ``model`` whose last hidden layer is off for every input.

    That is the last layer with weights and bias before the head. Raises ``ValueError`` where there
    is none, no ReLU comes between the two, or a BatchNorm does, which could wake it again.
    """
    layers = running_order(model)
    learned = [k for k, (_, layer) in enumerate(layers)
               if isinstance(layer, nn.Linear | nn.Conv2d)]
    between = layers[learned[-2]:learned[-1]] if len(learned) > 1 else ()
    kinds = [layer for _, layer in between]
    if (not any(isinstance(layer, nn.ReLU) for layer in kinds) or kinds[0].bias is None
            or any(isinstance(layer, _BatchNorm) for layer in kinds)):
        raise ValueError(f"model: {type(model).__name__} given, expected a layer with bias and a "
                         "ReLU before the last layer, without BatchNorm")
    dead = copy.deepcopy(model)
    with torch.no_grad():
        layer = dead.get_submodule(between[0][0])
        layer.weight.zero_()
        layer.bias.fill_(-1.0)
    return dead


def opened_sum(updates: Sequence[Update], target: str, knowledge: Knowledge = UNKNOWN) -> View:
    """What secure aggregation opens, as seen from the model that hospital ``target`` was sent.

    Each hospital adds its update times its number of examples. ``before`` is the target's model,
    ``after`` that plus the weighted mean of all updates. Where all were sent one model, this is
    the view of :func:`leaklab.federation.secure_aggregation_views`, of an active server.

    Raises ``ValueError`` if ``target`` is not among the hospitals.
    """
    sent = {update.hospital: update.before for update in updates}
    if target not in sent:
        raise ValueError(f"target: {target!r} given, expected one of {list(sent)}")
    before = copy_state(sent[target])
    total = weighted_mean([update.delta for update in updates],
                          [update.num_examples for update in updates])
    after = {name: tensor + total[name] for name, tensor in before.items()}
    return View(ACTIVE_SERVER_BEHIND_SECURE_AGGREGATION, "sum", before, after, tuple(sent),
                knowledge=knowledge)
