"""The Flower app is the federation of the library, and nothing that breaks is averaged."""

import dataclasses
import importlib.util
import json
import logging
import os
import re

import numpy as np
import pytest
import torch
from conftest import promised_data

from leaklab.federation import Hospital, fed_avg
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

if importlib.util.find_spec("flwr") is None:
    pytest.skip("Flower is not installed: pip install leaklab[flower]", allow_module_level=True)
from leaklab.flower import app, capture, replay  # noqa: I001  (before Flower itself)
from leaklab.flower.local_grid import LocalGrid
from leaklab.flower.strategy import CheckedFedAvg, RoundFailed, as_sent
from leaklab.flower.wiretap import WireTap, _plain, copy_of
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.app import Error, Metadata, RecordDict
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
    with promised_data():
        five = app.chapter_hospitals(0, SIZE)
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
    Meddler(min_replies=3, timeout=5).start(
        grid=tap, initial_arrays=ArrayRecord(app.initial_model(5, SIZE).state_dict()),
        num_rounds=1, train_config=app.config_of(TRAINING, 5, SIZE))
    assert all(float(u.after["0.weight"].abs().sum()) > 0 for u in capture.updates(tap.log))


def test_a_capture_goes_into_a_new_folder_only(configs, tmp_path):
    (tmp_path / "old").write_text("kept")
    with pytest.raises(ValueError, match=r"folder: .* is not empty"):
        WireTap(LocalGrid(app.client_app, configs), tmp_path)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda j, n: n.write_bytes(n.read_bytes()[:-1] + b"x"), "another sha256"),
    (lambda j, n: n.unlink(), "is missing"),
    (lambda j, n: j.write_text("{"), r"message-\d+.json: not a captured"),
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


def fail(reason):
    raise RuntimeError(reason)


def weigh(value):
    return lambda content: content["metrics"].update({"num-examples": value})


def poison(arrays):
    arrays["0.bias"][3] = np.nan
    return arrays


