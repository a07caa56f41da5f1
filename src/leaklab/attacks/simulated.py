"""The hospital inside the attack: what a guess would have sent, differentiable in the guess.

An attacker who knows how a hospital trains can run the same steps on images of its own, and ask
how the outcome changes with every pixel. Over several local steps the whole walk is unrolled
(Geiping et al., 2020, arXiv:2003.14053; Dimitrov et al., 2022, arXiv:2206.12395). A defence that
the attacker knows is applied to the simulated gradient too, through its ``surrogate``.

Where it fails: the order in which a hospital shuffled its records is not known, and is taken to
be the order of the guess; dropout leaves out other units than the hospital's did, the same ones
for each guess.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from leaklab.attacks.observed import plain_sgd, require_same_model
from leaklab.runtime import generator, isolated_rng
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


def client(model: nn.Module, view: View, *, watch: Iterable[str] = (),
           loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy) -> Client:
    """The hospital behind ``view`` as a function of (inputs, labels), differentiable in both.

    It starts from the state before, takes the local steps of ``view.knowledge.training`` in its
    mode, and passes the mean gradient through ``view.knowledge.defence.surrogate``, if there is a
    defence. Labels are classes (n,), or probabilities (n, num_classes). ``watch`` names layers
    whose inputs are kept. ``loss`` is the hospital's, of (outputs, labels). Parameters of ``model``
    that need no gradient are frozen, with a gradient of zero. ``model`` is left unchanged, and the
    same guess always leads to the same gradient.

    Raises ``ValueError`` where training is unknown or not plain SGD, where the view's states are
    not those of ``model`` or all of it is frozen, and for a layer that does not exist.
    """
    training = plain_sgd(view)
    require_same_model(model, view)
    net = copy.deepcopy(model).train(training.mode == "train")
    start = {name: view.before[name].detach().clone().requires_grad_(parameter.requires_grad)
             for name, parameter in net.named_parameters()}
    trained = [name for name, weight in start.items() if weight.requires_grad]
    if not trained:
        raise ValueError("model: all parameters frozen, expected some that were trained")
    surrogate = getattr(view.knowledge.defence, "surrogate", None)
    inputs = keep_inputs(net, watch)

    def gradient(state: Gradient, batch: Tensor, labels: Tensor) -> Gradient:
        logits = functional_call(net, state, (batch,))
        classes = loss is cross_entropy and labels.ndim == 1  # another loss takes what it takes
        if classes and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
            raise ValueError(f"labels: {labels.tolist()} given, expected classes from 0 to "
                             f"{logits.shape[1] - 1}")
        slopes = torch.autograd.grad(
            loss(logits, labels), [state[name] for name in trained], create_graph=True,
            allow_unused=True, materialize_grads=True)
        return dict(zip(trained, slopes, strict=True))

    def simulate(guess: Tensor, labels: Tensor) -> Simulated:
        inputs.clear()
        # A run changes buffers in place: each guess gets its own, as the hospital found them.
        buffers = {name: view.before.get(name, buffer).clone()
                   for name, buffer in net.named_buffers()}
        size = training.batch_size or len(guess)
        batches = [slice(at, at + size) for at in range(0, len(guess), size)]
        state, total = {**start, **buffers}, None
        with isolated_rng(generator("dropout")) if net.training else nullcontext():
            for step in range(training.local_steps):
                now = batches[step % len(batches)]
                slopes = gradient(state, guess[now], labels[now])
                total = slopes if total is None else {k: total[k] + slopes[k] for k in slopes}
                if step + 1 < training.local_steps:
                    state |= {k: state[k] - training.learning_rate * slopes[k] for k in slopes}
        mean = {name: total[name] / training.local_steps if name in total
                else torch.zeros_like(weight) for name, weight in start.items()}
        return Simulated(surrogate(mean) if surrogate else mean, dict(inputs))

    return simulate


def keep_inputs(net: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """What goes into each layer named, filled in when ``net`` runs; the first run counts.

    Clear it before the next one. Raises ``ValueError`` for a layer that does not exist.
    """
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs.setdefault(name, given[0])
        return hook

    layers = dict(net.named_modules())
    for name in names:
        if name not in layers:
            raise ValueError(f"layer: {name!r} given, expected one of {sorted(layers)}")
        layers[name].register_forward_pre_hook(keep(name))
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
    require_same_model(model, view)
    moved = training.mode == "train" and training.local_steps == 1
    found = {}
    for name, layer in batch_norm_layers(model).items():
        share = layer.momentum if moved else 1.0
        if share is None:  # such layers keep the plain mean over all batches so far
            share = 1 / max(1, view.after[f"{name}.num_batches_tracked"].item())
        share = share or 1.0  # a layer that never moves
        ends = [[state[f"{name}.running_{what}"] for what in ("mean", "var")]
                for state in (view.before, view.after)]
        found[name] = tuple((new - (1 - share) * old) / share
                            for old, new in zip(*ends, strict=True))
    return found


def batch_norm_mismatch(
    seen: dict[str, Tensor], statistics: dict[str, tuple[Tensor, Tensor]]
) -> Tensor:
    """Squared distance of the guess's batch statistics from those given, in units of the variance.

    ``seen`` holds the inputs of the layers, (n, channels, ...). Mean over layers, of means and
    variances together; Yin et al. (2021) sum the distances, which depends on how many there are.
    """
    gaps = []
    for name, (mean, variance) in statistics.items():
        given = seen[name].transpose(0, 1).flatten(1)
        single = given.shape[1] == 1  # one value has no unbiased variance
        gaps += [(given.mean(1) - mean).square().mean() / (variance.mean() + 1e-12),
                 (given.var(1, unbiased=not single) - variance).square().mean()
                 / (variance.square().mean() + 1e-12)]
    return torch.stack(gaps).mean()
