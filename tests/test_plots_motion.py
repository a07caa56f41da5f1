"""Pictures in motion: equal axes at every step, and what is drawn is what was given."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from leaklab.bounds import tpr_ceiling
from leaklab.evidence import Evidence
from leaklab.plots import motion, use_style
from leaklab.teaching.scrubber import scrubber

matplotlib.use("Agg")
use_style()

LIMITS = (-4.0, 7.0)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def parted(middle: float, **how):
    draw = np.random.default_rng(0)
    return motion.parting(draw.normal(middle, 1, 4000), draw.normal(0, 1, 4000), title="t",
                          limits=LIMITS, **how)


def test_frames_are_of_one_size_closed_and_what_a_scrubber_takes():
    before = plt.get_fignums()  # of other tests in this process
    pictures = motion.frames(parted(shift) for shift in (0.0, 3.0))
    assert pictures.dtype == np.uint8 and pictures.shape[::3] == (2, 3)
    assert (pictures[0] != pictures[1]).any() and plt.get_fignums() == before
    assert "2 steps" in scrubber(pictures, ["a", "b"], name="Step", alt="two groups").text


def test_axes_do_not_move_between_steps():
    near, far = parted(0.0).axes[0], parted(3.0).axes[0]
    assert (near.get_xlim(), near.get_ylim()) == (far.get_xlim(), far.get_ylim())


def test_histograms_have_area_one_and_follow_the_curves_of_theory():
    ax = parted(2.0, shift=2.0).axes[0]
    others, members = (np.array([bar.get_height() for bar in group]) for group in ax.containers)
    width = (LIMITS[1] - LIMITS[0]) / motion.BINS
    assert others.sum() * width == pytest.approx(1) == members.sum() * width
    middles = np.linspace(*LIMITS, motion.BINS, endpoint=False) + width / 2
    assert np.abs(others - norm.pdf(middles)).max() < 0.05
    assert np.abs(members - norm.pdf(middles, 2)).max() < 0.05
    assert [line.get_xdata()[line.get_ydata().argmax()] for line in ax.lines] == [
        pytest.approx(0, abs=0.05), pytest.approx(2, abs=0.05)]


def test_scores_beyond_the_limits_are_counted():
    ax = motion.parting(np.array([50.0, 60.0]), np.array([-50.0]), title="t",
                        limits=LIMITS, threshold=1.5).axes[0]
    others, members = ([bar.get_height() > 0 for bar in group] for group in ax.containers)
    assert others.index(True) == 0 and members.index(True) == motion.BINS - 1
    assert set(ax.lines[0].get_xdata()) == {1.5}


@pytest.mark.parametrize("mu", [0.1, 1.0, 4.0])
def test_the_shaded_share_is_what_the_bound_allows(mu):
    ax = motion.presence(mu, title="t").axes[0]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"named, at most {tpr_ceiling(0.01, mu):.1%}" in labels
    shaded = ax.collections[0].get_paths()[0].vertices
    top = shaded[: len(shaded) // 2]
    area = np.trapezoid(top[:, 1], top[:, 0])
    assert abs(abs(area) - tpr_ceiling(0.01, mu)) < 0.02


def test_dosages_beyond_the_panel_stand_at_its_edge():
    fig = motion.dosages([np.array([0, 1, 2, 9]), np.array([-5, 0.5, 1, 2])], "t")
    drawn = [ax.lines[0].get_ydata().tolist() for ax in fig.axes]
    assert drawn == [[0, 1, 2, 2.7], [-0.7, 0.5, 1, 2]]


def test_grey_of_words_by_hand():
    words = np.array([0, 1, 2**64 - 1, 2**32 - 1, 2**63 - 1, 2**63], dtype=np.uint64)
    expected = [0.5, 0.5 + 1 / 128, 0.5 - 1 / 128, 0.75, 0.5 + 63 / 128, 0.0078125 - 0.0078125]
    assert motion.bits(words) == pytest.approx(expected, abs=0.009)
    assert motion.bits(np.array([255], dtype=np.uint8)) == pytest.approx(0.5 - 1 / 16)
    with pytest.raises(TypeError, match="words: int64 given, expected unsigned"):
        motion.bits(np.array([1]))


@given(st.integers(-(2**62), 2**62))
def test_grey_is_odd_about_zero_and_rises_with_the_number(number):
    words = np.array([number, number + 2**58, -number], dtype=np.int64).view(np.uint64)
    here, more, mirrored = motion.bits(words)
    assert 0 <= here < 1 and here <= more and here + mirrored == pytest.approx(1)


def result(value, low, high, baseline=0.0) -> Evidence:
    return Evidence("x", "s", value, "share", (low, high), "t", baseline, "guess", (value,), (0,),
                    "REAL", "0", "fast", "0")


def filled(ax) -> list[bool]:
    return [line.get_markerfacecolor() != "white" for line in ax.lines if line.get_marker() == "o"]


def test_an_appetite_fills_what_exceeds_it_above_the_blind_guess():
    results = {"a": result(0.5, 0.4, 0.6), "b": result(0.7, 0.6, 0.9, baseline=0.3)}
    for tolerated, by, expected in ((0.4, "value", [True, False]), (0.5, "value", [False, False]),
                                    (0.55, "upper", [True, True]), (0.6, "upper", [False, False])):
        ax = motion.appetite(results, tolerated, by=by).axes[0]
        assert filled(ax) == expected, (tolerated, by)
        assert ax.get_title() == (f"Tolerated {tolerated:g}: {sum(expected)} of 2 exceed, "
                                  f"status {int(any(expected))}")


def test_an_appetite_is_judged_as_the_audit_does():
    results = {"a": result(0.3, 0.1, 0.5), "b": result(0.1, 0.0, 0.3)}
    for tolerated in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0):
        for by in ("value", "upper"):
            over = [r.value > tolerated if by == "value" else r.interval[1] > tolerated
                    for r in results.values()]
            assert filled(motion.appetite(results, tolerated, by=by).axes[0]) == over


def test_an_appetite_names_what_it_cannot_judge():
    with pytest.raises(ValueError, match=r"by: 'lower' given, expected 'value' or 'upper'"):
        motion.appetite({"a": result(0.5, 0.4, 0.6)}, 0.1, by="lower")
    with pytest.raises(ValueError, match=r"results: \['a'\] without a baseline"):
        motion.appetite({"a": result(0.5, 0.4, 0.6, baseline=None)}, 0.1)
