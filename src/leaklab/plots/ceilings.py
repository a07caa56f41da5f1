"""Measured attacks against the most that theory allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from leaklab.evidence import Evidence


def under_ceilings(groups: Mapping[str, Sequence[Evidence]], *, title: str) -> Axes:
    """Recorded values over their setting ``ceiling``, a group in one colour and marker.

    Bars are the 95 % intervals. Whatever lies in the shaded part is above its bound.
    """
    _, ax = plt.subplots(figsize=(6.4, 4.4))
    for label, items in groups.items():
        values = np.array([item.value for item in items])
        low, high = np.array([item.interval for item in items]).T
        ax.errorbar([item.setting["ceiling"] for item in items], values, capsize=3, label=label,
                    yerr=(values - low, high - values))
    ax.plot([0, 1], [0, 1], color="0.35", linestyle="--", marker="", linewidth=1)
    ax.fill_between([0, 1], [0, 1], 1.04, color="0.9", linewidth=0)
    ax.text(0.03, 0.95, "not possible", color="0.35")
    ax.set(xlabel="the most that any attack can reach", ylabel="measured", title=title,
           xlim=(0, 1.02), ylim=(0, 1.04))
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.92), fontsize="small")
    return ax
