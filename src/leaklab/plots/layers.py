"""What defences leave: maps of advantages, the frontier of privacy and utility, and an explorer."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.patches import Patch, Rectangle

from leaklab.bounds import tpr_ceiling
from leaklab.evidence import Evidence

GAIN = LinearSegmentedColormap.from_list("gain", ["#f7f7f7", "#E69F00", "#D55E00"])
HELD = "#56B4E9"
HATCH = "////"
FPR = 0.01
"""False positive rate at which the explorer says what an observer may reach."""

Entry = tuple[float, str, bool] | None
"""An advantage from 0 to 1, what to write in the cell, and whether it was shown at all."""


def entry(item: Evidence | None) -> Entry:
    """A cell for one recorded share: how far it leads from its guess, and the share itself."""
    if item is None:
        return None
    return max(0.0, item.lead), f"{item.value:.2f}", item.interval[0] > item.baseline


def advantage_map(
    rows: Mapping[str, Sequence[Entry]], columns: Sequence[str], *, title: str,
) -> Axes:
    """Attacks or defences against observers or scores; one cell each, ``None`` for not measured.

    Cells in which nothing was shown to lie above the guess are hatched. Raises ``ValueError`` for
    a row with another number of cells than ``columns``.
    """
    for name, cells in rows.items():
        if len(cells) != len(columns):
            raise ValueError(f"rows: {len(cells)} cells given in {name!r}, expected "
                             f"{len(columns)}, one per column")
    scale = ScalarMappable(Normalize(0, 1), GAIN)
    fig, ax = plt.subplots(figsize=(1.05 * len(columns) + 2.6, 0.38 * len(rows) + 1.9))
    for y, cells in enumerate(rows.values()):
        for x, cell in enumerate(cells):
            _cell(ax, x, y, cell, scale)
    _matrix_axes(ax, list(rows), columns, title)
    fig.colorbar(scale, ax=ax, label="guess (0) to certainty (1)")
    fig.legend(handles=[Patch(facecolor="white", edgecolor="0.45", hatch=HATCH,
                              label="no lead over the guess shown")],
               loc="outside lower center")
    return ax


def _cell(ax: Axes, x: int, y: int, cell: Entry, scale: ScalarMappable) -> None:
    colour = to_rgb(scale.to_rgba(cell[0])) if cell else (0.9,) * 3
    _box(ax, x, y, colour, HATCH if cell and not cell[2] else None)
    ax.text(x, y, cell[1] if cell else "not measured", ha="center", va="center",
            fontsize="small" if cell else "xx-small", color="black",
            bbox={"facecolor": colour, "linewidth": 0, "pad": 1})


def _box(ax: Axes, x: int, y: int, colour: object, hatch: str | None = None) -> None:
    ax.add_patch(Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, facecolor=colour, edgecolor="0.45",
                           linewidth=0, hatch=hatch))


def _matrix_axes(ax: Axes, rows: Sequence[str], columns: Sequence[str], title: str) -> None:
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), title=title)
    ax.set_xticks(range(len(columns)),
                  [textwrap.fill(name, 11, break_long_words=False) for name in columns])
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def bound_chart(
    items: Sequence[Evidence], *, x: str, xlabel: str, ylabel: str, title: str
) -> Axes:
    """Recorded shares against one of their settings, below their ceilings and above a guess.

    ``x`` names the setting on the axis, logarithmic; the setting ``ceiling`` is the bound.
    """
    _, ax = plt.subplots(figsize=(6, 3.6))
    places = [item.setting[x] for item in items]
    values = np.array([item.value for item in items])
    low, high = np.array([item.interval for item in items]).T
    ax.plot(places, [item.setting["ceiling"] for item in items], ":", color="0.2", marker="v",
            label="bound, any attack")
    ax.errorbar(places, values, yerr=(values - low, high - values), capsize=3, label="best attack")
    ax.axhline(items[0].baseline, color="0.35", linestyle="--", marker="", label="guess")
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel, title=title)
    ax.set_xticks(places, [f"{place:g}" for place in places])
    ax.minorticks_off()
    ax.legend()
    return ax


def frontier_chart(
    groups: Mapping[str, Sequence[Evidence]], ends: Mapping[str, Evidence], *, title: str,
    ylabel: str, ax: Axes | None = None,
) -> Axes:
    """Utility against epsilon, one line for each way to make the noise, between two ends.

    ``groups`` hold evidence with the setting ``epsilon``; ``ends`` need none, and are drawn as
    lines across with their intervals. Private is to the left, useful is up.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 3.8))
    for (label, item), style in zip(ends.items(), ("--", ":"), strict=True):
        ax.axhspan(*item.interval, color="0.5", alpha=0.12, linewidth=0)
        ax.axhline(item.value, color="0.35", linestyle=style, marker="", label=label)
    for k, (label, items) in enumerate(groups.items()):
        values = np.array([item.value for item in items])
        low, high = np.array([item.interval for item in items]).T
        shift = 1.06 ** (k - (len(groups) - 1) / 2)  # so that bars do not lie on each other
        ax.errorbar([item.setting["epsilon"] * shift for item in items], values, capsize=2,
                    yerr=(values - low, high - values), label=label, linewidth=1)
    ax.set(xscale="log", xlabel="ε at δ = 0.001 (left: more private)", ylabel=ylabel, title=title)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(fontsize="small", frameon=True, framealpha=1, edgecolor="none")  # over the lines
    return ax


def explorer(
    groups: Mapping[str, Sequence[Evidence]], ends: Mapping[str, Evidence],
    exposures: Mapping[str, Mapping[str, float]], *, mu: float, ylabel: str,
) -> plt.Figure:
    """The frontier with one promise ``mu`` marked, and what it leaves each observer.

    ``exposures`` holds for each stack, and in it each observer, the mu that it may learn. A cell
    says how many true members it may name at one false alarm in a hundred, in percent; blue where
    that is no more than what was promised, and "no bound" where it may be all.
    """
    fig, (left, right) = plt.subplots(2, 1, figsize=(6.8, 6.4), height_ratios=(1.25, 1))
    chosen = next(item for items in groups.values() for item in items
                  if math.isclose(item.setting["mu"], mu))
    frontier_chart(groups, ends, ax=left, ylabel=ylabel, title=f"Promise μ = {mu:g}: "
                   f"ε = {chosen.setting['epsilon']:.2g}")
    left.axvline(chosen.setting["epsilon"], color="black", linewidth=1.2, marker="")
    observers = list(next(iter(exposures.values())))
    for y, row in enumerate(exposures.values()):
        for x, value in enumerate(row.values()):
            held = value <= mu * (1 + 1e-9)
            _box(right, x, y, HELD if held else "#f7f7f7")
            text = "no bound" if value == math.inf else f"{100 * tpr_ceiling(FPR, value):.3g} %"
            right.text(x, y, text, ha="center", va="center", fontsize="small")
    _matrix_axes(right, list(exposures), observers,
                 "Members named at 1 % false alarms, at most")
    return fig


def picture(fig: plt.Figure) -> np.ndarray:
    """A figure as pixels, uint8 (height, width, 3), for a scrubber; the figure is closed."""
    fig.set_dpi(100)
    fig.canvas.draw()
    pixels = np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()
    plt.close(fig)
    return pixels
