"""Studies: the record is what the study makes of its trials, which a rerun would repeat."""

import copy
import importlib
import json

import numpy as np
import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.attacks.dense_layer import single_record
from leaklab.data import diabetes
from leaklab.federation import Hospital
from leaklab.metrics import mean_interval, proportion_interval
from leaklab.updates import LocalTraining, Recovered

STUDY = importlib.import_module("studies.01_federated_averaging")
WIRE = importlib.import_module("studies.02_what_crosses_the_wire")
EXACT = importlib.import_module("studies.03_exact_leakage")
RECORDED = evidence.load("01_federated_averaging")


@pytest.mark.parametrize("study", ["01_federated_averaging", "02_what_crosses_the_wire",
                                   "03_exact_leakage"])
def test_recorded_values_and_intervals_follow_from_their_runs(study):
    for item in evidence.load(study).values():
        assert item.value == pytest.approx(float(np.mean(item.runs)), abs=2e-5), item.name
        expected = {
            "95 % corrected resampled t over seeds":
                lambda i: mean_interval(i.runs, test_to_train=STUDY.TEST_TO_TRAIN),
            "95 % Clopper-Pearson over deals":
                lambda i: proportion_interval(round(sum(i.runs)), len(i.runs)),
            "95 % Clopper-Pearson over draws":
                lambda i: proportion_interval(i.successes, i.trials),
            "95 % t over deals of the same patients, cut to 0 to 1":
                lambda i: np.clip(mean_interval(i.runs), 0, 1),
            "smallest and largest reading": lambda i: (min(i.runs), max(i.runs)),
        }.get(item.interval_kind, lambda i: mean_interval(i.runs))(item)
        assert item.interval == pytest.approx(expected, abs=5e-5), item.name


def test_a_falsified_interval_is_noticed():
    item = RECORDED["nodules_gain_10_patients_at_home"]
    low, high = mean_interval(item.runs, test_to_train=STUDY.TEST_TO_TRAIN)
    assert (low + 0.2, high + 0.2) != pytest.approx(item.interval, abs=5e-5)


def on_data(function, *args):
    """Call ``function``; skip where its data cannot be had and nobody promised them."""
    with promised_data():
        return function(*args)


def invented_outcome(setting: dict) -> dict:
    """What a trial of study 1 returns, with numbers that depend on the seed alone."""
    value = 0.5 + setting["seed"] / 100
    names = ("at_home", "at_home_guess", "everywhere", "everywhere_guess", "accuracy",
             "agreement", "largest_share", "prevalence_gap", "called")
    curve = [value] * len(STUDY.SHOWN_ROUNDS)
    return dict.fromkeys(names, value) | {
        "curve": curve, "agreement_curve": curve, "hospitals": 5, "train": 100, "test": 30,
        "patients": 80, "batch_size": 32}


def invented_reading(setting: dict) -> dict:
    """The same of study 2."""
    value = 0.5 + setting["seed"] / 100
    if setting["part"] == "reading":
        keys = [f"{method}, {images}" for method in WIRE.METHODS
                for images in (*WIRE.IMAGES, "sum")]
        return {key: [value - 0.4, value] for key in ["truth", *keys]}
    names = {"client": ["cosine", "own", "guess", *WIRE.METHODS],
             "gradient": [f"{b}_{k}" for b in ("32", "all") for k in WIRE.WALKS],
             "anatomy": [f"{layer}_round_{t:02d}" for layer in WIRE.LAYERS for t in (1, 20)]}
    return dict.fromkeys(names[setting["part"]], value)


def invented_leak(setting: dict) -> dict:
    """The same of study 3: everything read, and whole numbers where records are counted."""
    judged = ("exact", "fields", "certified", "false", "labels")
    guessed = ["commonest", *(f"{who}_{what}" for who in ("typical", "nearest", "control")
                              for what in ("exact", "fields"))]
    size = setting.get("size", 1)
    return {
        "single": lambda: dict.fromkeys((*judged, *guessed), 1.0) | {"false": 0},
        "batch": lambda: dict.fromkeys((*judged, *guessed), 1.0) | {
            "false": 0, "whole": EXACT.BATCHES, "claimed": EXACT.BATCHES},
        "steps": lambda: {"records": 4} | {
            f"{attack}_{key}": 4 for attack in ("ratio", "spear") for key in judged},
        "observers": lambda: {f"{who}_{key}": 5 * size for who in ("server", "sum", "client")
                              for key in (*judged, "records")},
        "counts": lambda: dict.fromkeys(("right", "guess", "off", "guess_off"),
                                        setting["seed"] / 20),
    }[setting["part"]]()


