"""Checks of the exercises of chapters 16 to 18."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, sqrt

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
        Case((0.4, 0.1, 0.2), log(4.0), "The delta enters both ways round."),
        Case((0.7, 0.6, 0.0), 0.0, "Worse than a coin: 0, and never below it."),
    ])


# --- Lab 17 -----------------------------------------------------------------------------------


def masked_word(attempt: Callable) -> None:
    """Check ``attempt(number, place, masks, modulus)``: whole numbers, ``masks`` a list of them."""
    run_cases(attempt, [
        Case((5, 0, [0, 3, 4], 16), 12, "The first hospital adds both of its masks."),
        Case((1, 2, [3, 9, 0], 16), 5, "The last subtracts both: 1 - 12 is 5 modulo 16."),
        Case((6, 1, [3, 7, 9], 16), 12, "6 - 3 + 9; what stands at its own place is no mask."),
        Case((-4, 1, [0, 0], 2**32), 2**32 - 4, "A negative number is one modulo 2^32, too."),
    ])


def fraction_bits(attempt: Callable) -> None:
    """Check ``attempt(hospitals, records, largest, bits)``, all whole numbers."""
    run_cases(attempt, [
        Case((5, 200, 1, 32), 21, "1000 * 2^21 is below 2^31, 1000 * 2^22 is not."),
        Case((8, 128, 2, 32), 19, "2048 * 2^20 is 2^31 itself, and no longer below it."),
        Case((5, 1_000_000, 64, 64), 34, "320,000,000 * 2^34 is below 2^63."),
        Case((16, 512, 1, 32), 17, "Each hospital may reach 512 * 2^f: the sum of all must fit."),
    ])


def determined(attempt: Callable) -> None:
    """Check ``attempt(took_part)``, a float tensor (rounds, hospitals) of ones and zeros."""
    everyone, none = tensor([True] * 3), tensor([False] * 3)
    run_cases(attempt, [
        Case((tensor([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]]),), everyone,
             "Three rounds of two: half their sum is all three, minus a round leaves one."),
        Case((tensor([[1.0, 1, 1], [1, 1, 1], [1, 1, 1]]),), none,
             "The same sum three times says nothing of one hospital."),
        Case((tensor([[1.0, 1, 1], [1, 1, 0]]),), tensor([False, False, True]),
             "The third came once more: the difference is its update. The others come together."),
        Case((tensor([[1.0, 1, 0], [0, 1, 1]]),), none,
             "No two come and go together, but two sums cannot tell three updates apart."),
        Case((tensor([[1.0, 0, 0], [0, 1, 1], [1, 1, 1]]),), tensor([True, False, False]),
             "The second and the third always come together, whoever else does."),
        Case((tensor([[1.0, 0], [1, 0]]),), tensor([True, False]),
             "Of who never took part no sum says anything."),
    ])


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
        Case(([0.1, 0.4], [0.9, 0.8], 0.5), 0, "Of those that hold, accuracy alone decides."),
    ])
