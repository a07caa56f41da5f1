"""Studies 4 and 5: the record follows from its trials, a rerun repeats it, controls fail."""

import importlib
from dataclasses import replace

import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.updates import Recovered
from recorded import require_it_follows_from_runs

MATCHING = importlib.import_module("studies.04_gradient_matching")
LIMITS = importlib.import_module("studies.05_limits_of_inversion")
STUDIES = {"04_gradient_matching": MATCHING, "05_limits_of_inversion": LIMITS}


@pytest.mark.parametrize("name", STUDIES)
def test_recorded_values_and_intervals_follow_from_their_runs(name):
    require_it_follows_from_runs(evidence.load(name).values(), STUDIES[name].SEEDS)


@pytest.mark.parametrize("name", STUDIES)
def test_no_trial_is_asked_for_twice(name):
    trials = [repr(trial) for trial in STUDIES[name].trials()]
    assert len(set(trials)) == len(trials)


@pytest.mark.parametrize("name", STUDIES)
def test_the_record_has_every_condition_of_the_study(name, monkeypatch):
    study = STUDIES[name]
    monkeypatch.setattr(study, "data_of" if study is MATCHING else "radiographs",
                        lambda _: type("Data", (), {"provenance": "", "sha256": "",
                                                    "patients": [0]}))
    outcome = dict.fromkeys(study.STATEMENTS, 0.5) | {"prior": 0.5}
    results = [(trial, invented(study, trial, outcome)) for trial in study.trials()]
    expected = {item.name for item in study.summarise(results)}
    assert set(evidence.load(name)) == expected


def invented(study, trial: dict, outcome: dict) -> dict:
    """An outcome with the scores that a trial of its kind answers."""
    if study is LIMITS:
        return outcome
    scores = {"psnr", "prior", "uplift"}
    full = scores | {"ssim", "nearest", "identified"}
    kept = {"search": full | {"loss", "evaluations"}, "steps": full, "film": scores | {"ssim"},
            "capture": scores | {"label"},
            "batch": full | ({"certain"} if trial.get("how") == "features" else set())}
    return {score: outcome[score] for score in sorted(kept[trial["part"]])}


@pytest.mark.parametrize(("study", "setting", "score"), [
    (MATCHING, {"part": "search", "activation": "gelu", "attack": "dlg", "data": "synthetic",
                "other": False}, "search_dlg_gelu_synthetic_ssim"),
    (MATCHING, {"part": "batch", "labels": "distinct", "records": 4, "how": "features"},
     "batch_distinct_4_features_ssim"),
    (LIMITS, {"part": "map", "condition": "dense first layer", "records": 8,
              "data": "synthetic"}, "map_dense_first_layer_8_synthetic_ssim"),
])
def test_a_rerun_repeats_the_record(study, setting, score):
    recorded = evidence.load(study.__name__.removeprefix("studies."))[score]
    found = study.run({**setting, "seed": 1})["ssim"]
    assert found == pytest.approx(recorded.runs[1], abs=0.01)


def test_real_radiographs_repeat_the_record():
    setting = {"part": "search", "activation": "gelu", "attack": "dlg", "data": "real",
               "other": False, "seed": 1}
    with promised_data():
        found = MATCHING.run(setting)["ssim"]
    recorded = evidence.load("04_gradient_matching")["search_dlg_gelu_real_ssim"]
    assert found == pytest.approx(recorded.runs[1], abs=0.01)


def test_without_a_certificate_search_takes_over(monkeypatch):
    asked = []

    def refuses(net, view, **_):
        answer = torch.zeros(2, 784)
        return Recovered(answer, score=torch.zeros(2), certificate=torch.zeros(2, dtype=bool))

    def searches(net, view, *, shape, **_):
        asked.append(shape)
        return Recovered(torch.zeros(shape), score=torch.zeros(shape[0]))

    monkeypatch.setattr(LIMITS.spear, "batch", refuses)
    monkeypatch.setattr(LIMITS, "inverting_gradients", searches)
    condition = replace(LIMITS.MAP["dense first layer"])
    LIMITS.measure(condition, 2, 0)
    assert asked == [(2, 1, 28, 28)]
