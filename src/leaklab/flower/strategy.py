"""FedAvg of Flower that never averages what cannot be averaged, and never waits without end.

Flower's own strategy multiplies whatever arrays come back: a NaN in one reply spreads to the whole
model, and an array of a wrong shape that broadcasts is averaged without a word. A hospital that
does not answer in time is not mentioned, and one that is gone is waited for in every later round.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from types import SimpleNamespace

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from leaklab.flower.capture import is_count

LOG = logging.getLogger("leaklab.flower")
WEIGHT = "num-examples"
POLL = 0.5  # seconds between two looks at who is there


class RoundFailed(RuntimeError):
    """A round without enough hospitals, or without enough replies that can be averaged."""


class CheckedFedAvg(FedAvg):
    """Federated averaging (McMahan et al., 2017) over the replies that pass every check.

    A hospital that does not answer, answers with an error, or returns another set of tensors,
    other shapes or types, values that are not finite, no usable number of examples, or another
    hospital's name is left out of the round, with a warning that names it; the weights of the
    others sum to one. Each tensor keeps its type; the mean of integers is rounded. Replies are
    sorted by name, so the sum does not depend on who answers first.

    Raises :class:`RoundFailed` where fewer than ``min_replies`` can be averaged, or where fewer
    hospitals than that are there within ``timeout`` seconds of the start of a round.
    """

    def __init__(self, *, min_replies: int, timeout: float):
        super().__init__(fraction_evaluate=0.0, min_train_nodes=min_replies,
                         min_available_nodes=min_replies)
        self.min_replies = min_replies
        self.timeout = timeout
        self._sent: Mapping[str, np.ndarray] = {}
        self._asked: list[int] = []
        self._names: dict[int, str] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        there = wait_for_nodes(grid, self.min_replies, self.timeout)
        # Flower looks several times, and would wait for a node that leaves between two looks.
        fixed = SimpleNamespace(get_node_ids=lambda: there)
        self._sent = {name: array.numpy() for name, array in arrays.items()}
        messages = sorted(super().configure_train(server_round, arrays, config, fixed),
                          key=lambda message: message.metadata.dst_node_id)  # not as drawn
        self._asked = [message.metadata.dst_node_id for message in messages]
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        usable: dict[str, Message] = {}
        answers = {reply.metadata.src_node_id: reply for reply in replies}
        for node in self._asked:
            name, reason = self._judge(answers.get(node), node)
            if not reason and name in usable:
                reason = "another hospital of this round has its name"
            if reason:
                LOG.warning("round %d: %s is left out: %s", server_round, name, reason)
            else:
                usable[name] = answers[node]
        if len(usable) < self.min_replies:
            raise RoundFailed(f"round {server_round}: {len(usable)} of {len(self._asked)} replies "
                              f"can be averaged, expected at least {self.min_replies}")
        keep_shared_metrics([reply.content for reply in usable.values()])
        mean, metrics = super().aggregate_train(
            server_round, [usable[name] for name in sorted(usable)])
        return as_sent(mean, self._sent), metrics

    def _judge(self, reply: Message | None, node: int) -> tuple[str, str]:
        """Whose reply it is, and why it cannot be averaged."""
        if reply is not None and (name := sender(reply)):
            self._names[node] = name
        return (self._names.get(node, f"node {node}"),
                flaw(reply, self._sent) if reply is not None else "no answer in time")


def wait_for_nodes(grid: Grid, number: int, timeout: float) -> list[int]:
    """The nodes that are there once ``number`` are; :class:`RoundFailed` after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while len(there := list(grid.get_node_ids())) < number:
        if time.monotonic() > deadline:
            raise RoundFailed(f"{len(there)} hospitals there after {timeout:g} s, "
                              f"expected {number}")
        time.sleep(POLL)
    return there


def sender(reply: Message) -> str:
    """The hospital's own name where the reply gives one, else nothing."""
    records = reply.content.config_records if reply.has_content() else {}
    return str(records.get("sender", {}).get("hospital", ""))


def flaw(reply: Message, sent: Mapping[str, np.ndarray]) -> str:
    """Why ``reply`` cannot be averaged with models like ``sent``; empty if it can."""
    if not reply.has_content():
        return f"error: {(reply.error.reason or 'no reason given').strip().splitlines()[-1]}"
    content = reply.content
    if len(content.array_records) != 1 or len(content.metric_records) != 1:
        return (f"{len(content.array_records)} array and {len(content.metric_records)} metric "
                "records, expected one of each")
    (arrays,), (metrics,) = content.array_records.values(), content.metric_records.values()
    if arrays.keys() != sent.keys():
        return f"tensors {sorted(arrays.keys() ^ sent.keys())} missing or not asked for"
    for name, array in arrays.items():
        if reason := tensor_flaw(array, sent[name]):
            return f"{name} {reason}"
    weight = metrics.get(WEIGHT)
    return "" if is_count(weight) else f"{WEIGHT} is {weight!r}, expected a whole number above 0"


def tensor_flaw(array: Array, sent: np.ndarray) -> str:
    """Why one returned tensor cannot be averaged with one like ``sent``; empty if it can."""
    try:
        values = array.numpy()
    except (ValueError, TypeError, EOFError) as reason:
        return f"cannot be read ({reason})"
    if (values.shape, values.dtype) != (sent.shape, sent.dtype):
        return (f"has shape {values.shape} of {values.dtype}, expected {sent.shape} of "
                f"{sent.dtype}")
    return "" if np.isfinite(values).all() else "holds values that are not finite"


def as_sent(mean: ArrayRecord, sent: Mapping[str, np.ndarray]) -> ArrayRecord:
    """The averaged tensors in the types they were sent in; Flower makes floats of integers."""
    def cast(values: np.ndarray, kind: np.dtype) -> np.ndarray:
        return np.asarray(np.rint(values) if kind.kind in "iu" else values).astype(kind)

    return ArrayRecord({name: Array(cast(array.numpy(), sent[name].dtype))
                        for name, array in mean.items()})


def keep_shared_metrics(contents: list[RecordDict]) -> None:
    """Reduce each reply's metrics to those that every hospital gives as a finite number.

    Flower stops the run where they differ, and would average a NaN.
    """
    names, records = zip(*(next(iter(content.metric_records.items())) for content in contents),
                         strict=True)
    shared = set.intersection(*(
        {key for key, value in record.items()
         if isinstance(value, int | float) and np.isfinite(value)} for record in records))
    for content, name, record in zip(contents, names, records, strict=True):
        content[name] = MetricRecord({key: record[key] for key in sorted(shared)})
