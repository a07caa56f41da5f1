"""The checks around an attack: invalid experiments are flagged, valid ones pass."""


import pytest
import torch
from conftest import promised_data

from leaklab.data import heart, hospitals
from leaklab.metrics.validity import Blind, blind_baseline, permuted_auc
from leaklab.runtime import generator
from leaklab.stack import paired_members


def on_hearts():
    with promised_data():
        whole = heart.load()
    return heart.impute_and_scale(hospitals.drop_duplicates(whole))[0]


def blind(data, members, seed=0):
    return blind_baseline(torch.tensor(data.inputs), torch.tensor(data.targets),
                          torch.tensor(members), data.patients, generator=generator(seed),
                          trees=30, draws=300)


def test_members_from_one_hospital_and_non_members_from_another_are_no_experiment():
    data = on_hearts()
    data = data.take((data.sites == "cleveland") | (data.sites == "switzerland"))
    found = blind(data, data.sites == "cleveland")
    assert found.auc > 0.98 and not found.valid
    assert found.sentence.startswith("INVALID")


def test_halves_of_one_hospital_pass():
    data = on_hearts()
    data = data.take(data.sites == "cleveland")
    halves = paired_members(8, len(data), generator("halves"))[::2]
    found = [blind(data, half.numpy(), seed) for seed, half in enumerate(halves)]
    assert sum(f.valid for f in found) >= 3, "one in forty is turned away by chance"
    assert all(abs(f.auc - 0.5) < 0.12 for f in found)
    assert found[0].sentence.startswith(("Nothing found", "INVALID"))


def test_a_label_alone_gives_members_away():
    draw = generator("labels")
    members = torch.rand(400, generator=draw) < 0.5
    targets = (torch.rand(400, generator=draw) < 0.3 + 0.4 * members).long()
    found = blind_baseline(torch.randn(400, 3, generator=draw), targets, members, range(400),
                           generator=draw, trees=30, draws=300)
    assert not found.valid


def test_a_patient_on_both_sides_of_a_fold_would_pass_for_a_difference():
    """Ten copies of each patient: with folds by patient there is nothing to find."""
    draw = generator("copies")
    inputs = torch.randn(60, 4, generator=draw).repeat(10, 1)
    members = (torch.rand(60, generator=draw) < 0.5).repeat(10)
    patients = [k % 60 for k in range(600)]
    targets = torch.zeros(600, dtype=torch.long)
    grouped = blind_baseline(inputs, targets, members, patients, generator=draw, trees=30,
                             draws=300)
    torn = blind_baseline(inputs, targets, members, range(600), generator=draw, trees=30, draws=300)
    assert torn.auc > 0.95 and not torn.valid
    assert grouped.valid


def test_too_few_and_lengths_that_differ_are_refused():
    few = torch.tensor([True] * 3 + [False] * 20)
    with pytest.raises(ValueError, match="3 on the smaller side"):
        blind_baseline(torch.zeros(23, 1), torch.zeros(23), few, range(23), generator=generator(0))
    with pytest.raises(ValueError, match=r"lengths \[22, 23\]"):
        blind_baseline(torch.zeros(22, 1), torch.zeros(23), few, range(23), generator=generator(0))
    assert Blind(0.7, (0.51, 0.8)).valid is False
    assert Blind(0.4, (0.3, 0.45)).valid is True


def test_memberships_dealt_anew_are_worth_nothing():
    draw = generator("permuted")
    members = paired_members(10, 80, draw)
    scores = members.double()  # a perfect attack
    null = permuted_auc(scores, members, range(80), generator=draw)
    low, high = null.interval
    assert low < 0.5 < high < 0.7
    assert null.value == pytest.approx(0.5, abs=0.02)


def test_records_of_one_patient_are_dealt_together():
    patients = ["a", "a", "b", "b", "c", "d"]
    members = torch.tensor([[True, True, False, False, True, False]])
    scores = members.double()
    null = permuted_auc(scores, members, patients, generator=generator(2), draws=100)
    assert {round(float(v), 2) for v in null.draws} == {0.0, 0.33, 0.67, 1.0}
