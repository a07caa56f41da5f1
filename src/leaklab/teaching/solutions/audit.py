"""Solutions of the exercises of chapter 20."""

from __future__ import annotations


def rounds_needed(baseline, level):
    """The least number of rounds, all successful, that show a leak."""
    tail, rounds = (1 - level) / 2, 1
    while tail ** (1 / rounds) <= baseline:
        rounds += 1
    return rounds


def exit_status(values, baselines, tolerated):
    """0 within, 1 exceeded, 3 not measured."""
    excess = [v - b for v, b in zip(values, baselines, strict=True) if v is not None]
    if not excess:
        return 3
    return 1 if max(excess) > tolerated else 0
