"""Exact ROC curves against scikit-learn and by hand, and where they refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from leaklab.metrics import roc as metric
from leaklab.plots.roc import roc_chart
from leaklab.runtime import generator

TABLES = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({member for _, member in rows}) == 2)


def columns(rows):
    return (torch.tensor([float(score) for score, _ in rows]),
            torch.tensor([member for _, member in rows]))


@given(rows=TABLES)
@settings(max_examples=60, deadline=None)
def test_curve_and_area_are_scikit_learns_ties_and_all(rows):
    scores, members = columns(rows)
    curve = metric.roc(scores, members)
    fpr, tpr, _ = roc_curve(members, scores, drop_intermediate=False)
    assert np.allclose(curve.false_positive_rate, fpr)
    assert np.allclose(curve.true_positive_rate, tpr)
    assert metric.auc(scores, members) == pytest.approx(roc_auc_score(members, scores))


@given(rows=TABLES, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_neither_order_nor_scale_matters(rows, seed):
    scores, members = columns(rows)
    order = torch.randperm(len(scores), generator=generator(seed))
    assert metric.auc(scores[order], members[order]) == pytest.approx(metric.auc(scores, members))
    assert metric.auc(scores.exp(), members) == pytest.approx(metric.auc(scores, members))
    assert metric.auc(-scores, members) == pytest.approx(1 - metric.auc(scores, members))


def test_constant_scores_are_worth_nothing_whatever_the_order():
    members = torch.arange(10) < 5  # members first: a careless sort would find them all
    curve = metric.roc(torch.zeros(10), members)
    assert curve.false_positives.tolist() == [0, 5]
    assert metric.auc(torch.zeros(10), members) == 0.5
    point = metric.operating_point(torch.zeros(10), members, 0.4)
    assert (point.true_positives, point.false_positives) == (0, 0)


def test_an_operating_point_by_hand():
    scores = torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    members = torch.tensor([1, 1, 0, 1, 0, 1, 0, 0, 0, 0], dtype=torch.bool)
    point = metric.operating_point(scores, members, 0.2)
    assert (point.threshold, point.true_positives, point.false_positives) == (6, 3, 1)
    assert point.true_positive_rate == 0.75
    assert point.false_positive_rate == pytest.approx(1 / 6) and point.wanted == 0.2
    exact = stats.binomtest(3, 4).proportion_ci(method="exact")
    assert point.true_positive_interval == pytest.approx((exact.low, exact.high))
    exact = stats.binomtest(1, 6).proportion_ci(method="exact")
    assert point.false_positive_interval == pytest.approx((exact.low, exact.high))


def test_a_rate_that_the_non_members_cannot_carry_is_refused():
    scores, members = torch.rand(300, generator=generator(0)), torch.arange(300) < 200
    with pytest.raises(ValueError, match=r"fpr: 0\.001 given with 100 non-members, expected 0\.01"):
        metric.operating_point(scores, members, 0.001)
    assert metric.operating_point(scores, members, 0.01).false_positives == 1
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            metric.operating_point(scores, members, wrong)


@pytest.mark.parametrize(("others", "fpr"), [(111, 0.01), (111, 0.02), (203, 0.01), (1000, 0.01)])
def test_a_score_that_knows_nothing_reaches_the_chance_rate_and_not_the_fpr(others, fpr):
    draw, members = generator("nothing", others), torch.arange(others + 50) < 50
    found = torch.tensor([metric.operating_point(
        torch.rand(len(members), generator=draw), members, fpr).true_positive_rate
        for _ in range(1500)]).double()
    error = float(found.std()) / len(found) ** 0.5
    expected = metric.chance_rate(fpr, others)
    assert abs(float(found.mean()) - expected) < 4 * error
    if others == 111:
        assert float(found.mean()) - fpr > 8 * error, "more than the share of false alarms allowed"


def test_what_cannot_be_judged_is_refused():
    some = torch.tensor([True, False])
    with pytest.raises(ValueError, match="NaN"):
        metric.auc(torch.tensor([0.0, torch.nan]), some)
    with pytest.raises(ValueError, match="members: 2 of 2"):
        metric.auc(torch.zeros(2), torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="expected one shape"):
        metric.auc(torch.zeros(3), some)
    with pytest.raises(ValueError, match="members bool"):
        metric.auc(torch.zeros(2), some.long())


def test_certainty_depends_on_the_prior():
    assert metric.posterior(0.01, 0.05, 0.001) == pytest.approx(0.0005 / 0.00149)
    assert metric.posterior(0.5, 0.49, 0.01) == pytest.approx(0.98)
    assert metric.posterior(0.01, 0.49, 0.01) == pytest.approx(0.0049 / 0.0148)
    for wrong in ((1.5, 0.1, 0.1), (0.1, -1, 0.1), (0.1, 0.1, 2), (0.5, 0, 0)):
        with pytest.raises(ValueError, match="expected"):
            metric.posterior(*wrong)


# --- Many target models -----------------------------------------------------------------------


def test_pooled_rates_are_those_of_all_pairs_and_draws_those_of_repeated_records():
    draw = generator("pooled")
    members = torch.rand(6, 40, generator=draw) < 0.5
    scores = (torch.randint(8, (6, 40), generator=draw) + members).double()
    draws = metric.patient_draws([f"p{k // 2}" for k in range(40)], 5, draw)
    area = metric.pooled_auc(scores, members, draws)
    rate = metric.pooled_tpr(scores, members, draws, 0.1)
    assert area.value == pytest.approx(metric.auc(scores, members))
    assert rate.value == metric.operating_point(scores, members, 0.1).true_positive_rate
    for counts, a, r in zip(draws.long(), area.draws, rate.draws, strict=True):
        again = scores.repeat_interleave(counts, 1), members.repeat_interleave(counts, 1)
        assert float(a) == pytest.approx(metric.auc(*again))
        assert float(r) == pytest.approx(metric.operating_point(*again, 0.1).true_positive_rate)


def test_a_pooled_rate_counts_accusations_and_refuses_what_they_cannot_carry():
    members = torch.arange(4)[:, None].expand(4, 50) % 2 == 0  # 100 accusations could be wrong
    scores = torch.rand(4, 50, generator=generator("few"))
    draws = metric.patient_draws(range(50), 3, generator(2))
    assert 0 <= metric.pooled_tpr(scores, members, draws, 0.01).value <= 1
    with pytest.raises(ValueError, match=r"fpr: 0\.009 given with 100 non-members"):
        metric.pooled_tpr(scores, members, draws, 0.009)


def test_a_patient_is_drawn_with_all_records():
    draws = metric.patient_draws(["a", "b", "a", "c"], 200, generator(1))
    assert torch.equal(draws[:, 0], draws[:, 2])
    assert (draws[:, [0, 1, 3]].sum(1) == 3).all()
    assert draws.mean(0).tolist() == pytest.approx([1, 1, 1, 1], abs=0.25)
    with pytest.raises(ValueError, match="patients: 1 given"):
        metric.patient_draws(["a", "a"], 10, generator(1))


def test_intervals_by_patient_are_honest_where_those_by_accusation_are_not():
    """64 models accuse the same 40 patients of whom some are easy: repeats add no patients."""
    def trial(seed):
        draw = generator(seed, "clusters")
        easy = 3 * torch.randn(40, generator=draw)  # how much membership shows, for each patient
        members = (torch.arange(64) % 2 == 0)[:, None].expand(64, 40)
        scores = torch.randn(64, 40, generator=draw) + easy * members
        area = metric.pooled_auc(scores, members, metric.patient_draws(range(40), 200, draw))
        rows = torch.randint(64 * 40, (200, 64 * 40), generator=draw)
        naive = [metric.auc(scores.flatten()[r], members.flatten()[r]) for r in rows[:60]]
        low, high = area.interval
        return low <= 0.5 <= high, np.quantile(naive, 0.025) <= 0.5 <= np.quantile(naive, 0.975)

    honest, naive = np.mean([trial(seed) for seed in range(30)], axis=0)
    assert honest >= 0.8 and naive <= 0.6


def test_the_area_of_each_record_is_over_models():
    members = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    scores = torch.tensor([[5.0, 1.0], [4.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    assert metric.record_auc(scores, members).tolist() == [1.0, 0.5]


# --- The chart --------------------------------------------------------------------------------


def test_the_chart_is_logarithmic_and_marks_what_cannot_be_seen():
    members = torch.arange(400) < 200
    curve = metric.roc(torch.rand(400, generator=generator(3)), members)
    ax = roc_chart({"an attack": curve}, title="Nothing to see")
    assert ax.get_xscale() == ax.get_yscale() == "log"
    left, right = ax.get_xlim()
    assert left < 1 / 200 and right == 1
    grey = [patch.get_xy() for patch in ax.patches]
    assert len(grey) == 1, "one shaded region"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["an attack", "coin", "too few non-members"]
    assert not ax.texts, "no label that a curve could cross"
    for wrong in ({"curves": {}, "title": ""},
                  {"curves": {"a": curve}, "title": "", "floor": 2}):
        with pytest.raises(ValueError, match="expected"):
            roc_chart(**wrong)
    plt.close("all")
