"""Privacy of a record: every gradient is clipped before the sum, and the accounting is exact."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from leaklab.bounds import auc_ceiling, epsilon_of, ranking_ceiling
from leaklab.defences.record_level import PrivateHospital, RecordLevel, noise_for
from leaklab.federation import Hospital, fed_avg
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

INPUTS = torch.randn(9, 4, generator=generator("inputs"), dtype=torch.float64)
TARGETS = torch.arange(9) % 2
NET = mlp(generator("weights"), num_features=4, width=6).double()


def test_each_record_is_clipped_before_the_sum_and_small_ones_are_left():
    gradients = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-6.0, 8.0]])
    found = RecordLevel(1.0, 0.0).mean(gradients, generator("noise"))
    torch.testing.assert_close(found, torch.tensor([0.6 + 0.3 - 0.6, 0.8 + 0.4 + 0.8]) / 4)


def test_one_record_moves_the_sum_by_no_more_than_the_norm():
    gradients = 10 * torch.randn(20, 5, generator=generator("big"))
    means = [RecordLevel(0.7, 0.0).mean(rows, generator("noise")) * len(rows)
             for rows in (gradients, gradients[1:])]
    assert float((means[0] - means[1]).norm()) == pytest.approx(0.7, rel=1e-4)


def test_the_noise_is_as_large_as_stated():
    gradients = torch.zeros(8, 40_000, dtype=torch.float64)
    found = RecordLevel(2.0, 1.5).mean(gradients, generator("noise"))
    assert float(found.std()) * 8 == pytest.approx(3.0, rel=0.02)
    stated = RecordLevel(2.0, 1.5).noise_in_update(8, 1)
    assert 8 * float(found.var()) == pytest.approx(stated, rel=0.04)


def test_without_noise_and_with_a_norm_out_of_reach_it_is_the_plain_hospital():
    training = LocalTraining(0.3, local_steps=4, mode="eval")
    steps = [list(fed_avg(NET, [clinic], training, rounds=2, seed=0))[-1] for clinic in (
        Hospital("A", INPUTS, TARGETS),
        PrivateHospital("A", INPUTS, TARGETS, RecordLevel(1e6, 0.0)))]
    torch.testing.assert_close(steps[0].after, steps[1].after)
    assert steps[1].updates[0].num_examples == 9


@pytest.mark.parametrize("training", [LocalTraining(0.1, batch_size=4),
                                      LocalTraining(0.1, momentum=0.9),
                                      LocalTraining(0.1, optimiser="adam"),
                                      LocalTraining(0.1, proximal=0.1)])
def test_other_training_is_refused(training):
    with pytest.raises(ValueError, match="expected plain SGD on all records"):
        PrivateHospital("A", INPUTS, TARGETS, RecordLevel(1.0, 1.0)).train(
            NET, training, generator=generator("noise"))


@pytest.mark.parametrize("given", [(0.0, 1.0), (1.0, -1.0)])
def test_parameters_out_of_range_are_refused(given):
    with pytest.raises(ValueError, match="given, expected"):
        RecordLevel(*given)


@pytest.mark.parametrize("mu", [0.3, 1.0, 4.0])
def test_epsilon_solves_the_definition_and_grows_with_mu(mu):
    epsilon = epsilon_of(mu, 1e-3)
    grid = np.linspace(-12, 12, 400_001)
    # delta(eps) as it is defined: what N(mu, 1) has above e^eps times N(0, 1)
    excess = np.clip(norm.pdf(grid, mu) - math.exp(epsilon) * norm.pdf(grid), 0, None)
    assert np.trapezoid(excess, grid) == pytest.approx(1e-3, rel=1e-3)
    assert epsilon_of(2 * mu, 1e-3) > epsilon
    assert epsilon_of(1e-4, 1e-3) == 0
    assert epsilon_of(60.0, 1e-3) == pytest.approx(60**2 / 2 + 60 * norm.isf(1e-3), rel=0.01)


def test_the_ceiling_is_the_area_of_the_best_test():
    draw = np.random.default_rng(0)
    scores = np.concatenate([draw.normal(1.3, 1, 40_000), draw.normal(0, 1, 40_000)])
    area = roc_auc_score(np.repeat([1, 0], 40_000), scores)
    assert auc_ceiling(1.3) == pytest.approx(area, abs=0.005)
    assert auc_ceiling(0) == 0.5


def test_changing_places_is_told_more_often_than_presence_and_no_more_than_the_ranking_ceiling():
    """A hospital of one: of two patients with opposite gradients, one of norm C lies there."""
    mu, draw = 0.9, generator("places")
    one = torch.tensor([1.0], dtype=torch.float64)
    released = torch.stack([RecordLevel(1.0, noise_for(mu, 1)).mean(one[None], draw)
                            for _ in range(20_000)])
    ranked = float(((released @ one) > (released @ -one)).double().mean())
    assert ranked == pytest.approx(ranking_ceiling(mu), abs=0.01)
    assert ranked > auc_ceiling(mu) + 0.04
    with pytest.raises(ValueError, match="mu: "):
        ranking_ceiling(-1)


def test_noise_composes_over_releases():
    assert noise_for(2.0, 1) == 0.5 and noise_for(2.0, 16) == 2.0
    with pytest.raises(ValueError, match="mu, releases: 0, 3 given"):
        noise_for(0, 3)
