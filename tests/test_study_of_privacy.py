"""Study 16: tests under privacy are what theory says, the record follows from its trials."""

import importlib
import math
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import promised_data
from scipy.stats import norm

from leaklab import bounds, evidence
from leaklab.assess.under_privacy import private_members, who_was_it
from leaklab.attacks.epsilon_bounds import one_run_epsilon
from leaklab.defences.record_level import PrivateHospital, RecordLevel
from leaklab.metrics import mean_interval
from leaklab.metrics.roc import auc
from leaklab.models import logistic_regression, mlp
from leaklab.plots.ceilings import under_ceilings
from leaklab.runtime import generator
from leaklab.stack import new_stack, repeat, state_of
from leaklab.updates import LocalTraining
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.16_differential_privacy")
RECORDED = evidence.load("16_differential_privacy")
INPUTS = 3 * torch.randn(12, 5, generator=generator("inputs"), dtype=torch.float64)
TARGETS = torch.arange(12) % 2
TO_TRAIN = "95 % corrected resampled t over seeds"


# --- Attacks under privacy --------------------------------------------------------------------


def test_without_noise_everybody_is_named_and_under_much_of_it_one_in_all():
    net = mlp(generator("weights"), num_features=5, width=8).double()
    name = partial(who_was_it, net, INPUTS[:4], TARGETS[:4])
    bare = name(RecordLevel(1.0, 1e-9), 200, generator("trials"))
    assert torch.equal(bare.likeliest, bare.truth)
    assert torch.equal(bare.nearest, bare.truth)
    drowned = name(RecordLevel(1.0, 1e3), 4000, generator("trials"))
    for picked in (drowned.likeliest, drowned.nearest):
        assert float((picked == drowned.truth).double().mean()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_nobody_is_named_more_often_than_the_bound_allows_in_10000_trials(mu):
    net = mlp(generator("weights"), num_features=5, width=8).double()
    found = who_was_it(net, INPUTS[:10], TARGETS[:10], RecordLevel(1.0, 1 / mu), 10_000,
                       generator("trials", mu))
    named = float((found.likeliest == found.truth).double().mean())
    ceiling = bounds.reconstruction_robustness(0.1, 1 / mu)
    assert 0.1 < named < ceiling + 3 * math.sqrt(ceiling * (1 - ceiling) / 10_000)
    # half of the noise is told from all of it
    half = who_was_it(net, INPUTS[:10], TARGETS[:10], RecordLevel(1.0, 0.25 / mu), 10_000,
                      generator("trials", mu))
    assert float((half.likeliest == half.truth).double().mean()) > ceiling


def test_without_noise_the_stack_is_the_private_hospital():
    members = torch.tensor([[True] * 7 + [False] * 5, [False] * 7 + [True] * 5])
    stack = new_stack(lambda rng: logistic_regression(rng, num_features=5).double(), 2,
                      generator("weights"))
    models, scores = private_members(stack, INPUTS, TARGETS, members, RecordLevel(0.5, 0.0),
                                     steps=6, learning_rate=0.3, generator=generator("noise"))
    assert not bool(scores.any())
    for k, there in enumerate(members):
        net = stack.model
        net.load_state_dict(state_of(stack, k))
        rate = 0.3 * int(there.sum()) / 12  # the stack divides by all records
        update = PrivateHospital("A", INPUTS[there], TARGETS[there], RecordLevel(0.5, 0.0)).train(
            net, LocalTraining(rate, local_steps=6), generator=generator("noise"))
        for name, tensor in state_of(models, k).items():
            torch.testing.assert_close(tensor, update.after[name])


def test_the_test_of_clipped_records_is_the_best_that_theory_allows():
    """Every gradient is longer than C, so presence is told as N(mu, 1) from N(0, 1)."""
    mu, steps = 1.0, 4
    members = torch.rand(1200, 12, generator=generator("coins")) < 0.5
    stack = repeat(logistic_regression(generator("weights"), num_features=5).double(), 1200)
    _, scores = private_members(stack, INPUTS, TARGETS, members,
                                RecordLevel(1e-3, math.sqrt(steps) / mu), steps=steps,
                                learning_rate=0.1, generator=generator("noise"), chunk=400)
    assert auc(scores, members) == pytest.approx(bounds.auc_ceiling(mu), abs=0.015)
    assert float(scores[members].mean()) == pytest.approx(mu**2 / 2, abs=0.05)
    assert float(scores[~members].std()) == pytest.approx(mu, rel=0.05)
    shortened = norm.cdf(mu / 2)  # what forgetting the steps' sum would give
    assert abs(auc(scores, members) - shortened) > 0.03


def test_the_chart_places_each_measure_over_its_ceiling():
    items = [RECORDED[f"picked_{mu}_likeliest"] for mu in STUDY.MUS]
    ax = under_ceilings({"likeliest": items}, title="Below")
    line = ax.containers[0].lines[0]
    assert line.get_xdata().tolist() == [item.setting["ceiling"] for item in items]
    assert line.get_ydata().tolist() == [item.value for item in items]
    assert bool((line.get_xdata() > line.get_ydata()).all())
    plt.close(ax.figure)


# --- The record -------------------------------------------------------------------------------


def test_recorded_values_and_intervals_follow_from_their_runs():
    resampled = [item for item in RECORDED.values() if item.interval_kind == TO_TRAIN]
    for item in resampled:
        assert item.value == pytest.approx(float(np.mean(item.runs)), rel=1e-4, abs=2e-5)
        assert item.interval == pytest.approx(
            mean_interval(item.runs, test_to_train=STUDY.TEST_TO_TRAIN), abs=5e-5), item.name
    others = [item for item in RECORDED.values() if item.interval_kind != TO_TRAIN]
    for seeds in (STUDY.SEEDS, STUDY.FEWER):
        require_it_follows_from_runs([i for i in others if len(i.seeds) == len(seeds)], seeds)
    assert resampled and others


def test_no_trial_is_asked_for_twice_and_none_on_the_seeds_of_the_settings():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)
    assert not {trial["seed"] for trial in STUDY.trials()} & set(range(100, 104))


