"""Pictures in motion, for a scrubber: one figure a step, all on the same axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from leaklab.evidence import Evidence
from leaklab.plots.layers import picture

SIZE = (5.6, 3.1)
BINS = 28


def frames(figures: Iterable[Figure]) -> np.ndarray:
    """Figures of one size as pictures for a scrubber, uint8 (steps, height, width, 3).

    Each is closed once it is drawn, so an iterator keeps one open at a time.
    """
    return np.stack([picture(figure) for figure in figures])


def parting(
    members: np.ndarray, others: np.ndarray, *, title: str, limits: tuple[float, float],
    xlabel: str = "score, in standard deviations of the others", shift: float | None = None,
    threshold: float | None = None,
) -> Figure:
    """How far the scores of members lie from those of others, shapes (n,) and (m,).

    Two histograms, each of area 1, between ``limits``; scores beyond are counted in the last bin.
    With ``shift`` two normal curves of spread 1 are drawn, at 0 and there: what theory expects of
    others and of members. A dotted line stands at ``threshold``.
    """
    fig, ax = plt.subplots(figsize=SIZE)
    grid, edges = np.linspace(*limits, 300), np.linspace(*limits, BINS + 1)
    sides = (("others", others, 0.0, "C0", ""), ("members", members, shift, "C1", "//"))
    for label, scores, middle, colour, hatch in sides:
        ax.hist(np.clip(scores, *limits), edges, density=True, alpha=0.5, label=label,
                color=colour, hatch=hatch)
        if shift is not None:
            ax.plot(grid, norm.pdf(grid, middle), colour, marker="")
    if threshold is not None:
        ax.axvline(threshold, color="0.25", linestyle=":", marker="", label="threshold")
    ax.set(xlim=limits, ylim=(0, 0.68), xlabel=xlabel, ylabel="density", title=title)
    ax.legend(loc="upper right")
    return fig


def presence(mu: float, *, title: str, false_alarms: float = 0.01) -> Figure:
    """The two normal curves that an observer of a mu-GDP release has to tell apart.

    Shaded is the share of members who may be named at ``false_alarms``: what lies beyond the
    threshold that so many of the others exceed. Source: Dong et al. (2022).
    """
    fig, ax = plt.subplots(figsize=SIZE)
    grid, cut = np.linspace(-4, 8, 600), norm.isf(false_alarms)
    for label, middle, style in (("not in the data", 0.0, "C0-"), ("in the data", mu, "C1--")):
        ax.plot(grid, norm.pdf(grid, middle), style, marker="", label=label)
    beyond = grid[grid >= cut]
    ax.fill_between(beyond, norm.pdf(beyond, mu), color="C1", alpha=0.35, linewidth=0,
                    label=f"named, at most {norm.sf(cut - mu):.1%}")
    ax.axvline(cut, color="0.25", linestyle=":", marker="",
               label=f"{false_alarms:.0%} false alarms")
    ax.set(xlim=(-4, 8), ylim=(0, 0.78), xlabel="what the best observer computes",
           ylabel="density", title=title)
    ax.legend(loc="upper right")
    return fig


def dosages(
    rows: Sequence[np.ndarray], title: str, labels: Sequence[str] = ("one row", "another")
) -> Figure:
    """Ratios at some SNPs beside the whole numbers that dosages are, a panel for each row.

    Shapes: rows (panels, snps). Entries beyond -0.7 and 2.7 are drawn there.
    """
    fig, axes = plt.subplots(1, len(rows), figsize=(6.4, 2.7), sharey=True, squeeze=False)
    for ax, row, label in zip(axes[0], rows, labels, strict=True):
        ax.plot(np.clip(row, -0.7, 2.7), linestyle="none", marker=".")
        ax.set(title=label, xlabel="SNP", ylim=(-0.8, 2.8), yticks=[0, 1, 2])
    axes[0, 0].set_ylabel("ratio, dosages")
    fig.suptitle(title)
    return fig


def bits(words: np.ndarray) -> np.ndarray:
    """Grey levels in [0, 1] for whole numbers modulo 2^b, unsigned, of any shape.

    Zero is mid-grey. Read as signed, a number of k bits lies k / (2b) above or below it, so that
    small numbers can be told apart and random ones are nearly black or white.

    Raises ``TypeError`` for other numbers.
    """
    if words.dtype.kind != "u":
        raise TypeError(f"words: {words.dtype} given, expected unsigned integers")
    width = 8 * words.dtype.itemsize
    signed = words.view(f"i{words.dtype.itemsize}").astype(np.float64)
    grey = 0.5 + np.sign(signed) * np.log2(1 + np.abs(signed)) / (2 * width)
    return np.clip(grey, 0, 1)


def appetite(results: Mapping[str, Evidence], tolerated: float, *, by: str = "value") -> Figure:
    """Which results lie further above their blind guess than is ``tolerated``: the dotted line.

    Excess of each result with its 95 % interval, filled where it exceeds. ``by`` is ``"value"``,
    or ``"upper"`` where the upper end of the interval is judged, as in ``leaklab audit``.

    Raises ``ValueError`` for another ``by``, and for a result without a blind guess.
    """
    if by not in ("value", "upper"):
        raise ValueError(f"by: {by!r} given, expected 'value' or 'upper'")
    if blind := [name for name, item in results.items() if item.baseline is None]:
        raise ValueError(f"results: {blind} without a baseline given, expected a blind guess each")
    fig, ax = plt.subplots(figsize=SIZE)
    exceeds = [(item.value if by == "value" else item.interval[1]) - item.baseline
               > tolerated + 1e-9 for item in results.values()]
    for row, (item, over) in enumerate(zip(results.values(), exceeds, strict=True)):
        low, value, high = (x - item.baseline for x in (item.interval[0], item.value,
                                                        item.interval[1]))
        ax.errorbar(value, row, xerr=[[value - low], [high - value]], capsize=3, marker="o",
                    color="C1" if over else "C0", markerfacecolor="C1" if over else "white")
    ax.axvline(tolerated, color="0.25", linestyle=":", marker="")
    ax.set(xlim=(-0.03, 1.05), yticks=range(len(results)), yticklabels=list(results),
           ylim=(len(results) - 0.5, -0.5), xlabel="above the blind guess",
           title=f"Tolerated {tolerated:g}: {sum(exceeds)} of {len(results)} exceed, "
                 f"status {int(any(exceeds))}")
    return fig
