"""Study 9: the record follows from its trials, the same patients stand behind every observer."""

import functools
import importlib

import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.assess import case_study
from leaklab.runtime import generator
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.09_radiology_case_study")
NAME = "09_radiology_case_study"


def invented(setting: dict) -> dict:
    """What a trial answers, with numbers that depend on the seed, the attack, and the stage."""
    value = setting["seed"] / 20 + len(setting.get("attack", "")) / 100
    value += 0.005 * (setting.get("stage") == "late")
    return dict.fromkeys((*STUDY.STATEMENTS, "prior"), value)


@functools.cache
def imagined():
    """What the study would record; needs the radiographs, for their hash."""
    with promised_data():
        case_study.images("chest")
    results = [(trial, invented(trial)) for trial in STUDY.trials()]
    return {item.name: item for item in STUDY.summarise(results)}


def test_no_trial_is_asked_for_twice():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)


@pytest.mark.parametrize("number", [len(STUDY.FEW), len(STUDY.SEEDS)])
def test_recorded_values_and_intervals_follow_from_their_runs(number):
    items = [item for item in evidence.load(NAME).values() if len(item.runs) == number]
    assert items
    require_it_follows_from_runs(items, STUDY.SEEDS[:number])


def test_the_record_has_every_condition_of_the_study():
    recorded, items = evidence.load(NAME), imagined()
    assert set(recorded) == set(items)
    for key, item in items.items():
        assert item.setting.keys() == recorded[key].setting.keys(), key
        assert item.data_sha256 == recorded[key].data_sha256, key


def test_one_kind_of_quantity_has_one_kind_of_interval():
    kinds = {}
    for item in imagined().values():
        kinds.setdefault(item.unit, set()).add(item.interval_kind)
    assert all(len(found) == 1 for found in kinds.values()), kinds


def test_contrasts_are_taken_draw_by_draw():
    items = imagined()
    gain = items["round_1_late_client_5_algebra_over_search"]
    assert gain.runs == pytest.approx([0.01] * len(STUDY.FEW)) and gain.seeds == STUDY.FEW
    assert gain.interval == pytest.approx((0.01, 0.01))
    assert items["round_1_late_client_5_diffusion_over_search"].value == pytest.approx(0.03)
    assert items["round_1_late_sum_5_algebra_by_training"].value == pytest.approx(0.005)
    assert items["round_1_new_client_10_search_below_server"].value == pytest.approx(0)
    for absent in ("late_client_5_search_over_search", "new_client_5_search_by_training",
                   "late_client_2_search_below_server"):
        assert f"round_1_{absent}" not in items


@pytest.mark.parametrize("observer", STUDY.SEATS)
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
    gallery = known.private[:case_study.GALLERY]
    strangers = gallery[~case_study.same_images(gallery, truth).any(1)][:8]
    hit = case_study.judged(strangers, truth, labels, 3)
    assert bool((hit["control_identified"] == 1).all()), "the control finds whom it is given"
    assert float(hit["identified"].max()) == 0


@pytest.mark.parametrize("setting", [
    {"part": "round", "records": 1, "stage": "new", "observer": "client 5", "attack": "algebra"},
    {"part": "real", "records": 1, "stage": "new", "observer": "client 5", "attack": "algebra"},
    {"part": "same"},
])
def test_a_rerun_repeats_the_record(setting):
    imagined()
    found = STUDY.run({**setting, "seed": 1})
    for score in ("ssim", "identified", "read", "gap"):
        if score in found:
            recorded = evidence.load(NAME)[f"{STUDY.name_of(setting)}_{score}"]
            assert found[score] == pytest.approx(recorded.runs[1], abs=0.01)


def test_another_stage_is_refused():
    with pytest.raises(ValueError, match="stage: 'early' given"):
        case_study.model("early", 0)


def test_another_task_is_refused():
    with pytest.raises(ValueError, match="task: 'brain' given"):
        case_study.images("brain")


def test_real_radiographs_are_dealt_to_five_hospitals_and_stand_behind_every_observer():
    imagined()
    victims = case_study.known(3, "chest").private[:case_study.VICTIMS]
    ((view, truth),) = case_study.views_of("client 5", 1, "new", 3, "chest")
    assert torch.equal(truth, victims) and len(view.contributors) == 4
    assert case_study.images("chest").tag == "REAL" and case_study.images().tag == "HYBRID"


@pytest.mark.parametrize("observer", STUDY.SEATS)
def test_with_a_record_each_a_new_model_is_refused_just_where_two_share_their_neurons(observer):
    item = evidence.load(NAME)[f"round_1_new_{observer}_algebra_read".replace(" ", "_")]
    for seed, read in zip(item.seeds, item.runs, strict=True):
        net = case_study.model("new", seed)
        parted = [len((net[5](net[:5](truth)) > 0).unique(dim=0)) == len(truth)
                  for _, truth in case_study.views_of(observer, 1, "new", seed)]
        assert all(parted) == (read == 1), seed


def test_the_prior_gains_on_the_search_from_no_seat_on_a_new_model():
    record = evidence.load(NAME)
    for seat in STUDY.SEATS:
        gain = record[f"round_1_new_{seat}_diffusion_over_search".replace(" ", "_")]
        assert gain.interval[0] <= 0, seat
