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


# --- What the lab and its page say in words -----------------------------------------------------


def interval(name):
    return RECORDED[name].interval


def value(name):
    return RECORDED[name].value


def test_the_gain_over_total_variation_is_the_one_stated():
    for noise in (0.003, 0.01):
        low, high = interval(f"noise_{noise}_gain_over_tv")
        assert low > 6 and high < 7.5
        assert interval(f"noise_{noise}_gain_of_plain")[0] > 5
    assert interval("noise_0.03_diffusion_uplift")[0] > 0
    assert value("noise_0.03_tv_uplift") < 0
    for way in ("diffusion", "gaussian", "plain", "expected", "tv"):
        assert interval(f"noise_0.1_{way}_uplift")[0] < 0


def test_the_gaussian_prior_comes_within_about_a_decibel():
    gains = {noise: RECORDED[f"noise_{noise}_gain_over_gaussian"] for noise in STUDY.NOISE}
    assert all(item.value < 1.05 for item in gains.values())
    surely = [noise for noise, item in gains.items() if item.interval[0] > 0]
    assert surely == [0.003, 0.01]


def test_the_covariance_gains_up_to_a_decibel_on_plain_guidance():
    gains = [RECORDED[f"noise_{noise}_gain_over_plain"] for noise in STUDY.NOISE]
    assert all(item.interval[0] > 0 for item in gains[:3])
    assert max(item.value for item in gains) < 1


def test_identification_is_as_stated():
    for noise in (0.003, 0.01):
        for way in ("gaussian", "diffusion", "candidates"):
            assert value(f"noise_{noise}_{way}_identified") == 1
        assert value(f"noise_{noise}_tv_identified") >= 0.8
    assert value("noise_0.03_tv_identified") == 0
    assert all(0.2 < value(f"noise_0.03_{way}_identified") < 0.5 for way in ("gaussian",
                                                                            "diffusion"))
    assert value("noise_0.03_candidates_identified") >= 0.9
    assert value("noise_0.1_diffusion_identified") == value("noise_0.1_gaussian_identified") == 0
    assert value("noise_0.1_candidates_identified") > 0.1


def test_what_the_prior_invents_is_as_stated():
    for noise in (0.003, 0.01):
        assert value(f"noise_{noise}_diffusion_misread") <= 0.05
    for noise in (0.1, 0.3):
        assert value(f"noise_{noise}_diffusion_misread") >= value(f"noise_{noise}_unseen_misread")
    low, high = interval("noise_0.03_diffusion_misread")
    assert low < value("noise_0.03_unseen_misread") / 2 < high < value("noise_0.03_unseen_misread")


def test_early_ends_lose_at_little_noise_and_surely_gain_nowhere():
    low, high = interval("noise_0.003_gain_of_early_ends")
    assert -1 < low < high < -0.5
    for noise in STUDY.NOISE[1:]:
        low, high = interval(f"noise_{noise}_gain_of_early_ends")
        assert low < 0 < high


def test_for_children_total_variation_and_plain_guidance_do_better():
    for noise in STUDY.REAL_NOISE:
        assert interval(f"real_{noise}_gain_over_tv")[1] < 0
        assert interval(f"real_{noise}_gain_over_plain")[1] < 0
        assert STUDY.GUIDANCE["real"][noise] > STUDY.GUIDANCE["synthetic"][noise]
        for item in ("tv", "informed", "plain"):
            assert value(f"real_{noise}_{item}_uplift") > value(f"real_{noise}_diffusion_uplift")
    assert interval("real_0.01_diffusion_uplift")[0] < 0
    assert interval("real_0.003_diffusion_uplift")[0] > 0
    assert value("real_0.01_plain_identified") > 0.5 > 0.2 > value("real_0.01_diffusion_identified")


def test_the_prior_is_honest_where_it_is_right_and_not_where_it_is_wrong():
    for noise in STUDY.REAL_NOISE:
        assert 0.9 < value(f"noise_{noise}_overconfidence") < 1.1
        assert interval(f"real_{noise}_overconfidence")[0] > 1.1
        assert interval(f"real_{noise}_informed_uplift")[0] > 0
