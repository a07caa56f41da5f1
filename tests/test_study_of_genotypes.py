"""Study 13 and its scene: patients, baselines and counts are what the record says they are."""

import importlib

import numpy as np
import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.assess import genotypes as scene
from leaklab.runtime import generator
from leaklab.updates import Recovered

STUDY = importlib.import_module("studies.13_genotypes")


@pytest.fixture(scope="module")
def group():
    with promised_data():
        return scene.cohort(7, 300)


def test_public_people_are_no_patients_and_inputs_are_standardised_by_them(group):
    assert group.private.shape == (303, 300) and group.public.shape == (200, 300)
    same = (group.private[:, None] == group.public[None]).all(2)
    assert not same.any()
    inputs = group.inputs(torch.arange(303))
    assert inputs.dtype == torch.float32 and abs(float(inputs.mean())) < 0.05
    assert 0.9 < float(inputs.var()) < 1.2
    assert abs(float(group.labels.double().mean()) - 0.5) < 0.01


def test_a_seed_draws_other_patients_and_snps_and_repeats_itself(group):
    with promised_data():
        scene.cohort.cache_clear()
        again, other = scene.cohort(7, 300), scene.cohort(8, 300)
    assert torch.equal(again.private, group.private)
    assert not torch.equal(other.private, group.private)


def test_families_are_a_couple_and_two_children():
    with promised_data():
        kin = scene.cohort(7, 300, "families")
    chosen, others = scene.victims(8, kin, 7)
    assert (chosen[::4] % 4 == 0).all() and not set(chosen.tolist()) & set(others.tolist())
    for first in range(0, 8, 4):
        mother, father, *children = kin.private[chosen[first:first + 4]]
        for child in children:
            left = mother + father - child
            assert ((left >= 0) & (left <= 2)).all(), "each parent gives one allele"
    with pytest.raises(ValueError, match="people: 'martians' given"):
        scene.cohort(7, 300, "martians")


def test_the_guess_is_the_likeliest_genotype():
    frequencies = torch.tensor([0.1, 0.5, 0.9, 0.33, 0.34])
    assert scene.likeliest(frequencies).tolist() == [0, 1, 2, 0, 1]


def test_the_sum_of_two_less_a_third_is_whole_more_often_than_the_mean_of_two(group):
    """What chapter 13 says of luck, over triples of unrelated people."""
    a, b, c = group.private[:300].double().reshape(3, 100, -1)
    less = a + b - c
    assert abs(float(((a + b) % 2 == 0).double().mean()) - 2 / 3) < 0.05
    assert abs(float(((less >= 0) & (less <= 2)).double().mean()) - 5 / 6) < 0.03


def test_found_and_false_claims_count_as_they_say():
    truth = torch.tensor([[0, 1], [2, 2], [1, 1]])
    answer = Recovered(torch.tensor([[2, 2], [0, 0], [0, 2]]),
                       certificate=torch.tensor([True, True, False]))
    assert scene.found(answer, truth).tolist() == [False, True, False]
    assert scene.false_claims(answer, truth) == 1
    assert scene.nearest_rows(answer, truth)[1].tolist() == [2, 2]


def test_a_sum_of_hospitals_is_the_step_on_all_their_patients(group):
    net = scene.network(7, 300, 16)
    chosen, _ = scene.victims(8, group, 7)
    summed = scene.seen_in_sum(net, group, list(chosen.split(4)), seed=7)
    whole = scene.seen(net, group, chosen, seed=7)
    assert summed.weights is None and len(summed.contributors) == 2
    for name, tensor in whole.after.items():
        torch.testing.assert_close(summed.after[name], tensor, atol=1e-6, rtol=0)


def test_a_trial_of_the_study_reads_its_patients():
    with promised_data():
        outcome = STUDY.run({"part": "batch", "snps": 400, "raw": False, "size": 8, "width": 64,
                             "method": "all", "seed": 7})
    assert outcome["exact"] == outcome["certified"] == 1 and outcome["claims"] == 8
    assert outcome["false"] == outcome["other_exact"] == outcome["prior_exact"] == 0
    assert 0.6 < outcome["prior"] < 0.8 and outcome["accuracy"] == 1


