"""The Flower app is the federation of the library, and nothing that breaks is averaged."""

import importlib.util
import json
import logging
import os
import re

import numpy as np
import pytest
import torch

from leaklab.data.download import DataUnavailable
from leaklab.federation import Hospital, fed_avg
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

if importlib.util.find_spec("flwr") is None:
    pytest.skip("Flower is not installed: pip install leaklab[flower]", allow_module_level=True)
from leaklab.flower import app, capture, replay  # noqa: I001  (before Flower itself)
from leaklab.flower.local_grid import LocalGrid
from leaklab.flower.strategy import CheckedFedAvg, TooFewReplies
from leaklab.flower.wiretap import WireTap
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.app import RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from flwr.supercore import telemetry

TRAINING = LocalTraining(0.1, local_steps=3, batch_size=4, momentum=0.5)
SIZE = 16
NAMES = ("Aster", "Birch", "Cedar")


def hospital(name: str, n: int = 12) -> Hospital:
    pictures = torch.rand(n, 1, SIZE, SIZE, generator=generator("pictures", name))
    return Hospital(name, pictures, torch.arange(n) % 2)


@pytest.fixture
def configs(tmp_path):
    """What three SuperNodes would be started with: each its own records."""
    for k, name in enumerate(NAMES):
        app.save_hospital(hospital(name, 12 + 7 * k), tmp_path / f"{name}.npz")
    return [{"data-path": str(tmp_path / f"{name}.npz")} for name in NAMES]


def run(client_app, configs, *, rounds=1, folder=None, **settings):
    tap = WireTap(LocalGrid(client_app, configs), folder)
    result = app.federate(tap, TRAINING, rounds=rounds, seed=5, size=SIZE,
                          num_hospitals=len(configs), **settings)
    return tap, result


def assert_close(arrays, state, **tolerance):
    assert set(arrays) == set(state)
    for name, tensor in state.items():
        torch.testing.assert_close(torch.as_tensor(arrays[name]), tensor, **tolerance)


# --- The same federation --------------------------------------------------------------------


def test_flowers_fedavg_agrees_with_the_library_on_the_same_seeds(configs):
    _, result = run(app.client_app, configs, rounds=3)
    members = [hospital(name, 12 + 7 * k) for k, name in enumerate(NAMES)]
    *_, last = fed_avg(app.initial_model(5, SIZE), members, TRAINING, rounds=3, seed=5)
    arrays = {name: array.numpy() for name, array in result.arrays.items()}
    assert_close(arrays, last.after, rtol=1e-5, atol=1e-6)
    *_, other = fed_avg(app.initial_model(5, SIZE), members, TRAINING, rounds=3, seed=6)
    with pytest.raises(AssertionError):
        assert_close(arrays, other.after, rtol=1e-5, atol=1e-6)


def test_the_order_of_replies_does_not_change_the_average(configs):
    _, forward = run(app.client_app, configs, rounds=2)
    _, backward = run(app.client_app, configs[::-1], rounds=2)
    for name, array in forward.arrays.items():
        assert np.array_equal(array.numpy(), backward.arrays[name].numpy())


def test_the_five_hospitals_of_chapter_1_are_the_nodes_without_a_data_path():
    try:
        five = app.chapter_hospitals(0, SIZE)
    except DataUnavailable as reason:
        pytest.skip(str(reason).splitlines()[0])
    tap, _ = run(app.client_app, [{"partition-id": k} for k in range(len(five))])
    found = {update.hospital: update.num_examples for update in capture.updates(tap.log)}
    assert sum(found.values()) > 1000 and len(found) == 5


def test_settings_survive_the_wire():
    for training in (TRAINING, LocalTraining(0.2), LocalTraining(0.1, proximal=0.3, mode="eval")):
        assert app.training_of(app.config_of(training, 1, 28)) == training


# --- The wire tap -----------------------------------------------------------------------------


def test_a_capture_replays_into_what_the_hospitals_sent(configs, tmp_path):
    tap, _ = run(app.client_app, configs, rounds=2, folder=tmp_path / "capture")
    replayed = replay(tmp_path / "capture")
    assert [(u.round, u.hospital) for u in replayed] == [
        (u.round, u.hospital) for u in capture.updates(tap.log)]
    assert len(replayed) == 6
    model, first = app.initial_model(5, SIZE), {u.hospital: u for u in replayed if u.round == 1}
    for k, name in enumerate(NAMES):
        member = hospital(name, 12 + 7 * k)
        sent = member.train(model, TRAINING, round=1, generator=generator(5, 1, name))
        assert first[name].num_examples == sent.num_examples
        assert_close(first[name].before, sent.before, rtol=0, atol=0)
        assert_close(first[name].after, sent.after, rtol=0, atol=0)


