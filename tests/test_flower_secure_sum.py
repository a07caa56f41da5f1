"""The secure sum in Flower: the same federation, and nothing on the wire but keys and noise."""

import importlib.util
import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leaklab.federation import Hospital, fed_avg
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

if not all(map(importlib.util.find_spec, ("flwr", "cryptography", "Crypto"))):
    pytest.skip("not installed: pip install leaklab[flower,defences]", allow_module_level=True)
from leaklab.flower import app, secure_sum  # noqa: I001  (before Flower itself)
from leaklab.defences import secure_aggregation as sa
from leaklab.flower.local_grid import FIRST_NODE, LocalGrid
from leaklab.flower.strategy import RoundFailed
from leaklab.flower.wiretap import WireTap
from flwr.app import ConfigRecord, Message, RecordDict

TRAINING = LocalTraining(0.1, local_steps=2, batch_size=4)
SIZE = 16
NAMES = ("Aster", "Birch", "Cedar", "Dahlia", "Elder")


def hospital(name: str) -> Hospital:
    n = 8 + 3 * NAMES.index(name)
    pictures = torch.rand(n, 1, SIZE, SIZE, generator=generator("pictures", name))
    return Hospital(name, pictures, torch.arange(n) % 2)


@pytest.fixture
def configs(tmp_path):
    for name in NAMES:
        app.save_hospital(hospital(name), tmp_path / f"{name}.npz")
    return [{"data-path": str(tmp_path / f"{name}.npz")} for name in NAMES]


def federate(grid, rounds=1, **settings):
    return list(secure_sum.federate_securely(grid, TRAINING, rounds=rounds, seed=5, size=SIZE,
                                             num_hospitals=len(NAMES), timeout=1.0, **settings))


def expected(names, rounds=1):
    return list(fed_avg(app.initial_model(5, SIZE), [hospital(name) for name in names], TRAINING,
                        rounds=rounds, seed=5))


def test_it_is_the_federation_of_the_library(configs):
    opened = federate(LocalGrid(secure_sum.client_app, configs), rounds=2)
    for ours, plain in zip(opened, expected(NAMES, 2), strict=True):
        assert ours.contributors == NAMES
        assert ours.num_examples == sum(update.num_examples for update in plain.updates)
        for name, tensor in plain.after.items():
            torch.testing.assert_close(ours.after[name], tensor, rtol=0, atol=2e-6)


