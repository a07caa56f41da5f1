"""Study 9: the record follows from its trials, the same patients stand behind every observer."""

import importlib

import pytest
import torch

from leaklab import evidence
from leaklab.assess import case_study
from leaklab.runtime import generator
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.09_radiology_case_study")
PRIOR = importlib.import_module("studies.09_radiology_prior")
STUDIES = {study.__name__.removeprefix("studies."): study for study in (STUDY, PRIOR)}
NAME = "09_radiology_case_study"


def invented(setting: dict) -> dict:
    """What a trial answers, with numbers that depend on the seed and on the attack."""
    value = setting["seed"] / 20 + len(setting.get("attack", "")) / 100
    return dict.fromkeys((*STUDY.STATEMENTS, *PRIOR.STATEMENTS, "prior"), value)


def imagined(study):
    results = [(trial, invented(trial)) for trial in study.trials()]
    return {item.name: item for item in study.summarise(results)}


@pytest.mark.parametrize("name", STUDIES)
def test_no_trial_is_asked_for_twice(name):
    trials = [repr(trial) for trial in STUDIES[name].trials()]
    assert len(set(trials)) == len(trials)


@pytest.mark.parametrize("name", STUDIES)
def test_recorded_values_and_intervals_follow_from_their_runs(name):
    require_it_follows_from_runs(evidence.load(name).values(), STUDY.SEEDS)


@pytest.mark.parametrize("name", STUDIES)
def test_the_record_has_every_condition_of_the_study(name):
    recorded, items = evidence.load(name), imagined(STUDIES[name])
    assert set(recorded) == set(items)
    for key, item in items.items():
        assert item.setting.keys() == recorded[key].setting.keys(), key
        assert item.data_sha256 == recorded[key].data_sha256, key


def test_both_studies_measure_the_same_patients_on_the_same_seeds():
    assert STUDY.SEEDS == PRIOR.SEEDS and set(PRIOR.OBSERVERS) <= set(STUDY.SUMS)


def test_contrasts_are_taken_draw_by_draw():
    gain = imagined(STUDY)["round_1_late_client_5_algebra_gain"]
    assert gain.runs == pytest.approx([0.01] * len(STUDY.SEEDS))
    assert gain.interval == pytest.approx((0.01, 0.01))
    assert "round_1_late_client_5_search_gain" not in imagined(STUDY)


@pytest.mark.parametrize("observer", STUDY.SUMS)
@pytest.mark.parametrize("records", [1, 4])
def test_the_four_patients_stand_behind_every_observer(observer, records):
    victims = case_study.known(3).private[:case_study.VICTIMS]
    seen = [truth for _, truth in case_study.views_of(observer, records, "new", 3)]
    for victim in victims:
        assert sum(int(case_study.same_images(victim[None], truth).sum()) for truth in seen) == 1
    number = int(observer.split()[1]) - observer.startswith("client")
    assert {len(truth) for truth in seen} == {number * records}


def test_victims_given_back_are_rebuilt_and_strangers_are_not():
    known = case_study.known(3)
    truth, labels = known.private[:8], known.private_labels[:8]
    mixed = truth[torch.randperm(8, generator=generator("order"))]
    right = case_study.judged(mixed, truth, labels, 3)
    assert len(right["psnr"]) == case_study.VICTIMS and bool((right["rebuilt"] == 1).all())
    assert bool((right["identified"] == 1).all()) and float(right["control_identified"].max()) == 0
    wrong = case_study.judged(known.private[20:28], truth, labels, 3)
    assert float(wrong["rebuilt"].max()) == 0 and float(wrong["identified"].max()) == 0


@pytest.mark.parametrize("setting", [
    {"part": "round", "records": 1, "stage": "new", "observer": "client 5", "attack": "algebra"},
    {"part": "same"},
])
def test_a_rerun_repeats_the_record(setting):
    found = STUDY.run({**setting, "seed": 1})
    for score in ("ssim", "identified", "read", "gap"):
        if score in found:
            recorded = evidence.load(NAME)[f"{STUDY.name_of(setting)}_{score}"]
            assert found[score] == pytest.approx(recorded.runs[1], abs=0.01)


def test_another_stage_is_refused():
    with pytest.raises(ValueError, match="stage: 'early' given"):
        case_study.model("early", 0)
