"""Images behind a dense layer: read what entered the layer, then find the images that lead there.

Many image models end in convolutions, a dense layer with ReLU, and a head. The algebra of
:mod:`leaklab.attacks.spear` reads what entered the dense layer, record by record, also out of a sum
over hospitals. The convolutions before it are then undone by search
(:mod:`leaklab.attacks.feature_inversion`), each record by itself, so that a batch costs no quality.

Threat model: a passive observer of an update, or of a sum, after plain SGD; learning rate, number
of steps and number of records known. Labels are not needed. Which hospital of a sum a record came
from stays unknown.

Sources: Kariyappa et al. (2023, arXiv:2209.05578) for the two steps, features separated out of
aggregated gradients and then inverted; Dimitrov et al. (2024, arXiv:2403.03945) for the algebra
that takes the place of their first step; Mahendran and Vedaldi (2015, arXiv:1412.0035) for the
search with total variation in the second.

Where it fails: where SPEAR does, which nearly always shows in the score; more than about a dozen
records; records that the model fits so well that their gradient drowns in rounding; local steps in
which neurons switch; pooling before the layer.
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
"""Score above which the algebra is taken to have worked: on images of other seeds, right answers
had 0.97 or more and wrong ones 0.92 or less."""


def dense_images(
    model: nn.Module, view: View, *, shape: tuple[int, ...], generator: torch.Generator,
    budget: Budget = DEFAULT, variation: float = 0.1, draws: int = 2**15,
    every: int | None = None, callback: Callback | None = None,
) -> Recovered | None:
    """Images, (records, channels, height, width) as ``shape``, in no particular order.

    ``None`` where the algebra refuses or scores below :data:`AGREE`: search for the images instead
    (:func:`leaklab.attacks.gradient_matching.inverting_gradients`). ``score`` and ``certificate``
    are those of :func:`leaklab.attacks.spear.batch`, which ``draws`` bounds; the other arguments
    are those of :func:`leaklab.attacks.feature_inversion.invert_features`.

    Raises ``ValueError`` as those two do.
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
