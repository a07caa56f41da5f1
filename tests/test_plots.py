"""Figures show what they are given: marks where they belong, observers no more than they see."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

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