def test_on_the_wire_are_uniform_words_and_no_number_of_records(configs):
    tap = WireTap(LocalGrid(secure_sum.client_app, configs))
    federate(tap)
    up = [message for message in tap.log if message.way == "up"]
    assert len(up) == 4 * len(NAMES)
    words = [message.arrays["words"] for message in up if message.arrays]
    assert len(words) == len(NAMES)
    for part in words:
        counts = np.bincount(part.view(np.uint8), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-6
    said = {key for message in up for record in message.plain.values() for key in record}
    assert not said & {"num-examples", "loss"}


class Gone(LocalGrid):
    """A grid on which one hospital never answers one kind of message."""

    def __init__(self, client_app, configs, silent: str, kind: str):
        super().__init__(client_app, configs)
        self.node, self.kind = FIRST_NODE + NAMES.index(silent), kind

    def send_and_receive(self, messages, *, timeout=None):
        kept = [m for m in messages if (m.metadata.dst_node_id, m.metadata.message_type)
                != (self.node, self.kind)]
        return super().send_and_receive(kept, timeout=timeout)


def test_a_hospital_that_drops_out_after_sharing_is_left_out_exactly(configs):
    (opened,) = federate(Gone(secure_sum.client_app, configs, "Birch", "train"))
    rest = [name for name in NAMES if name != "Birch"]
    (plain,) = expected(rest)
    assert list(opened.contributors) == rest
    for name, tensor in plain.after.items():
        torch.testing.assert_close(opened.after[name], tensor, rtol=0, atol=2e-6)


def test_one_that_is_gone_before_it_has_shared_stops_the_round(configs):
    with pytest.raises(RoundFailed, match=r"4 of 5 hospitals answered query\.share"):
        federate(Gone(secure_sum.client_app, configs, "Birch", "query.share"))


def test_fewer_than_the_threshold_stop_it(configs):
    grid = Gone(secure_sum.client_app, configs, "Birch", "train")
    with pytest.raises(sa.RoundAborted, match="4 left"):
        federate(grid, threshold=5)


def test_a_second_reveal_is_refused(configs, caplog):
    grid = LocalGrid(secure_sum.client_app, configs)
    tap, kept = WireTap(grid), []
    send = grid.send_and_receive
    grid.send_and_receive = lambda messages, timeout=None: send(
        kept.extend(m for m in messages if m.metadata.message_type == "query.reveal") or messages)
    federate(tap)
    again = Message(kept[0].content, FIRST_NODE, "query.reveal", group_id="1")
    (reply,) = send([again])
    assert "secrets: none for this round, or already used" in reply.error.reason


@pytest.mark.parametrize("kind", ["query.share", "train"])
def test_a_hospital_shares_and_masks_once(configs, kind):
    """Two masked updates under the same keys would tell their difference."""
    grid, replies = LocalGrid(secure_sum.client_app, configs), []
    send = grid.send_and_receive

    def twice(messages, timeout=None):
        if messages[0].metadata.message_type == kind:
            answers = send(messages)
            replies.extend(send(messages))
            return answers
        return send(messages)

    grid.send_and_receive = twice
    federate(grid)
    assert len(replies) == len(NAMES)
    for reply in replies:
        assert "already answered in this round" in reply.error.reason


class Lying(LocalGrid):
    """A server that tells Aster something else when it is to train."""

    def __init__(self, client_app, configs, record: str, **changes):
        super().__init__(client_app, configs)
        self.record, self.changes = record, changes

    def send_and_receive(self, messages, *, timeout=None):
        for message in messages:
            if (message.metadata.dst_node_id, message.metadata.message_type) == (FIRST_NODE,
                                                                                 "train"):
                changed = {**message.content[self.record], **self.changes}
                message.content[self.record] = ConfigRecord(changed)
        return super().send_and_receive(messages, timeout=timeout)


@pytest.mark.parametrize(("record", "changes", "said"), [
    ("config", {"learning-rate": 0.0}, "altered on the way"),
    ("cohort", {"bind-model": False}, "not bound to the model"),
    ("cohort", {"threshold": 4}, "altered on the way"),
])
def test_a_hospital_that_is_told_something_else_sends_nothing(configs, caplog, record, changes,
                                                              said):
    grid = Lying(secure_sum.client_app, configs, record, **changes)
    with caplog.at_level(logging.WARNING, "leaklab.flower"):
        (opened,) = federate(grid)
    assert opened.contributors == NAMES[1:]
    assert said in caplog.text


def test_a_hospital_with_nan_sends_nothing_and_is_named(configs, caplog):
    """Training that overflows leaves NaN; its update is refused before it is masked."""
    with caplog.at_level(logging.WARNING, "leaklab.flower"), pytest.raises(sa.RoundAborted):
        list(secure_sum.federate_securely(
            LocalGrid(secure_sum.client_app, configs), LocalTraining(1e30, local_steps=3),
            rounds=1, seed=5, size=SIZE, num_hospitals=5, timeout=1.0))
    assert "Aster: update of" in caplog.text


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), st.booleans())
def test_messages_survive_the_wire(number, bind_model):
    cohort = sa.Cohort(NAMES[:number], number // 2 + 1, 7, bind_model=bind_model)
    _, shares, seats = sa.seats(cohort)
    assert secure_sum.cohort_of(secure_sum.cohort_record(cohort)) == cohort
    assert secure_sum.shares_of(secure_sum.shares_record(shares[0])) == shares[0]
    revealed = sa.reveal(seats[1], NAMES[:number])
    assert secure_sum.revealed_of(secure_sum.revealed_record(revealed)) == revealed


def test_records_of_one_kind_are_told_from_others():
    content = RecordDict({"advert/1": ConfigRecord({"a": 1}), "shares/1": ConfigRecord({"a": 2})})
    assert [record["a"] for record in secure_sum.all_of(content, "shares")] == [2]
