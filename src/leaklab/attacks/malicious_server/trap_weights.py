r"""Trap weights: a dense first layer whose neurons fire for few records, at best for one.

Half of the weights of a row, chosen at random, are negative, the rest are the same numbers made
positive and a little smaller. On inputs that are not negative the negative part mostly wins. Where
a single record gets through, the quotient of weight and bias gradient of that row is the record.

Threat model: an active server that sees single updates, or the sum of few. It needs no public
data, though ``scale`` is better for some.

Source: Boenisch et al. (2023, arXiv:2112.02918). The certificate, a check of the answers, is that
of :mod:`leaklab.attacks.malicious_server.readout`.

Where it fails: a scale that does not fit the data, with which traps read less than the layer as it
was initialised (study 7: real radiographs, 8 records, scale 0.95); inputs of either sign; large
batches, in which several records get through; sums over many hospitals; differential privacy. An
untrained layer that nobody crafted leaks in the same way, and :func:`read_rows` reads it too: what
the traps add is the difference.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from leaklab.attacks.layers import dense_gradient, dense_layers
from leaklab.attacks.malicious_server.readout import candidates, certified, distinct
from leaklab.updates import Recovered, View

__all__ = ["read_rows", "trapped"]


def trapped(model: nn.Module, generator: torch.Generator, *, scale: float = 0.95) -> nn.Module:
    """A copy of ``model`` with traps in its first dense layer, no larger than its own weights.

    ``scale``: the positive weights as a share of the negative ones; the closer to 1, the more
    neurons fire. Raises ``ValueError`` where it is not in (0, 1], or there is no dense layer.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale: {scale} given, expected a number in (0, 1]")
    crafted = copy.deepcopy(model)
    layer = crafted.get_submodule(dense_layers(model)[0])
    rows, features = layer.weight.shape
    half = features // 2
    size = torch.randn(rows, half, generator=generator).abs().to(layer.weight)
    size *= layer.weight.detach().std()
    place = torch.rand(rows, features, generator=generator).argsort(1).to(layer.weight.device)
    with torch.no_grad():
        layer.weight.zero_().scatter_(1, place[:, :half], -size)
        layer.weight.scatter_(1, place[:, half:2 * half], scale * size)
        if layer.bias is not None:
            layer.bias.zero_()
    return crafted


def read_rows(model: nn.Module, view: View, *, layer: str | None = None,
              pixels: tuple[float, float] = (0.0, 1.0)) -> Recovered:
    """What each neuron of a dense layer says, one guess for neurons that say the same.

    Guess (found, features), surest first. ``layer`` defaults to the first that runs.
    ``certificate``: the guess is one record, see
    :func:`leaklab.attacks.malicious_server.readout.certified`; ``labels`` and ``score`` likewise.
    Closed form: no search, nothing to bound.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does.
    """
    seen = dense_gradient(model, view, layer)
    rows = torch.arange(len(seen.gradient), device=seen.gradient.device)
    found = candidates(seen.gradient[:, :-1], seen.gradient[:, -1], seen.noise, rows)
    return distinct(certified(model, view, seen, found, pixels))
