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
        Case((tensor(9.0), tensor([3.0, 7.0])), tensor(2.0), "Divide the deviation by n."),
    ])