def invented(setting: dict) -> dict:
    """What a trial returns, with numbers that depend on the seed alone."""
    value = 0.5 + setting["seed"] / 100
    names = {"picked": ("likeliest", "nearest"), "unit": ("record", "patient"),
             "heart": ("accuracy", "guess"), "nodules": ("accuracy", "guess"),
             "flower": ("wire", "released"), "audit": ("proved",), "sampler": ("proved",),
             "central": [f"{where}_{who}" for where in ("nowhere", "server", "hospital")
                         for who in ("server", "public")],
             "members": [f"{who}_{what}" for who in (
                 ("public", "server") if setting.get("mu") else ("public",))
                 for what in ("auc", "tpr")]}
    return dict.fromkeys(names[setting["part"]], value)


def test_the_record_holds_what_the_study_would_record():
    with promised_data():
        items = STUDY.summarise([(trial, invented(trial)) for trial in STUDY.trials()])
    assert {item.name for item in items} == set(RECORDED)
    for item in items:
        recorded = RECORDED[item.name]
        assert item.setting.keys() == recorded.setting.keys(), item.name
        assert item.unit == recorded.unit and item.data_sha256 == recorded.data_sha256
        assert item.statement == recorded.statement, item.name
        assert item.baseline_kind == recorded.baseline_kind, item.name
        assert (item.view, item.defence, item.privacy_unit) == (
            recorded.view, recorded.defence, recorded.privacy_unit), item.name
        if item.name.endswith("_cost"):
            assert item.value == pytest.approx(0)  # invented alike with and without privacy


def test_every_attack_lies_below_its_ceiling_and_every_audit_on_its_side_of_the_promise():
    under = [item for item in RECORDED.values() if "ceiling" in item.setting]
    assert len(under) == 10 + 16
    for item in under:
        assert item.interval[0] <= item.setting["ceiling"], item.name
    for mu in (0.5, 1.0, 2.0, 4.0):
        for name, ceiling in (("auc", bounds.auc_ceiling(mu)),
                              ("tpr", bounds.tpr_ceiling(0.01, mu))):
            setting = STUDY.conditions_of({"part": "members", "mu": mu}, f"server_{name}")
            assert setting["ceiling"] == ceiling == pytest.approx(
                RECORDED[f"members_{mu}_server_{name}"].setting["ceiling"], abs=1e-5)
    for item in RECORDED.values():
        if "promised" in item.setting:
            sound = item.setting["code"] in ("correct", "poisson")
            assert (max(item.runs) <= item.setting["promised"]) == sound, item.name


def test_what_the_lab_says_of_the_record():
    def beyond_guessing(name):
        item = RECORDED[name]
        return (item.value - item.baseline) / (item.setting["ceiling"] - item.baseline)

    for mu in STUDY.MUS:  # the server's tests reach more than half of what is possible
        for name in ("picked_{}_likeliest", "members_{}_server_auc", "members_{}_server_tpr"):
            assert 0.5 < beyond_guessing(name.format(mu)) < 1
    assert all(beyond_guessing(f"members_{mu}_public_auc") < 0.3 for mu in STUDY.MUS)
    gap = RECORDED["members_None_public_auc"].value - RECORDED["members_4.0_public_auc"].value
    assert 0 < gap < 0.01  # LiRA does nearly as well under mu = 4 as without noise
    most = one_run_epsilon(120, 120, STUDY.CANARIES, delta=STUDY.AUDIT_DELTA)
    for code in ("noise_forgotten", "clipped_after_averaging"):  # every guess was right
        assert RECORDED[f"audit_{code}_proved"].runs == pytest.approx([most] * 10, abs=1e-4)
    assert RECORDED["flower_wire"].value > 0.999
    assert abs(RECORDED["flower_released"].value) < 0.01
    costs = {e: RECORDED[f"heart_{e}_cost"].interval for e in STUDY.BUDGETS}
    assert all((low > 0) == (e == 0.1) for e, (low, high) in costs.items())


@pytest.mark.parametrize("setting", [{"part": "picked", "mu": 1.0}, {"part": "central"},
                                     {"part": "audit", "code": "noise forgotten"},
                                     {"part": "flower"}])
def test_a_rerun_repeats_its_trial(setting):
    with promised_data():
        found = STUDY.run({**setting, "seed": 0})
    words = [setting["part"], *(str(v).replace(" ", "_") for k, v in setting.items()
                                if k != "part")]
    for name, value in found.items():
        recorded = RECORDED["_".join([*words, name])]
        assert value == pytest.approx(recorded.runs[0], abs=evidence.SAME_RUN), name
