"""Checks of the exercises of chapters 10 to 12."""

from __future__ import annotations

from collections.abc import Callable

from torch import tensor

from leaklab.teaching.checks.cases import Case, run_cases

# --- Lab 10 -----------------------------------------------------------------------------------


def certainty(attempt: Callable) -> None:
    """Check ``attempt(prior, tpr, fpr)``, three numbers from 0 to 1."""
    run_cases(attempt, [
        Case((0.5, 0.49, 0.01), 0.98, "As many members as others: TPR / (TPR + FPR)."),
        Case((0.2, 0.5, 0.25), 1 / 3, "0.1 of everybody is accused rightly, 0.2 wrongly."),
        Case((0.01, 1.0, 0.0), 1.0, "Without false alarms every accusation is true."),
    ])


def named_members(attempt: Callable) -> None:
    """Check ``attempt(scores, members, false_alarms)``: tensors (n,) and a whole number."""
    members = tensor([True, True, False, True, False, True])
    run_cases(attempt, [
        Case((tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]), members, 1), 3,
             "Down to 3.0 one non-member is accused; at 2.0 it would be two."),
        Case((tensor([6.0, 4.0, 4.0, 4.0, 2.0, 1.0]), members, 0), 1,
             "The three with 4.0 tie: to accuse one is to accuse all, a non-member among them."),
        Case((tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), members, 1), 0,
             "All tie, and all together are two false alarms: nobody can be accused."),
        Case((tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]), members, 2), 4,
             "Where all false alarms are allowed, everybody is accused."),
    ])


def above_strangers(attempt: Callable) -> None:
    """Check ``attempt(margin, outside)``: a number tensor and a tensor (models,)."""
    outside = tensor([1.0, 3.0, 1.0, 3.0])
    run_cases(attempt, [
        Case((tensor(5.0), outside), tensor(3.0), "The mean is 2 and the deviation 1."),
        Case((tensor(-1.0), outside), tensor(-3.0),
             "Less sure than models that never saw it: no sign of a member."),
        Case((tensor(2.0), tensor([0.0, 4.0, 2.0, 2.0])), tensor(0.0), "At the mean it is 0."),
        Case((tensor(8.0), tensor([3.0, 7.0])), tensor(1.5), "Divide the deviation by n."),
    ])


# --- Chapter 11: membership across rounds -------------------------------------------------------


def rounds_together(attempt: Callable) -> None:
    """Check ``attempt(scores, lengths)``, one of each a round."""
    run_cases(attempt, [
        Case(([2.0, 1.0], [3.0, 4.0]), 2.0,
             "(3 * 2 + 4 * 1) / 5: weigh by the lengths, divide by the root of their squares."),
        Case(([2.0], [0.5]), 2.0, "One round by itself is its own score, whatever its length."),
        Case(([2.0, -9.0], [1.0, 0.0]), 2.0, "A round in which the record is silent says nothing."),
        Case(([1.0, 1.0], [3.0, 3.0]), 2**0.5, "Two like rounds say more than one: root of two."),
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


# --- Lab 12 -----------------------------------------------------------------------------------


def most_fitting(attempt: Callable) -> None:
    """Check ``attempt(gradients, update)``: tensors (values, parameters) and (parameters,)."""
    run_cases(attempt, [
        Case((tensor([[10.0, 1.0], [1.0, 1.0]]), tensor([1.0, 0.1])), 0,
             "The update points along the first gradient, though the second is nearer to it."),
        Case((tensor([[1.0, 0.5], [6.0, -1.0]]), tensor([2.0, 1.0])), 0,
             "The second is longer, so its product is larger, but the first points the same way."),
        Case((tensor([[2.0, 2.0], [-1.0, 3.0], [-3.0, -1.0]]), tensor([-6.0, -2.0])), 2,
             "Try all values: the third points the very same way."),
        Case((tensor([[1.0, 1.0], [-1.0, -0.1]]), tensor([-1.0, -1.0])), 1,
             "Against the update is no fit: do not take the size of the cosine."),
        Case((tensor([[0.0, 1.0], [3.0, 4.0]]), tensor([3.0, 4.0])), 1,
             "Divide by the Euclidean length, the root of the sum of squares."),
    ])


def break_even(attempt: Callable) -> None:
    """Check ``attempt(members, strangers, filled_in)``, three shares."""
    run_cases(attempt, [
        Case((0.9, 0.5, 0.7), 0.5, "At a chance of one half, 0.9 and 0.5 average to 0.7."),
        Case((1.0, 0.6, 0.7), 0.25, "A quarter of 1.0 and three quarters of 0.6 are 0.7."),
        Case((0.7, 0.5, 0.8), 1.5, "Above one it never pays: do not cut it off."),
    ])


def even_out(attempt: Callable) -> None:
    """Check ``attempt(columns, groups)``: tensors (patients, columns) and (patients,)."""
    columns = tensor([[1.0, 10.0], [3.0, 20.0], [6.0, 0.0], [8.0, 2.0]])
    run_cases(attempt, [
        Case((columns, tensor([0, 0, 1, 1])),
             tensor([[-1.0, -5.0], [1.0, 5.0], [-1.0, -1.0], [1.0, 1.0]]),
             "Take the mean of the patient's own group out of each column."),
        Case((columns, tensor([1, 0, 0, 1])),
             tensor([[-3.5, 4.0], [-1.5, 10.0], [1.5, -10.0], [3.5, -4.0]]),
             "Groups need not stand together."),
        Case((columns, tensor([0, 1, 2, 2])),
             tensor([[0.0, 0.0], [0.0, 0.0], [-1.0, -1.0], [1.0, 1.0]]),
             "There may be any number of groups; of a group of one nothing is left."),
    ])
