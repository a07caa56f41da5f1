"""The hospital inside the attack: what a guess would have sent, differentiable in the guess.

An attacker who knows how a hospital trains can run the same steps on images of its own, and ask
how the outcome changes with every pixel. Over several local steps the whole walk is unrolled
(Geiping et al., 2020, arXiv:2003.14053; Dimitrov et al., 2022, arXiv:2206.12395). A defence that
the attacker knows is applied to the simulated gradient too, through its ``surrogate``.

Where it fails: the order in which a hospital shuffled its records is not known, and is taken to
be the order of the guess; dropout draws other units than the
hospital's did.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from leaklab.attacks.observed import plain_sgd, require_same_model
from leaklab.updates import View

Gradient = dict[str, Tensor]


@dataclass(frozen=True)
class Simulated:
    """What a guess leads to.

    gradient
        The mean gradient over the local steps, by name of parameter.
    inputs
        What went into each watched layer in the first step, by name of layer.
    """

    gradient: Gradient
    inputs: dict[str, Tensor]


Client = Callable[[Tensor, Tensor], Simulated]


def client(model: nn.Module, view: View, *, watch: Iterable[str] = ()) -> Client:
    """The hospital behind ``view`` as a function of (inputs, labels), differentiable in both.

    It starts from the state before, takes the local steps of ``view.knowledge.training`` in its
    mode, and passes the mean gradient through ``view.knowledge.defence.surrogate``, if there is a
    defence. Labels are classes (n,), or probabilities (n, num_classes). ``watch`` names layers
    whose inputs are kept. ``model`` is left unchanged.

    Raises ``ValueError`` where training is unknown or not plain SGD, where the view's states are
    not those of ``model``, and for a layer that does not exist.
    """
    training = plain_sgd(view)
    require_same_model(model, view)
    net = copy.deepcopy(model).train(training.mode == "train")
    start = {name: view.before[name].detach().clone().requires_grad_()
             for name, _ in net.named_parameters()}
    buffers = {name: view.before[name].clone() for name, _ in net.named_buffers()
               if name in view.before}
    surrogate = getattr(view.knowledge.defence, "surrogate", None)
    inputs = keep_inputs(net, watch)

    def gradient(weights: Gradient, batch: Tensor, labels: Tensor) -> Gradient:
        loss = cross_entropy(functional_call(net, {**weights, **buffers}, (batch,)), labels)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True,
                                     allow_unused=True, materialize_grads=True)
        return dict(zip(weights, slopes, strict=True))

    def simulate(guess: Tensor, labels: Tensor) -> Simulated:
        inputs.clear()
        size = training.batch_size or len(guess)
        batches = [slice(at, at + size) for at in range(0, len(guess), size)]
        weights, total = start, None
        for step in range(training.local_steps):
            now = batches[step % len(batches)]
            slopes = gradient(weights, guess[now], labels[now])
            total = slopes if total is None else {k: total[k] + slopes[k] for k in slopes}
            if step + 1 < training.local_steps:
                weights = {k: weights[k] - training.learning_rate * slopes[k] for k in slopes}
        mean = {name: slope / training.local_steps for name, slope in total.items()}
        return Simulated(surrogate(mean) if surrogate else mean, dict(inputs))

    return simulate


def keep_inputs(net: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """What goes into each layer named, filled in when ``net`` runs; the first run counts.

    Clear it before the next one. Raises ``ValueError`` for a layer that does not exist.
    """
    inputs: dict[str, Tensor] = {}
    layers = dict(net.named_modules())
    for name in names:
        if name not in layers:
            raise ValueError(f"layer: {name!r} given, expected one of {sorted(layers)}")
        layers[name].register_forward_pre_hook(
            lambda _, given, name=name: inputs.setdefault(name, given[0]) and None)
    return inputs


def batch_norm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorm layers that keep statistics, by name."""
    return {name: layer for name, layer in model.named_modules()
            if isinstance(layer, _BatchNorm) and layer.track_running_stats}


def batch_norm_statistics(model: nn.Module, view: View) -> dict[str, tuple[Tensor, Tensor]]:
    r"""Mean and variance of what went into each BatchNorm layer, by layer; shapes (channels,).

    A layer in training mode moves its buffers by its momentum towards the statistics of the
    batch, so one step gives those away: :math:`(r' - (1 - m) r)/m` (the point of Hatamizadeh et
    al., 2023, arXiv:2202.06924). Otherwise what the buffers hold is taken, as in Yin et al. (2021).
    Layers in training mode keep unbiased variances, and so are these.
    """
    training = plain_sgd(view)
    moved = training.mode == "train" and training.local_steps == 1
    found = {}
    for name, layer in batch_norm_layers(model).items():
        share = layer.momentum if moved and layer.momentum else 1.0
        ends = [[state[f"{name}.running_{what}"] for what in ("mean", "var")]
                for state in (view.before, view.after)]
        found[name] = tuple((new - (1 - share) * old) / share
                            for old, new in zip(*ends, strict=True))
    return found


def batch_norm_mismatch(
    seen: dict[str, Tensor], statistics: dict[str, tuple[Tensor, Tensor]]
) -> Tensor:
    """Squared distance of the guess's batch statistics from those given, over their size.

    ``seen`` holds the inputs of the layers, (n, channels, ...). Mean over layers, of means and
    variances together; Yin et al. (2021) sum the distances, which depends on how many there are.
    """
    gaps = []
    for name, (mean, variance) in statistics.items():
        rest = [d for d in range(seen[name].ndim) if d != 1]
        here = seen[name].mean(rest), seen[name].var(rest, unbiased=True)
        gaps += [(a - b).square().mean() / (b.square().mean() + 1e-12)
                 for a, b in zip(here, (mean, variance), strict=True)]
    return torch.stack(gaps).mean()
