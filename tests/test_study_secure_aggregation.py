"""Study 17: the record follows from its trials, a rerun repeats it, and controls fail."""

import importlib
import importlib.util

import pytest
import torch

if not all(map(importlib.util.find_spec, ("cryptography", "Crypto", "tenseal"))):
    pytest.skip("not installed: pip install leaklab[defences,homomorphic]",
                allow_module_level=True)
from conftest import promised_data

from leaklab import evidence
from leaklab.assess import sums
from leaklab.attacks.exclusive_neurons import exclusive_neurons
from leaklab.defences import secure_aggregation as sa
from leaklab.updates import Recovered
from recorded import require_it_follows_from_runs

STUDY = importlib.import_module("studies.17_secure_aggregation")
RECORDED = evidence.load("17_secure_aggregation")


def part(name: str, *endings: str):
    found = {key: item for key, item in RECORDED.items() if key.startswith(f"{name}_")
             and (not endings or key.endswith(tuple(f"_{end}" for end in endings)))}
    assert found, f"nothing recorded of {name} {endings}"
    return found


def test_recorded_values_and_intervals_follow_from_their_runs():
    for name in STUDY.ORDER:
        seeds = STUDY.seeds_of({"part": name})
        require_it_follows_from_runs(part(name).values(), seeds)
        assert len(seeds) >= 10


def test_no_trial_is_asked_for_twice():
    trials = [repr(trial) for trial in STUDY.trials()]
    assert len(set(trials)) == len(trials)


def test_the_record_has_every_condition_of_the_study(monkeypatch):
    data = type("Data", (), {"provenance": "", "sha256": "", "patients": [0]})
    monkeypatch.setattr(STUDY, "radiographs", lambda _: data)
    keys = {*(key for group in STUDY.STATEMENTS.values() for key in group), "nearest", "plain",
            "guess", "off_guess", "typical_exact", "typical_fields"}
    items = STUDY.summarise([(trial, dict.fromkeys(keys, 0.5)) for trial in STUDY.trials()])
    assert {item.name for item in items} == set(RECORDED)
    for item in items:
        assert item.setting.keys() == RECORDED[item.name].setting.keys(), item.name
        assert (item.view, item.defence) == (RECORDED[item.name].view,
                                             RECORDED[item.name].defence), item.name


