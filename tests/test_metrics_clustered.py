"""Shares counted in clusters: as many independent patients as the spread between clusters says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaklab.metrics import proportion_interval
from leaklab.metrics.clustered import share_interval


def test_where_all_agree_each_cluster_counts_once():
    assert share_interval([1.0] * 15, 4) == pytest.approx(proportion_interval(15, 15))
    assert share_interval([0.0] * 5, 4) == pytest.approx(proportion_interval(0, 5))


def test_clusters_that_stand_and_fall_together_count_no_more_than_once():
    """Ten clusters, five of them all ones: 9 * 1/4 / (5/18) = 9 before the factor for t."""
    low, high = share_interval([1.0] * 5 + [0.0] * 5, 4)
    plain = proportion_interval(5, 10)
    assert low < plain[0] and high > plain[1]
    apart = 9 * (2.02269 / 2.26216) ** 2  # quantiles of t with 39 and 9 degrees of freedom
    assert low == pytest.approx(1 - high) and apart == pytest.approx(7.2, abs=0.01)
    assert low > proportion_interval(3, 7)[0] - 0.1


def test_clusters_that_are_alike_count_every_patient_and_no_more():
    assert share_interval([0.5] * 10, 4) == pytest.approx(proportion_interval(20, 40))


@pytest.mark.parametrize(("a", "b"), [(2, 1), (0.2, 0.1)])
def test_it_covers_as_often_as_it_says_and_counting_patients_does_not(a, b):
    """Patients of one trial are alike, two thirds on average, and the less a and b the more so."""
    rng = np.random.default_rng(0)
    held, naive = [], []
    for _ in range(400):
        hits = rng.binomial(4, rng.beta(a, b, size=15))
        for kept, (low, high) in ((held, share_interval(hits / 4, 4)),
                                  (naive, proportion_interval(int(hits.sum()), 60))):
            kept.append(low <= 2 / 3 <= high)
    assert np.mean(held) > 0.93
    assert np.mean(naive) < 0.93


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20))
def test_it_holds_the_share_and_mirrors(hits):
    shares = [h / 4 for h in hits]
    low, high = share_interval(shares, 4)
    assert 0 <= low <= np.mean(shares) <= high <= 1
    assert share_interval([1 - s for s in shares], 4) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("shares", "size", "named"), [
    ([0.5], 4, "shares"), ([0.5, 1.5], 4, "shares"), ([0.5, 0.5], 0, "size: 0 given")])
def test_arguments_out_of_range_are_named(shares, size, named):
    with pytest.raises(ValueError, match=named):
        share_interval(shares, size)