def test_a_model_sent_to_all_is_stored_once(configs, tmp_path):
    run(app.client_app, configs, rounds=2, folder=tmp_path / "capture")
    assert len(list((tmp_path / "capture").glob("message-*.json"))) == 12
    assert len(list((tmp_path / "capture").glob("*.npz"))) == 2 + 6


class Meddler(CheckedFedAvg):
    """A strategy that edits replies in place, as Flower's own DP wrappers do."""

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        for reply in replies:
            reply.content["arrays"] = ArrayRecord(
                {name: Array(np.zeros_like(array.numpy())) for name, array in
                 reply.content["arrays"].items()})
        return super().aggregate_train(server_round, replies)


def test_the_tap_keeps_what_crossed_and_not_what_a_strategy_made_of_it(configs):
    tap = WireTap(LocalGrid(app.client_app, configs))
    Meddler(num_hospitals=3, min_replies=3).start(
        grid=tap, initial_arrays=ArrayRecord(app.initial_model(5, SIZE).state_dict()),
        num_rounds=1, train_config=app.config_of(TRAINING, 5, SIZE))
    assert all(float(u.after["0.weight"].abs().sum()) > 0 for u in capture.updates(tap.log))


def test_a_capture_goes_into_a_new_folder_only(configs, tmp_path):
    (tmp_path / "old").write_text("kept")
    with pytest.raises(ValueError, match=r"folder: .* is not empty"):
        WireTap(LocalGrid(app.client_app, configs), tmp_path)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda j, n: n.write_bytes(n.read_bytes()[:-1] + b"x"), "sha256 differs"),
    (lambda j, n: n.unlink(), "is missing"),
    (lambda j, n: j.write_text("{"), "expected the facts of a message"),
    (lambda j, n: j.write_text(j.read_text().replace('"format": 1', '"format": 9')), "format 9"),
    (lambda j, n: j.write_text(j.read_text().replace(json.loads(j.read_text())["sha256"],
                                                     "../" * 21 + "x")), "64 hexadecimal"),
])
def test_a_damaged_capture_is_refused_by_name(configs, tmp_path, damage, message):
    run(app.client_app, configs, folder=tmp_path / "capture")
    note = sorted((tmp_path / "capture").glob("message-*.json"))[-1]
    damage(note, note.with_name(json.loads(note.read_text())["sha256"] + ".npz"))
    with pytest.raises(ValueError, match=message):
        replay(tmp_path / "capture")


def test_pickled_arrays_are_refused(tmp_path, configs):
    message = capture.WireMessage("down", "train", 1, {"x": np.array([{}], dtype=object)}, {})
    capture.write(message, tmp_path / "capture", 1)
    with pytest.raises(ValueError, match="allow_pickle"):
        replay(tmp_path / "capture")


def test_an_empty_or_incomplete_capture_is_named(tmp_path, configs):
    with pytest.raises(FileNotFoundError, match="holds no message"):
        replay(tmp_path / "none")
    tap, _ = run(app.client_app, configs)
    with pytest.raises(ValueError, match="is the capture complete"):
        capture.updates([message for message in tap.log if message.way == "up"])


# --- What breaks ------------------------------------------------------------------------------


def breaking(name: str, how):
    """The app of the course, except that hospital ``name`` answers as ``how`` says."""
    broken = ClientApp()

    @broken.train()
    def train(message, context):
        answer = app.train(message, context)
        if answer.content["sender"]["hospital"] == name:
            how(answer.content)
        return answer

    return broken


def edit(change):
    def how(content: RecordDict):
        arrays = {n: a.numpy().copy() for n, a in content["arrays"].items()}
        content["arrays"] = ArrayRecord(
            {n: Array(a) for n, a in change(arrays).items()})
    return how


def drop_out(content):
    raise ConnectionError("the line went down")


def weigh(value):
    return lambda content: content["metrics"].update({"num-examples": value})


def poison(arrays):
    arrays["0.bias"][3] = np.nan
    return arrays


