"""Checks of the exercises of chapter 19."""

from __future__ import annotations

from collections.abc import Callable

from leaklab.teaching.checks.cases import Case, run_cases

# --- Lab 19 -----------------------------------------------------------------------------------


def excluded_rate(attempt: Callable) -> None:
    """Check ``attempt(trials, level)``, a whole number and a number between 0 and 1."""
    run_cases(attempt, [
        Case((1, 0.95), 0.95, "One trial without a hit: only rates above 0.95 would have hit so."),
        Case((2, 0.75), 0.5, "Half of the time two coins show no head: 0.5 squared is 1 - 0.75."),
        Case((299, 0.95), 0.009969146792899286, "About three over n: the rule of three."),
        Case((100, 0.99), 0.045007413978564004,
             "The level counts: a surer statement excludes less."),
    ])


def finding(attempt: Callable) -> None:
    """Check ``attempt(low, high, baseline, tolerated)``, four rates; the answer is 0, 1 or 2."""
    run_cases(attempt, [
        Case((0.2, 0.4, 0.1, 0.05), 2, "All of the interval lies above the baseline."),
        Case((0.10, 0.30, 0.10, 0.05), 1, "An interval that touches the baseline is not above it."),
        Case((0.0, 0.12, 0.10, 0.05), 0, "At most 0.02 above the baseline, and 0.05 is tolerated."),
        Case((0.0, 0.16, 0.10, 0.05), 1, "Up to 0.06 above the baseline is left possible."),
        Case((0.0, 0.5, 0.25, 0.25), 0, "As much as is tolerated is not further."),
        Case((0.11, 0.12, 0.10, 0.05), 2, "Above is above, however little: it was seen."),
        Case((0.0, 0.04, 0.0, 0.01), 1, "No hit, but too few trials to exclude 0.01."),
    ])


def told(attempt: Callable) -> None:
    """Check ``attempt(people, largest_state)``: three truth values in a list."""
    run_cases(attempt, [
        Case((800, 620), [True, True, True], "Individuals, the media and the Secretary, all now."),
        Case((500, 500), [True, False, True],
             "The Secretary is told from 500 people on, the media beyond 500 of one State."),
        Case((900, 300), [True, False, True], "The media look at one State, not at all people."),
        Case((499, 499), [True, False, False], "The Secretary finds it in the annual log."),
        Case((501, 501), [True, True, True], "Both limits are passed."),
    ])
