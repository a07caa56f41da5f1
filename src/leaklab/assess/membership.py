"""A membership experiment: one pool of patients, many models on halves of it, each one attacked.

Members and non-members come from one pool without copies, dealt at random, so nothing but training
tells them apart. Every model is the target once, and the others, without its pair, are its shadows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from leaklab.attacks.membership import lira, rmia, thresholds
from leaklab.attacks.membership.shadows import in_turn
from leaklab.attacks.membership.signals import logit_margin, negative_loss
from leaklab.data import heart, hospitals
from leaklab.data.dataset import Dataset
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.stack import Stack, new_stack, train_stack
from leaklab.updates import LocalTraining

WIDTH, EPOCHS = 128, 60
RECIPE = LocalTraining(0.1, batch_size=32, momentum=0.9)


def cleveland() -> Dataset:
    """The heart patients of Cleveland, exact copies dropped, gaps filled, columns scaled.

    The scaling is fitted on the pool, members or not, and so tells nobody apart. Raises
    ``DataUnavailable`` where the table cannot be had.
    """
    table = heart.load()
    (data,) = heart.impute_and_scale(
        hospitals.drop_duplicates(table.take(table.sites == "cleveland")))
    return data


def network(width: int = WIDTH, features: int = 10) -> Callable[[torch.Generator], nn.Module]:
    """What makes one fresh network of one hidden layer."""
    return partial(mlp, num_features=features, width=width)


def trained(
    make_model: Callable[[torch.Generator], nn.Module], inputs: Tensor, targets: Tensor,
    members: Tensor, seed: int, *, training: LocalTraining = RECIPE, epochs: int = EPOCHS,
) -> Stack:
    """Models trained on their members, on the device of ``inputs``.

    Shapes: inputs (n, ...), targets (n,), members bool (K, n). ``epochs`` 0 leaves the models as
    they were initialised.
    """
    stack = new_stack(make_model, len(members), generator(seed, "initial weights"))
    parameters, buffers = ({name: tensor.to(inputs.device) for name, tensor in tensors.items()}
                           for tensors in (stack.parameters, stack.buffers))
    stack = replace(stack, parameters=parameters, buffers=buffers)
    if not epochs:
        return stack
    return train_stack(stack, inputs, targets, members, training, generator(seed, "training"),
                       epochs=epochs)


def calibrated(logits: Tensor, targets: Tensor, members: Tensor, *, shadows: int | None = None
               ) -> dict[str, Tensor]:
    """Scores, (K, n) each, of the attacks that compare a record with itself in shadow models."""
    margin, loss = logit_margin(logits, targets), negative_loss(logits, targets)
    attacks = {
        "RMIA": (rmia.rmia_ratio, loss),
        "RMIA, offline": (partial(rmia.rmia_ratio, offline_a=rmia.OFFLINE_A), loss),
        "LiRA": (lira.lira_online, margin),
        "LiRA, shared variance": (partial(lira.lira_online, variance="shared"), margin),
        "LiRA, shrunken": (lira.lira_shrunken, margin),
        "LiRA, offline": (lira.lira_offline, margin),
        "LiRA, offline, shared variance": (partial(lira.lira_offline, variance="shared"), margin),
    }
    return {name: in_turn(attack, signal, members, shadows=shadows)
            for name, (attack, signal) in attacks.items()}


def uncalibrated(logits: Tensor, targets: Tensor, members: Tensor, seed: int, *,
                 shadows: int = 4) -> dict[str, Tensor]:
    """Scores, (K, n) each, of the attacks that look at no record in particular.

    The classifier of Shokri et al. gets ``shadows`` shadow models: it pools all their records.
    """
    by_class = partial(thresholds.class_thresholds, targets=targets)
    learnt = partial(thresholds.shadow_classifier, targets=targets,
                     generator=generator(seed, "shadow classifier"))
    return {
        "loss threshold": thresholds.loss_threshold(logits, targets),
        "class thresholds": in_turn(by_class, negative_loss(logits, targets), members),
        "shadow classifier": in_turn(learnt, logits, members, shadows=shadows),
    }