@pytest.mark.parametrize(("setting", "key", "name"), [
    ({"part": "tables", "hospitals": 5, "size": 2}, "exact", "tables_05_02_exact"),
    ({"part": "tables", "hospitals": 5, "size": 4}, "fields", "tables_05_04_fields"),
    ({"part": "tables", "hospitals": 12, "size": 1}, "exact", "tables_12_01_exact"),
    ({"part": "genotypes", "hospitals": 5}, "exact", "genotypes_05_exact"),
    ({"part": "images", "data": "synthetic", "model": "imprint", "hospitals": 5}, "exact",
     "images_synthetic_imprint_05_exact"),
    ({"part": "counts", "hospitals": 5}, "off_sum", "counts_05_off_sum"),
    ({"part": "inconsistency", "masks": "one model"}, "cosine", "inconsistency_one_model_cosine"),
    ({"part": "rounds", "how": "training", "rounds": 12}, "cosine", "rounds_training_12_cosine"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_rerun_repeats_the_record(setting, key, name):
    with promised_data():
        found = STUDY.run({**setting, "seed": 1})
    # on another processor a record may fall on the other side of a threshold
    assert found[key] == pytest.approx(RECORDED[name].runs[1], abs=0.05)


def test_bytes_of_a_round_of_masks_follow_from_its_messages():
    for entries, hospitals in ((1000, 5), (1000, 20)):
        item = RECORDED[f"cost_masks_{entries}_{hospitals:02d}_up"]
        keys, sealed, hashes, revealed = 2 * 32, 48, 2 * 32, 16
        assert item.value == (keys + hospitals * (sealed + hashes + revealed)
                              + 8 * (entries + 1))


def test_sums_are_exact_whatever_they_cost():
    for name, item in part("cost", "error").items():
        assert item.interval[1] < 2e-6, name


def test_a_table_is_read_whole_up_to_its_rank_and_less_and_less_beyond_whoever_sent_it():
    items = sorted(part("tables", "exact").values(), key=lambda item: item.setting["records"])
    beyond = [item.value for item in items if item.setting["records"] > 10]
    assert all(item.value == 1 for item in items if item.setting["records"] <= 10)
    past = [item.setting["records"] for item in items[-len(beyond):]]
    assert past == [11, 12, 15, 20, 20, 40, 80]
    assert 0.5 > beyond[0] > beyond[1] > beyond[2] > max(beyond[3:])


def test_past_the_rank_few_of_those_read_are_claimed_and_some_claims_are_false():
    for name, item in part("tables", "claimed").items():
        read = RECORDED[name.replace("claimed", "exact")].value
        false = RECORDED[name.replace("claimed", "false")].value
        if item.setting["records"] > 10:
            assert item.value <= read / 2 and false <= 0.1, name
        else:
            assert (item.value, false) == (1, 0), name
    assert RECORDED["tables_12_01_false"].value > 0


def test_controls_fail():
    for name, item in {**part("tables", "control"), **part("images", "control"),
                       **part("genotypes", "control")}.items():
        assert item.value < 0.002, name
    for name, item in part("images", "exact").items():
        assert item.baseline == 0, name


def test_binding_turns_the_targets_update_into_noise_and_stops_the_round():
    unbound, bound, honest = (
        {key: RECORDED[f"inconsistency_{masks}_{key}"] for key in ("cosine", "exact", "stopped")}
        for masks in ("unbound", "bound", "one_model"))
    assert unbound["cosine"].interval[0] > 0.999 and unbound["exact"].value > 0.9
    assert abs(bound["cosine"].value) < 0.05 and bound["exact"].value == 0
    assert (unbound["stopped"].value, bound["stopped"].value, honest["stopped"].value) == (0, 1, 0)


def test_a_fixed_set_is_as_good_as_no_rounds_at_all():
    item = RECORDED["rounds_fixed_set_12_cosine"]
    assert item.value == pytest.approx(item.baseline, abs=1e-6)
    assert RECORDED["rounds_fixed_set_12_claimed"].value == 0


def test_records_are_judged_by_half_a_digit_and_claims_by_whose_record_it_is():
    held = sums.patients(0)
    rows = torch.tensor([3, 8])
    true, sure = held.inputs[rows], torch.ones(2, dtype=torch.bool)

    def judged(guess, certificate=sure):
        return sums.judged(Recovered(guess, certificate=certificate), rows, held)

    assert judged(true.flip(0)) == {"exact": 1, "fields": 1, "claimed": 1, "false": 0}
    near = true.clone()
    near[0, 0] += 0.6 / float(held.by.deviation[0])  # of a year
    assert (judged(near)["exact"], judged(near)["false"]) == (0.5, 0 if 0.6 / float(
        held.by.deviation[0]) < sums.ANOTHER else 1)
    stranger = torch.stack([true[0], held.inputs[20]])
    assert judged(stranger)["false"] == 1
    assert judged(stranger, ~sure)["false"] == 0
    assert judged(true[:1], sure[:1]) == {"exact": 0.5, "fields": 0, "claimed": 0.5, "false": 0}
    many = torch.cat([held.inputs[20:22], true])
    assert judged(many, torch.tensor([True, False, True, False])) == {
        "exact": 1, "fields": pytest.approx(judged(held.inputs[20:22])["fields"]),
        "claimed": 1, "false": 1}


def test_a_single_neuron_shows_records_past_the_rank_and_nobody_else():
    """Twelve records of ten columns: neither exact attack parts them, yet some are read."""
    held, net = sums.patients(0), sums.network(0)
    rows = sums.dealt(held, [1] * 24, 0)
    view = sums.server_view(sums.updates(net, held, rows[:12], 0))
    assert exclusive_neurons(net, view, batch_size=12) is None
    found = sums.read(net, view, 12, 0)
    assert not found.certificate.any()
    assert 0 < sums.judged(found, torch.cat(rows[:12]), held)["exact"] < 0.5
    assert sums.judged(found, torch.cat(rows[12:]), held)["exact"] == 0


def test_nobody_is_dealt_twice():
    held = sums.patients(1)
    rows = sums.dealt(held, [4, 5, 6], 1)
    assert [len(own) for own in rows] == [4, 5, 6]
    assert len(torch.cat(rows).unique()) == 15
    with pytest.raises(ValueError, match="sizes: 300 records given, expected at most 221"):
        sums.dealt(held, [100] * 3, 1)


def test_an_isolated_sum_is_the_update_itself():
    held, net = sums.patients(2), sums.network(2)
    own, _ = sums.updates(net, held, sums.dealt(held, [3, 5], 2), 2)
    words = sa.encode(own, sa.Quantiser())
    mean, _ = sa.decode(words, 1, sa.Quantiser())
    opened = sa.Opened(own.before, torch.from_numpy(mean) * 3 / 8, ("a", "b"), 8)
    for name, tensor in sums.alone(opened, net, 3).after.items():
        torch.testing.assert_close(tensor, own.after[name], rtol=0, atol=2e-9)