BROKEN = {
    "drops out": (drop_out, "the line went down"),
    "answers NaN": (edit(poison), "0.bias holds values that are not finite"),
    "a shape that broadcasts": (edit(lambda a: a | {"0.bias": np.zeros(1, np.float32)}),
                                r"0.bias has shape \(1,\) of float32, expected \(16,\)"),
    "another type": (edit(lambda a: {n: t.astype(np.float64) for n, t in a.items()}),
                     "of float64, expected"),
    "text for numbers": (edit(lambda a: a | {"0.bias": np.array(["x"] * 16)}), "of <U1, expected"),
    "bytes for numbers": (lambda content: content["arrays"].update(
        {"0.bias": Array("float32", (16,), "numpy.ndarray", b"no array")}), "cannot be read"),
    "an empty error": (lambda content: fail(""), "is left out: error"),
    "two metric records": (lambda content: content.update({"more": MetricRecord({"a": 1})}),
                           "2 metric records"),
    "a tensor is missing": (edit(lambda a: {n: t for n, t in a.items() if n != "0.bias"}),
                            "0.bias"),
    "half a record": (weigh(0.5), "num-examples is 0.5, expected a whole number"),
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
    with pytest.raises(RoundFailed, match="round 1: 2 of 3 replies can be averaged, expected at "
                                            "least 3"):
        run(breaking("Birch", BROKEN[case][0]), configs)


def test_the_second_hospital_of_a_name_is_left_out(configs, caplog):
    def rename(content):
        content["sender"]["hospital"] = "Aster"

    with caplog.at_level(logging.WARNING, "leaklab.flower"):
        _, result = run(breaking("Birch", rename), configs, min_replies=2)
    assert "Aster is left out: another hospital of this round has its name" in caplog.text
    others = [hospital(name, 12 + 7 * k) for k, name in enumerate(NAMES) if name != "Birch"]
    *_, last = fed_avg(app.initial_model(5, SIZE), others, TRAINING, rounds=1, seed=5)
    assert_close({n: a.numpy() for n, a in result.arrays.items()}, last.after,
                 rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [[1.0, 2.0], float("nan"), None])
def test_a_metric_that_not_all_give_as_a_number_is_not_averaged(configs, loss):
    def change(content):
        rest = {"num-examples": content["metrics"]["num-examples"]}
        content["metrics"] = MetricRecord(rest if loss is None else rest | {"loss": loss})

    _, result = run(breaking("Birch", change), configs)
    assert dict(result.train_metrics_clientapp[1]) == {}
    _, whole = run(app.client_app, configs)
    assert set(whole.train_metrics_clientapp[1]) == {"loss"}


class Losing(LocalGrid):
    """A grid that a hospital leaves: it does not answer in round 1, and then is gone."""

    lost = 101

    def send_and_receive(self, messages, *, timeout=None):
        replies = super().send_and_receive(messages, timeout=timeout)
        self._contexts.pop(self.lost, None)
        return [reply for reply in replies if reply.metadata.src_node_id != self.lost]


def test_training_goes_on_without_a_hospital_that_is_gone(configs, caplog):
    tap = WireTap(Losing(app.client_app, configs))
    with caplog.at_level(logging.WARNING, "leaklab.flower"):
        app.federate(tap, TRAINING, rounds=3, seed=5, size=SIZE, num_hospitals=3, min_replies=2,
                     timeout=5)
    assert "round 1: node 101 is left out: no answer in time" in caplog.text
    found = [(update.round, update.hospital) for update in capture.updates(tap.log)]
    assert sorted(found) == [(t, name) for t in (1, 2, 3) for name in ("Aster", "Cedar")]


class Flickering(LocalGrid):
    """A grid whose last node is gone from the given look on."""

    looks, gone_from = 0, 1

    def get_node_ids(self):
        self.looks += 1
        nodes = list(super().get_node_ids())
        return nodes[:-1] if self.looks >= self.gone_from else nodes


@pytest.mark.parametrize("look", [2, 3, 4])
def test_a_node_that_leaves_between_two_looks_is_not_waited_for(configs, look):
    grid = Flickering(app.client_app, configs)
    grid.gone_from = look
    result = app.federate(grid, TRAINING, rounds=2, seed=5, size=SIZE, num_hospitals=3,
                          min_replies=2, timeout=3)
    assert result.arrays is not None


def test_too_few_hospitals_are_not_waited_for_without_end(configs):
    with pytest.raises(RoundFailed, match=r"3 hospitals there after 0\.1 s, expected 4"):
        app.federate(LocalGrid(app.client_app, configs), TRAINING, rounds=1, seed=5, size=SIZE,
                     num_hospitals=4, timeout=0.1)
    with pytest.raises(RoundFailed, match="2 of 3 replies can be averaged"):
        app.federate(Losing(app.client_app, configs), TRAINING, rounds=2, seed=5, size=SIZE,
                     num_hospitals=3, timeout=0.1)


def test_integers_are_averaged_as_in_the_library():
    sent = {"count": np.array(0, dtype=np.int64), "half": np.zeros(2, dtype=np.float16)}
    mean = as_sent(ArrayRecord({"count": Array(np.array(19.999999)),
                                "half": Array(np.array([0.25, 0.5]))}), sent)
    assert mean["count"].numpy() == 20 and mean["count"].numpy().dtype == np.int64
    assert mean["half"].numpy().dtype == np.float16


def test_what_the_server_leaves_out_does_not_spoil_the_capture(configs, tmp_path):
    for k, case in enumerate(BROKEN):
        run(breaking("Birch", BROKEN[case][0]), configs, min_replies=2, folder=tmp_path / str(k))
        found = {update.hospital for update in replay(tmp_path / str(k))}
        assert found == ({"Aster", "Cedar"} if case != "two metric records" else set(NAMES))


def test_names_and_values_that_a_hospital_chooses_do_no_harm_to_the_capture(tmp_path):
    arrays = {"file": np.ones(2), "../x": np.zeros(3)}
    message = capture.WireMessage("up", "train", 7, arrays, {"a": {"b": 1}})
    capture.write(message, tmp_path / "capture", 1)
    (found,) = capture.read(tmp_path / "capture")
    assert found.arrays.keys() == arrays.keys()
    assert sorted(p.suffix for p in (tmp_path / "capture").iterdir()) == [".json", ".npz"]
    content = RecordDict({"c": ConfigRecord({"k": [b"ab", b"c"], "v": b"abc"})})
    assert _plain(content) == {"c": {"k": ["<2 bytes>", "<1 bytes>"], "v": "<3 bytes>"}}


def test_messages_are_kept_in_their_order_beyond_any_number_of_digits(tmp_path):
    for number in (99_999, 100_000, 2):
        capture.write(capture.WireMessage("up", "train", number, {}, {}), tmp_path, number)
    assert [message.node for message in capture.read(tmp_path)] == [2, 99_999, 100_000]


def test_other_files_beside_a_capture_are_not_messages(configs, tmp_path):
    run(app.client_app, configs, folder=tmp_path / "capture")
    (tmp_path / "capture/message-notes.json").write_text("{}")
    assert len(replay(tmp_path / "capture")) == 3


def test_a_message_without_a_round_and_an_error_without_a_reason_are_named(configs):
    tap, _ = run(app.client_app, configs)
    down = dataclasses.replace(tap.log[0], plain={})
    with pytest.raises(ValueError, match="messages: server-round None given to node 100"):
        capture.updates([down, *tap.log[1:]])
    refusal = Message(Error(0, None), metadata=Metadata(1, "1", 100, 1, "", "", 0.0, 9.0, "train"))
    assert copy_of(refusal, "up").error == "no reason given"


def test_the_same_seed_asks_in_the_same_order(configs):
    orders = [[m.node for m in run(app.client_app, configs)[0].log] for _ in range(3)]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize("case", ["answers NaN", "a shape that broadcasts"])
def test_flowers_own_strategy_averages_what_ours_refuses(configs, case, monkeypatch):
    monkeypatch.setattr("random.sample", lambda nodes, k: list(nodes)[:k])  # Birch not first
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
