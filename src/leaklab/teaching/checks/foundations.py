"""Checks of the exercises of chapters 1 and 2."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn, tensor

from leaklab.teaching.checks.cases import Case, run_cases


def fedprox_gradient(attempt: Callable) -> None:
    """Check ``attempt(gradient, weights, global_weights, mu)``, tensors of one shape."""
    gradient, weights, start = tensor([1.0, 2.0]), tensor([3.0, 5.0]), tensor([1.0, 1.0])
    run_cases(attempt, [
        Case((gradient, weights, start, 0.5), tensor([2.0, 4.0]),
             "Add mu times (weights - global_weights), by element: no factor 1/2, no square."),
        Case((gradient, weights, start, 0.0), gradient, "With mu = 0, FedProx is FedAvg."),
        Case((gradient, start, start, 7.0), gradient,
             "Before the first local step nothing has drifted, so nothing is pulled back."),
        Case((gradient, start, weights, 0.5), tensor([0.0, 0.0]),
             "A weight that fell below its start is pulled up: keep the sign."),
    ])


def weighted_mean(attempt: Callable) -> None:
    """Check ``attempt(states, num_examples)``: dicts of tensors, one count per hospital."""
    a = {"weight": tensor([1.0, 2.0]), "bias": tensor(0.0)}
    b = {"weight": tensor([5.0, 6.0]), "bias": tensor(4.0)}
    run_cases(attempt, [
        Case(([a, b], [1, 3]), {"weight": tensor([4.0, 5.0]), "bias": tensor(3.0)},
             "A hospital with three times the examples counts three times as much."),
        Case(([a, b], [10, 10]), {"weight": tensor([3.0, 4.0]), "bias": tensor(2.0)},
             "With equal counts this is the plain mean, however large the counts are."),
        Case(([a, b, a], [1, 2, 1]), {"weight": tensor([3.0, 4.0]), "bias": tensor(2.0)},
             "Every hospital enters, not only the first two."),
        Case(([a, b], [7, 1]), {"weight": tensor([1.5, 2.5]), "bias": tensor(0.5)},
             "Counts belong to states by their place, and a mean need not be whole."),
    ])


def bytes_per_round(attempt: Callable) -> None:
    """Check ``attempt(model, hospitals)``: bytes on the wire in one round, both directions."""
    linear = nn.Linear(3, 2)
    normed = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    run_cases(attempt, [
        Case((linear, 5), 320, "8 numbers of 4 bytes go out to 5 hospitals and come back."),
        Case((normed, 3), 432,
             "The buffers of BatchNorm travel too; its counter is an integer of 8 bytes."),
        Case((nn.Linear(3, 2).half(), 2), 64, "Half precision takes 2 bytes a number."),
    ])


def other_hospital(attempt: Callable) -> None:
    """Check ``attempt(global_weights, own_weights, own_records, other_records)``."""
    run_cases(attempt, [
        Case((tensor([5.0, 4.0]), tensor([2.0, 4.0]), 100, 300), tensor([6.0, 4.0]),
             "Multiply the mean by all records, take your part away, divide by theirs."),
        Case((tensor([3.0]), tensor([1.0]), 50, 50), tensor([5.0]),
             "With equal sizes the other lies as far beyond the mean as you lie before it."),
        Case((tensor([2.0]), tensor([2.0]), 7, 1), tensor([2.0]),
             "If the mean is your own model, the other sent the same."),
        Case((tensor([1.0]), tensor([-1.0]), 100, 400), tensor([1.5]),
             "500 less -100 makes 600, and they have 400 records: do not round."),
    ])


def mean_gradient(attempt: Callable) -> None:
    """Check ``attempt(before, after, learning_rate, local_steps)``, tensors of one shape."""
    run_cases(attempt, [
        Case((tensor([1.0, 2.0]), tensor([0.5, 3.0]), 0.1, 1), tensor([5.0, -10.0]),
             "A step is minus the learning rate times the gradient: turn it round and divide."),
        Case((tensor([1.0]), tensor([0.0]), 0.5, 4), tensor([0.5]),
             "Four steps together moved that far; divide by their number too."),
        Case((tensor([2.0]), tensor([2.0]), 0.1, 5), tensor([0.0]),
             "What did not move had no gradient."),
    ])


def class_share(attempt: Callable) -> None:
    """Check ``attempt(said, before, after, learning_rate)``: numbers of one class, one step."""
    run_cases(attempt, [
        Case((0.5, 0.0, 0.02, 0.1), 0.7,
             "The bias moved by minus the learning rate times (said - share): solve for share."),
        Case((0.5, 1.0, 0.98, 0.1), 0.3, "A bias that falls tells of a class below what was said."),
        Case((0.25, 0.3, 0.3, 0.1), 0.25, "A bias at rest: the model says what is the case."),
    ])
