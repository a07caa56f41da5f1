"""Checks of the exercises of chapters 13 to 15."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from torch import tensor

from leaklab.teaching.checks.cases import Case, run_cases

# --- Lab 15 -----------------------------------------------------------------------------------


def as_tensor(attempt: Callable) -> Callable:
    """``attempt``, with a plain number that it returns as a tensor: as right an answer."""
    @functools.wraps(attempt)
    def answered(*arguments: object) -> object:
        answer = attempt(*arguments)
        return tensor(answer) if isinstance(answer, float) else answer
    return answered


def snps_needed(attempt: Callable) -> None:
    """Check ``attempt(distance, cohort, reference)``, three numbers; the answer is not rounded."""
    run_cases(attempt, [
        Case((3.0, 100, 100), 1800.0, "Nine for each person, and twice that: r / (n + r) is 1/2."),
        Case((2.0, 50, 150), 800 / 3, "4 * 50, divided by 150 / 200."),
        Case((1.0, 1000, 1e12), 1000.0, "With a huge reference: n times the distance squared."),
    ])


def worth(attempt: Callable) -> None:
    """Check ``attempt(correlation)``, a tensor (m, m)."""
    run_cases(as_tensor(attempt), [
        Case((tensor([[1.0, 0.0], [0.0, 1.0]]),), tensor(2.0), "Unlinked SNPs count in full."),
        Case((tensor([[1.0, -1.0], [-1.0, 1.0]]),), tensor(1.0),
             "One SNP twice is worth one, whichever allele is counted."),
        Case((tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 1.0]]),), tensor(9 / 3.72),
             "Nine over the sum of squares, 3 + 2 * 0.36: the diagonal belongs to it."),
    ])


def beacon_evidence(attempt: Callable) -> None:
    """Check ``attempt(said, frequencies, people, mismatch)``: two tensors and two numbers."""
    f, wrong = tensor([0.5, 0.1]), 0.01
    yes = [math.log((1 - wrong * (1 - p) ** 2) / (1 - (1 - p) ** 4)) for p in (0.5, 0.1)]
    no = [math.log(wrong * (1 - p) ** 2 / (1 - p) ** 4) for p in (0.5, 0.1)]
    run_cases(as_tensor(attempt), [
        Case((tensor([True, True]), f, 2, wrong), tensor(sum(yes)),
             "A yes for a rare allele is worth more than one for a common allele."),
        Case((tensor([True, False]), f, 2, wrong), tensor(yes[0] + no[1]),
             "Of a member a no is a wrong genotype, and the others lack the allele too."),
        Case((tensor([False]), tensor([0.1]), 1, wrong), tensor(math.log(wrong / 0.81)),
             "Alone in the beacon, a member has no others: two alleles a person, n - 1 others."),
    ])
