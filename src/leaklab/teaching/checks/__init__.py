"""Visible checks of the exercises: each runs known cases through the student's function.

A check prints "not attempted yet" for an unsolved stub, so that "Run all" goes on; prints "passed";
or raises ``AssertionError`` that shows the case which failed.
"""

from leaklab.teaching.checks.cases import Case, run_cases
from leaklab.teaching.checks.defences import most_accused, patient_gradient, proved_epsilon
from leaklab.teaching.checks.foundations import (
    bytes_per_round,
    class_share,
    fedprox_gradient,
    mean_gradient,
    other_hospital,
    weighted_mean,
)
from leaklab.teaching.checks.genomes import beacon_evidence, snps_needed, worth
from leaklab.teaching.checks.inversion import (
    agreement,
    alarm_bound,
    bins_needed,
    cosine_distance,
    divide_out,
    independent_numbers,
    kalman_update,
    leak_shown,
    moved_tokens,
    neighbours,
    outside_span,
    owner_chance,
    reconstruction_bound,
    rest_of,
    total_variation,
    uplift,
    whole_counts,
    words_in_order,
)
from leaklab.teaching.checks.membership import (
    above_strangers,
    against_others,
    best_area,
    break_even,
    certainty,
    even_out,
    most_fitting,
    named_members,
    rounds_together,
)

__all__ = [
    "Case",
    "above_strangers",
    "against_others",
    "agreement",
    "alarm_bound",
    "beacon_evidence",
    "best_area",
    "bins_needed",
    "break_even",
    "bytes_per_round",
    "certainty",
    "class_share",
    "cosine_distance",
    "divide_out",
    "even_out",
    "fedprox_gradient",
    "independent_numbers",
    "kalman_update",
    "leak_shown",
    "mean_gradient",
    "most_accused",
    "most_fitting",
    "moved_tokens",
    "named_members",
    "neighbours",
    "other_hospital",
    "outside_span",
    "owner_chance",
    "patient_gradient",
    "proved_epsilon",
    "reconstruction_bound",
    "rest_of",
    "rounds_together",
    "run_cases",
    "snps_needed",
    "total_variation",
    "uplift",
    "weighted_mean",
    "whole_counts",
    "words_in_order",
    "worth",
]
