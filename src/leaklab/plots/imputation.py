"""A stretch of a genome, as it is and as it was guessed."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

COPIES = ListedColormap(["#f0f0f0", "#56B4E9", "#0072B2"])
"""Grey, sky blue and blue for 0, 1 and 2 copies; each cell bears its number too."""


def strips(rows: Mapping[str, np.ndarray], truth: np.ndarray, *, tag: str, title: str) -> Axes:
    """Genotypes of neighbouring SNPs, a row for each way to know them.

    ``rows`` maps a name to (snps,) whole numbers, -1 where nothing is known; ``truth`` (snps,).
    Wrong cells have a vermilion frame. ``tag`` (REAL or SYNTHETIC) stands under the figure.
    """
    fig, ax = plt.subplots(figsize=(0.22 * len(truth) + 1.6, 0.42 * len(rows) + 1.1))
    for row, values in enumerate(rows.values()):
        for snp, value in enumerate(values):
            known, wrong = value >= 0, value not in (-1, truth[snp])
            ax.add_patch(plt.Rectangle(
                (snp + 0.06, row + 0.08), 0.88, 0.84, linewidth=1.8 if wrong else 0,
                facecolor=COPIES(int(value)) if known else "white",
                edgecolor="#D55E00"))
            if known:
                ax.text(snp + 0.5, row + 0.52, int(value), ha="center", va="center", fontsize=7,
                        color="white" if value == 2 else "black")
    ax.set(xlim=(0, len(truth)), ylim=(len(rows), 0), xticks=[], title=title,
           yticks=np.arange(len(rows)) + 0.5, yticklabels=list(rows))
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    fig.supxlabel(tag, fontsize="small")
    return ax
