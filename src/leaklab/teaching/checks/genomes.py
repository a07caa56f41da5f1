"""Checks of the exercises of chapters 13 to 15."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import tensor

from leaklab.teaching.checks.cases import Case, run_cases

# --- Lab 15 -----------------------------------------------------------------------------------


def snps_needed(attempt: Callable) -> None:
    """Check ``attempt(distance, cohort, reference)``, three numbers; the answer is not rounded."""
    run_cases(attempt, [
        Case((3.0, 100, 100), 1800.0, "Nine for each person, and twice that: r / (n + r) is 1/2."),
        Case((2.0, 50, 150), 800 / 3, "4 * 50, divided by 150 / 200."),
        Case((1.0, 1000, 1e12), 1000.0, "With a huge reference: n times the distance squared."),
    ])


def worth(attempt: Callable) -> None:
    """Check ``attempt(correlation)``, a tensor (m, m)."""
    run_cases(attempt, [
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
    run_cases(attempt, [
        Case((tensor([True, True]), f, 2, wrong), tensor(sum(yes)),
             "A yes for a rare allele is worth more than one for a common allele."),
        Case((tensor([True, False]), f, 2, wrong), tensor(yes[0] + no[1]),
             "Of a member a no is a wrong genotype, and the others lack the allele too."),
        Case((tensor([False]), tensor([0.1]), 1, wrong), tensor(math.log(wrong / 0.81)),
             "Alone in the beacon, a member has no others: two alleles a person, n - 1 others."),
    ])


# --- Lab 14 -----------------------------------------------------------------------------------


def switch_chance(attempt: Callable) -> None:
    """Check ``attempt(centimorgans, haplotypes)``, two numbers."""
    run_cases(attempt, [
        Case((0.1, 500), 1 - math.exp(-0.08), "4 * 10,000 * 0.001 morgans, over 500."),
        Case((0.1, 5), 1 - math.exp(-8), "The fewer haplotypes, the sooner one has to change."),
        Case((0.0, 500), 0.0, "At no distance nothing is cut."),
    ])


def carriers_right(attempt: Callable) -> None:
    """Check ``attempt(guess, truth)``, two tensors (snps,) of genotypes."""
    run_cases(attempt, [
        Case((tensor([0, 1, 1, 2]), tensor([0, 0, 1, 2])), tensor(2 / 3),
             "The first SNP does not count: both are 0. The second does, and is wrong."),
        Case((tensor([0, 0, 0, 1]), tensor([1, 2, 0, 1])), tensor(1 / 3),
             "Carriers who were missed count as wrong."),
        Case((tensor([2, 1]), tensor([1, 1])), tensor(0.5), "Two copies are not one."),
    ])


def kinship_of(attempt: Callable) -> None:
    """Check ``attempt(ancestors, up, down)``, three whole numbers."""
    run_cases(attempt, [
        Case((2, 1, 1), 1 / 4, "Full siblings share two parents, each one generation above."),
        Case((1, 0, 1), 1 / 4, "A parent is itself the common ancestor."),
        Case((2, 2, 2), 1 / 16, "Cousins share two grandparents."),
        Case((1, 1, 1), 1 / 8, "Half-siblings share one parent."),
        Case((2, 1, 2), 1 / 8, "Aunt and nephew share two: her parents, his grandparents."),
    ])


# --- Lab 13 -----------------------------------------------------------------------------------


def whole_rows(attempt: Callable) -> None:
    """Check ``attempt(rows, tolerance)``: a tensor (n, snps) and a number."""
    rows = tensor([[0.02, 1.9, 1.0], [0.5, 1.0, 2.0], [3.02, 1.0, 0.0], [1.0, -0.9, 0.0]])
    run_cases(attempt, [
        Case((rows, 0.25), tensor([True, False, False, False]),
             "A half is no dosage, and neither are 3 and -1: near 0, 1 or 2, at every SNP."),
        Case((rows[:1], 0.05), tensor([False]), "1.9 is off by more than 0.05."),
        Case((rows[:1] - 0.2, 0.25), tensor([False]), "1.7 is off by 0.3, the mean by less."),
        Case((tensor([[0.2, 1.2, 1.8]]), 0.25), tensor([True]), "Each entry by itself is near."),
    ])


def guess_right(attempt: Callable) -> None:
    """Check ``attempt(frequencies)``, a tensor (snps,)."""
    run_cases(attempt, [
        Case((tensor([0.1]),), tensor(0.81), "Nine alleles in ten are the other one: 0.9 squared."),
        Case((tensor([0.9, 0.1]),), tensor(0.81),
             "Where the counted allele is the common one, two copies are likeliest."),
        Case((tensor([0.5, 0.1]),), tensor(0.655), "At one half heterozygotes are commonest: 0.5."),
    ])


def luck(attempt: Callable) -> None:
    """Check ``attempt(heterozygosity)``, a tensor (snps,)."""
    run_cases(attempt, [
        Case((tensor([0.5]),), tensor(1.0), "Both, or neither: 1/4 + 1/4, one bit."),
        Case((tensor([0.5, 0.5, 0.5]),), tensor(3.0), "Chances multiply, bits add up."),
        Case((tensor([0.0, 0.5]),), tensor(1.0), "Where nobody is heterozygous nothing is shown."),
        Case((tensor([0.2]),), tensor(-math.log2(0.68)), "0.2 squared and 0.8 squared."),
    ])
