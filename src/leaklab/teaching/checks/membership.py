"""Checks of the exercises of chapters 10 to 12."""

from __future__ import annotations

from collections.abc import Callable

from leaklab.teaching.checks.cases import Case, run_cases

# --- Chapter 11: membership across rounds -------------------------------------------------------


def rounds_together(attempt: Callable) -> None:
    """Check ``attempt(scores, lengths)``, one of each a round."""
    run_cases(attempt, [
        Case(([2.0, 1.0], [3.0, 4.0]), 2.0,
             "(3 * 2 + 4 * 1) / 5: weigh by the lengths, divide by the root of their squares."),
        Case(([2.0], [0.5]), 2.0, "One round by itself is its own score, whatever its length."),
        Case(([2.0, -9.0], [1.0, 0.0]), 2.0, "A round in which the record is silent says nothing."),
    ])


def against_others(attempt: Callable) -> None:
    """Check ``attempt(scores, hospital)``: scores of one record, one a hospital."""
    run_cases(attempt, [
        Case(([5.0, 1.0, 3.0], 0), 3.0,
             "The others have mean 2 and standard deviation 1; 5 lies 3 of them above."),
        Case(([5.0, 1.0, 3.0, 3.0], 1), (1 - 11 / 3) / (8 / 9) ** 0.5,
             "Divide the squares by the number of the others, and leave the hospital itself out."),
        Case(([0.0, -1.0, 1.0, 8.0], 3), 8 / (2 / 3) ** 0.5,
             "With itself among the others, its distance would be hidden by its own weight."),
    ])


def best_area(attempt: Callable) -> None:
    """Check ``attempt(noise_multiplier, releases)``."""
    run_cases(attempt, [
        Case((1.0, 1), 0.7602499389065233, "One release is 1-GDP: Phi(1 / sqrt(2))."),
        Case((5.0, 25), 0.7602499389065233, "25 releases at five times the noise: mu is 1 again."),
        Case((10.0, 30), 0.6507323208483307, "mu is the root of 30 over 10; C does not matter."),
    ])
