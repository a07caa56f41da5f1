"""Checks of the exercises of chapters 16 to 18."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt

from leaklab.teaching.checks.cases import Case, run_cases

# --- Lab 18 -----------------------------------------------------------------------------------


def own_noise(attempt: Callable) -> None:
    """Check ``attempt(mu, releases, hospitals, colluding)``."""
    run_cases(attempt, [
        Case((1.0, 1, 4, 0), 0.5, "Four shares of 1/2 add up to noise of 1: squares are added."),
        Case((1.0, 9, 1, 0), 3.0, "Alone, nine releases take three times the noise of one."),
        Case((0.5, 1, 5, 1), 1.0, "Four are counted on, and half of mu is twice the noise."),
        Case((2.0, 10, 6, 3), sqrt(10 / 3) / 2, "Three of six are counted on."),
    ])


def cheapest_that_holds(attempt: Callable) -> None:
    """Check ``attempt(exposures, accuracies, promise)``: two lists and a number."""
    run_cases(attempt, [
        Case(([inf, 0.5, 0.4], [0.9, 0.8, 0.7], 0.5), 1,
             "The first has no bound; of the two that hold, the second is more accurate."),
        Case(([0.1, 0.5, 0.2], [0.6, 0.9, 0.7], 0.3), 2,
             "The second is the most accurate, and leaves more than promised."),
        Case(([inf, 2.0], [0.9, 0.8], 1.0), -1, "Nothing holds: say so with -1."),
        Case(([1.0], [0.5], 1.0), 0, "As much as promised still holds."),
    ])
