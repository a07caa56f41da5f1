"""Checks of the exercises of chapter 20."""

from __future__ import annotations

from collections.abc import Callable

from leaklab.teaching.checks.cases import Case, run_cases

# --- Lab 20 -----------------------------------------------------------------------------------


def rounds_needed(attempt: Callable) -> None:
    """Check ``attempt(baseline, level)``, numbers from 0 to below 1; the answer is whole."""
    run_cases(attempt, [
        Case((0.0, 0.95), 1, "Where a blind guess never hits, one hit is above it."),
        Case((0.5, 0.95), 6, "0.025 to the power 1/6 is 0.54; of 1/5 only 0.48."),
        Case((0.5, 0.8), 4, "The level counts: 0.1 to the power 1/4 is 0.56."),
        Case((0.9, 0.95), 36, "A good guess is hard to beat: many rounds."),
        Case((0.05, 0.95), 2, "0.025 itself lies below 0.05; its root does not."),
        Case((0.25, 0.5), 2, "One round begins at 0.25, at the baseline and not above it."),
    ])


def exit_status(attempt: Callable) -> None:
    """Check ``attempt(values, baselines, tolerated)``; the answer is 0, 1 or 3."""
    run_cases(attempt, [
        Case(([0.9], [0.1], 0.5), 1, "0.8 above the baseline, and 0.5 is tolerated."),
        Case(([0.9], [0.8], 0.5), 0, "High, but a blind guess is nearly as good."),
        Case(([None], [0.1], 0.5), 3, "Nothing was measured: that is no pass."),
        Case(([None, 0.9], [0.1, 0.1], 0.5), 1, "One leak is enough, whatever is missing."),
        Case(([0.1, None], [0.1, 0.1], 0.0), 0, "As good as the guess; something was measured."),
        Case(([0.2, 0.9, 0.1], [0.2, 0.2, 0.2], 0.5), 1, "The worst decides, and not the mean."),
        Case(([0.1], [0.9], 0.5), 0, "Far below the guess is no leak: keep the sign."),
        Case(([0.0, None], [0.1, 0.1], 0.0), 0, "A value of 0 was measured; None was not."),
    ])
