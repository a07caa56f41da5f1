"""Benchmarks: what they record follows from what they measured, and names whom they ran against."""

import datetime
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import promised_data
from torch import nn

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import figures  # noqa: E402
import genotypes as bench_genotypes  # noqa: E402
import gradient_matching as bench  # noqa: E402
import membership as bench_membership  # noqa: E402
import private_training as bench_private  # noqa: E402
import recording  # noqa: E402
import shadow_models as bench_shadows  # noqa: E402
import tune_gradient_matching as tune  # noqa: E402
from peers.stopwatch import Trace, decibels  # noqa: E402

RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads(bench.RESULT.read_text())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_has_the_form_and_comes_from_a_benchmark(path):
    result = json.loads(path.read_text())
    assert {"what", "sizes", "figures", "peer", "ratio", "machine", "date"} <= set(result)
    assert set(result["ratio"]) == set(result["figures"])
    assert datetime.date.fromisoformat(result["date"])
    assert (BENCHMARKS / path.name).with_suffix(".py").exists()


def test_a_result_is_kept_with_the_machine_and_the_day(tmp_path):
    recording.record(tmp_path / "result.json", {"figures": {"row": 1.5}})
    kept = json.loads((tmp_path / "result.json").read_text())
    assert list(kept) == ["figures", "machine", "date"]
    assert kept["figures"] == {"row": 1.5} and torch.__version__ in kept["machine"]
    assert kept["date"] == datetime.date.today().isoformat()


def test_recorded_ratios_follow_from_the_figures(recorded):
    for name, found in recorded["figures"].items():
        assert figures.ratio(found["sides"]) == recorded["ratio"][name], name


def test_every_row_is_recorded_whole_or_named_as_missing(recorded):
    planned = {bench.row_name(*row): row for row in bench.ROWS}
    assert {*recorded["figures"], *recorded["rows missing"]} == set(planned)
    assert not set(recorded["figures"]) & set(recorded["rows missing"])
    for name, found in recorded["figures"].items():
        _, activation, size, classes = planned[name]
        features = {"ours_features"} if classes == 10 else set()  # repeated labels: none
        assert {side["side"] for side in found["sides"]} == {
            "ours", "ours_l_bfgs" if activation == "relu" else "l_bfgs", *features, "default",
            "tuned", "fairest", "sharpest"}
        assert {side["runs"] for side in found["sides"]} == {
            len(bench.SEEDS) * bench.BATCHES[size]}


def test_the_peer_is_named_with_its_version_and_the_settings_it_ran_with(recorded):
    assert "breaching 0.1.2" in recorded["peer"]
    assert recorded["peer settings"] == json.loads(bench.SETTINGS.read_text())


@pytest.mark.parametrize(("values", "expected"), [
    ([3.0, 1.0, 2.0], [2.0, 1.0, 3.0]),
    ([1.0, None, 3.0], [3.0, 1.0, None]),  # never is later than any time
    ([None, None, 3.0], [None, 3.0, None]),
    ([1.0, None], [None, 1.0, None]),
])
def test_a_run_that_never_got_there_counts_as_the_slowest(values, expected):
    assert figures.spread(values) == expected


def test_the_ratio_is_the_peers_time_over_ours_and_says_never():
    def side(name, seconds):
        reached = {} if seconds is None else {"30": {"evaluations": 1, "seconds": seconds}}
        return figures.row(name, [{"reached": reached, "final": 20.0, "seconds": 1.0}])

    sides = [side("ours", 0.5), side("default", None), side("fairest", 0.4)]
    assert figures.ratio(sides) == {"ours": {"default": "never", "fairest": 0.8}}
    assert figures.ratio([side("ours", None), sides[2]]) == {"ours": {"fairest": "ours never"}}


def test_the_trace_finds_the_first_evaluation_past_a_threshold_in_any_order_of_images():
    truth = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    network, trace = nn.Identity(), Trace(truth, budget=4)
    trace.follow(network)
    for error in (0.2, 0.09, 0.02, 0.01, 0.0):  # 14, 21, 34 and 40 dB; the last is not counted
        network((truth + error).flip(0))
    found = trace.figures(truth + 0.01)
    assert found["evaluations"] == 4
    assert {k: v["evaluations"] for k, v in found["reached"].items()} == {"20": 2, "30": 3}
    assert found["final"] == pytest.approx(40, abs=0.5)
    assert decibels(truth.flip(0), truth) == decibels(truth, truth)


@pytest.mark.parametrize("source", bench.SOURCES)
def test_settings_are_chosen_on_images_that_are_not_reported(source):
    with promised_data():
        reported, held_out = (bench.images(source, held)[0] for held in (False, True))
    assert not {image.numpy().tobytes() for image in reported} & {
        image.numpy().tobytes() for image in held_out}
    largest = max(size * count for size, count in bench.BATCHES.items())
    assert largest <= bench.IMAGES


def test_the_walk_keeps_a_turn_only_where_it_is_better():
    def score(knobs):
        return (knobs["a"] - 3) ** 2 + knobs.get("b", 5), 0

    assert tune.walk({"a": 0}, [{"a": 2}, {"a": 9}, {"b": 1}, {"a": 3}], score) == {"a": 3, "b": 1}


