"""A federation as a folder of files: a ``.json`` for each message, an ``.npz`` for each model.

``WireTap`` writes such folders in any runtime; reading them needs neither Flower nor a network. A
model is stored under its SHA-256, so what went to five hospitals is stored once, and it is read
without pickle and only if it still has that hash.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from leaklab.updates import Update

FORMAT = 1
LARGEST = 2**30
"""Bytes; a message file above this is refused unread."""


@dataclass(frozen=True)
class WireMessage:
    """What one message carried.

    way
        ``"down"`` from the server to a hospital, ``"up"`` back.
    kind
        Flower's message type, such as ``"train"``.
    node
        The hospital's node number in the federation.
    arrays
        The model, by tensor name.
    plain
        All else that can be read in it: records of settings and metrics, by record name.
    error
        Why the hospital sent no answer, or ``None``.
    """

    way: str
    kind: str
    node: int
    arrays: Mapping[str, np.ndarray]
    plain: Mapping[str, Mapping[str, object]]
    error: str | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def write(message: WireMessage, folder: Path, number: int) -> None:
    """Store ``message`` as number ``number``; its ``.json`` comes last, so it vouches for both."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    np.savez(stream, **message.arrays)
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    _write(folder / f"{digest}.npz", stream.getvalue())
    facts = {"format": FORMAT, "way": message.way, "kind": message.kind, "node": message.node,
             "plain": message.plain, "error": message.error, "sha256": digest}
    _write(folder / f"message-{number:05d}.json", (json.dumps(facts, indent=1) + "\n").encode())


def read(folder: Path | str) -> Iterator[WireMessage]:
    """The messages of a captured federation, in the order they were sent.

    Raises ``FileNotFoundError`` where ``folder`` holds none, ``ValueError`` that names the file
    for one that is not what was captured.
    """
    paths = sorted(Path(folder).glob("message-*.json"))
    if not paths:
        raise FileNotFoundError(f"folder: {folder} holds no message, expected a capture")
    for path in paths:
        yield _read(path)


def updates(messages: Iterable[WireMessage]) -> tuple[Update, ...]:
    """The training updates among ``messages``: what each hospital received and what it returned.

    Answers that are errors hold no update and are left out. Raises ``ValueError`` for an answer
    to a hospital that was sent nothing, and for one without a number of examples.
    """
    sent: dict[int, WireMessage] = {}
    found = []
    for message in messages:
        if message.kind.split(".")[0] != "train" or message.error is not None:
            continue
        if message.way == "down":
            sent[message.node] = message
            continue
        if message.node not in sent:
            raise ValueError(f"messages: node {message.node} answers, expected a message to it "
                             "before; is the capture complete?")
        found.append(_update(sent[message.node], message))
    return tuple(found)


def replay(folder: Path | str) -> tuple[Update, ...]:
    """The updates of a captured federation, for any attack to take; see :func:`read`."""
    return updates(read(folder))


def _update(down: WireMessage, up: WireMessage) -> Update:
    facts = {name: value for record in up.plain.values() for name, value in record.items()}
    if "num-examples" not in facts:
        raise ValueError(f"messages: the answer of node {up.node} holds no num-examples")
    return Update(
        before=_state(down.arrays),
        after=_state(up.arrays),
        num_examples=int(facts["num-examples"]),
        round=int(down.plain["config"]["server-round"]),
        hospital=str(facts.get("hospital", f"node {up.node}")),
    )


def _state(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}


def _read(path: Path) -> WireMessage:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        given = facts["format"]
        way, kind, node = facts["way"], facts["kind"], facts["node"]
        plain, error, expected = facts["plain"], facts["error"], facts["sha256"]
    except (ValueError, KeyError, TypeError) as flaw:
        raise ValueError(f"{path.name}: {flaw!r}, expected the facts of a message") from None
    if given != FORMAT:
        raise ValueError(f"{path.name}: format {given!r} given, expected {FORMAT}")
    if not re.fullmatch("[0-9a-f]{64}", str(expected)):
        raise ValueError(f"{path.name}: sha256 {expected!r} given, expected 64 hexadecimal digits")
    model = path.with_name(f"{expected}.npz")
    if not model.is_file() or model.stat().st_size > LARGEST:
        raise ValueError(f"{path.name}: {model.name} is missing or above {LARGEST} bytes")
    raw = model.read_bytes()
    if hashlib.sha256(raw).hexdigest() != expected:
        raise ValueError(f"{model.name}: its sha256 differs from its name, expected the arrays as "
                         "they were captured")
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        return WireMessage(way, kind, node, dict(stored), plain, error)


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
