"""ROC curves on logarithmic axes, where it shows whom an attack can name without false alarms."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from leaklab.metrics.roc import Roc


def roc_chart(curves: Mapping[str, Roc], *, title: str, floor: float | None = None,
              xlabel: str = "false-positive rate", ylabel: str = "true-positive rate") -> Axes:
    """One curve a label, both axes logarithmic; grey where the non-members can show nothing.

    ``floor`` is the lowest false-positive rate that can be seen, by default one false alarm among
    the non-members of the smallest curve. The dashed line is what tossing a coin reaches.

    Raises ``ValueError`` for no curve and a ``floor`` outside (0, 1).
    """
    if not curves:
        raise ValueError("curves: none given, expected at least one")
    lowest = max(1 / c.non_members for c in curves.values()) if floor is None else floor
    if not 0 < lowest < 1:
        raise ValueError(f"floor: {lowest} given, expected a number between 0 and 1")
    _, ax = plt.subplots(figsize=(6, 4))
    for label, curve in curves.items():
        ax.plot(curve.false_positive_rate.cpu(), curve.true_positive_rate.cpu(), label=label,
                marker="", drawstyle="steps-post")
    left = lowest / 3
    ax.plot([left, 1], [left, 1], color="0.35", linestyle="--", marker="", linewidth=1,
            label="coin")
    ax.axvspan(left, lowest, color="0.88", zorder=0, label="too few non-members")
    ax.set(xscale="log", yscale="log", xlim=(left, 1), ylim=(left, 1), xlabel=xlabel,
           ylabel=ylabel, title=title)
    ax.legend(loc="lower right")
    return ax
