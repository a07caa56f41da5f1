"""Study 12: the record follows from its trials, and what it compares is comparable."""

import importlib

import numpy as np
import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.assess import hidden_attributes as scene
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.12_hidden_attributes")
NAME = "12_hidden_attributes"
USUAL = {"training": "one pass", "stage": "new", "hospitals": 5, "observer": "server"}


@pytest.fixture(autouse=True, scope="module")
def data():
    """Skip where the tables cannot be had and nobody promised them."""
    with promised_data():
        scene.table(), scene.radiographs()


def invented(setting: dict) -> dict:
    """What a trial answers, with numbers that depend on the seed and on who is asked about."""
    value = setting["seed"] / 20
    scores = {"hospital": ("auc", "shuffled", "share", "facts"),
              "class": ("confidence", "start_confidence", "resemblance", "nearest_seen",
                        "nearest_never", "identified", "start_identified")}
    if setting["part"] in scores:
        return dict.fromkeys(scores[setting["part"]], value)
    usual = (setting["hospitals"], setting["observer"]) == (5, "server")
    methods = STUDY.METHODS if usual else ("whitened",)
    found = {f"{a}_{m}_{w}": value + (m == "whitened") / 100 - (w == "strangers") / 50
             for a in scene.ATTRIBUTES for m in (*methods, "imputed", "commonest")
             for w in ("members", "strangers")}
    return found | dict.fromkeys(("diagnosis_asked_members", "diagnosis_asked_strangers",
                                  "share_read_error", "share_asked_error",
                                  "share_prior_error"), value)


def imagined():
    results = [(trial, invented(trial)) for trial in STUDY.trials()]
    return {item.name: item for item in STUDY.summarise(results)}


def test_no_trial_is_asked_for_twice():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)


def test_recorded_values_and_intervals_follow_from_their_runs():
    require_it_follows_from_runs(evidence.load(NAME).values(), STUDY.SEEDS)


def test_the_record_has_every_condition_of_the_study():
    recorded, items = evidence.load(NAME), imagined()
    assert set(recorded) == set(items)
    for key, item in items.items():
        assert item.setting.keys() == recorded[key].setting.keys(), key
        assert (item.data_sha256, item.unit) == (recorded[key].data_sha256, recorded[key].unit), key


def test_a_gain_is_over_the_better_guess_seed_by_seed():
    item = imagined()["patient_one_pass_new_5_server_sex_whitened_gain"]
    assert item.runs == pytest.approx([0.01] * len(STUDY.SEEDS))
    outcomes = [{"sex_imputed_members": 0.6, "sex_commonest_members": 0.7},
                {"sex_imputed_members": 0.8, "sex_commonest_members": 0.7}]
    assert STUDY.filled_by(outcomes, "sex", "members") == [0.7, 0.8]


def test_who_fills_in_takes_more_ridge_the_less_the_columns_say():
    rng = np.random.default_rng(0)
    known = rng.standard_normal((80, 6))
    entries = (known[:, 0] > 0).astype(int)
    clear, blurred = (STUDY.imputation(known, answers).C
                      for answers in (entries, rng.permutation(entries)))
    assert clear == max(STUDY.STRENGTHS) and blurred <= 0.01


def test_who_fills_in_learns_from_public_patients_alone(monkeypatch):
    asked, fit = [], STUDY.imputation
    monkeypatch.setattr(STUDY, "imputation", lambda *given: asked.append(given) or fit(*given))
    STUDY.filled_in("sex", 3)
    ((known, entries),) = asked
    public = scene.cleveland(3)["public"]
    assert np.array_equal(known, public.rest("sex"))
    assert np.array_equal(entries, public.entry("sex").numpy())


def test_nobody_is_in_two_groups_and_strangers_are_as_often_ill():
    groups = scene.cleveland(3)
    rows = torch.cat([torch.cat([g.inputs, g.targets[:, None]], 1) for g in groups.values()])
    assert len(rows.unique(dim=0)) == len(rows) == 303
    ill = {name: float(g.targets.double().mean()) for name, g in groups.items()}
    assert ill["members"] == pytest.approx(ill["strangers"], abs=0.02)
    behind = [part for _, part in scene.round_of("one pass", "new", 5, 3)]
    assert sorted(map(len, behind)) == [22] * 4 + [23]


