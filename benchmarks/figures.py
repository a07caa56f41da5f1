"""Runs of attacks, as the stopwatch of the peers measures them, summed up for a benchmark."""

from __future__ import annotations

import statistics

from peers.stopwatch import THRESHOLDS


def spread(values: list[float | None]) -> list[float | None]:
    """Median, smallest and largest; ``None``, never, is larger than any number."""
    known = [float("inf") if value is None else value for value in values]
    found = (statistics.median(known), min(known), max(known))
    return [None if value == float("inf") else round(value, 4) for value in found]


def row(side: str, runs: list[dict]) -> dict:
    """The figures of one side over the runs of one condition."""
    figures: dict = {"side": side, "runs": len(runs)}
    for threshold in map(str, THRESHOLDS):
        reached = [run["reached"].get(threshold) for run in runs]
        figures[f"{threshold} dB"] = {
            "share": round(sum(r is not None for r in reached) / len(runs), 3),
            **{what: spread([r and r[what] for r in reached])
               for what in ("evaluations", "seconds")}}
    figures["final dB"] = spread([run["final"] for run in runs])
    figures["seconds in all"] = spread([run["seconds"] for run in runs])
    return figures


def ratio(figures: list[dict], threshold: int = 30) -> dict[str, dict[str, float | str]]:
    """Median CPU time to the threshold of each of the peer's sides over each of ours.

    Above 1, ours is faster; ``"never"`` where the peer does not get there, ``"ours never"`` where
    ours does not.
    """
    medians = {figure["side"]: figure[f"{threshold} dB"]["seconds"][0] for figure in figures}
    mine = {side: seconds for side, seconds in medians.items() if side.startswith("ours")}
    return {side: {peer: "ours never" if seconds is None else "never" if theirs is None
                   else round(theirs / seconds, 2)
                   for peer, theirs in medians.items() if peer not in mine}
            for side, seconds in mine.items()}
