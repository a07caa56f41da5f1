"""FedAvg of Flower that never averages what cannot be averaged.

Flower's own strategy multiplies whatever arrays come back: a NaN in one reply spreads to the whole
model, and an array of a wrong shape that broadcasts is averaged without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

LOG = logging.getLogger("leaklab.flower")
WEIGHT = "num-examples"


class TooFewReplies(RuntimeError):
    """A round in which too few hospitals sent something that can be averaged."""


class CheckedFedAvg(FedAvg):
    """Federated averaging (McMahan et al., 2017) over the replies that pass every check.

    A hospital that drops out, answers with an error, or returns another set of tensors, other
    shapes, values that are not finite or no usable number of examples is left out of the round,
    with a warning that names it; the weights of the others sum to one. A round with fewer than
    ``min_replies`` usable replies raises :class:`TooFewReplies`, and so do two hospitals of one
    name. Replies are sorted by name, so the sum does not depend on who answers first.
    """

    def __init__(self, *, min_replies: int, num_hospitals: int):
        super().__init__(fraction_evaluate=0.0, min_train_nodes=num_hospitals,
                         min_available_nodes=num_hospitals)
        self.min_replies = min_replies
        self._sent: Mapping[str, np.ndarray] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self._sent = {name: array.numpy() for name, array in arrays.items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        usable = []
        for reply in replies:
            if reason := flaw(reply, self._sent):
                LOG.warning("round %d: %s is left out: %s", server_round, sender(reply), reason)
            else:
                usable.append(reply)
        usable.sort(key=sender)
        names = [sender(reply) for reply in usable]
        if len(set(names)) < len(names):
            raise TooFewReplies(f"round {server_round}: replies of {names}, expected each hospital "
                                "once")
        if len(usable) < self.min_replies:
            raise TooFewReplies(f"round {server_round}: {len(usable)} of {len(replies)} replies "
                                f"can be averaged, expected at least {self.min_replies}")
        return super().aggregate_train(server_round, usable)


def sender(reply: Message) -> str:
    """The hospital's own name where the reply gives one, else its node number."""
    node = f"node {reply.metadata.src_node_id}"
    if not reply.has_content():
        return node
    return str(reply.content.config_records.get("sender", {}).get("hospital", node))


def flaw(reply: Message, sent: Mapping[str, np.ndarray]) -> str:
    """Why ``reply`` cannot be averaged with models like ``sent``; empty if it can."""
    if not reply.has_content():
        return f"error: {reply.error.reason.strip().splitlines()[-1]}"
    content = reply.content
    if len(content.array_records) != 1 or len(content.metric_records) != 1:
        return (f"{len(content.array_records)} array and {len(content.metric_records)} metric "
                "records, expected one of each")
    (arrays,), (metrics,) = content.array_records.values(), content.metric_records.values()
    if arrays.keys() != sent.keys():
        return f"tensors {sorted(arrays.keys() ^ sent.keys())} missing or not asked for"
    for name, array in arrays.items():
        values = array.numpy()
        if values.shape != sent[name].shape:
            return f"{name} has shape {values.shape}, expected {sent[name].shape}"
        if not np.isfinite(values).all():
            return f"{name} holds values that are not finite"
    weight = metrics.get(WEIGHT)
    if not isinstance(weight, int | float) or not 0 < weight < np.inf:
        return f"{WEIGHT} is {weight!r}, expected a number above 0"
    return ""
