r"""What a model takes for the typical member of a class: model inversion.

Start from nothing and change the input until the model is sure of the class,

.. math:: \hat x = \arg\min_{x \in [0, 1]^d} -\log p_c(x),

by plain descent on the pixels. The answer belongs to the class as the model separates it from the
others. It is the picture of a person only where a class is one person, as in the face recognition
of the paper; where a class is a diagnosis, it is at best what the class has more of than the rest.

Threat model: anyone who holds the model, which every member of a federation does and the public
may. Nothing else is known; no patient, no update.

Source: Fredrikson, Jha and Ristenpart (2015, doi:10.1145/2810103.2813677), MI-Face. Its cost is
:math:`1 - p_c`, whose slope vanishes where the model is sure of another class; the logarithm has
the same minimum and does not. Its autoencoder, which keeps guesses looking like faces, is left out.

Where it fails: deep networks, which are sure of pictures that look like nothing. A high confidence
is what was asked for and so proves nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from leaklab.attacks.observed import require_same_model
from leaklab.attacks.search import Budget, Callback, Descent, search
from leaklab.updates import Recovered, View

__all__ = ["invert_class"]

BUDGET = Budget(evaluations=5000)
LEARNING_RATE = 0.1  # in grey values a step; this and the two others are the paper's
ENOUGH = 0.99  # confidence at which the search ends


def invert_class(
    model: nn.Module, view: View, label: int, *, start: Tensor, budget: Budget = BUDGET,
    learning_rate: float = LEARNING_RATE, enough: float = ENOUGH, every: int | None = None,
    callback: Callback | None = None,
) -> Recovered:
    """An input that the model behind ``view``, at the state after, takes for class ``label``.

    ``start`` has the shape of one input with a first axis of one, values in [0, 1]; zeros in the
    paper. The guess keeps shape, dtype and device; ``score`` (1,) is the model's confidence, a
    probability. ``every`` keeps a snapshot each so many steps. The search ends where the
    confidence is ``enough``.

    Raises ``ValueError`` for a label that the model does not have, more than one start, a
    confidence outside (0, 1), or states that are not those of ``model``.
    """
    require_same_model(model, view)
    if len(start) != 1:
        raise ValueError(f"start: {len(start)} inputs given, expected one")
    if not 0 < enough < 1:
        raise ValueError(f"enough: {enough} given, expected a probability between 0 and 1")
    state = {name: tensor.detach() for name, tensor in view.after.items()}
    was_training = model.training
    model.eval()
    try:
        classes = functional_call(model, state, (start,)).shape[1]
        if not 0 <= label < classes:
            raise ValueError(f"label: {label} given, expected 0 to {classes - 1}")
        target = torch.tensor([label], device=start.device)

        def loss(image: Tensor, progress: float) -> tuple[Tensor, Tensor]:
            logits = functional_call(model, state, (image,))
            return cross_entropy(logits, target), image.new_zeros(())  # no prior

        found = search(_projected_descent(learning_rate, -math.log(enough)), loss, [[start]],
                       budget=budget, every=every, callback=callback)
    finally:
        model.train(was_training)
    snapshots = torch.stack(found.snapshots) if found.snapshots else None
    return Recovered(found.variables[0], labels=target, trajectory=snapshots,
                     score=start.new_tensor([math.exp(-found.loss)]))


def _projected_descent(learning_rate: float, low_enough: float) -> Descent:
    """Steps down the slope, each cut to [0, 1], until the loss is low enough."""

    def descend(variables, loss, log) -> None:
        (image,) = variables
        while True:
            data, _ = loss(image, progress=0.0)
            (slope,) = torch.autograd.grad(data, [image])
            log.note(variables, data.item())
            if data.item() <= low_enough:
                return
            with torch.no_grad():
                image.sub_(learning_rate * slope).clamp_(0, 1)

    return descend
