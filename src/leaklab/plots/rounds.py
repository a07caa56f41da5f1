"""What an observer learns as the rounds of a federation go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from leaklab.evidence import Evidence


def growth_chart(
    groups: Mapping[str, Sequence[Evidence]], *, title: str, ylabel: str = "AUC",
    chance: float = 0.5, ax: Axes | None = None,
) -> Axes:
    """Recorded values against the number of rounds seen (their setting ``seen``), a line a group.

    Bands are the 95 % intervals, the dashed line is ``chance``. Each line bears its label at its
    right end as well as in colour and marker; labels that would overlap are moved apart.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 3.8))
    ends = {}
    for label, items in groups.items():
        seen = [item.setting["seen"] for item in items]
        (line,) = ax.plot(seen, [item.value for item in items])
        ax.fill_between(seen, *np.array([item.interval for item in items]).T,
                        color=line.get_color(), alpha=0.15, linewidth=0)
        ends[label] = (items[-1].value, line.get_color())
    ax.axhline(chance, color="0.35", linestyle="--", marker="", linewidth=1)
    low, high = ax.get_ylim()
    last = max(item.setting["seen"] for items in groups.values() for item in items)
    for (label, (_, colour)), y in zip(
            sorted(ends.items(), key=lambda end: end[1][0]),
            _apart(sorted(value for value, _ in ends.values()), (high - low) / 17), strict=True):
        ax.annotate(label, (last, y), xytext=(8, 0), textcoords="offset points", va="center",
                    color=colour, fontsize="small", annotation_clip=False)
    ax.set(xlabel="rounds seen", ylabel=ylabel, title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """``heights`` in rising order, pushed up until no two are nearer than ``gap``."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    return placed
