"""How much an update can tell at all, counted before anything is searched for.

Three figures that need neither the records nor an attack: how many independent numbers the
gradient holds above rounding, how far apart the model's answers to noise lie, and how long a
gradient records of noise would have left.

Where it fails: enough numbers are necessary and not sufficient, for some say the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from leaklab.attacks.observed import mean_gradient, rounding
from leaklab.models import predict
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View

LARGEST_RANK = 1024
"""Side up to which the rank of a matrix is computed; above, its entries are counted."""
PROBES = 32
"""Inputs of noise on which the model is asked."""


def gradient_and_rounding(model: nn.Module, view: View) -> tuple[dict[str, Tensor], ...]:
    """The mean gradient and the rounding of its entries, whatever optimiser made the update.

    Where the training is unknown the learning rate is taken to be 1, which changes the scale of
    both and not their ratio.
    """
    training = view.knowledge.training
    plain = LocalTraining(training.learning_rate if training else 1.0,
                          local_steps=training.local_steps if training else 1)
    view = replace(view, knowledge=Knowledge(plain))
    return mean_gradient(model, view), rounding(model, view)


def norm(tensors: Mapping[str, Tensor]) -> float:
    """Euclidean norm over all tensors."""
    return float(sum(t.double().square().sum() for t in tensors.values())) ** 0.5


def independent_numbers(gradient: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> int:
    """How many numbers of a gradient are free: at most that many pixels follow from it.

    A matrix of m rows, n columns and rank r is settled by r (m + n - r) of its entries. A dense
    layer's gradient has the rank of the batch, so ten outputs over thousands of features tell
    little more than the features of one image, ten times over. Convolutions are taken as matrices
    of (channels out, rest). Of the rank only what stands above ``noise`` counts, of vectors the
    entries above it.
    """
    total = 0
    for name, tensor in gradient.items():
        if tensor.ndim < 2:
            total += int((tensor.abs() > noise[name]).sum())
            continue
        matrix, floor = tensor.flatten(1).double(), noise[name].flatten(1)
        rows, columns = matrix.shape
        if min(rows, columns) > LARGEST_RANK:
            total += int((matrix.abs() > floor).sum())
            continue
        sizes = torch.linalg.svdvals(matrix)
        arithmetic = torch.finfo(tensor.dtype).eps * max(rows, columns) * float(sizes[0])
        rank = int((sizes > max(arithmetic, float(floor.double().norm()))).sum())
        total += rank * (rows + columns - rank)
    return total


def answer_spread(model: nn.Module, view: View, shape: tuple[int, ...]) -> tuple[int, float]:
    """The number of classes, and how far the model's answers to records of noise lie apart.

    The spread is the standard deviation of the logits over inputs, after taking out their mean
    over classes. ``shape`` is that of one record. Raises whatever the model raises on it, and
    ``ValueError`` where its answer has no classes.
    """
    logits = predict(copy.deepcopy(model), view.before, _noise(view, PROBES, shape))
    if logits.ndim != 2 or len(logits) != PROBES or logits.shape[1] < 2:
        raise ValueError(f"answers of shape {tuple(logits.shape)}, expected ({PROBES}, classes)")
    logits = (logits - logits.mean(1, keepdim=True)).double()
    return logits.shape[1], float((logits - logits.mean(0)).square().mean().sqrt())


def noise_gradient_norm(
    model: nn.Module, view: View, shape: tuple[int, ...], labels: Tensor
) -> float:
    """The norm of the gradient that records of noise with these labels would have left."""
    net = copy.deepcopy(model).eval()
    inputs = _noise(view, len(labels), shape)
    weights = {name: view.before[name].detach().clone().requires_grad_()
               for name, _ in net.named_parameters()}
    logits = functional_call(net, {**view.before, **weights}, (inputs,))
    slopes = torch.autograd.grad(cross_entropy(logits, labels.to(inputs.device)),
                                 list(weights.values()), allow_unused=True)
    return norm({name: slope for name, slope in zip(weights, slopes, strict=True)
                 if slope is not None})


def _noise(view: View, n: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform in [0, 1] for images, standard normal for standardised tables."""
    like = next(t for t in view.before.values() if t.is_floating_point())
    draw = torch.rand if len(shape) > 1 else torch.randn
    return draw((n, *shape), generator=generator("diagnose", n, *shape)).to(like)