BROKEN = {
    "drops out": (drop_out, "the line went down"),
    "answers NaN": (edit(poison), "0.bias holds values that are not finite"),
    "a shape that broadcasts": (edit(lambda a: a | {"0.bias": np.zeros(1, np.float32)}),
                                r"0.bias has shape \(1,\), expected \(16,\)"),
    "a tensor is missing": (edit(lambda a: {n: t for n, t in a.items() if n != "0.bias"}),
                            "0.bias"),
    "no records": (weigh(0), "num-examples is 0"),
    "negative records": (weigh(-5.0), "num-examples is -5.0"),
    "infinite records": (weigh(float("inf")), "num-examples is inf"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_hospital_that_breaks_is_left_out_and_named(configs, case, caplog):
    how, reason = BROKEN[case]
    with caplog.at_level(logging.WARNING, "leaklab.flower"):
        _, result = run(breaking("Birch", how), configs, min_replies=2)
    (warning,) = caplog.records
    assert warning.getMessage().startswith("round 1: ")
    assert "is left out" in warning.getMessage()
    assert re.search(reason, warning.getMessage())
    others = [hospital(name, 12 + 7 * k) for k, name in enumerate(NAMES) if name != "Birch"]
    *_, last = fed_avg(app.initial_model(5, SIZE), others, TRAINING, rounds=1, seed=5)
    assert_close({n: a.numpy() for n, a in result.arrays.items()}, last.after,
                 rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", BROKEN)
def test_a_round_with_too_few_usable_replies_stops_with_an_error(configs, case):
    with pytest.raises(TooFewReplies, match="round 1: 2 of 3 replies can be averaged, expected at "
                                            "least 3"):
        run(breaking("Birch", BROKEN[case][0]), configs)


def test_two_hospitals_of_one_name_are_refused(configs):
    def rename(content):
        content["sender"]["hospital"] = "Aster"

    with pytest.raises(TooFewReplies, match="expected each hospital once"):
        run(breaking("Birch", rename), configs)


@pytest.mark.parametrize("case", ["answers NaN", "a shape that broadcasts"])
def test_flowers_own_strategy_averages_what_ours_refuses(configs, case):
    grid = LocalGrid(breaking("Birch", BROKEN[case][0]), configs)
    result = FedAvg(fraction_evaluate=0.0, min_train_nodes=3, min_available_nodes=3).start(
        grid=grid, initial_arrays=ArrayRecord(app.initial_model(5, SIZE).state_dict()),
        num_rounds=1, train_config=app.config_of(TRAINING, 5, SIZE))
    bias = result.arrays["0.bias"].numpy()
    assert bias.shape == (16,) and (np.isnan(bias).any() or case != "answers NaN")


def test_bad_node_settings_come_back_as_errors_that_say_what_was_expected(configs, tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    for config, reason in (({"data-path": str(tmp_path / "gone.npz")}, "data-path: .*gone.npz"),
                           ({"data-path": str(tmp_path / "text.npz")}, "data-path: .*text.npz")):
        tap = WireTap(LocalGrid(app.client_app, [*configs, config]))
        app.federate(tap, TRAINING, rounds=1, seed=5, size=SIZE, num_hospitals=4, min_replies=3)
        (error,) = [message.error for message in tap.log if message.error]
        assert re.search(reason, error)
    with pytest.raises(ValueError, match="node_configs: none given"):
        LocalGrid(app.client_app, [])


def test_nothing_is_reported_or_installed_while_flower_runs():
    assert telemetry.FLWR_TELEMETRY_ENABLED == "0"
    assert os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"


def test_messages_are_copied_between_server_and_hospital(configs):
    kept = []
    careless = ClientApp()

    @careless.train()
    def train(message, context):
        answer = app.train(message, context)
        kept.append(answer.content)
        return answer

    grid = LocalGrid(careless, configs)
    message = Message(
        RecordDict({"arrays": ArrayRecord(app.initial_model(5, SIZE).state_dict()),
                    "config": ConfigRecord({**app.config_of(TRAINING, 5, SIZE),
                                            "server-round": 1})}),
        next(iter(grid.get_node_ids())), "train")
    (reply,) = grid.send_and_receive([message])
    kept[0]["metrics"] = MetricRecord({"num-examples": 0})
    assert reply.content["metrics"]["num-examples"] == 12
