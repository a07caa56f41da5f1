"""Checks of the exercises of chapters 16 to 18."""

from __future__ import annotations

from collections.abc import Callable
from math import log

from torch import tensor

from leaklab.teaching.checks.cases import Case, run_cases

# --- Lab 16 -----------------------------------------------------------------------------------


def patient_gradient(attempt: Callable) -> None:
    """Check ``attempt(gradients, C)``: a tensor (records, p) and a number."""
    run_cases(attempt, [
        Case((tensor([[6.0, 0.0], [0.0, 8.0]]), 1.0), tensor([0.6, 0.8]),
             "The mean is (3, 4), of norm 5: a fifth of it is left."),
        Case((tensor([[0.2, 0.0], [0.0, 0.2]]), 1.0), tensor([0.1, 0.1]),
             "A short mean is left as it is."),
        Case((tensor([[30.0, 40.0]]), 2.0), tensor([1.2, 1.6]), "One record: its own gradient."),
        Case((tensor([[9.0, 1.0], [-9.0, 1.0]]), 1.0), tensor([0.0, 1.0]),
             "Clip once, after the mean: here the long parts cancel."),
    ])


def most_accused(attempt: Callable) -> None:
    """Check ``attempt(fpr, noise_multiplier, releases)``."""
    run_cases(attempt, [
        Case((0.5, 1.0, 1), 0.8413447460685429, "Phi(0 + 1): one release of noise 1 is mu = 1."),
        Case((0.01, 2.0, 16), 0.37208058543549444, "16 releases of noise 2 are mu = 2."),
        Case((0.1, 10.0, 25), 0.21723908042730522, "The root of 25 over 10 is 0.5."),
    ])


def proved_epsilon(attempt: Callable) -> None:
    """Check ``attempt(alarms, misses, delta)``, three shares."""
    run_cases(attempt, [
        Case((0.1, 0.4, 0.0), log(6.0), "0.6 of those with it against 0.1 of those without."),
        Case((0.4, 0.1, 0.0), log(6.0), "The other way round it is 0.6 against 0.1: same bound."),
        Case((0.5, 0.5, 0.0), 0.0, "A coin proves nothing."),
        Case((0.1, 0.4, 0.2), log(4.0), "(1 - 0.4 - 0.2) / 0.1 is 4, the other way round 1.75."),
        Case((0.7, 0.6, 0.0), 0.0, "Worse than a coin: 0, and never below it."),
    ])
