"""Figures in the style of the course: Okabe-Ito colours, a provenance tag on every image."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from leaklab.evidence import Evidence
from leaklab.federation import Round
from leaklab.updates import View

HATCHES = ("", "//", "..", "xx", "--")
DIVERGING = LinearSegmentedColormap.from_list("uplift", ["#0072B2", "#f7f7f7", "#D55E00"])
"""Blue below 0, vermilion above: the Okabe-Ito pair that everybody can tell apart."""


def use_style() -> None:
    """Use the course's style sheet for every figure that follows."""
    plt.style.use(str(resources.files("leaklab") / "teaching" / "course.mplstyle"))


def image_grid(images: np.ndarray, titles: Sequence[str], *, tag: str, headline: str) -> Figure:
    """Grey images, three side by side, on one scale, 0 black and 1 white.

    Shapes: images (n, height, width) with one title each. ``tag`` (REAL, HYBRID or SYNTHETIC)
    stands under them, ``headline`` over them.

    Raises ``ValueError`` if titles and images differ in number.
    """
    if len(images) != len(titles):
        raise ValueError(f"titles: {len(titles)} given, expected {len(images)}, one per image")
    rows = -(-len(images) // 3)
    fig, axes = plt.subplots(rows, 3, figsize=(5.4, 2 * rows + 0.8), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title)
    fig.suptitle(headline)
    fig.supxlabel(textwrap.fill(tag, 70), fontsize="small")
    return fig


def image_table(
    rows: Mapping[str, np.ndarray | None], columns: Sequence[str], *, tag: str, headline: str
) -> Figure:
    """Grey images on one scale: a row for each observer, say, and a column for each patient.

    ``rows`` maps a name to images (columns, height, width), or to ``None`` where there is nothing
    to show. ``tag`` (REAL, HYBRID or SYNTHETIC) stands under them, ``headline`` over them.

    Raises ``ValueError`` for a row with another number of images than ``columns``.
    """
    fig, axes = plt.subplots(len(rows), len(columns), squeeze=False,
                             figsize=(1.05 * len(columns) + 2.4, 0.98 * len(rows) + 1.0))
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        if images is not None and len(images) != len(columns):
            raise ValueError(f"rows: {len(images)} images given in {name!r}, expected "
                             f"{len(columns)}, one per column")
        for k, ax in enumerate(line):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if images is None:
                ax.text(0.5, 0.5, "nothing", ha="center", va="center", color="0.35",
                        transform=ax.transAxes)
            else:
                ax.imshow(images[k], cmap="gray", vmin=0, vmax=1)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name)
    fig.suptitle(headline)
    fig.supxlabel(textwrap.fill(tag, 70), fontsize="small")
    return fig


def interval_chart(
    groups: Mapping[str, Sequence[Evidence]], *, x: str, xlabel: str, ylabel: str, title: str,
    guess: float, guess_label: str = "guess", log: bool = False,
) -> Axes:
    """Recorded values with their 95 % intervals against one of their settings, and single runs.

    ``groups`` maps a label to evidence, drawn in one colour and marker; ``x`` names the setting
    that places each item on the axis, logarithmic if ``log``. A dashed line at ``guess`` marks
    what needs no update.
    """
    _, ax = plt.subplots(figsize=(6, 3.6))
    for label, items in groups.items():
        values = np.array([item.value for item in items])
        low, high = np.array([item.interval for item in items]).T
        places = [item.setting[x] for item in items]
        (line, *_) = ax.errorbar(places, values, capsize=3, label=label,
                                 yerr=(values - low, high - values))
        for place, item in zip(places, items, strict=True):
            ax.plot([place] * len(item.runs), item.runs, color=line.get_color(), alpha=0.35,
                    linestyle="none", marker=".", markersize=3)
    ax.axhline(guess, color="0.35", linestyle="--", marker="", linewidth=1, label=guess_label)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, xscale="log" if log else "linear")
    if log:
        ax.xaxis.set_major_formatter("{x:g}")
    else:
        ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax


