"""Figures show what they are given: marks where they belong, observers no more than they see."""

from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle

from leaklab import plots
from leaklab.evidence import Evidence
from leaklab.federation import (
    Hospital,
    client_views,
    eavesdropper_views,
    fed_avg,
    secure_aggregation_views,
    server_views,
)
from leaklab.models import logistic_regression
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

matplotlib.use("Agg")
NAMES = ("A", "B", "C")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def item(value: float, x: float, **setting) -> Evidence:
    return Evidence(
        name="x", statement="", value=value, unit="", interval=(value - 0.1, value + 0.2),
        interval_kind="", baseline=0.0, baseline_kind="", runs=(value - 0.05, value + 0.05),
        seeds=(0, 1), data="", data_sha256="", scale="fast", version="",
        setting={"rounds": x, **setting})


def test_a_scatter_puts_each_group_where_it_was_measured_in_a_mark_of_its_own():
    points = {"a": np.array([[0.0, 1.0], [2.0, 3.0]]), "b": np.array([[4.0, 5.0]])}
    plots.use_style()
    ax = plots.scatter(points, legend="kind", xlabel="x", ylabel="y", title="t")
    assert [line.get_xydata().tolist() for line in ax.get_lines()] == [p.tolist() for p in
                                                                       points.values()]
    assert len({line.get_marker() for line in ax.get_lines()}) == 2
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert legend.get_title().get_text() == "kind"


def test_an_interval_chart_puts_values_bars_and_runs_where_they_were_measured():
    ax = plots.interval_chart({"a": [item(0.5, 1), item(0.7, 10)]}, x="rounds", xlabel="round",
                              ylabel="y", title="t", guess=0.3, log=True)
    mean, *others = ax.get_lines()
    assert mean.get_xydata().tolist() == [[1, 0.5], [10, 0.7]]
    drawn = {tuple(np.round(point, 6)) for line in others for point in line.get_xydata()}
    assert {(1, 0.4), (1, 0.7), (10, 0.6), (10, 0.9)} <= drawn, "the ends of the bars"
    assert {(1, 0.45), (1, 0.55), (10, 0.65), (10, 0.75)} <= drawn, "the single runs"
    assert "guess" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_who_sees_what_tells_alone_from_mixed_from_nothing():
    members = [Hospital(name, torch.randn(6, 2, generator=generator(name)), torch.arange(6) % 2)
               for name in NAMES]
    (step,) = fed_avg(logistic_regression(generator("w"), num_features=2), members,
                      LocalTraining(0.1), rounds=1, seed=0)
    views = {"server": server_views(step), "sum": secure_aggregation_views(step),
             "client": client_views(step, "A"), "tls": eavesdropper_views(step, encrypted=True)}
    ax = plots.who_sees_what(views, NAMES, title="t")
    legend = {to_hex(patch.get_facecolor()): text.get_text() for patch, text in zip(
        ax.figure.legends[0].get_patches(), ax.figure.legends[0].get_texts(), strict=True)}
    shown = [legend[to_hex(bar.get_facecolor())] for bar in ax.patches]
    assert [shown[k:k + 3] for k in range(0, 12, 3)] == [
        ["alone"] * 3, ["mixed"] * 3, ["nothing", "mixed", "mixed"], ["nothing"] * 3]


def test_readings_stand_over_their_own_truth():
    ax = plots.reading_chart({"a": item(0.5, 1, true_shares=[0.2, 0.8])}, xlabel="x", ylabel="y",
                             title="t")
    assert ax.get_lines()[0].get_xydata().tolist() == [[0.2, 0.45], [0.8, 0.55]]


def test_no_group_of_bars_is_dropped_and_no_bar_that_a_log_axis_cannot_show():
    ax = plots.grouped_bars(["a"], {str(k): [k + 1] for k in range(7)}, ylabel="y", title="t")
    assert [bar.get_height() for bar in ax.patches] == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(ValueError, match="groups: a height of 0 given"):
        plots.grouped_bars(["a"], {"x": [0]}, ylabel="y", title="t")


def test_each_image_has_a_title():
    images = np.zeros((4, 2, 2))
    fig = plots.image_grid(images, ["a", "b", "c", "d"], tag="SYNTHETIC x", headline="h")
    assert [ax.get_title() for ax in fig.axes] == ["a", "b", "c", "d", "", ""]
    with pytest.raises(ValueError, match="titles: 1 given, expected 4, one per image"):
        plots.image_grid(images, ["a"], tag="SYNTHETIC x", headline="h")


