"""Study 6: the record follows from its trials, a rerun repeats it, no rate lies above its bound."""

import importlib

import numpy as np
import pytest

from leaklab import evidence
from leaklab.assess.inversion import GALLERY
from leaklab.bounds import reconstruction_robustness
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.06_diffusion_prior")
RECORDED = evidence.load("06_diffusion_prior")


def test_recorded_values_and_intervals_follow_from_their_runs():
    require_it_follows_from_runs(RECORDED.values(), STUDY.SEEDS)


def test_no_trial_is_asked_for_twice_and_none_is_on_a_seed_that_tuned():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)
    assert set(STUDY.SEEDS).isdisjoint(STUDY.TUNING_SEEDS)


def test_what_needs_tuning_was_tuned_at_every_noise_and_inside_its_grid():
    for source, levels in (("synthetic", STUDY.NOISE), ("real", STUDY.REAL_NOISE)):
        variation, guidance = STUDY.VARIATION[source], STUDY.GUIDANCE[source]
        assert set(variation) == set(guidance) == set(levels)
        for weight, rate in variation.values():
            assert STUDY.WEIGHTS[0] < weight < STUDY.WEIGHTS[-1]
            assert rate in STUDY.RATES
        assert all(STUDY.STEP_SIZES[0] < step < STUDY.STEP_SIZES[-1] for step in guidance.values())


def test_the_rate_chosen_does_better_than_others_on_the_tuning_seeds():
    """At the lowest rate the search hardly leaves its start; where that is chosen, others lose."""
    chosen = STUDY.tried("synthetic", 0.03, variation=STUDY.VARIATION["synthetic"][0.03])
    assert chosen > STUDY.tried("synthetic", 0.03, variation=(3e4, 0.03)) + 0.2


def test_the_record_has_every_condition_of_the_study():
    names = {f"{part}_{noise}_{score}"
             for part, levels in (("noise", STUDY.NOISE), ("real", STUDY.REAL_NOISE),
                                  ("release", STUDY.RELEASE_NOISE))
             for noise in levels for score in STUDY.KEPT[part]}
    assert set(RECORDED) == names


@pytest.mark.parametrize("noise", [0.01, 0.5])
def test_a_rerun_repeats_the_record(noise):
    found = STUDY.run({"part": "release", "noise": noise, "seed": 1})
    for score in STUDY.KEPT["release"]:
        runs = RECORDED[f"release_{noise}_{score}"].runs
        assert found[score] == pytest.approx(runs[1], abs=0.01), score


@pytest.mark.parametrize("noise", STUDY.RELEASE_NOISE)
def test_no_attack_lies_above_the_bound(noise):
    bound = reconstruction_robustness(1 / GALLERY, noise)
    trials = len(STUDY.SEEDS) * STUDY.RELEASED
    error = 3 * (bound * (1 - bound) / trials) ** 0.5
    for attack in ("raw", "diffusion", "gaussian", "candidates"):
        assert RECORDED[f"release_{noise}_{attack}_identified"].value <= bound + error + 1e-9
    if noise in STUDY.NOISE:
        error = 3 * (bound * (1 - bound) / len(STUDY.SEEDS)) ** 0.5
        for attack in ("diffusion", "gaussian", "candidates"):
            assert RECORDED[f"noise_{noise}_{attack}_identified"].value <= bound + error + 1e-9


def test_samples_without_the_update_find_nobody_more_often_than_chance():
    rates = [RECORDED[f"noise_{noise}_unseen_one_identified"].value for noise in STUDY.NOISE]
    assert np.mean(rates) < 0.05
