"""Study 11: the deal is fair, the record follows from its trials, a rerun repeats it."""

import importlib
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import promised_data
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab import evidence
from leaklab.assess.rounds import deal, of_hospitals, tpr_at, within_class
from leaklab.bounds import ranking_ceiling
from leaklab.data import diabetes
from leaklab.metrics.roc import auc
from leaklab.plots.rounds import growth_chart
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.11_membership_across_rounds")
RECORDED = evidence.load("11_membership_across_rounds")


# --- The deal ---------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(2, 6),
       skew=st.sampled_from([None, 0.5, 100.0]))
def test_nobody_is_in_two_places_and_the_federations_are_twins(seed, number, skew):
    table = replace(diabetes.load(), sites=np.full(442, "one"))
    found = deal(table, number, np.random.default_rng(seed), skew=skew)
    inside = found.members
    assert torch.equal(inside[0], ~inside[1])
    assert abs(int(inside[0].sum()) - int(inside[1].sum())) <= 1
    assert len(found.pool[0]) + len(found.public[0]) == len(table)
    assert len(set(found.patients)) == len(found.patients)
    for row in found.owners:
        sizes = [int((row == k).sum()) for k in range(number)]
        assert max(sizes) - min(sizes) <= 1 and int(row.max()) == number - 1


def test_judges_by_hand():
    scores = torch.tensor([[3.0, 2.0, 1.0, 9.0], [0.0, 9.0, 4.0, 5.0]])
    owners = torch.tensor([0, -1, -1, 1])
    # hospital 0: its record beats both outside, hospital 1: one of two; the other's is left out
    assert of_hospitals(auc, scores, owners) == pytest.approx((1 + 0.5) / 2)
    assert of_hospitals(tpr_at(0.5), scores, owners) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"fpr: 0\.01 given with 2 non"):
        of_hospitals(tpr_at(0.01), scores, owners)


def test_what_only_knows_the_label_knows_nothing_within_a_class():
    targets = torch.tensor([0, 0, 0, 1, 1, 1])
    members = torch.tensor([True, True, False, True, False, False])
    by_label = -targets.double()
    assert auc(by_label, members) > 0.5
    assert within_class(by_label, members, targets) == 0.5
    lone = torch.tensor([True, True, True, True, False, False])  # class 0 has no other side
    assert within_class(torch.arange(6.0), lone, targets) == 0.0


# --- The record -------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["looks", "radiographs", "steps", "hospitals", "public", "skew",
                                  "privacy"])
def test_recorded_values_and_intervals_follow_from_their_runs(part):
    items = [item for item in RECORDED.values() if item.name.startswith(part)]
    require_it_follows_from_runs(items, STUDY.SEEDS if part == "looks" else STUDY.FEWER)
    assert items


def test_no_trial_is_asked_for_twice_and_none_on_the_seeds_of_the_settings():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)
    assert not {trial["seed"] for trial in STUDY.trials()} & set(range(100, 104))


@pytest.mark.parametrize(("setting", "key", "name"), [
    ({"part": "privacy", "mu": 2.0}, "server_whitened_auc", "privacy_2.0_server_whitened_auc"),
    ({"part": "skew"}, "labels_auc", "skew_labels_auc"),
    ({"part": "public", "records": 5}, "server_whitened_tpr", "public_5_server_whitened_tpr"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_rerun_repeats_the_record(setting, key, name):
    with promised_data():
        found = STUDY.run({**setting, "seed": 1})
    assert found[key] == pytest.approx(RECORDED[name].runs[1], abs=0.01)


def test_controls_are_at_chance_and_no_attack_is_above_its_ceiling():
    for part in ("looks", "radiographs"):
        low, high = RECORDED[f"{part}_permuted_auc"].interval
        assert low - 0.01 < 0.5 < high + 0.01
    low, high = RECORDED["looks_blind_auc"].interval
    assert low <= 0.5 and high > 0.45
    for mu in STUDY.MUS:
        item = RECORDED[f"privacy_{mu}_server_whitened_auc"]
        assert item.interval[1] < item.setting["ceiling"] < ranking_ceiling(mu)
    auc_of = {mu: RECORDED[f"privacy_{mu}_server_whitened_auc"].value for mu in (0.0, 4.0, 0.5)}
    assert auc_of[0.0] > auc_of[4.0] > auc_of[0.5]


def test_what_the_chapter_says_holds():
    value = {name.removeprefix("looks_"): item.value for name, item in RECORDED.items()}
    assert value["server_whitened_auc_10"] > value["server_whitened_last_auc"] + 0.08
    assert value["server_whitened_auc_10"] > value["server_whitened_mean_auc_10"]
    assert value["server_whitened_auc_10"] > value["client_whitened_auc_10"]
    assert value["client_whitened_auc_10"] > value["public_loss_auc"] + 0.05
    assert RECORDED["looks_sum_whitened_auc_10"].interval[0] > 0.5
    gain = np.subtract(*(RECORDED[f"looks_server_whitened_tpr_{r}"].runs for r in ("10", "01")))
    assert (gain > 0).all()  # further rounds name more members, in every deal
    published = ("glir", "cosine", "fedmia_cosine", "fedmia_loss", "drop", "loss")
    assert value["server_whitened_tpr_10"] > 3 * max(value[f"server_{name}_tpr_10"]
                                                     for name in published)


def test_labels_of_the_chart_do_not_overlap():
    names = ("server_whitened", "late_whitened", "server_cosine")
    ax = growth_chart({name: [RECORDED[f"looks_{name}_auc_{r:02d}"] for r in STUDY.SEEN]
                       for name in names}, title="Growth")
    heights = sorted(text.xy[1] for text in ax.texts)
    assert len(heights) == 3 and np.diff(heights).min() > 0
    assert ax.get_xlabel() == "rounds seen"
    plt.close("all")
