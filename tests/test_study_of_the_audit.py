"""Study 20: the record follows from its trials, and a rerun repeats it."""

import importlib

import pytest
import torch

from leaklab import evidence
from leaklab.assess.audit.inputs import split
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.20_audit_your_model")
RECORDED = evidence.load("20_audit_your_model")


def test_recorded_values_and_intervals_follow_from_their_runs():
    require_it_follows_from_runs(RECORDED.values(), STUDY.SEEDS)
    assert len(RECORDED) == 7


def test_no_trial_is_asked_for_twice_and_none_on_the_seeds_of_the_settings():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials) == 40
    assert not {trial["seed"] for trial in STUDY.trials()} & set(range(100, 104))


def test_a_rerun_repeats_what_was_recorded():
    numbers = STUDY.run({"model": "dense", "seed": 3})
    for place, value in numbers["read"].items():
        assert value == pytest.approx(RECORDED[f"dense_{place}"].runs[3], abs=evidence.SAME_RUN)


def test_false_alarms_are_counted_in_audits_and_not_in_comparisons():
    quiet = {"alarms": 0, "asked": 10, "read": {"update_1": 1.0}, "blind": {"update_1": 0.0}}
    results = [({"model": model, "seed": seed}, quiet | {"alarms": 4 * (seed == 0)})
               for model in ("dense", "null") for seed in STUDY.SEEDS]
    found = {item.name: item for item in STUDY.summarise(results)}["null_false_alarm"]
    assert (found.successes, found.trials, found.value) == (1, 20, 0.05)


def test_the_records_are_in_range_and_no_patient_is_on_both_sides():
    batch = STUDY.records()
    assert float(batch.inputs.min()) >= 0 and float(batch.inputs.max()) <= 1
    private, public = split(batch, 0)
    assert not torch.isin(private.groups, public.groups).any()


def test_at_the_small_rate_rounding_swallows_the_update():
    net = torch.nn.Linear(4, 2)
    torch.nn.init.uniform_(net.weight, 0.1, 1.0)
    assert torch.equal(net.weight - STUDY.RATES["null"], net.weight)
