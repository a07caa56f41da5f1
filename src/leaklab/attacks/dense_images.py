"""Images behind a dense layer: read what entered the layer, then find the images that lead there.

Many image models end in convolutions, a dense layer with ReLU, and a head. Algebra reads what
entered the dense layer, record by record, also out of a sum over hospitals: before a head of two
classes by what single neurons add (:mod:`leaklab.attacks.exclusive_neurons`), else by low rank and
zeros (:mod:`leaklab.attacks.spear`). The convolutions before it are then undone by search
(:mod:`leaklab.attacks.feature_inversion`), each record by itself, so that a batch costs no quality.

Threat model: a passive observer of an update, or of a sum, after plain SGD; learning rate, number
of steps and number of records known. Labels are not needed. Which hospital of a sum a record came
from stays unknown.

Sources: Kariyappa et al. (2023, arXiv:2209.05578) for the two steps, features separated out of
aggregated gradients and then inverted; Pan et al. (2022, arXiv:2010.13356) and Dimitrov et al.
(2024, arXiv:2403.03945) for the algebra that takes the place of their first step; Mahendran and
Vedaldi (2015, arXiv:1412.0035) for the search with total variation in the second.

Where it fails, which nearly always shows: records that no neuron tells apart; as many records as
neurons, or with more than two classes more than about a dozen; records that the model fits so well
that their gradient drowns in rounding; local steps in which neurons switch; pooling before the
layer.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from leaklab.attacks import spear
from leaklab.attacks.exclusive_neurons import exclusive_neurons
from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.layers import dense_layers
from leaklab.attacks.search import DEFAULT, Budget, Callback
from leaklab.updates import Recovered, View

AGREE = 0.95
"""Score above which SPEAR is taken to have worked: on images of other seeds, right answers had
0.97 or more; one wrong answer in many had that too."""


def dense_images(
    model: nn.Module, view: View, *, shape: tuple[int, ...], generator: torch.Generator,
    budget: Budget = DEFAULT, variation: float = 0.1, draws: int = 2**15,
    every: int | None = None, callback: Callback | None = None,
) -> Recovered | None:
    """Images, (records, channels, height, width) as ``shape``, in no particular order.

    ``None`` where the algebra refuses or scores below :data:`AGREE`: search for the images instead
    (:func:`leaklab.attacks.gradient_matching.inverting_gradients`). ``score``, ``labels`` and
    ``certificate`` are those of :func:`leaklab.attacks.exclusive_neurons.exclusive_neurons`, or
    where it finds nothing of :func:`leaklab.attacks.spear.batch`, which ``draws`` bounds: they are
    about what enters the layer. The other arguments are those of
    :func:`leaklab.attacks.feature_inversion.invert_features`.

    Raises ``ValueError`` as those do.
    """
    layer = dense_layers(model)[0]
    read = exclusive_neurons(model, view, batch_size=shape[0], layer=layer)
    if read is None:
        read = spear.batch(model, view, generator=generator, batch_size=shape[0], layer=layer,
                           draws=draws)
    if len(read.guess) != shape[0] or float(read.score.min()) < AGREE:
        return None
    found = invert_features(model, view, (layer, read.guess), shape=shape, generator=generator,
                            budget=budget, variation=variation, every=every, callback=callback)
    return replace(found, labels=read.labels, score=read.score, certificate=read.certificate)
