"""Solutions of the exercises of chapter 19."""

from __future__ import annotations


def excluded_rate(trials, level):
    """The rate above which so many trials without a hit are too unlikely."""
    return 1 - (1 - level) ** (1 / trials)


def finding(low, high, baseline, tolerated):
    """0: no failure seen; 1: none seen, in too few trials; 2: further analysis required."""
    if low > baseline:
        return 2
    return 1 if high - baseline > tolerated else 0


def told(people, largest_state):
    """Whether individuals, the media and, at the same time, the Secretary are notified."""
    return [True, largest_state > 500, people >= 500]
