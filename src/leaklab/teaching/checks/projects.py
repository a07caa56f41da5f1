"""Checks of the parts that a project's starter leaves to fill in."""

from __future__ import annotations

from collections.abc import Callable

from torch import tensor

from leaklab.teaching.checks.cases import Case, run_cases

# --- Foundations ------------------------------------------------------------------------------


def gain_interval(attempt: Callable) -> None:
    """Check ``attempt(together, alone)``, two lists, one number a seed: mean, low, high."""
    run_cases(attempt, [
        Case(([0.8, 0.7, 0.9], [0.7, 0.7, 0.7]), [0.1, -0.148413771, 0.348413771],
             "Gains of 0.1, 0 and 0.2: s = 0.1, and t with two degrees of freedom is 4.30."),
        Case(([0.9, 0.5, 0.7], [0.8, 0.4, 0.6]), [0.1, 0.1, 0.1],
             "Take the difference seed by seed: what is hard for both cancels."),
        Case(([0.5, 0.5], [0.5, 0.7]), [-0.1, -1.370620474, 1.170620474],
             "Two seeds say next to nothing: t with one degree of freedom is 12.7."),
    ])


def commoner_share(attempt: Callable) -> None:
    """Check ``attempt(targets)``, a tensor of class numbers."""
    run_cases(attempt, [
        Case((tensor([0, 0, 1]),), 2 / 3, "Two of three are of class 0."),
        Case((tensor([1, 1, 1, 0]),), 0.75, "The commoner class need not be class 0."),
        Case((tensor([2, 0, 2, 1, 2]),), 0.6, "There may be more than two classes."),
    ])


# --- Gradient inversion -----------------------------------------------------------------------


def unusualness(attempt: Callable) -> None:
    """Check ``attempt(records, public)``, tensors (n, columns) and (m, columns)."""
    public = tensor([[0.0, 0.0], [2.0, 4.0]])
    run_cases(attempt, [
        Case((tensor([[1.0, 2.0], [4.0, 2.0]]), public), tensor([0.0, 4.5**0.5]),
             "The public means are 1 and 2; three deviations in one of two columns."),
        Case((tensor([[0.0, 4.0], [2.0, 4.0]]), public), tensor([1.0, 1.0]),
             "A deviation below counts like one above; divide by n in the deviation."),
        Case((tensor([[5.5], [8.0], [2.0]]), tensor([[4.0], [6.0]])), tensor([0.5, 3.0, 3.0]),
             "Mean and deviation are those of the public records, not of these."),
    ])


def read_rate(attempt: Callable) -> None:
    """Check ``attempt(patients, read)``: tensors (draws,), numbers of patients and truth values."""
    run_cases(attempt, [
        Case((tensor([7, 7, 7, 3]), tensor([True, True, True, False])), 0.5,
             "Two patients, one always read and one never: three draws of one count once."),
        Case((tensor([4, 4, 8]), tensor([False, True, True])), 0.75, "A half and a whole."),
        Case((tensor([0, 5, 0, 5, 9]), tensor([True, True, False, True, False])), 0.5,
             "A half, a whole and nothing: draws of a patient need not stand together."),
    ])


# --- Membership and attributes ----------------------------------------------------------------


def exposure(attempt: Callable) -> None:
    """Check ``attempt(inside, outside)``: one patient's scores, tensors (models,)."""
    run_cases(attempt, [
        Case((tensor([2.0, 3.0]), tensor([1.0, 0.0])), 1.0, "Each score inside is above each."),
        Case((tensor([1.0, 2.0]), tensor([1.0, 3.0])), 0.375, "Four pairs; a tie counts half."),
        Case((tensor([1.0]), tensor([1.0, 1.0, 2.0])), 1 / 3, "Numbers of models may differ."),
    ])


def foretold_share(attempt: Callable) -> None:
    """Check ``attempt(foretold, exposed, k)``: tensors (patients,) and a whole number."""
    foretold, exposed = tensor([0.9, 0.1, 0.5, 0.3]), tensor([0.8, 0.2, 0.1, 0.7])
    run_cases(attempt, [
        Case((foretold, exposed, 2), 0.5, "Foretold are 0 and 2, exposed 0 and 3."),
        Case((foretold, exposed, 3), 2 / 3, "Two of three: divide by k."),
        Case((tensor([-3.0, -1.0]), tensor([5.0, 1.0]), 1), 0.0, "The highest, not the largest."),
        Case((foretold, exposed, 1), 1.0, "Only the order counts, not how far values lie apart."),
    ])


# --- Genomes ----------------------------------------------------------------------------------


