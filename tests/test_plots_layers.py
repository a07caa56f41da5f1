"""Maps, frontier and explorer: what is drawn is what was given."""

import matplotlib
import numpy as np
import pytest

from leaklab.assess import stacks
from leaklab.bounds import tpr_ceiling
from leaklab.evidence import Evidence
from leaklab.plots import layers, use_style
from leaklab.teaching.scrubber import scrubber

matplotlib.use("Agg")
use_style()


def item(value=0.8, *, baseline=0.2, low=None, **setting) -> Evidence:
    return Evidence("x", "s", value, "share of x", (value - 0.1 if low is None else low,
                    value + 0.1), "t", baseline, "chance", (value,), (0,), "REAL", "0", "fast",
                    "0", setting=setting)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_an_entry_leads_from_the_guess_and_says_whether_that_was_shown():
    assert layers.entry(item(0.6)) == (pytest.approx(0.5), "0.60", True)
    assert layers.entry(item(0.25, low=0.1)) == (pytest.approx(0.0625), "0.25", False)
    assert layers.entry(item(0.1)) == (0.0, "0.10", False)
    assert layers.entry(None) is None


def test_a_map_says_what_was_not_measured_and_hatches_what_was_not_shown():
    ax = layers.advantage_map({"a": [(0.5, "0.5", True), None], "b": [(0.0, "0.2", False), None]},
                              ["server", "client"], title="t")
    assert texts(ax) == ["0.5", "not measured", "0.2", "not measured"]
    assert [bool(box.get_hatch()) for box in ax.patches] == [False, False, True, False]
    with pytest.raises(ValueError, match="rows: 1 cells given in 'a', expected 2"):
        layers.advantage_map({"a": [None]}, ["server", "client"], title="t")


MUS = (0.5, 2.0)
GROUPS = {name: [item(0.7 + mu / 10, epsilon=3 * mu, mu=mu) for mu in MUS] for name in ("a", "b")}
ENDS = {"free": item(0.95), "alone": item(0.6)}


def test_a_chart_of_bounds_draws_values_ceilings_and_the_guess():
    ax = layers.bound_chart([item(0.5, noise=1.0, ceiling=0.8), item(0.3, noise=2.0, ceiling=0.4)],
                            x="noise", xlabel="noise", ylabel="named", title="t")
    drawn = [list(map(float, line.get_ydata())) for line in ax.get_lines()]
    assert [0.8, 0.4] in drawn and [0.5, 0.3] in drawn and [0.2, 0.2] in drawn
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2"]


def test_the_frontier_draws_both_ends_and_every_value():
    ax = layers.frontier_chart(GROUPS, ENDS, title="t", ylabel="accuracy")
    drawn = [line.get_ydata() for line in ax.get_lines()]
    assert sum(np.allclose(y, [0.75, 0.9]) for y in drawn) == 2
    assert {float(y[0]) for y in drawn} >= {0.95, 0.6}
    assert ax.get_xscale() == "log"


@pytest.mark.parametrize("mu", MUS)
def test_the_explorer_says_what_each_observer_may_reach(mu):
    exposures = {stack.name: {who: stacks.exposure(stack, who, mu=mu, hospitals=4)
                              for who in stacks.OBSERVERS} for stack in stacks.STACKS}
    fig = layers.explorer(GROUPS, ENDS, exposures, mu=mu, ylabel="accuracy")
    cells = texts(fig.axes[1])
    assert len(cells) == len(stacks.STACKS) * len(stacks.OBSERVERS)
    assert cells[0] == "no bound" and cells[5] == "1 %"
    assert f"{100 * tpr_ceiling(0.01, mu):.3g} %" in cells
    frame = layers.picture(fig)
    assert frame.dtype == np.uint8 and frame.std() > 10
    shown = scrubber(np.stack([frame, frame]), ["a", "b"], name=f"mu {mu}", alt="the frontier")
    assert "scrubber-" in shown.html
