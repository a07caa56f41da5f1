r"""From an update back to the images: search for inputs whose gradient is the one observed.

    min over x of   distance(gradient(x), observed) + weight(t) TV(x) + further terms

The attacker simulates the hospital (:mod:`leaklab.attacks.simulated`) on a guess, compares what the
guess would have sent with what was sent, and moves the guess downhill.

:func:`deep_leakage` is DLG: squared distance and L-BFGS, for smooth activations. It reaches
machine precision there, and may stall at the kinks of ReLU, with several records most of all.
:func:`inverting_gradients` takes one minus the cosine, total variation as a prior, and the sign of
the gradient in Adam. It is the one for ReLU.

Threat model: a passive observer of a ``View`` who knows how the hospital trains and how many
records it used. Labels are known, or read off beforehand (:mod:`leaklab.attacks.labels`).

Sources: Zhu et al. (2019, arXiv:1906.08935), DLG; Zhao et al. (2020, arXiv:2001.02610), its labels;
Geiping et al. (2020, arXiv:2003.14053), cosine, total variation and signed Adam; Yin et al. (2021,
arXiv:2104.07586), BatchNorm statistics as a prior; Dimitrov et al. (2022, arXiv:2206.12395), the
local epochs inside the search; Balunovic et al. (2022, arXiv:2111.04706), the defence inside it.

Where it fails: more than a few records; a model that has been trained, whose gradients say little
of single images; BatchNorm in training mode; many local steps. A low loss is no success: where
many images give nearly the same gradient, the search finds one of them. See
:mod:`leaklab.attacks.diagnose`, and compare with images that never saw the update.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab.attacks.feature_inversion import feature_mismatch
from leaklab.attacks.observed import known_labels, mean_gradient
from leaklab.attacks.search import (
    DEFAULT,
    Budget,
    Callback,
    descend_from_grey,
    fading,
    grey,
    in_turn,
    l_bfgs,
    recovered,
    search,
    total_variation,
)
from leaklab.attacks.simulated import (
    Gradient,
    batch_norm_mismatch,
    batch_norm_statistics,
    client,
)
from leaklab.models import predict
from leaklab.updates import Recovered, View

__all__ = ["deep_leakage", "inverting_gradients"]

Distance = Callable[[Gradient, Gradient], Tensor]


def cosine_distance(simulated: Gradient, observed: Gradient) -> Tensor:
    """One minus the cosine between two gradients; blind to how long they are."""
    dot = sum((simulated[name] * observed[name]).sum() for name in observed)
    return 1 - dot / (norm(simulated) * norm(observed))


def squared_distance(simulated: Gradient, observed: Gradient) -> Tensor:
    """Squared distance between two gradients, over the squared norm of the observed one."""
    gap = sum((simulated[name] - observed[name]).square().sum() for name in observed)
    return gap / norm(observed).square()


def gaussian_distance(noise_std: float) -> Distance:
    """Minus the log-likelihood of the observed gradient under Gaussian noise of known spread.

    With a prior whose weight is that of minus its log-density, the search finds the image of
    highest posterior density (Balunovic et al., 2022). Raises ``ValueError`` for a spread <= 0.
    """
    if not noise_std > 0:
        raise ValueError(f"noise_std: {noise_std} given, expected a number above 0")

    def distance(simulated: Gradient, observed: Gradient) -> Tensor:
        gap = sum((simulated[name] - observed[name]).square().sum() for name in observed)
        return gap / (2 * noise_std**2)

    return distance


def norm(gradient: Gradient) -> Tensor:
    """Euclidean norm over all tensors."""
    total = sum(tensor.square().sum() for tensor in gradient.values())
    return (total + torch.finfo(total.dtype).tiny).sqrt()


def inverting_gradients(
    model: nn.Module, view: View, *, shape: tuple[int, ...], generator: torch.Generator,
    labels: Tensor | None = None, budget: Budget = DEFAULT, variation: float = 0.05,
    features: tuple[str, Tensor] | None = None, feature_weight: float = 30.0,
    batch_norm_weight: float = 0.0, distance: Distance = cosine_distance,
    training_loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    every: int | None = None, callback: Callback | None = None,
) -> Recovered:
    """Images whose gradient points the way of the observed one (Geiping et al., 2020).

    Signed Adam from grey, its steps shrinking along a cosine. A run-up of thirty evaluations by
    L-BFGS comes first, which the original lacks: it halved what held-out images needed to 30 dB.
    The total variation of the guess is weighted by ``variation``, which shrinks to nothing on the
    way: it leads at first and leaves no trace at the end (the original keeps it constant).

    shape
        Of the guess: (records, channels, height, width), or (records, features) for a table,
        which has no total variation. Values are kept in [0, 1].
    labels
        (records,); by default those of ``view.knowledge``.
    features
        A layer and what went into it, (records, ...), as an algebraic attack found it
        (:mod:`leaklab.attacks.dense_layer`); the guess is drawn to features like these.
    batch_norm_weight
        How much the guess is drawn to the batch statistics that the update gives away.
    training_loss
        What the hospital minimises, of (outputs, labels).
    budget, every, callback
        Evaluations, starts and seconds; keep a snapshot each so many evaluations; a function to
        call at each.

    Of all starts the guess of the smallest loss is returned, with ``score`` minus its own loss;
    Ctrl-C returns the best so far. Raises ``ValueError`` where the view does not allow the attack.
    """
    known = known_labels(view, labels, shape[0])
    statistics = batch_norm_statistics(model, view) if batch_norm_weight else {}
    simulate = client(model, view, watch=[*statistics, *([features[0]] if features else [])],
                      loss=training_loss)
    observed = mean_gradient(model, view)
    like = next(iter(observed.values()))
    miss = feature_mismatch(features, shape[0], like) if features else None

    def loss(guess: Tensor, progress: float) -> tuple[Tensor, Tensor | float]:
        sent = simulate(guess, known)
        data = distance(sent.gradient, observed)
        if miss:
            data = data + feature_weight * miss(sent.inputs)
        if statistics:
            data = data + batch_norm_weight * batch_norm_mismatch(sent.inputs, statistics)
        return data, fading(variation, progress) * total_variation(guess)

    return descend_from_grey(loss, shape=shape, generator=generator, like=like, budget=budget,
                             every=every, callback=callback, labels=known)


def deep_leakage(
    model: nn.Module, view: View, *, shape: tuple[int, ...], generator: torch.Generator,
    labels: Tensor | None = None, budget: Budget = DEFAULT, variation: float = 0.0,
    distance: Distance = squared_distance, every: int | None = None,
    callback: Callback | None = None,
) -> Recovered:
    """DLG: images whose gradient is the observed one, by L-BFGS (Zhu et al., 2019).

    A line search is used for unknown labels; for known ones only where whole steps help no more.
    Arguments as in :func:`inverting_gradients`; ``variation`` is constant here. Where no labels
    are known, they are searched for together with the images, as in the original: ``labels``
    of the result are then a finding. Guesses are clipped to [0, 1] at the end only.
    """
    known = view.knowledge.labels if labels is None else labels
    simulate = client(model, view)
    observed = mean_gradient(model, view)
    like = next(iter(observed.values()))

    def loss(guess: Tensor, logits: Tensor | None = None, *, progress: float):
        share = known if logits is None else logits.softmax(1)
        data = distance(simulate(guess, share).gradient, observed)
        return data, variation * total_variation(guess)

    starts = []
    for _ in range(budget.restarts):
        start = [grey(shape, generator, like)]
        if known is None:
            logits = predict(model, view.before, start[0])
            start.append(torch.randn(logits.shape, generator=generator, device=generator.device)
                         .to(logits))
        starts.append(start)
    if known is not None:
        known = known_labels(view, known, shape[0])
    descent = l_bfgs(line_search=True)
    if known is not None:
        descent = in_turn(l_bfgs(), descent)
    found = search(descent, loss, starts, budget=budget, every=every, callback=callback)
    said = found.variables[1].argmax(1) if known is None else known
    return recovered(found, loss, said)
