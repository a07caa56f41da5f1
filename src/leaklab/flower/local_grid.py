"""A Flower ``Grid`` inside this process: the real apps, one message after the other.

No sockets, no Ray, no second process: a federation of five takes seconds, in a notebook, offline.
What the apps compute is what they compute in a deployment.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity  # internal: flwr is pinned to 1.41

__all__ = ["LocalGrid"]

FIRST_NODE = 100
RUN = 1

# Flower reports each round at INFO, and each strategy without evaluation as a WARNING.
logging.getLogger("flwr").setLevel(logging.ERROR)


class LocalGrid(Grid):
    """Runs ``client_app`` for each of ``node_configs``, which a SuperNode would be started with.

    Messages and replies are copied on the way, as if they had been serialised. What a client
    raises comes back as an error reply, as from a SuperNode. Raises ``ValueError`` for no configs.
    """

    def __init__(self, client_app: ClientApp, node_configs: Sequence[Mapping[str, object]]):
        if not node_configs:
            raise ValueError("node_configs: none given, expected one per hospital")
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = RUN
        self._app = client_app
        self._numbers = count(1)
        self._replies: dict[str, Message] = {}
        self._contexts = {
            node: Context(run_id=RUN, node_id=node, node_config=dict(config), state=RecordDict(),
                          run_config={})
            for node, config in enumerate(node_configs, start=FIRST_NODE)
        }

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        names = []
        for message in messages:
            name = str(next(self._numbers))
            delivered = copy.deepcopy(message)
            delivered.metadata.__dict__["_message_id"] = name  # as the SuperLink would
            self._replies[name] = copy.deepcopy(self._answer(delivered))
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        try:
            return self._app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as flaw:
            reason = f"{type(flaw).__name__}: {flaw}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def set_run(self, run: Run) -> None:
        """There is one run here; nothing to set."""

    @property
    def run(self) -> Run:
        return Run.create_empty(RUN)