def test_families_in_a_narrow_layer_are_certified_by_no_one_or_a_third_falsely(monkeypatch):
    case = {"part": "hard", "case": "families, narrow layer", "size": 16}
    with promised_data():
        outcomes = [STUDY.run({**case, "seed": seed}) for seed in range(100, 104)]
        monkeypatch.setattr(STUDY.genotypes, "related", lambda rows: torch.zeros(
            len(rows), dtype=torch.bool))
        without = [STUDY.run({**case, "seed": seed}) for seed in range(100, 104)]
    assert sum(outcome["claims"] for outcome in outcomes) == 0
    assert [o["exact"] for o in outcomes] == [o["exact"] for o in without]
    claims = sum(outcome["claims"] for outcome in without)
    assert 0.15 < sum(outcome["false"] for outcome in without) / claims < 0.5


def test_a_refusal_scores_as_the_guess():
    with promised_data():
        outcome = STUDY.run({"part": "sum", "width": 32, "seed": 7})
    assert outcome["refused"] == 1 and outcome["exact"] == 0
    assert outcome["accuracy"] == outcome["prior"]


def test_other_errors_are_no_refusals(group):
    net = scene.network(7, 300, 16)
    view = scene.seen(net, group, torch.arange(4), seed=7)
    wrong = scene.Cohort(group.private[:, :5], group.public[:, :5], group.labels, group.panel)
    with pytest.raises(ValueError, match="encoding"):
        STUDY.read(net, view, wrong, 7)


def invented(setting):
    draw = torch.rand(4, generator=generator(*map(str, setting.values()))).tolist()
    outcome = {"exact": draw[0], "certified": draw[0] / 2, "claims": 9, "false": 1,
               "accuracy": draw[1], "prior": 0.7, "prior_exact": 0.0, "other_exact": draw[2],
               "refused": 0.0}
    return outcome


def test_evidence_follows_from_trials_and_claims_are_counted():
    results = [(s, invented(s)) for s in STUDY.trials() if s["part"] in ("single", "hard")]
    with promised_data():
        items = {item.name: item for item in STUDY.summarise(results)}
    name = "hard_linked_8_exact"
    assert items[name].value == pytest.approx(np.mean([o["exact"] for s, o in results
                                                       if STUDY.setting_name({
                                                           k: v for k, v in s.items()
                                                           if k != "seed"}) == "hard_linked_8"]))
    conditions = {STUDY.setting_name({k: v for k, v in s.items() if k != "seed"})
                  for s, _ in results if s.get("case") not in STUDY.FAMILIES}
    claims = items["false_claims_unrelated"]
    assert claims.trials == 9 * 10 * len(conditions) and claims.successes == 10 * len(conditions)
    assert items["other_batch_exact"].value > 0


def test_what_is_recorded_follows_from_its_runs_and_holds_what_chapter_13_says():
    recorded = evidence.load("13_genotypes")
    for item in recorded.values():
        assert item.value == pytest.approx(float(np.mean(item.runs)), abs=2e-5), item.name
    assert all(recorded[f"single_{kind}_exact"].value == 1
               for kind in ("mlp", "mlp_trained", "logistic", "logistic_trained"))
    assert recorded["batch_5000_64_256_all_exact"].value >= 0.95
    assert recorded["sum_256_exact"].value >= 0.95
    claims = recorded["false_claims_unrelated"]
    assert claims.successes == 0 and claims.trials >= 1000
    assert recorded["other_batch_exact"].value == 0
    families = [recorded[f"false_claims_hard_families_{name}"] for name in
                ("8", "16", "32", "five_steps_16")]
    assert sum(item.trials for item in families) == 525
    assert sum(item.successes for item in families) == 0
    assert recorded["false_claims_hard_families_narrow_layer_16"].trials == 0
    assert recorded["hard_families_narrow_layer_16_exact"].value > 0.5, "read, and not certified"
    assert all(item.setting["size"] <= item.setting["width"] or item.value == 0
               for item in recorded.values()
               if item.setting.get("part") == "batch" and item.name.endswith("_all_exact"))
