"""Copy every message that crosses a Flower ``Grid``, in whatever runtime it stands.

The copy is taken between the grid and the strategy: before a strategy may change a reply in place,
and whatever strategy it is. Wrapping the grid rather than overriding a strategy is what makes the
same few lines work in process, on Ray and in a deployment.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path

import numpy as np
from flwr.app import Array, Message, RecordDict
from flwr.serverapp import Grid

from leaklab.flower.capture import WireMessage, read, write

__all__ = ["WireTap"]


class WireTap(Grid):
    """A ``Grid`` that passes all on and keeps a copy: in ``folder`` if given, else in memory.

    Raises ``ValueError`` if ``folder`` already holds files: a capture is one federation.
    """

    def __init__(self, grid: Grid, folder: Path | str | None = None):
        self._grid = grid
        self._folder = Path(folder) if folder else None
        self._kept: list[WireMessage] = []
        self._numbers = count(1)
        if self._folder and self._folder.exists() and any(self._folder.iterdir()):
            raise ValueError(f"folder: {folder} is not empty, expected a new or empty one")

    @property
    def log(self) -> list[WireMessage]:
        """All messages so far; those of a folder are read from there."""
        if self._folder is None:
            return self._kept
        return list(read(self._folder)) if self._folder.exists() else []

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
            if self._folder:
                write(copy_of(message, way), self._folder, next(self._numbers))
            else:
                self._kept.append(copy_of(message, way))


def copy_of(message: Message, way: str) -> WireMessage:
    """What ``message`` carries, in memory of its own."""
    metadata = message.metadata
    node = metadata.dst_node_id if way == "down" else metadata.src_node_id
    if not message.has_content():
        reason = message.error.reason or "no reason given"
        return WireMessage(way, metadata.message_type, node, {}, {}, reason)
    content = message.content
    return WireMessage(way, metadata.message_type, node, _arrays(content), _plain(content))


def _arrays(content: RecordDict) -> dict[str, np.ndarray]:
    """Tensors by name, with the record's name before it where there are several records."""
    records = content.array_records
    return {(f"{name}/" if len(records) > 1 else "") + key: _values(array)
            for name, record in records.items() for key, array in record.items()}


def _values(array: Array) -> np.ndarray:
    """The numbers, or the raw bytes of what a hospital sent in their place."""
    try:
        return array.numpy().copy()
    except (ValueError, TypeError, EOFError):
        return np.frombuffer(array.data, dtype=np.uint8).copy()


def _plain(content: RecordDict) -> dict[str, dict[str, object]]:
    """Settings and metrics; of raw bytes, only how many there are."""
    records = {**content.metric_records, **content.config_records}
    return {name: {key: _readable(value) for key, value in record.items()}
            for name, record in records.items()}


def _readable(value: object) -> object:
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value
