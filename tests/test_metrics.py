"""Intervals agree with scipy and hold what they promise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score

from leaklab import metrics

runs = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@given(runs)
def test_uncorrected_mean_interval_is_scipys_t_interval(values):
    if np.std(values) < 1e-6:
        return
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert metrics.mean_interval(values) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(runs, st.floats(0.05, 1))
def test_shared_patients_widen_the_interval_by_the_published_factor(values, ratio):
    low, high = metrics.mean_interval(values)
    wide_low, wide_high = metrics.mean_interval(values, test_to_train=ratio)
    factor = np.sqrt(1 + len(values) * ratio)
    assert wide_high - wide_low == pytest.approx((high - low) * factor, rel=1e-6, abs=1e-9)


def test_the_prediction_interval_holds_a_further_run_as_often_as_it_says():
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(4000, 8))
    hits = [low <= run[-1] <= high for run in sample
            for low, high in [metrics.prediction_interval(run[:-1])]]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)
    # the interval for the mean, taken by mistake, does not
    wrong = [low <= run[-1] <= high for run in sample
             for low, high in [metrics.mean_interval(run[:-1])]]
    assert np.mean(wrong) < 0.75


@given(st.integers(0, 60), st.integers(1, 60))
def test_proportion_interval_agrees_with_scipy(successes, extra):
    trials = successes + extra
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert metrics.proportion_interval(successes, trials) == pytest.approx(tuple(expected))


def test_accuracy_agrees_with_scikit_learn():
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(50) % 3
    assert metrics.accuracy(logits, targets) == accuracy_score(targets, logits.argmax(1))


def test_majority_rate_answers_with_the_commonest_class_of_the_training_set():
    test, train = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1, 0])
    assert metrics.majority_rate(test) == 0.75
    assert metrics.majority_rate(test, train) == 0.25


def test_unusable_input_is_named():
    with pytest.raises(ValueError, match="values: 1 given"):
        metrics.mean_interval([0.5])
    with pytest.raises(ValueError, match="successes, trials: 3, 2"):
        metrics.proportion_interval(3, 2)
    with pytest.raises(ValueError, match="targets: 0 rows"):
        metrics.accuracy(torch.zeros(0, 2), torch.zeros(0))