@pytest.mark.parametrize("study", [STUDY, WIRE, EXACT])
def test_no_trial_is_asked_for_twice(study):
    trials = [json.dumps(trial, sort_keys=True) for trial in study.trials()]
    assert len(set(trials)) == len(trials)


@pytest.mark.parametrize(("study", "invented"), [(STUDY, invented_outcome),
                                                 (WIRE, invented_reading),
                                                 (EXACT, invented_leak)])
def test_the_record_holds_what_the_study_would_record(study, invented):
    recorded = evidence.load(study.__name__.removeprefix("studies."))
    items = on_data(study.summarise, [(trial, invented(trial)) for trial in study.trials()])
    assert {item.name for item in items} == set(recorded)
    for item in items:
        assert item.setting.keys() == recorded[item.name].setting.keys(), item.name
        assert item.data_sha256 == recorded[item.name].data_sha256, item.name
        assert item.unit == recorded[item.name].unit, item.name


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


# --- Study 2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [
    {"part": "reading", "local_steps": 20, "labels": "shuffled across", "trained": False},
    {"part": "client", "hospitals": 3}, {"part": "gradient"}], ids=lambda s: s["part"])
def test_a_rerun_of_study_2_repeats_the_record(setting):
    outcome = on_data(WIRE.run, {**setting, "seed": 4})
    recorded = evidence.load("02_what_crosses_the_wire")
    live, name = {
        "reading": lambda: (np.abs(np.subtract(outcome["bias, half malignant"],
                                               outcome["truth"])).mean(),
                            "reading_20_steps_shuffled_across_bias_half_malignant_error"),
        "client": lambda: (outcome["cosine"], "client_of_3_cosine"),
        "gradient": lambda: (outcome["all_20"], "gradient_batch_all_steps_20"),
    }[setting["part"]]()
    assert live == pytest.approx(recorded[name].runs[4], abs=0.005)


def test_shuffling_within_keeps_each_share_and_across_moves_them():
    clinics = [Hospital(name, torch.zeros(50, 1), (torch.arange(50) < ones).long())
               for name, ones in (("A", 5), ("B", 25), ("C", 45))]
    shares = {labels: [WIRE.share(c) for c in WIRE.relabel(clinics, labels, seed=1)]
              for labels in WIRE.LABELS}
    assert shares["true"] == shares["shuffled within"] == [0.1, 0.5, 0.9]
    assert shares["shuffled across"] == pytest.approx([0.5] * 3, abs=0.2)
    assert sum(shares["shuffled across"]) == pytest.approx(1.5)


def test_one_step_on_all_records_is_the_gradient_and_a_walk_is_not():
    clinic = Hospital("A", torch.rand(8, 1, 28, 28), torch.arange(8) % 2)
    (full, walk) = (clinic.train(WIRE.model(0), WIRE.training(steps),
                                 generator=torch.Generator().manual_seed(0)) for steps in (0, 20))
    gradient = WIRE.full_gradient(clinic, 0)
    assert WIRE.cosine(-WIRE.flat(full.delta), gradient) == pytest.approx(1, abs=1e-4)
    assert WIRE.cosine(-WIRE.flat(walk.delta), gradient) < 0.99
    assert WIRE.training(0) == LocalTraining(0.1)