def who_sees_what(
    views: Mapping[str, Sequence[View]], hospitals: Sequence[str], *, title: str
) -> Axes:
    """A row for each observer, a column for each hospital: alone, mixed with others, or not at all.

    ``views`` holds what each observer sees of one round. A released model counts as mixed.
    """
    _, ax = plt.subplots(figsize=(6, 0.45 * len(views) + 1.6))
    styles = {"alone": {"facecolor": "#D55E00"}, "mixed": {"facecolor": "#56B4E9", "hatch": "//"},
              "nothing": {"facecolor": "0.93"}}
    for row, seen in enumerate(views.values()):
        for column, name in enumerate(hospitals):
            sizes = [len(view.contributors) for view in seen if name in view.contributors]
            kind = "nothing" if not sizes else "alone" if min(sizes) == 1 else "mixed"
            ax.barh(row, 0.92, left=column - 0.46, height=0.8, edgecolor="white", **styles[kind])
    ax.set(yticks=range(len(views)), yticklabels=list(views), title=title,
           xlim=(-0.55, len(hospitals) - 0.45))
    ax.set_xticks(range(len(hospitals)), hospitals)
    ax.invert_yaxis()
    ax.grid(visible=False)
    handles = [Patch(label=kind, edgecolor="white", **style) for kind, style in styles.items()]
    ax.figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return ax


def reading_chart(groups: Mapping[str, Evidence], *, xlabel: str, ylabel: str,
                  title: str) -> Axes:
    """Shares that were read against the true ones, one mark a hospital; right is on the line.

    Each item's ``runs`` are the readings, its setting ``true_shares`` the truth.
    """
    _, ax = plt.subplots(figsize=(6, 4))
    for label, item in groups.items():
        ax.plot(item.setting["true_shares"], item.runs, linestyle="none", markersize=4,
                alpha=0.7, label=label)
    ax.plot([0, 1], [0, 1], color="0.35", linestyle="--", marker="", linewidth=1, label="right")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend()
    return ax


def scatter(groups: Mapping[str, np.ndarray], *, legend: str, xlabel: str, ylabel: str,
            title: str) -> Axes:
    """Points in a plane, shape (n, 2) a group, each group in one colour and marker.

    The legend, headed ``legend``, stands beside the plane, where it hides no point.
    """
    fig, ax = plt.subplots(figsize=(6, 3.6))
    for label, points in groups.items():
        ax.plot(*points.T, linestyle="none", alpha=0.6, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    fig.legend(title=legend, loc="outside right upper")
    return ax


def grouped_bars(
    names: Sequence[str], groups: Mapping[str, Sequence[float]], *, ylabel: str, title: str,
) -> Axes:
    """Bars side by side for each name, one hatch a group, on a logarithmic axis.

    Raises ``ValueError`` for a height that such an axis cannot show.
    """
    floor = min(min(heights) for heights in groups.values())
    if not floor > 0:
        raise ValueError(f"groups: a height of {floor} given, expected heights above 0")
    fig, ax = plt.subplots(figsize=(6, 3.6))
    width = 0.8 / len(groups)
    hatches = cycle(HATCHES)
    for k, (label, heights) in enumerate(groups.items()):
        ax.bar(np.arange(len(names)) + width * (k - (len(groups) - 1) / 2), heights,
               0.92 * width, label=label, hatch=next(hatches))
    ax.set_xticks(range(len(names)), names)
    ax.set(yscale="log", ylabel=ylabel, title=title, ylim=(10 ** np.floor(np.log10(floor)), None))
    ax.grid(axis="x", visible=False)
    fig.legend(loc="outside lower center", ncols=len(groups))
    return ax


def uplift_map(
    rows: Mapping[str, Sequence[Evidence | None]], columns: Sequence[str], *, xlabel: str,
    ylabel: str, title: str, label: str = "uplift over the mean image (dB)",
    limit: float | None = None,
) -> Axes:
    """Where an update gave something away: values in cells, colour centred at 0.

    ``rows`` maps the name of a row (a batch size, say) to its evidence, one item a column (a
    condition), ``None`` where nobody measured. Cells whose interval includes 0 are hatched: these
    trials do not show that the update gave more than a guess without it. ``limit`` is the value
    at which colours are full, the largest by default; numbers in the cells are never clipped, and
    have a second decimal where ``limit`` is small, as that of shares is.

    Raises ``ValueError`` for a row with another number of cells than ``columns``.
    """
    for name, items in rows.items():
        if len(items) != len(columns):
            raise ValueError(f"rows: {len(items)} cells given in {name!r}, expected "
                             f"{len(columns)}, one per column")
    measured = [item.value for items in rows.values() for item in items if item]
    full = limit or max(map(abs, measured), default=0.0) or 1.0
    scale = ScalarMappable(Normalize(-full, full), DIVERGING)
    fig, ax = plt.subplots(figsize=(max(5.4, 0.95 * len(columns) + 2.2), 0.55 * len(rows) + 2.0))
    for y, items in enumerate(rows.values()):
        for x, item in enumerate(items):
            _uplift_cell(ax, x, y, item, scale, digits=1 if full > 2 else 2)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel,
           ylabel=ylabel, title=title)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    below, above = (any(sign * value > full for value in measured) for sign in (-1, 1))
    fig.colorbar(scale, ax=ax, label=label, extend="both" if below and above else
                 "min" if below else "max" if above else "neither")
    fig.legend(handles=[Patch(facecolor="white", edgecolor="0.45", hatch="////",
                              label="95 % interval includes 0: no gain shown")],
               loc="outside lower center")
    return ax


