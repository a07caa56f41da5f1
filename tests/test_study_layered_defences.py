"""Study 18: the record follows from its trials, a rerun repeats it, and its controls hold."""

import importlib

import pytest
import torch
from conftest import promised_data

from leaklab import evidence
from leaklab.attacks.observed import mean_gradient
from leaklab.metrics import proportion_interval
from leaklab.models import mlp
from leaklab.runtime import generator
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.18_layered_defences")
NAME = "18_layered_defences"


def test_recorded_values_follow_from_their_runs():
    items = evidence.load(NAME).values()
    for seeds, frontier in ((STUDY.SEEDS, False), (STUDY.FRONTIER_SEEDS, True)):
        require_it_follows_from_runs(
            [i for i in items if i.name.startswith("frontier_") is frontier], seeds)


def test_no_trial_is_asked_for_twice_and_none_uses_a_seed_of_choosing():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)
    assert not {trial["seed"] for trial in STUDY.trials()} & {100, 101, 102, 103}


def test_the_record_has_every_condition_of_the_study():
    keys = {key for part in STUDY.UNITS.values() for key in part}
    outcome = dict.fromkeys(keys, 0.5) | {"guessed": 0.4, "guessed_fields": 0.4}
    with promised_data():
        expected = {item.name for item in STUDY.summarise(
            [(trial, outcome) for trial in STUDY.trials()])}
    assert set(evidence.load(NAME)) == expected


@pytest.mark.parametrize(("setting", "key", "name"), [
    ({"part": "table", "defence": "sign"}, "named", "table_sign_named"),
    ({"part": "table", "defence": "quantised (8 bits)"}, "adapted_records",
     "table_quantised_8_bits_adapted_records"),
    ({"part": "table", "defence": "PRECODE"}, "adapted_fields", "table_PRECODE_adapted_fields"),
    ({"part": "gaussian", "noise_multiplier": 1.0}, "named", "gaussian_1_named"),
    ({"part": "frontier", "noise": "shares", "mu": 0.5}, "everywhere",
     "frontier_shares_0.5_everywhere"),
    ({"part": "frontier", "noise": "alone", "mu": 0.0}, "at_home", "frontier_alone_0_at_home"),
    ({"part": "image", "defence": "top-k (1 %)"}, "named", "image_top_k_1_named"),
], ids=lambda value: value["part"] if isinstance(value, dict) else "")
def test_a_rerun_repeats_the_record(setting, key, name):
    with promised_data():
        outcome = STUDY.run({**setting, "seed": 3})
    assert outcome[key] == pytest.approx(evidence.load(NAME)[name].runs[3], abs=0.02)


# --- What the record says -----------------------------------------------------------------------

HEURISTICS = [name for name in STUDY.DEFENCES if not name.startswith(("none", "clip"))]


@pytest.mark.parametrize("defence", HEURISTICS)
@pytest.mark.parametrize("part", ["image", "table"])
def test_every_heuristic_lets_the_attacker_name_whom_it_holds(part, defence):
    item = evidence.load(NAME)[f"{part}_{STUDY.slug(defence)}_named"]
    assert item.interval[0] > 5 * item.baseline


@pytest.mark.parametrize("defence", STUDY.DEFENCES)
def test_an_update_of_somebody_else_names_nobody(defence):
    item = evidence.load(NAME)[f"table_{STUDY.slug(defence)}_control"]
    assert item.interval[0] <= item.baseline and item.value < 0.1


@pytest.mark.parametrize("noise", STUDY.MULTIPLIERS)
def test_no_release_was_named_more_often_than_its_bound_allows(noise):
    item = evidence.load(NAME)[f"gaussian_{noise:g}_named"]
    assert item.trials == 10_000
    low, _ = proportion_interval(item.successes, item.trials, level=1 - 2e-6)
    assert low <= item.setting["ceiling"]
    assert item.interval[0] > item.baseline or noise > 2, "the attack is one"


def test_noise_is_what_the_promise_asks_for():
    """The frontier's hospitals together add what a stack of that promise needs, T releases."""
    with promised_data():
        train, _ = STUDY.sites(0)
    for place, total in (("server", 1.0), ("shares", (4 / 3) ** 0.5), ("hospital", 2.0)):
        own = [STUDY.clinic(name, part, place, 0.5).defence.noise_multiplier
               for name, part in train.items()]
        assert sum(x**2 for x in own) ** 0.5 == pytest.approx(total * STUDY.ROUNDS**0.5 / 0.5)


# --- The experiment itself ------------------------------------------------------------------------

RECORD, LABEL = torch.rand(1, 12, generator=generator("record")), torch.tensor([0])
NET = mlp(generator("weights"), num_features=12, width=32)
OTHERS = torch.cat([RECORD, torch.rand(20, 12, generator=generator("others"))])


@pytest.mark.parametrize("defence", HEURISTICS)
def test_the_record_sent_is_named_and_another_is_not(defence):
    net = NET
    if defence == "PRECODE":
        net = STUDY.precode(NET, size=STUDY.SIZE, generator=generator("bottleneck"))
    view = STUDY.defended(defence, net, "3", RECORD, LABEL, "a")
    if defence != "noise without clipping (0.1)":  # of so small a gradient little is left
        assert STUDY.nearest(defence, net, view, OTHERS, LABEL, "1")
    assert not STUDY.nearest(defence, net, view, OTHERS.flip(0), LABEL, "1")


def test_the_naive_attacker_is_told_of_no_defence():
    view = STUDY.defended("clip to 1, noise multiplier 1", NET, "3", RECORD, LABEL, "a")
    assert view.knowledge.defence is not None and STUDY.naive(view).knowledge.defence is None
    sent = STUDY.naive(view)
    assert torch.equal(mean_gradient(NET, sent)["1.weight"], mean_gradient(NET, view)["1.weight"])