def test_both_sides_are_given_the_gradient_of_the_batch():
    case = bench.Case("synthetic", "gelu", 4, 10, batch=0, seed=0)
    network, view, truth = bench.victim(case)
    labels = view.knowledge.labels
    assert len(labels.unique()) == 4
    loss = nn.functional.cross_entropy(network(truth), labels)
    slopes = torch.autograd.grad(loss, list(network.parameters()))
    for (name, observed), slope in zip(bench.mean_gradient(network, view).items(), slopes,
                                       strict=True):
        torch.testing.assert_close(observed, slope, atol=1e-5, rtol=1e-3, msg=name)


# --- Shadow models, and membership ----------------------------------------------------------


def test_a_stack_of_dense_shadow_models_is_as_fast_as_claimed():
    recorded = json.loads(bench_shadows.RESULT.read_text())
    assert set(recorded["figures"]) == set(bench_shadows.ROWS)
    for name, found in recorded["ratio"].items():
        assert not name.startswith("MLP") or found["loop"] >= 6, name


def test_the_loop_trains_what_the_stack_trains():
    row = bench_shadows.ROWS["MLP 22-64-64-2, batch 16"]
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, *row.shape, generator=rng)
    targets = torch.randint(2, (40,), generator=rng)
    members = bench_shadows.paired_members(bench_shadows.SAMPLE, 40, rng)
    row = replace(row, models=bench_shadows.SAMPLE, epochs=1)
    stack = bench_shadows.new_stack(row.make, row.models, rng)
    bench_shadows.in_loop(row, stack, inputs, targets, members)  # leaves its last model
    trained = bench_shadows.train_stack(stack, inputs, targets, members, row.training,
                                        bench_shadows.generator("training"), epochs=1)
    last = bench_shadows.state_of(trained, row.models - 1)
    for name, tensor in stack.model.state_dict().items():
        torch.testing.assert_close(last[name], tensor, atol=1e-5, rtol=1e-4)


def test_membership_is_as_strong_as_its_peers_and_as_fast_as_claimed():
    recorded = json.loads(bench_membership.RESULT.read_text())
    table = recorded["figures"]["Cleveland"]
    assert recorded["ratio"]["Cleveland"] == bench_membership.ratio(table)
    assert "sacroml 2.0.1, privacy-meter 1.0.1" in recorded["peer"]
    assert table["LiRA"]["seconds"] <= 5
    assert table["LiRA"]["AUC"] >= 0.74
    assert table["LiRA"]["TPR"] >= 8 * table["loss threshold"]["TPR"]
    for peer in bench_membership.PEERS:
        assert recorded["ratio"]["Cleveland"][peer] >= 10
        for what in ("AUC", "TPR"):
            error = table[peer][f"{what}, error against LiRA"]
            assert table["LiRA"][what] >= table[peer][what] - 2 * error, (peer, what)


def test_figures_are_means_over_targets_with_the_error_of_the_paired_difference():
    runs = [{"LiRA": {"AUC": a, "TPR": 0.1, "seconds": 1.0},
             "sacroml": {"AUC": b, "TPR": 0.1, "seconds": 12.0}}
            for a, b in ((0.7, 0.6), (0.8, 0.7), (0.9, 0.9))]
    table = bench_membership.figures(runs)
    assert table["LiRA"]["AUC"] == 0.8
    assert table["LiRA"]["AUC, error against LiRA"] == 0
    assert table["sacroml"]["AUC"] == 0.7333
    assert table["sacroml"]["AUC, error against LiRA"] == pytest.approx(0.0333, abs=1e-4)


# --- Private training ------------------------------------------------------------------------


def test_a_private_step_costs_no_more_than_claimed():
    recorded = json.loads(bench_private.RESULT.read_text())
    for found in recorded["ratio"].values():
        assert set(found) == set(bench_private.SIDES) - {"plain"}
        assert min(found.values()) == found["book-keeping"] <= bench_private.GOAL


@pytest.mark.parametrize("side", [side for side in bench_private.SIDES if side != "plain"])
def test_private_sides_take_the_same_step_but_for_the_noise(side, monkeypatch):
    monkeypatch.setattr(bench_private, "NOISE", 0.0)
    make = bench_private.SIDES[side]
    make = partial(make, noise=0.0) if side in bench_private.MODES else make
    rng = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(6, 1, 28, 28, generator=rng), torch.arange(6) % 2
    ends = []
    for step in (make, bench_private.by_vmap):
        model = bench_private.small_cnn(torch.Generator().manual_seed(1))
        step(model)(inputs, targets)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*ends, atol=1e-6, rtol=1e-5)


def test_ratios_of_genotypes_follow_from_their_figures():
    result = json.loads(bench_genotypes.RESULT.read_text())
    assert {case: bench_genotypes.ratio(sides) for case, sides in result["figures"].items()} == (
        result["ratio"])
    assert result["ratio"]["64 patients"]["exact"] > 0.9