def _uplift_cell(ax: Axes, x: int, y: int, item: Evidence | None, scale: ScalarMappable, *,
                 digits: int) -> None:
    colour = to_rgb(scale.to_rgba(item.value)) if item else (0.88,) * 3
    none = item is not None and item.interval[0] <= 0 <= item.interval[1]
    ax.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, edgecolor="0.45",
                           linewidth=0, hatch="////" if none else None))
    luminance = np.dot(np.power(colour, 2.2), (0.2126, 0.7152, 0.0722))  # as WCAG 2 reckons
    number = f"{item.value:+z.{digits}f}".replace("-", "−") if item else "not\nmeasured"
    ax.text(x, y, number, ha="center", va="center", fontsize="medium" if item else "x-small",
            color="white" if luminance < 0.18 else "black",
            bbox={"facecolor": colour, "linewidth": 0, "pad": 1.5})


def drift_frames(rounds: Sequence[Round]) -> np.ndarray:
    """A federation in motion, one picture a round, for a scrubber; uint8, (rounds, h, w, 3).

    Every model is a point with a coordinate for each weight. The pictures show all of them in the
    plane in which they spread most (the first two principal components).
    """
    states = [state for step in rounds
              for state in (step.before, *(update.after for update in step.updates))]
    cloud = torch.stack([torch.cat([t.flatten() for t in state.values()]) for state in states])
    left, spread, _ = torch.linalg.svd((cloud - cloud.mean(0)).cpu(), full_matrices=False)
    names = [update.hospital for update in rounds[0].updates]
    plane = (left * spread)[:, :2].reshape(len(rounds), 1 + len(names), 2).numpy()
    return np.stack([_drift_frame(plane, step, names) for step in range(len(rounds))])


def _drift_frame(plane: np.ndarray, step: int, names: Sequence[str]) -> np.ndarray:
    fig, ax = plt.subplots(figsize=(5.4, 3.6), dpi=120)
    ax.plot(*plane[: step + 1, 0].T, color="0.6", linestyle="-", marker="", linewidth=1)
    start = plane[step, 0]
    for end, name in zip(plane[step, 1:], names, strict=True):
        ax.plot(*np.stack([start, end]).T, label=name, markevery=[1])
    ax.plot(*start, color="black", marker="o", linestyle="none", markersize=8, label="global")
    points = plane.reshape(-1, 2)
    margin = 0.05 * np.ptp(points, axis=0)
    (left, bottom), (right, top) = points.min(0) - margin, points.max(0) + margin
    ax.set(xlim=(left, right), ylim=(bottom, top), title=f"Round {step + 1}",
           xlabel="first principal component", ylabel="second")
    fig.legend(loc="outside right upper")
    fig.canvas.draw()
    picture = np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()
    plt.close(fig)
    return picture