def test_a_sum_is_the_mean_of_the_updates_and_of_the_same_patients():
    seen = scene.round_of("one pass", "new", 2, 3)
    ((view, everyone),) = scene.summed(seen)
    assert view.artefact == "sum" and len(everyone) == 111
    weights = [v.weights[0] for v, _ in seen]
    for name, tensor in view.after.items():
        mean = sum(w * v.after[name] for w, (v, _) in zip(weights, seen, strict=True)) / 111
        torch.testing.assert_close(tensor, mean)


@pytest.mark.parametrize("deal", ["natural", "balanced"])
def test_hospitals_are_dealt_as_they_say(deal):
    rng = np.random.default_rng(0)
    table = scene.table()
    women = table.inputs[:, scene.ATTRIBUTES["sex"]] == 0
    most, ill = [], []
    for _ in range(200):
        mask, majority = scene.one_hospital(women, table.targets, deal, rng)
        assert mask.sum() == scene.SIZE and (women[mask].mean() > 0.5) == majority
        most.append(majority)
        ill.append(table.targets[mask].mean())
    assert 0.3 < np.mean(most) < 0.7
    gap = np.mean(ill, where=~np.array(most)) - np.mean(ill, where=np.array(most))
    assert gap == 0 if deal == "balanced" else gap > 0.05


def test_columns_that_are_evened_have_the_same_means_for_either_sex():
    table = scene.table()
    women = torch.tensor(table.inputs[:, scene.ATTRIBUTES["sex"]] == 0)
    group = scene.Group(torch.tensor(table.inputs), torch.tensor(table.targets))
    even = scene.shown(group, women, "evened rest")
    assert even.inputs.shape[1] == group.inputs.shape[1] - 1
    for ill in (0, 1):
        means = [even.inputs[(women == sex) & (group.targets == ill)].mean(0)
                 for sex in (False, True)]
        torch.testing.assert_close(means[0], means[1], rtol=0, atol=2e-4)
    assert torch.equal(scene.shown(group, women, "rest").inputs[:, 0], group.inputs[:, 0])


def test_a_mark_at_random_is_borne_by_as_many_and_goes_with_nothing():
    table = scene.table()
    women = table.inputs[:, scene.ATTRIBUTES["sex"]] == 0
    marks = [scene._mixed(women, table.targets, np.random.default_rng(k)) for k in range(200)]
    for ill in (0, 1):
        assert {int(mark[table.targets == ill].sum()) for mark in marks} == {
            int(women[table.targets == ill].sum())}
    well = table.targets == 0
    ages = [table.inputs[mark & well, 0].mean() - table.inputs[~mark & well, 0].mean()
            for mark in marks]
    assert abs(np.mean(ages)) < 4 * np.std(ages) / 200**0.5
    assert np.mean([np.mean(mark[women]) for mark in marks]) < 0.5, "sex is not the mark"


def test_likeness_of_a_class_s_own_image_and_of_the_start():
    images = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    seen, never, mean = images[:1], images[1:], images.mean(0, keepdim=True)
    own = STUDY.likeness(seen, mean, mean, seen, never, "patients")
    assert own["nearest_seen"] == pytest.approx(1) and own["identified"] == 1
    assert own["resemblance"] == pytest.approx(1)
    still = STUDY.likeness(mean, mean, mean, seen, never, "patients")
    assert still["resemblance"] == 0 and still["identified"] == still["start_identified"]


@pytest.mark.parametrize(("setting", "key"), [
    ({"part": "patient", **USUAL}, "diagnosis_whitened_members"),
    ({"part": "patient", **USUAL, "observer": "sum"}, "sex_whitened_strangers"),
    ({"part": "hospital", "inputs": "rest", "deal": "balanced", "stage": "new",
      "training": "one step"}, "auc"),
    ({"part": "class", "model": "softmax", "start": "black"}, "resemblance"),
], ids=lambda value: value["part"] if isinstance(value, dict) else "")
def test_a_rerun_repeats_the_record(setting, key):
    outcome = STUDY.run({**setting, "seed": 1})
    recorded = evidence.load(NAME)[f"{STUDY.name_of(setting)}_{key}"]
    # on another processor a patient or two may fall on the other side
    assert outcome[key] == pytest.approx(recorded.runs[1], abs=0.02)
