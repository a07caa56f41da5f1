"""What noise takes from an observer of a genome, and how many SNPs it takes to find a relative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.interpolate import PchipInterpolator

from leaklab.attacks.frequencies.theory import power
from leaklab.attacks.kinship import top_one
from leaklab.data.genomes.families import RELATIONS
from leaklab.evidence import Evidence

CLIFFS = {
    "cliffs_{snps}_{z:g}_likeliest": "each genotype",
    "relatives_parent_{z:g}_found": "a parent among 2,255",
    "cliffs_{snps}_{z:g}_linked": "the person among 2,504",
    "cliffs_{snps}_{z:g}_tpr": "took part (1 % false alarms)",
}
LINKED = (("ld_{z:g}_likeliest", "1,972 linked SNPs, each alone", ":"),
          ("ld_{z:g}_decoded", "1,972 linked SNPs, together", "--"))
FOUND = {"parent": "parent", "half-sibling": "half-sibling", "cousin": "cousin",
         "cousin_once_removed": "cousin once removed", "second_cousin": "second cousin"}


def three_cliffs(
    ax: Axes, recorded: Mapping[str, Evidence], *, snps: int = 11_235, linked: bool = False
) -> Axes:
    """What study 15 recorded against the noise multiplier: points measured, lines theory.

    Everything is on one scale: 0, dashed, is what a guess without the gradient reaches, 1 is all
    there is to know. Bars are 95 % intervals; the number beside each line is the noise at which it
    falls through one half. The lines hold for candidates who are independent of one another; that
    of single genotypes joins what theory says at the points. ``snps``: how many the model takes,
    which moves the first cliff alone. With ``linked``, what reading neighbours together adds on one
    stretch of a chromosome: measured, no theory.
    """
    for k, (form, label) in enumerate(CLIFFS.items()):
        items = _along(recorded, form, snps)
        noise = np.array([item.setting["noise_multiplier"] for item in items])
        (points, *_) = ax.errorbar(noise, [_beyond(item, item.value) for item in items],
                                   yerr=_bars(items), linestyle="none", capsize=2, label=label)
        colour = points.get_color()
        fine = np.geomspace(noise[0], noise[-1], 300)
        theory = _foretold(items, noise, fine)
        ax.plot(fine, theory, color=colour, linestyle="-", marker="", linewidth=1.4)
        half, last = np.exp(np.interp(-0.5, -theory, np.log(fine))), k == len(CLIFFS) - 1
        ax.annotate(f"{half:.2g}", (half, 0.5), xytext=(7 if last else -5, -4), color=colour,
                    textcoords="offset points", ha="left" if last else "right", fontsize="small")
    for form, label, style in LINKED * linked:
        items = _along(recorded, form, snps)
        ax.plot([item.setting["noise_multiplier"] for item in items],
                [_beyond(item, item.value) for item in items], color="0.45", linestyle=style,
                marker="x", linewidth=1, label=label)
    ax.axhline(0, color="0.35", linestyle="--", marker="", linewidth=1)
    ax.annotate("a guess", (0.02, 0), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", fontsize="small", color="0.35")
    ax.set(xscale="log", xlabel="noise multiplier z of one clipped gradient", ylim=(-0.06, 1.06),
           ylabel="learnt beyond a guess")
    ax.xaxis.set_major_formatter("{x:g}")
    _legend_below(ax, 2)
    return ax


def relatives(ax: Axes, recorded: Mapping[str, Evidence]) -> Axes:
    """How often a planted relative comes first among 2,255, by number of SNPs, as study 14 found.

    Lines are relations, bands 95 % intervals.
    """
    for relation, label in FOUND.items():
        items = _by_snps(recorded, f"search_{relation}_", "_first")
        numbers = [item.setting["snps"] for item in items]
        (line,) = ax.plot(numbers, [item.value for item in items], label=label)
        ax.fill_between(numbers, *np.array([item.interval for item in items]).T,
                        color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set(xscale="log", xlabel="SNPs", ylabel="share found first", ylim=(-0.03, 1.03))
    ax.xaxis.set_major_formatter("{x:g}")
    _legend_below(ax, 3)
    return ax


def _legend_below(ax: Axes, columns: int) -> None:
    """Under the axis, where it hides no curve."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, columnspacing=1.2,
              handletextpad=0.5)


def _along(recorded: Mapping[str, Evidence], form: str, snps: int) -> list[Evidence]:
    """The evidence of one measure at every noise that was recorded."""
    noises = sorted({item.setting["noise_multiplier"] for item in recorded.values()})
    names = [form.format(z=noise, snps=snps) for noise in noises]
    return [recorded[name] for name in names if name in recorded]


def _foretold(items: Sequence[Evidence], noise: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """What theory expects of a measure at each of the ``fine`` noises, on the figure's scale."""
    first = items[0]
    if first.name.endswith("_tpr"):
        values = [power(1 / z, first.baseline) for z in fine]
    elif first.name.endswith(("_linked", "_found")):
        signal = 2 * RELATIONS[first.setting.get("relation", "self")]
        values = [top_one(signal / z, first.setting["candidates"]) for z in fine]
    else:
        at = [item.setting["theory"] for item in items]
        values = PchipInterpolator(np.log(noise), at)(np.log(fine))
    return np.array([_beyond(first, value) for value in values])


def _by_snps(recorded: Mapping[str, Evidence], start: str, end: str) -> list[Evidence]:
    """The evidence of one measure by number of SNPs."""
    items = [item for name, item in recorded.items()
             if name.startswith(start) and name.endswith(end)
             and name.removeprefix(start).removesuffix(end).isdigit()]
    return sorted(items, key=lambda item: item.setting["snps"])


def _beyond(item: Evidence, value: float) -> float:
    """A value on the scale from the baseline, 0, to all there is to know, 1."""
    return (value - item.baseline) / (1 - item.baseline)


def _bars(items: Sequence[Evidence]) -> np.ndarray:
    """Lengths of the error bars below and above, (2, n)."""
    return np.array([[_beyond(i, i.value) - _beyond(i, i.interval[0]),
                      _beyond(i, i.interval[1]) - _beyond(i, i.value)] for i in items]).T