def most_snps(attempt: Callable) -> None:
    """Check ``attempt(people, reference, fpr, power)``: sizes and rates; a whole number."""
    run_cases(attempt, [
        Case((200, 2000, 0.01, 0.05), 102, "d' may be 2.326 - 1.645 = 0.681; its square is 0.464."),
        Case((1000, 1e12, 0.01, 0.5), 5411, "At half the members d' is 2.326. Round down."),
        Case((100, 100, 0.01, 0.9), 2603, "For more than a half the second quantile is added."),
        Case((100, 100, 0.05, 0.05), 0, "As many members as strangers: that is no signal at all."),
        Case((100, 100, 0.05, 0.01), 0, "Fewer than strangers: not even with one SNP."),
    ])


def accused_share(attempt: Callable) -> None:
    """Check ``attempt(scores, strangers, fpr)``: tensors (n,) and (m,), and a rate."""
    strangers = tensor([3.0, 1.0, 2.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0])
    run_cases(attempt, [
        Case((tensor([9.0, 9.5, 11.0, 0.0]), strangers, 0.1), 0.5,
             "One stranger of ten may be accused, so it takes more than the second highest, 9."),
        Case((tensor([9.0, 9.5, 11.0, 7.8]), strangers, 0.25), 0.75,
             "At most a quarter of ten is two: it takes more than 8."),
        Case((tensor([9.0, 11.0]), strangers, 0.0), 0.5, "Nobody falsely: more than all of them."),
        Case((tensor([2.0, 3.0]), tensor([1.0, 2.0, 2.0, 2.0]), 0.5), 0.5,
             "Who ties with three strangers cannot be accused if two may be."),
    ])


# --- Defences ---------------------------------------------------------------------------------


def read_share(attempt: Callable) -> None:
    """Check ``attempt(guesses, truths, steps)``: shapes (n, columns) twice, and (columns,)."""
    run_cases(attempt, [
        Case((tensor([[1.4, 10.0], [1.6, 10.0]]), tensor([[1.0, 10.0], [1.0, 10.0]]),
              tensor([1.0, 5.0])), 0.5, "0.4 is within half a digit of 1, and 0.6 is not."),
        Case((tensor([[-1.0, 12.0]]), tensor([[-0.6, 10.0]]), tensor([1.0, 5.0])), 1.0,
             "Each column has its own digit; errors may lie on either side."),
        Case((tensor([[0.0, 0.0]] * 3), tensor([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0]]),
              tensor([1.0, 1.0])), 1 / 3, "A record is read if all of its entries are."),
        Case((tensor([[1.0, 1.0]]), tensor([[9.0, 1.0]]), tensor([1.0, 1.0])), 0.0,
             "Too low is as wrong as too high."),
    ])


def named_share(attempt: Callable) -> None:
    """Check ``attempt(own, strangers)``, tensors (rounds,) and (rounds, strangers)."""
    run_cases(attempt, [
        Case((tensor([0.9, 0.5]), tensor([[0.1, 0.8], [0.6, 0.2]])), 0.5,
             "In the second round a stranger fits better."),
        Case((tensor([0.5]), tensor([[0.5, 0.1]])), 0.0, "A tie names nobody."),
        Case((tensor([0.2, 0.9, 0.3]), tensor([[0.1], [0.2], [0.4]])), 2 / 3,
             "Compare within a round."),
    ])


# --- From measurement to decision -------------------------------------------------------------


def still_possible(attempt: Callable) -> None:
    """Check ``attempt(hits, trials, level)``: the exact one-sided upper limit of a rate."""
    run_cases(attempt, [
        Case((0, 2, 0.75), 0.5, "At a rate of 0.5 two trials show no hit in a quarter of cases."),
        Case((1, 2, 0.75), 0.75**0.5, "At most one hit in two: 1 - p^2 is a quarter."),
        Case((3, 3, 0.95), 1.0, "Hits in all trials exclude no rate from above."),
        Case((0, 299, 0.95), 0.009969146792899286, "About three over the number of trials."),
        Case((2, 50, 0.95), 0.120619705,
             "The rate at which 50 trials show two hits or fewer once in twenty."),
    ])


def accusations(attempt: Callable) -> None:
    """Check ``attempt(people, prior, tpr, fpr)``: a number and three rates; rightly, wrongly."""
    run_cases(attempt, [
        Case((1000, 0.01, 0.1, 0.001), [1.0, 0.99], "Ten members, a tenth of them named."),
        Case((100, 0.5, 0.8, 0.1), [40.0, 5.0], "Fifty members and fifty others."),
        Case((10_000, 0.0001, 1.0, 0.01), [1.0, 99.99], "One member among ten thousand."),
    ])
