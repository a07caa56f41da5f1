"""Study 15: the record follows from its trials, deals share nobody, and what must hold in it."""

import importlib

import numpy as np
import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.assess import allele_frequencies as scene
from leaklab.attacks.frequencies import likelihood_ratio, theory
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.15_allele_frequencies")
NAME = "15_allele_frequencies"
RECORDED = evidence.load(NAME)


def on_data(function, *arguments, **named):
    """Call ``function``; skip where its data cannot be had and nobody promised them."""
    with promised_data():
        return function(*arguments, **named)


def test_recorded_values_and_intervals_follow_from_their_runs():
    require_it_follows_from_runs(RECORDED.values(), STUDY.SEEDS)


def test_no_trial_is_asked_for_twice():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)


@pytest.mark.parametrize(("setting", "key"), [
    ({"part": "simulated", "cohort": 100, "snps": 1000, "reference": 100}, "ratio, auc"),
    ({"part": "people", "cohort": 100, "snps": 1000, "reference": 200}, "Homer, named"),
    ({"part": "people", "cohort": 200, "snps": 3000, "reference": 200}, "left out, auc"),
    ({"part": "ancestry", "against": "EUR"}, "own people, alarms"),
    ({"part": "ancestry", "against": "EUR"}, "held out, alarms"),
    ({"part": "relatives", "relation": "sibling"}, "kin, share"),
    ({"part": "gradient", "hospitals": 2}, "label known, auc"),
    ({"part": "noise", "snps": 300, "noise": 0.3}, "best weights, auc"),
    ({"part": "linked", "cohort": 100, "snps": 1000, "reference": 200}, "ratio, auc"),
], ids=lambda value: value["part"] if isinstance(value, dict) else "")
def test_a_rerun_repeats_the_record(setting, key):
    outcome = on_data(STUDY.run, {**setting, "seed": 1})
    (item,) = STUDY.summarise([({**setting, "seed": s}, {key: outcome[key]}) for s in (1, 2)])
    recorded = RECORDED[item.name]
    assert outcome[key] == pytest.approx(recorded.runs[1], abs=0.01)
    assert item.setting == pytest.approx(recorded.setting)
    assert (item.data_sha256, item.unit, item.view) == (
        recorded.data_sha256, recorded.unit, recorded.view)


# --- What the record must show ------------------------------------------------------------------


def test_on_unlinked_snps_theory_is_met():
    for n, m, r in STUDY.UNLINKED:
        item = RECORDED[f"simulated_{n}_{m}_{r}_ratio_auc"]
        expected = theory.auc(theory.expected_distance(m, n, r))
        assert item.setting["theory"] == pytest.approx(expected, abs=1e-5)
        assert item.value == pytest.approx(expected, abs=0.02), item.name
        homer = RECORDED[item.name.replace("ratio", "Homer")]
        assert homer.value < item.value


def test_on_real_people_theory_is_met_where_snps_are_few_enough_to_be_unlinked():
    for n in STUDY.COHORTS:
        for m in (300, 1000):
            item = RECORDED[f"people_{n}_{m}_200_ratio_auc"]
            assert item.value == pytest.approx(item.setting["theory"], abs=0.02), item.name
        for m in STUDY.SITES:
            nobody, mixed = (RECORDED[f"people_{n}_{m}_200_{what}_auc"]
                             for what in ("left_out", "permuted"))
            assert nobody.value == pytest.approx(0.5, abs=0.05)
            assert mixed.value == pytest.approx(0.5, abs=0.04)


def test_linkage_and_ancestry_break_it():
    along = RECORDED["linked_100_7363_200_ratio_auc"]
    assert along.setting["theory"] > 0.99 and along.value < 0.8
    assert RECORDED["linked_100_7363_200_worth_snps"].value < 100
    for ancestry in ("AMR", "SAS", "EAS", "AFR"):
        for cut in ("zero", "own_people", "held_out", "Homer's_five_per_cent"):
            assert min(RECORDED[f"ancestry_{ancestry}_{cut}_alarms"].runs) == 1
        assert RECORDED[f"ancestry_{ancestry}_ratio_auc"].interval[1] < 0.7
    assert RECORDED["ancestry_EUR_own_people_alarms"].value > 0.2
    assert RECORDED["ancestry_EUR_held_out_alarms"].value < 0.06


# --- The deals ----------------------------------------------------------------------------------


def test_a_deal_shares_nobody_and_repeats_itself():
    panel = np.arange(60)[:, None] % 3 * np.ones((1, 8), int)
    panel[:, :6] = np.array([[int(b) for b in f"{k:06b}"] for k in range(60)])
    panel = panel.astype(np.uint8)
    dealt = scene.deal(panel, 3, members=20, reference=30)
    rows = torch.cat([dealt.members, dealt.reference, dealt.others])
    assert len(rows.unique(dim=0)) == len(rows) == 60 and len(dealt.others) == 10
    again = scene.deal(panel, 3, members=20, reference=30)
    assert torch.equal(again.members, dealt.members)
    assert not torch.equal(scene.deal(panel, 4, members=20, reference=30).members, dealt.members)
    assert scene.deal(panel, 3, members=20, reference=30, snps=5).members.shape == (20, 5)
    assert torch.equal(dealt.cohort_frequencies, dealt.members.double().mean(0) / 2)


def test_a_deal_that_leaves_nobody_is_refused():
    panel = np.zeros((10, 4), np.uint8)
    for wrong in ({"members": 5, "reference": 5}, {"members": 2, "reference": 2, "snps": 5}):
        with pytest.raises(ValueError, match="expected fewer than 10 people and at most 4 SNPs"):
            scene.deal(panel, 0, **wrong)


def test_a_cohort_that_holds_the_strangers_too_flatters_nobody():
    """Who forgets to keep strangers out of the released cohort finds no difference: rejected."""
    dealt = scene.simulated(0, members=100, reference=200, others=100, snps=1000)
    mixed = scene.frequencies(torch.cat([dealt.members, dealt.others]))
    wrong, right = (scene.rates(*(likelihood_ratio(x, p, dealt.reference_frequencies)
                                  for x in (dealt.members, dealt.others)))["auc"]
                    for p in (mixed, dealt.cohort_frequencies))
    assert wrong == pytest.approx(0.5, abs=0.1) and right > 0.9


def test_the_panels_are_the_common_sites_of_europeans():
    home, away = on_data(scene.group), on_data(scene.group, "AFR")
    assert (len(home), home.snps) == (503, 11_235) and len(away) == 661
    assert np.array_equal(home.position, away.position)
    assert home.minor.min() > scene.COMMON
    panel, dosages = on_data(scene.linked)
    assert dosages.shape == (503, panel.snps) and panel.snps > 7000


def test_a_first_view_is_an_update_or_a_sum():
    x, y = torch.randint(3, (20, 6), generator=torch.Generator().manual_seed(0)), torch.arange(20)
    alone, summed = (scene.first_view(x, y % 2, hospitals) for hospitals in (1, 4))
    assert (alone.artefact, summed.artefact, len(summed.contributors)) == ("update", "sum", 4)
    for name in alone.after:
        torch.testing.assert_close(alone.after[name], summed.after[name])
