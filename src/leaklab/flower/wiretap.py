"""Copy every message that crosses a Flower ``Grid``, in whatever runtime it stands.

The copy is taken between the grid and the strategy: before a strategy may change a reply in place,
and whatever strategy it is. Wrapping the grid rather than overriding a strategy is what makes the
same few lines work in process, on Ray and in a deployment.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from leaklab.flower.capture import WireMessage, write


class WireTap(Grid):
    """A ``Grid`` that passes everything on and keeps a copy in ``log``, and in ``folder`` if given.

    Raises ``ValueError`` if ``folder`` already holds files: a capture is one federation.
    """

    def __init__(self, grid: Grid, folder: Path | str | None = None):
        self._grid = grid
        self._folder = Path(folder) if folder else None
        self.log: list[WireMessage] = []
        if self._folder and self._folder.exists() and any(self._folder.iterdir()):
            raise ValueError(f"folder: {folder} is not empty, expected a new or empty one")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        self._keep("down", messages)
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(self._grid.pull_messages(message_ids))
        self._keep("up", replies)
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        messages = list(messages)
        self._keep("down", messages)
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        self._keep("up", replies)
        return replies

    def set_run(self, run) -> None:
        self._grid.set_run(run)

    @property
    def run(self):
        return self._grid.run

    def create_message(self, *args, **kwargs) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def get_nodes(self):
        return self._grid.get_nodes()

    def _keep(self, way: str, messages: Iterable[Message]) -> None:
        for message in messages:
            self.log.append(copy_of(message, way))
            if self._folder:
                write(self.log[-1], self._folder, len(self.log))


def copy_of(message: Message, way: str) -> WireMessage:
    """What ``message`` carries, in memory of its own."""
    metadata = message.metadata
    node = metadata.dst_node_id if way == "down" else metadata.src_node_id
    if not message.has_content():
        return WireMessage(way, metadata.message_type, node, {}, {}, message.error.reason)
    content = message.content
    return WireMessage(way, metadata.message_type, node, _arrays(content), _plain(content))


def _arrays(content: RecordDict) -> dict[str, np.ndarray]:
    """Tensors by name, with the record's name before it where there are several records."""
    records = content.array_records
    return {(f"{name}/" if len(records) > 1 else "") + key: array.numpy().copy()
            for name, record in records.items() for key, array in record.items()}


def _plain(content: RecordDict) -> dict[str, dict[str, object]]:
    """Settings and metrics; of raw bytes, only how many there are."""
    records = {**content.metric_records, **content.config_records}
    return {name: {key: f"<{len(value)} bytes>" if isinstance(value, bytes) else value
                   for key, value in record.items()} for name, record in records.items()}
