"""Studies: the record is what the study makes of its trials, which a rerun would repeat."""

import importlib
import json
import os

import pytest
import torch

from leaklab import evidence
from leaklab.data.download import DataUnavailable
from leaklab.federation import Hospital

STUDY = importlib.import_module("studies.01_federated_averaging")
RECORDED = evidence.load("01_federated_averaging")


def on_data(function, *args):
    """Call ``function``; skip where its data cannot be had and nobody promised them."""
    try:
        return function(*args)
    except DataUnavailable as error:
        if os.environ.get("LEAKLAB_DATA"):
            raise
        pytest.skip(str(error).splitlines()[0])


def invented_outcome(setting: dict) -> dict:
    """What a trial returns, with numbers that depend on the seed alone."""
    value = 0.5 + setting["seed"] / 100
    names = ("at_home", "at_home_guess", "everywhere", "everywhere_guess", "accuracy",
             "agreement", "largest_share", "prevalence_gap")
    curve = [value] * len(STUDY.SHOWN_ROUNDS)
    return dict.fromkeys(names, value) | {
        "curve": curve, "hospitals": 5, "train": 100, "test": 30, "patients": 80}


def test_no_trial_is_asked_for_twice():
    trials = [json.dumps(trial, sort_keys=True) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)


def test_the_record_holds_what_the_study_would_record():
    items = on_data(
        STUDY.summarise, [(trial, invented_outcome(trial)) for trial in STUDY.trials()])
    assert {item.name for item in items} == set(RECORDED)
    for item in items:
        assert item.setting.keys() == RECORDED[item.name].setting.keys(), item.name
        assert item.data_sha256 == RECORDED[item.name].data_sha256, item.name


def test_a_contrast_is_taken_split_by_split():
    results = [(trial, invented_outcome(trial)) for trial in STUDY.trials()]
    for trial, outcome in results:
        if trial.get("way") == "federated":
            outcome["at_home"] += 0.05
    items = {item.name: item for item in on_data(STUDY.summarise, results)}
    gain = items["nodules_gain_at_home"]
    assert gain.runs == pytest.approx([0.05] * 20)
    assert gain.interval == pytest.approx((0.05, 0.05))
    low, high = items["nodules_federated_at_home"].interval
    assert high - low > 0.05, "single accuracies vary from split to split, the contrast does not"


@pytest.mark.parametrize("way", ["local", "federated"])
@pytest.mark.parametrize("part", ["heart", "lung"])
def test_a_rerun_repeats_the_record(part, way):
    outcome = on_data(STUDY.run, {"part": part, "way": way, "seed": 3})
    for quantity in ("at_home", "everywhere"):
        recorded = RECORDED[f"{part}_{way}_{quantity}"].runs[3]
        # Another processor may round a step otherwise and so turn over a borderline patient.
        assert outcome[quantity] == pytest.approx(recorded, abs=0.01)


def test_labels_are_shuffled_inside_a_hospital():
    clinic = Hospital("A", torch.zeros(40, 1), torch.arange(40) % 4)
    mixed = STUDY.shuffle_labels(clinic, seed=1)
    assert not torch.equal(mixed.targets, clinic.targets)
    assert torch.equal(mixed.targets.sort().values, clinic.targets.sort().values)