def uplift_of(value: float, low: float, high: float) -> Evidence:
    return replace(item(value, 0), interval=(low, high))


def cells(ax):
    """What each cell shows: place, text, facecolour and whether it is hatched."""
    patches = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return {tuple(round(c) for c in text.get_position()): (
        text.get_text(), patch.get_facecolor(), bool(patch.get_hatch()), text.get_color())
        for text, patch in zip(ax.texts, patches, strict=True)}


ROWS = {"B = 1": [uplift_of(20.04, 12, 25), uplift_of(0.5, -0.2, 1.2)],
        "B = 4": [None, uplift_of(-5, -7, -3)]}


def test_an_uplift_map_puts_each_value_in_its_cell_and_marks_what_gained_nothing():
    ax = plots.uplift_map(ROWS, ["fresh", "trained"], xlabel="x", ylabel="y", title="t")
    shown = cells(ax)
    assert {place: text for place, (text, *_) in shown.items()} == {
        (0, 0): "+20.0", (1, 0): "+0.5", (0, 1): "not\nmeasured", (1, 1): "−5.0"}
    assert [place for place, cell in shown.items() if cell[2]] == [(1, 0)], "hatched"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["fresh", "trained"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["B = 1", "B = 4"]
    assert ax.get_ylim() == (1.5, -0.5), "the first row on top"
    assert "includes 0" in ax.figure.legends[0].get_texts()[0].get_text()


def test_colours_of_an_uplift_map_are_centred_at_zero_and_numbers_readable():
    ax = plots.uplift_map(ROWS, ["a", "b"], xlabel="x", ylabel="y", title="t")
    colours = {place: cell[1][:3] for place, cell in cells(ax).items()}
    assert to_hex(colours[0, 0]) == "#d55e00", "the largest is full"
    assert colours[1, 1][2] > colours[1, 1][0], "below 0 is bluish"
    near = uplift_of(0.0, -1, 1)
    ax = plots.uplift_map({"r": [near, uplift_of(30, 29, 31), uplift_of(-30, -31, -29)]},
                          ["a", "b", "c"], xlabel="x", ylabel="y", title="t", limit=10)
    middle, high, low = cells(ax).values()
    assert np.ptp(middle[1][:3]) < 0.03 and min(middle[1][:3]) > 0.9, "0 is neutral"
    assert (to_hex(high[1]), to_hex(low[1])) == ("#d55e00", "#0072b2")
    assert (high[0], low[0]) == ("+30.0", "−30.0"), "the number is not clipped"
    for text, face, _, ink in (middle, high, low):
        assert contrast(face, to_rgb(ink)) >= 4.5, text


def contrast(a, b) -> float:
    """WCAG 2 contrast ratio of two colours."""
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_small_values_of_an_uplift_map_have_two_decimals_and_nothing_is_minus_zero():
    row = [uplift_of(value, value - 0.001, value + 0.001) for value in (-0.03, 0.046, -0.004)]
    ax = plots.uplift_map({"r": row}, ["a", "b", "c"], xlabel="x", ylabel="y", title="t", limit=1)
    assert [text for text, *_ in cells(ax).values()] == ["−0.03", "+0.05", "+0.00"]


def test_an_uplift_map_with_nothing_measured_or_a_short_row():
    ax = plots.uplift_map({"r": [None]}, ["a"], xlabel="x", ylabel="y", title="t")
    assert [cell[0] for cell in cells(ax).values()] == ["not\nmeasured"]
    with pytest.raises(ValueError, match="rows: 1 cells given in 'r', expected 2, one per column"):
        plots.uplift_map({"r": [None]}, ["a", "b"], xlabel="x", ylabel="y", title="t")


def test_a_table_of_images_has_a_row_a_name_and_says_where_there_is_nothing():
    rows = {"server": np.zeros((3, 4, 4)), "TLS": None}
    fig = plots.image_table(rows, ["A", "B", "C"], tag="SYNTHETIC", headline="All")
    texts = [t.get_text() for ax in fig.axes for t in ax.texts]
    assert len(fig.axes) == 6 and texts == ["nothing"] * 3
    assert [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel()] == ["server", "TLS"]
    assert [ax.get_title() for ax in fig.axes if ax.get_title()] == ["A", "B", "C"]
    with pytest.raises(ValueError, match="2 images given in 'server', expected 3"):
        plots.image_table({"server": np.zeros((2, 4, 4))}, ["A", "B", "C"], tag="", headline="")
