"""Audits of DP-SGD as it runs: the correct one stays below its promise, each mistake goes above."""

import math
from itertools import chain

import numpy as np
import pytest
import torch

from leaklab.attacks.canaries import insert_canaries, many_run_audit, one_run_audit
from leaklab.attacks.sampler_audit import sampler_scores
from leaklab.defences.accounting import Spent, epsilon
from leaklab.defences.differential_privacy import (
    PrivateHospital,
    poisson_batches,
    private_parts,
)
from leaklab.defences.faults import clipped_after_averaging, noise_forgotten, shuffled_batches
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

DELTA = 1e-3
N, FEATURES, CANARIES = 100, 20, 600
INPUTS = torch.randn(N, FEATURES, generator=generator("records"))
CLINIC = PrivateHospital("A", INPUTS, (INPUTS[:, 0] > 0).long(), 8.0, 1.0)
TRAINING = LocalTraining(0.1, local_steps=50, batch_size=50)
STRICT = DELTA / 100  # what one run can prove falls with canaries times delta
PROMISED = epsilon((CLINIC.spends(TRAINING),), STRICT, units=N)


def audit(fault=None, key="audit"):
    """One run with canaries under ``fault``: what it proves about epsilon."""
    included = torch.rand(CANARIES, generator=generator(key, "coins")) < 0.5
    scores = []

    def listen(optimiser):
        if fault:
            fault(optimiser)
        scores.append(insert_canaries(optimiser, included, sample_rate=50 / N,
                                      generator=generator(key, "canaries")))

    net = mlp(generator("weights"), num_features=FEATURES, width=40)
    CLINIC.train(net, TRAINING, generator=generator(key, "draws"), listen=listen)
    return one_run_audit(scores[0], included, delta=STRICT, guess_fraction=0.2).epsilon


def test_a_correct_training_stays_below_its_promise():
    assert max(audit(key=key) for key in ("one", "two", "three")) < PROMISED


@pytest.mark.parametrize("fault", [noise_forgotten, clipped_after_averaging])
def test_a_mistake_in_the_optimiser_is_proved(fault):
    assert audit(fault) > PROMISED


def test_clipping_after_averaging_lets_one_record_move_the_sum_by_far_more():
    def clipped_sum(rows, fault=None):
        _, optimiser = private_parts(mlp(generator(0), num_features=1, width=1), LocalTraining(1.0),
                                     8, 0.0, 1.0, generator(1))
        if fault:
            fault(optimiser)
        for p in optimiser.params:
            p.grad_sample = rows[:, None].expand(-1, p.numel()).reshape(-1, *p.shape)
        optimiser.clip_and_accumulate()
        return torch.cat([p.summed_grad.flatten() for p in optimiser.params])

    rows = torch.tensor([0.1] * 7 + [100.0])
    right = clipped_sum(rows) - clipped_sum(rows[:-1])
    wrong = clipped_sum(rows, clipped_after_averaging) - clipped_sum(
        rows[:-1], clipped_after_averaging)
    assert float(right.norm()) == pytest.approx(1, rel=1e-3)
    assert float(wrong.norm()) > 5


def sampler_audit(sampler, runs=6000, noise=0.8):
    included = torch.rand(runs, generator=generator("sampler coins")) < 0.5
    scores = sampler_scores(sampler, included, units=100, steps=50, noise_multiplier=noise,
                            generator=generator("sampler"))
    return many_run_audit(scores, included, delta=DELTA).epsilon


def test_shuffled_batches_are_proved_not_to_be_a_poisson_sample():
    promised = epsilon((Spent(0.8, 1 / 50, 50),), DELTA, units=100)
    assert sampler_audit(shuffled_batches) > promised
    assert sampler_audit(poisson_batches, runs=2000) <= promised


def test_scores_are_the_likelihood_ratio_of_shuffled_batches():
    """Against a sum over where the record may be, on the very sums that were seen."""
    included = torch.tensor([True, False])
    found = sampler_scores(lambda *_: [[1, 2], [0, 3], [4, 5]], included, units=6, steps=3,
                           noise_multiplier=0.7, generator=generator("noise"))
    noise = 0.7 * torch.randn(2, 3, generator=generator("noise"), dtype=torch.float64).numpy()
    for score, shift, drawn in zip(found.tolist(), (2, 1), noise, strict=True):
        seen = np.array([0, shift, 0]) + drawn
        density = {s: sum(math.exp(-((seen - s * np.eye(3)[k]) ** 2).sum() / (2 * 0.49))
                          for k in range(3)) for s in (1, 2)}
        assert score == pytest.approx(math.log(density[2] / density[1]))


def test_shuffled_batches_hold_everybody_once_a_pass():
    drawn = list(shuffled_batches(10, 0.2, 12, generator("pass")))
    assert [len(batch) for batch in drawn] == [2] * 12
    assert sorted(chain(*drawn[:5])) == sorted(chain(*drawn[5:10])) == list(range(10))
    assert drawn[:5] != drawn[5:10]


@pytest.mark.parametrize(("given", "message"), [
    ({"noise_multiplier": 0.0}, "noise_multiplier: 0.0 given, expected a number above 0"),
    ({"steps": 7}, "steps: 7 given, expected 1 to 6")])
def test_what_the_sampler_audit_cannot_score_is_named(given, message):
    setting = {"units": 6, "steps": 3, "noise_multiplier": 1.0} | given
    with pytest.raises(ValueError, match=message):
        sampler_scores(poisson_batches, torch.tensor([True, False]), generator=generator(0),
                       **setting)
