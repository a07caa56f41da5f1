"""The proof of SPEAR: least squares with the zeros held fixed, and what makes it certain."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.dropout import _DropoutNd

from leaklab.attacks.layers import DenseGradient, running_order
from leaklab.attacks.observed import plain_sgd
from leaklab.attacks.spear.search import SPARE_ZEROS, TIGHT
from leaklab.updates import View

RESOLVED = 0.1  # the noise may hide this much of a usual entry of D, no more
SHARP = 0.02  # the noise may move an input by this share of a record's root mean square
EXPLAINED = 2.0  # what records and D leave of a neuron's gradient, in units of its noise
ARITHMETIC = 64  # units in the last place by which a client's own forward and backward pass differ


@dataclass(frozen=True)
class Slopes:
    """D given the records, shape (batch, neurons): ``value`` without its zeros imposed, ``blur``
    what noise may make of a zero; ``on`` which neurons each record switches on, ``edge`` where
    the noise leaves that open; ``spread`` (batch,) the noise in each input of a record."""

    value: Tensor
    blur: Tensor
    on: Tensor
    edge: Tensor
    spread: Tensor

    @property
    def zero(self) -> Tensor:
        return self.value.abs() < self.blur


def polish(seen: DenseGradient, records: Tensor, rounds: int = 3) -> Tensor:
    """Records (batch, features + 1) by least squares, with D as in :func:`_sparse`."""
    scale = seen.noise.square().mean(1, keepdim=True).sqrt()
    for _ in range(rounds):
        slopes = _sparse(seen, records, slopes_of(seen, records))
        records = torch.linalg.pinv(slopes / scale) @ (seen.gradient / scale)
        records[:, -1] = 1.0
    return records


def _sparse(seen: DenseGradient, records: Tensor, slopes: Slopes) -> Tensor:
    """D (neurons, batch) by least squares given the records, zero where a record is off and the
    slopes do not contradict it."""
    on = (slopes.on | ~slopes.zero).T.to(records)
    basis, triangle = torch.linalg.qr(records.T)
    targets = (seen.gradient @ basis)[..., None]
    return on * (torch.linalg.pinv(triangle * on[:, None, :]) @ targets)[..., 0]


def slopes_of(seen: DenseGradient, records: Tensor) -> Slopes:
    """D and what the noise leaves open of it, for records (batch, features + 1)."""
    scale = seen.noise.square().mean(1).sqrt()
    inverse = torch.linalg.pinv(records)
    value = (seen.gradient @ inverse).T
    reach = records @ seen.weights.T
    spread = torch.linalg.pinv(value.T / scale[:, None]).norm(dim=1)
    eps = torch.finfo(seen.like.dtype).eps
    slack = TIGHT * (spread + eps * records.norm(dim=1))[:, None] * seen.weights.norm(dim=1)
    return Slopes(value, TIGHT * inverse.norm(dim=0)[:, None] * scale, reach > 0,
                  reach.abs() < slack, spread)


def agreement(slopes: Slopes) -> Tensor:
    """The score (batch,): share of neurons that are on where D is above the noise, else off."""
    return ((slopes.on != slopes.zero) | slopes.edge).double().mean(1)


def fits(seen: DenseGradient, records: Tensor, slopes: Slopes) -> bool:
    """Whether pattern and gradient agree, with zeros enough and noise too small to feign them."""
    live = ~slopes.zero.all(0)  # a neuron that nothing behind it listens to may be on in silence
    on, off = slopes.on & live, ~slopes.on & live
    usual = (slopes.value.abs() * on).sum(1, keepdim=True) / on.sum(1, keepdim=True).clamp_min(1)
    hidden = (on & slopes.zero & ~slopes.edge).sum(1)
    expected = (slopes.blur / usual * on).sum(1)  # entries of D that happen to be that small
    needed = len(records) - 1 + SPARE_ZEROS * (len(records) > 1)
    left = (seen.gradient - _sparse(seen, records, slopes) @ records).norm(dim=1)
    return bool(
        ((off & slopes.zero).sum(1) >= needed).all()
        and ((slopes.blur < RESOLVED * usual) | ~live).all()
        and not (off & ~slopes.zero & ~slopes.edge).any()
        and (hidden <= 1 + 3 * expected).all()
        and (left < EXPLAINED * seen.noise.norm(dim=1)).all()
        and (TIGHT * slopes.spread < SHARP * records[:, :-1].square().mean(1).sqrt()).all()
    )


def simulated_slopes(
    model: nn.Module, view: View, seen: DenseGradient, inputs: Tensor
) -> Tensor | None:
    """The gradient of each record's loss by the layer's output, for each label it might have.

    Shapes: inputs (batch, features), result (batch, classes, neurons). ``None`` where it cannot be
    told: after several local steps, for a layer that neither takes the model's own input nor
    gives its output, with dropout, for a model whose answer is not (batch, classes), and where the
    model cannot run on the records, such as one record through BatchNorm in training mode.
    """
    training = plain_sgd(view)
    drops = any(isinstance(layer, _DropoutNd) and layer.p > 0 for layer in model.modules())
    if training.local_steps > 1 or (drops and training.mode == "train"):
        return None
    if running_order(model)[-1][0] == seen.name:
        chances = torch.softmax(inputs @ seen.weights[:, :-1].T + seen.weights[:, -1], 1)
        return chances[:, None] - torch.eye(chances.shape[1]).to(chances)
    net = copy.deepcopy(model)
    net.load_state_dict(dict(view.before))
    net = net.to(inputs).train(training.mode == "train")
    outputs: list[Tensor] = []
    net.get_submodule(seen.name).register_forward_hook(lambda *given: outputs.append(given[2]))
    try:
        logits = net(inputs)
    except Exception:  # whatever the caller's model raises on what is not its input
        return None
    if (logits.ndim != 2 or len(outputs) != 1
            or outputs[0].shape != (len(inputs), len(seen.weights))):
        return None
    return torch.stack([
        torch.autograd.grad(cross_entropy(logits, torch.full_like(logits[:, 0], c).long(),
                                          reduction="sum"), outputs[0], retain_graph=True)[0]
        for c in range(logits.shape[1])], 1)


def labels_behind(
    model: nn.Module, view: View, seen: DenseGradient, records: Tensor, slopes: Slopes
) -> tuple[bool, Tensor | None]:
    """Whether that can be tried, and the labels (batch,) with which the records (batch, features)
    give exactly D, each a ``batch``-th of it; ``None`` where there are none: then records are
    missing, merged or wrong.

    The records themselves are noisy; what that does to the simulated gradient is tried with all
    inputs of a record away from zero together, the way that moves it most.
    """
    simulated = simulated_slopes(model, view, seen, records)
    if simulated is None:
        return False, None
    moved = simulated_slopes(
        model, view, seen, records + TIGHT * slopes.spread[:, None] * records.sign())
    eps = torch.finfo(seen.like.dtype).eps
    own = ((moved - simulated).abs() + ARITHMETIC * eps * simulated.abs()).amax(2, keepdim=True)
    gap = (len(records) * slopes.value[:, None] - simulated).abs()
    fitting = (gap < len(records) * slopes.blur[:, None] + own) | slopes.edge[:, None]
    fitting = fitting.all(2)
    return True, fitting.to(torch.uint8).argmax(1) if fitting.any(1).all() else None
