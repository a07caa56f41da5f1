"""What an assessment reads off a measurement: the rate that is not excluded, and its likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

LOWEST = 1e-3
LEVELS = ("1 negligible", "2 limited", "3 important", "4 maximal")


def likelihood_chart(
    rates: Mapping[str, tuple[float, float, float]], cuts: Sequence[float], *, title: str,
    xlabel: str = "rate above the baseline",
) -> Axes:
    """Rates above a baseline with their intervals, a row each, over the bands of likelihood.

    ``rates`` maps a label to (low, value, high) above the baseline; the axis is logarithmic, and
    what lies below :data:`LOWEST` is drawn at its edge. A row's likelihood is the band in which its
    upper end lies, which is drawn as a square.

    Raises ``ValueError`` unless there are three rising cuts.
    """
    if len(cuts) != 3 or sorted(set(cuts)) != list(cuts):
        raise ValueError(f"cuts: {tuple(cuts)} given, expected three rising ones")
    _, ax = plt.subplots(figsize=(6.4, 0.42 * len(rates) + 1.8))
    edges = [LOWEST, *cuts, 1.0]
    for k, name in enumerate(LEVELS):
        ax.axvspan(edges[k], edges[k + 1], color="#E69F00", alpha=0.06 + 0.13 * k, linewidth=0)
        ax.text((edges[k] * edges[k + 1]) ** 0.5, -0.7, name.replace(" ", "\n"), ha="center",
                va="center", fontsize="small")
    for row, (low, value, high) in enumerate(rates.values()):
        low, value, high = (max(LOWEST, end) for end in (low, value, high))
        ax.plot([low, high], [row, row], color="#0072B2", marker="", linestyle="-")
        ax.plot(value, row, color="#0072B2", marker="o", linestyle="")
        ax.plot(high, row, color="#D55E00", marker="s", linestyle="")
    ax.set(xscale="log", xlim=(LOWEST, 1.0), ylim=(len(rates) - 0.5, -1.2), xlabel=xlabel,
           title=title, yticks=range(len(rates)), yticklabels=list(rates))
    ax.grid(False)
    return ax
