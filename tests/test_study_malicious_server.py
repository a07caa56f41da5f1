"""Study 7: the record follows from its trials, a rerun repeats it, theory and controls hold."""

import importlib

import numpy as np
import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.defences import detectors
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.07_malicious_server")
RECORDED = evidence.load("07_malicious_server")


def test_recorded_values_and_intervals_follow_from_their_runs():
    require_it_follows_from_runs(RECORDED.values(), STUDY.SEEDS)


def test_no_trial_is_asked_for_twice():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)


def invented(trial: dict) -> dict:
    """What a trial of its kind answers, all of it one half."""
    judged = ("exact", "claimed", "false", "claims", "other", "nearest", "psnr", "prior")
    looked = (*STUDY.CHECKS, *(f"{check}_alarm" for check in STUDY.CHECKS), "any_alarm", "lone")
    views = [f"{view}_{what}" for view in ("update", "sum", "inconsistent")
             for what in ("exact", "cosine")]
    keys = {"imprint": (*judged, "alone", "theory"), "plain": judged,
            "traps": (*judged, "alone", "on"),
            "inconsistency": (*views, "nearest", "different_models", "same_models"),
            "honest": looked,
            "caught": looked if trial.get("crafted") == "dead" else (*looked, *judged)}
    outcome = dict.fromkeys(keys[trial["part"]], 0.5)
    return outcome | {"claims": 3} if "claims" in outcome else outcome


def test_the_record_has_every_condition_of_the_study(monkeypatch):
    data = type("Data", (), {"provenance": "", "sha256": "", "patients": [0]})
    monkeypatch.setattr(STUDY, "radiographs", lambda _: data)
    items = STUDY.summarise([(trial, invented(trial)) for trial in STUDY.trials()])
    assert {item.name for item in items} == set(RECORDED)
    for item in items:
        assert item.setting.keys() == RECORDED[item.name].setting.keys(), item.name


@pytest.mark.parametrize(("setting", "key", "name"), [
    ({"part": "imprint", "data": "synthetic", "how": "sum", "records": 8, "bins": 64}, "exact",
     "imprint_synthetic_sum_008_064_exact"),
    ({"part": "imprint", "data": "real", "how": "update", "records": 64, "bins": 128}, "alone",
     "imprint_real_update_064_128_alone"),
    ({"part": "traps", "data": "synthetic", "records": 8, "scale": 0.97}, "exact",
     "traps_synthetic_008_0.97_exact"),
    ({"part": "honest", "kind": "table", "steps": 30}, "lone", "honest_table_030_lone"),
    ({"part": "caught", "data": "synthetic", "crafted": "imprint"}, "lone",
     "caught_synthetic_imprint_lone"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_rerun_repeats_the_record(setting, key, name):
    with promised_data():
        found = STUDY.run({**setting, "seed": 1})
    # on another processor a record may fall on the other side of a threshold
    assert found[key] == pytest.approx(RECORDED[name].runs[1], abs=0.02)


def ending(end: str, start: str = ""):
    found = [item for name, item in RECORDED.items()
             if name.startswith(start) and name.endswith(end)]
    assert found, f"nothing recorded as {start}...{end}"
    return found


def imprints():
    return ending("_exact", "imprint_")


def test_shares_lie_within_three_standard_errors_of_theory():
    for item in imprints():
        theory, n = item.setting["theory"], item.setting["total"] * len(item.runs)
        assert abs(item.value - theory) < 3 * np.sqrt(theory * (1 - theory) / n), item.name
    crowded = [i for i in imprints() if i.setting["total"] > 200 and i.setting["bins"] == 512]
    off = [abs(i.value - i.setting["uniform"]) / np.sqrt(i.value * (1 - i.value)
           / (i.setting["total"] * len(i.runs))) for i in crowded]
    assert max(off) > 5, "bins from few public images are not equally likely, and it shows"


def test_records_alone_in_their_bin_are_read_and_few_others():
    for item in imprints():
        alone = RECORDED[item.name.replace("_exact", "_alone")]
        assert item.runs == pytest.approx(alone.runs, abs=0.13), item.name  # one of eight records
        assert item.value == pytest.approx(alone.value, abs=0.01)


def test_a_sum_is_read_as_one_batch_and_an_inconsistent_one_as_one_update():
    for data in STUDY.SOURCES:
        for model in ("dense", "imprint"):
            own, mixed, split = (RECORDED[f"inconsistency_{data}_{model}_{key}_exact"]
                                 for key in ("update", "sum", "inconsistent"))
            assert mixed.interval[1] < own.interval[0]
            assert split.value == pytest.approx(own.value, abs=0.05)
            assert RECORDED[f"inconsistency_{data}_{model}_different_models"].value == 1
            assert RECORDED[f"inconsistency_{data}_{model}_same_models"].value == 0


def test_models_without_a_layer_to_look_at_do_not_count_for_a_check():
    counted = {check: RECORDED[f"honest_{check}_alarm"].trials for check in STUDY.CHECKS}
    assert counted == {"identical_rows": 360, "bias_ladder": 360, "identical_answers": 360,
                       "silent_neurons": 420, "gradient_snr": 480}
    for kind in STUDY.HONEST:
        net = STUDY.HONEST[kind][0](torch.Generator())
        wide = any(layer.out_features > detectors.MOST_ALIKE for layer in net.modules()
                   if isinstance(layer, torch.nn.Linear))
        assert wide == (kind not in STUDY.BLIND["identical_rows"])
        rectified = any(isinstance(layer, torch.nn.ReLU) for layer in net.modules())
        assert rectified == (kind not in STUDY.BLIND["silent_neurons"])


def test_lone_records_are_those_read_of_an_imprint_and_no_fewer_than_are_read_for_any_model():
    for data in STUDY.SOURCES:
        alone = RECORDED[f"imprint_{data}_update_064_128_alone"]
        lone, read = (RECORDED[f"caught_{data}_imprint_{key}"].runs for key in ("lone", "exact"))
        assert lone == pytest.approx(read)
        assert lone == pytest.approx(alone.runs, abs=1.1 / 64)  # some slopes are next to nothing
        for crafted in ("imprint", "traps_0.95", "traps_0.97", "honest_dense"):
            lone, read = (RECORDED[f"caught_{data}_{crafted}_{key}"].runs
                          for key in ("lone", "exact"))
            assert (np.subtract(lone, read) >= 0).all(), (data, crafted)
    assert RECORDED["honest_GELU_300_lone"].value == 0, "no neuron is off"
    assert "honest_convolutions_300_lone" not in RECORDED, "no layer to look at is no zero"


def test_no_public_image_is_a_victim():
    assert {item.baseline for item in ending("_exact")} == {0}


def test_controls_fail_and_honest_models_raise_no_alarm():
    assert max(item.value for item in ending("_other")) < 0.002
    for data in STUDY.SOURCES:
        assert RECORDED[f"plain_{data}_exact"].interval[1] < 0.1
    for check in (*STUDY.CHECKS, "any"):
        item = RECORDED[f"honest_{check}_alarm"]
        assert item.successes == 0 and item.trials >= 360
        assert 1 - 0.05 ** (1 / item.trials) < 0.01, "one-sided"
