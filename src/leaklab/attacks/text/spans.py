"""How well a word fits at a place: the span of a layer's inputs; see :mod:`leaklab.attacks.text`.

Threat model, sources and limits as there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from leaklab.attacks.observed import mean_gradient, rounding
from leaklab.attacks.search import Budget
from leaklab.attacks.text.proof import received
from leaklab.runtime import progress
from leaklab.transformer import LowRank, NoteModel
from leaklab.updates import View

CHECKS = Budget(evaluations=10**7)
"""Span checks by default: for the course's models, more than a search ever takes."""


class Meter:
    """What is left of a budget of span checks.

    Raises ``ValueError`` for restarts: a search without chance would find the same again.
    """

    def __init__(self, budget: Budget):
        if budget.restarts != 1:
            raise ValueError(f"budget: {budget.restarts} restarts given, expected 1")
        self.left = budget.evaluations
        self.until = time.monotonic() + budget.seconds if budget.seconds else float("inf")

    def spend(self, checks: int) -> bool:
        """Whether so many checks may be made. The first refusal ends the search."""
        allowed = checks <= self.left and time.monotonic() < self.until
        self.left = self.left - checks if allowed else 0
        return allowed


def word_fits(model: NoteModel, view: View, *, budget: Budget = CHECKS) -> Tensor:
    """How well each word fits at each place, shape (length, vocabulary); 1 is usual, 0 exact.

    The squared length of the shortest combination of rows of the first block's gradient that
    gives the word's input, over the median of all words there. A place costs as many checks as
    there are words; it is infinite where the budget did not reach. Raises ``ValueError`` as
    :func:`leaklab.attacks.text.proof.received` does.
    """
    return fits_within(received(model, view), view, Meter(budget))


def fits_within(net: NoteModel, view: View, meter: Meter) -> Tensor:
    """:func:`word_fits` of a model that holds the weights received, counted on ``meter``."""
    span, norm = span_of(net, view, 0), net.blocks[0].before_attention
    words, places = net.tokens.weight, net.positions.weight
    fits = torch.full((len(places), len(words)), torch.inf, dtype=torch.float64,
                      device=words.device)
    with torch.no_grad():  # place by place: all words at all places take a lot of memory
        for row, place in zip(fits, progress(places, "words at places"), strict=True):
            if not meter.spend(len(words)):
                break
            length = span.length(norm(words + place))
            row.copy_(length / length.median())
    return fits


@dataclass(frozen=True)
class Span:
    """Singular directions of a gradient, what each costs, and what inputs pass before it."""

    axes: Tensor
    cost: Tensor
    down: Tensor | None

    def length(self, inputs: Tensor) -> Tensor:
        """Squared length of the combination; shapes (..., width) to (...)."""
        seen = inputs.double() if self.down is None else inputs.double() @ self.down.T
        return ((seen @ self.axes).square() * self.cost).sum(-1)


def span_of(net: NoteModel, view: View, block: int) -> Span:
    """The span of what went into the attention of ``block``, by the gradient of its weights."""
    adapted = isinstance(net.blocks[block].attend, LowRank)
    name = f"blocks.{block}.attend." + ("up" if adapted else "weight")
    gradient = mean_gradient(net, view)[name].double()
    _, values, axes = torch.linalg.svd(gradient, full_matrices=False)
    # noise of a random matrix: entries uniform within their rounding, largest singular value
    entry = (rounding(net, view)[name].double().square().mean() / 3).sqrt()
    arithmetic = torch.finfo(view.after[name].dtype).eps * values[0]
    noise = entry * sum(side**0.5 for side in gradient.shape) + arithmetic
    down = net.blocks[block].attend.down.detach().double() if adapted else None
    return Span(axes.T, 1 / (values.square() + noise.square()), down)
