"""Figures in the style of the course: Okabe-Ito colours, a provenance tag on every image."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leaklab.evidence import Evidence


def use_style() -> None:
    """Use the course's style sheet for every figure that follows."""
    plt.style.use(str(resources.files("leaklab") / "teaching" / "course.mplstyle"))


def image_row(images: np.ndarray, titles: Sequence[str], *, tag: str, headline: str) -> Figure:
    """Grey images side by side on one scale, 0 black and 1 white.

    Shapes: images (n, height, width) with one title each. ``tag`` (REAL, HYBRID or SYNTHETIC)
    stands under the row, ``headline`` over it.

    Raises ``ValueError`` if titles and images differ in number.
    """
    if len(images) != len(titles):
        raise ValueError(f"titles: {len(titles)} given, expected {len(images)}, one per image")
    fig, axes = plt.subplots(1, len(images), figsize=(1.5 * len(images), 2.3), squeeze=False)
    for ax, image, title in zip(axes[0], images, titles, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize="small")
        ax.set_axis_off()
    fig.suptitle(headline)
    fig.text(0.5, 0.02, tag, ha="center", fontsize="small")
    return fig


def with_intervals(
    ax: Axes, positions: Sequence[float], items: Sequence[Evidence], label: str, **style: object
) -> None:
    """Recorded values with their 95 % intervals as error bars."""
    values = np.array([item.value for item in items])
    low, high = np.array([item.interval for item in items]).T
    ax.errorbar(positions, values, yerr=(values - low, high - values), capsize=3, label=label,
                **style)


def baseline(ax: Axes, value: float, label: str) -> None:
    """A dashed line at what needs no model, named at its left end."""
    ax.axhline(value, color="0.35", linestyle="--", linewidth=1)
    ax.annotate(label, (0.01, value), xycoords=("axes fraction", "data"), va="bottom",
                fontsize="small", color="0.25")


def drift_frame(plane: np.ndarray, step: int, names: Sequence[str]) -> np.ndarray:
    """One picture of a federation in motion, for a scrubber; uint8, (height, width, 3).

    ``plane`` holds positions, shape (rounds, 1 + hospitals, 2): the global model first, then the
    model each hospital returned. ``step`` is the round to draw.
    """
    fig, ax = plt.subplots(figsize=(5, 3.6), dpi=90)
    ax.plot(*plane[: step + 1, 0].T, "-", color="0.6", marker="", linewidth=1)
    start = plane[step, 0]
    for end, name in zip(plane[step, 1:], names, strict=True):
        ax.plot(*np.stack([start, end]).T, label=name)
    ax.plot(*start, "ko", markersize=8, label="global model")
    span = plane.reshape(-1, 2)
    margin = 0.05 * np.ptp(span, axis=0)
    low, high = span.min(0) - margin, span.max(0) + margin
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]),
           xlabel="first principal direction", ylabel="second")
    ax.legend(fontsize="small", loc="best", ncols=2)
    fig.canvas.draw()
    picture = np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()
    plt.close(fig)
    return picture
