"""From the features inside a network back to the images.

Where an algebraic attack on a dense layer has found what went into that layer
(:mod:`leaklab.attacks.dense_layer`), no gradient needs to be simulated any more: search for the
images that the layers before map to those features.

Threat model: that of the attack which found the features. Sources: Mahendran and Vedaldi (2015,
arXiv:1412.0035), inversion of features with total variation; Kariyappa et al. (2023,
arXiv:2209.05578), features separated from a gradient and then inverted.

Where it fails: features that are wrong or mixed; layers before that throw the image away, such as
pooling over all places.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leaklab.attacks.observed import require_same_model
from leaklab.attacks.search import (
    DEFAULT,
    Budget,
    Callback,
    descend_from_grey,
    fading,
    total_variation,
)
from leaklab.attacks.simulated import keep_inputs
from leaklab.updates import Recovered, View


def invert_features(
    model: nn.Module, view: View, features: tuple[str, Tensor], *, shape: tuple[int, ...],
    generator: torch.Generator, budget: Budget = DEFAULT, variation: float = 0.01,
    every: int | None = None, callback: Callback | None = None,
) -> Recovered:
    """Images that lead to ``features``: the name of a layer and what goes into it, (records, ...).

    The model stands at the state before, in evaluation mode. Each record is searched for by
    itself, so the quality does not depend on how many there are. The loss is the squared distance
    over the squared size of the features; ``variation`` fades on the way. The descent, ``shape``,
    ``budget``, ``every`` and ``callback`` are those of
    :func:`leaklab.attacks.gradient_matching.inverting_gradients`.

    Raises ``ValueError`` for a layer that does not exist, for states that are not those of
    ``model``, and as :func:`feature_mismatch` does.
    """
    require_same_model(model, view)
    state = {k: v.detach() for k, v in (view.after if view.before is None else view.before).items()}
    net = copy.deepcopy(model).eval()
    inputs = keep_inputs(net, [features[0]])
    like = state[next(name for name, _ in model.named_parameters())]
    mismatch = feature_mismatch(features, shape[0], like)

    def loss(guess: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        inputs.clear()
        functional_call(net, state, (guess,))
        return mismatch(inputs), fading(variation, progress) * total_variation(guess)

    return descend_from_grey(loss, shape=shape, generator=generator, like=like, budget=budget,
                             every=every, callback=callback)


def feature_mismatch(
    features: tuple[str, Tensor], records: int, like: Tensor
) -> Callable[[dict[str, Tensor]], Tensor]:
    """The squared distance of a layer's inputs from ``features``, over their squared size.

    A function of the inputs by name of layer, in the dtype and on the device of ``like``. Where
    a batch of fewer records runs, the first of ``features`` are theirs.

    Raises ``ValueError`` for features whose number is not ``records``, or that are all zero or not
    finite; the function, for features of another size than the layer's inputs.
    """
    layer, target = features[0], features[1].detach().to(like)
    if len(target) != records:
        raise ValueError(f"features: {len(target)} given, expected {records}, one a record")
    size = target.square().mean()
    if not 0 < size < math.inf:
        raise ValueError(f"features: a mean square of {size:.3g} given, expected finite values "
                         "that are not all zero")

    def mismatch(inputs: dict[str, Tensor]) -> Tensor:
        given = inputs[layer]
        wanted = target[:len(given)]
        if given.numel() != wanted.numel():
            raise ValueError(f"features: shape {tuple(target.shape)} given, expected that of the "
                             f"inputs of layer {layer!r}, (records, *{tuple(given.shape[1:])})")
        return (given.reshape(wanted.shape) - wanted).square().mean() / size

    return mismatch
