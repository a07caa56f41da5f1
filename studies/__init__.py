"""The full measurements behind the labs: ``python -m studies`` runs them (`make evidence`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from leaklab.metrics import mean_interval, proportion_interval
from leaklab.metrics.clustered import share_interval


def by_condition(results: list[tuple[dict, dict]]) -> Iterator[tuple[dict, list[dict]]]:
    """The outcomes of each condition, in the order of the seeds, from (setting, outcome) pairs."""
    def condition(result: tuple[dict, dict]) -> dict:
        return {key: value for key, value in result[0].items() if key != "seed"}

    for setting, group in groupby(results, condition):
        yield setting, [outcome for _, outcome in group]


def interval_of(runs: tuple[float, ...], unit: str) -> tuple[tuple[float, float], str]:
    """An interval over trials that fits the unit, and its name.

    Losses, and evaluations up to a limit, are too skewed for the interval of a mean. Shares that
    are all 0 or 1 are counts.
    """
    if unit in ("loss", "evaluations"):
        return (min(runs), max(runs)), "smallest and largest trial"
    if unit.startswith("share") and set(runs) <= {0.0, 1.0}:
        return proportion_interval(round(sum(runs)), len(runs)), "95 % Clopper-Pearson over trials"
    low, high = mean_interval(runs)
    if unit.startswith("share"):
        return (max(0.0, low), min(1.0, high)), "95 % t over trials, cut to 0 and 1"
    return (low, high), "95 % t over trials"


def victims_interval(runs: tuple[float, ...], size: int) -> tuple[tuple[float, float], str]:
    """An interval for a share of victims, ``size`` of them drawn in each trial, and its name.

    Where the trials differ, their spread says how far victims of one trial stand or fall together.
    Where all victims agree it says nothing, and they are counted as independent draws: right where
    the spread of neighbouring conditions is what that gives.
    """
    if set(runs) <= {0.0} or set(runs) <= {1.0}:
        trials = size * len(runs)
        return (proportion_interval(round(runs[0] * trials), trials),
                "95 % Clopper-Pearson over victims")
    return share_interval(runs, size), f"95 % Korn-Graubard over trials of {size}"
