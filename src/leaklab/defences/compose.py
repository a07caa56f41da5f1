"""Several defences, one after the other: what a hospital does to an update before it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from leaklab.updates import Update

__all__ = ["then"]

Gradient = dict[str, Tensor]


@dataclass(frozen=True)
class Composed:
    """Steps in the order in which an update passes them; call it with the update."""

    steps: tuple[Callable[[Any], Any], ...]

    def __call__(self, update: Update) -> Any:
        """What the last step makes of what the steps before it made of ``update``."""
        sent = update
        for step in self.steps:
            sent = step(sent)
        return sent

    def surrogate(self, gradient: Gradient) -> Gradient:
        """The surrogates of the steps in their order: what an attacker simulates.

        A step without one leaves the gradient as it is, as a mask that cancels in a sum does.
        """
        for step in self.steps:
            gradient = getattr(step, "surrogate", lambda same: same)(gradient)
        return gradient


def then(*steps: Callable[[Any], Any]) -> Composed:
    """``steps`` from left to right as one defence: noise before a mask, never after it.

    Each step takes what the one before it gave; the first takes an ``Update``, and only the last
    may give something else, such as a masked update. Raises ``ValueError`` for no steps at all, or
    one that cannot be called.
    """
    if not steps:
        raise ValueError("steps: none given, expected at least one")
    for k, step in enumerate(steps):
        if not callable(step):
            raise ValueError(f"steps[{k}]: {step!r} given, expected a function of an update")
    return Composed(steps)