# --- Study 3 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("setting", "key", "name"), [
    ({"part": "single", "table": "diabetes", "rate": 0.01, "trained": True}, "exact",
     "single_diabetes_rate_0.01_trained_exact"),
    ({"part": "single", "table": "switzerland", "rate": 0.1, "trained": False}, "fields",
     "single_switzerland_rate_0.1_fields"),
    ({"part": "batch", "table": "diabetes", "size": 4, "rate": 0.1, "trained": False}, "exact",
     "batch_diabetes_04_rate_0.1_exact"),
    ({"part": "counts", "table": "diabetes", "size": 16, "trained": False}, "right",
     "counts_diabetes_16_right"),
], ids=lambda value: value["part"] if isinstance(value, dict) else "")
def test_a_rerun_of_study_3_repeats_the_record(setting, key, name):
    outcome = on_data(EXACT.run, {**setting, "seed": 5})
    recorded = evidence.load("03_exact_leakage")[name]
    # on another processor one patient of 25, or one batch of ten, may fall on the other side
    assert outcome[key] == pytest.approx(recorded.runs[5], abs=0.1)


def test_a_guess_is_judged_by_half_a_step_and_a_claim_by_whose_record_it_is():
    here = on_data(EXACT.case, "diabetes", 0)
    chosen = torch.tensor([3, 8])
    true = here.private.inputs[chosen]
    sure = torch.ones(2, dtype=torch.bool)

    def judged(guess, certificate=sure):
        return EXACT.judge(Recovered(guess, here.private.targets[chosen], certificate=certificate),
                           chosen, here)

    turned = EXACT.judge(Recovered(true.flip(0), here.private.targets[chosen].flip(0),
                                   certificate=sure), chosen, here)
    assert judged(true) == turned == {"exact": 2, "fields": 2.0, "certified": 2, "false": 0,
                                      "labels": 2}
    ltg = here.step.argmin()  # the field with the finest step
    assert diabetes.FEATURES[ltg] == "ltg"
    for steps, exact in ((0.9, 2), (1.1, 1)):
        near = true.clone()
        near[0, ltg] += steps * here.step[ltg] / here.by.deviation[ltg]
        found = judged(near)
        assert (found["exact"], found["false"]) == (exact, 0), "a last digit off is no other record"
    stranger = torch.stack([true[0], here.private.inputs[20]])
    assert judged(stranger)["false"] == 1 and judged(stranger, ~sure)["false"] == 0
    assert judged(true[:1], sure[:1])["false"] == 1, "a claim of fewer records than there are"


@pytest.mark.parametrize(("push", "claimed"), [(0, 1), (5, 1), (11, 0), (12, 0)])
def test_no_record_is_claimed_of_which_the_rounding_left_little(push, claimed):
    here, net = EXACT.case("diabetes", 0), copy.deepcopy(EXACT.model("diabetes", False, 0))
    one = torch.tensor([3])
    with torch.no_grad():  # the model is sure of the right answer, so that no gradient is left
        net[3].bias[here.private.targets[3]] += push
    found = single_record(net, EXACT.seen(net, here.private, one, LocalTraining(0.1), seed=0))
    judged = EXACT.judge(found, one, here)
    assert judged["certified"] == judged["exact"] == claimed


def test_a_gap_has_to_be_recovered_as_a_gap():
    here = on_data(EXACT.case, "switzerland", 0)
    chosen = torch.arange(3)
    assert (here.private.real[chosen] == EXACT.MISSING).any(), "no cholesterol was measured there"
    guess = here.private.inputs[chosen].clone()
    guess[:, len(here.step):] = 0  # as if everything had been measured
    found = EXACT.judge(Recovered(guess, certificate=torch.ones(3, dtype=torch.bool)), chosen, here)
    assert found["exact"] == 0 and found["false"] == 3


def test_nobody_is_in_both_halves_and_the_four_hospitals_are_the_private_half():
    here = on_data(EXACT.case, "heart", 1)
    private = here.private
    assert len(here.public.real) + len(private.real) == len(EXACT.whole("heart"))
    rows = torch.cat(list(EXACT.of_hospitals("heart", 1).values()))
    assert rows.sort().values.tolist() == list(range(len(private.real)))
    five = EXACT.of_hospitals("diabetes", 1).values()
    assert len({len(part) for part in five}) == 1 and len(torch.cat(list(five)).unique()) == 220
