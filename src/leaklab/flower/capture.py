"""A federation as a folder of files: a ``.json`` for each message, an ``.npz`` for each model.

``WireTap`` writes such folders in any runtime; reading them needs neither Flower nor a network. A
model is stored under its SHA-256, so what went to five hospitals is stored once, and it is read
without pickle and only if it still has that hash. Tensors are numbered in it and named in the
``.json``: a hospital chooses names, and they must not become file names.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import zipfile
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
    names = list(message.arrays)
    np.savez(stream, *(message.arrays[name] for name in names))
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    _write(folder / f"{digest}.npz", stream.getvalue())
    facts = {"format": FORMAT, "way": message.way, "kind": message.kind, "node": message.node,
             "plain": message.plain, "error": message.error, "sha256": digest, "tensors": names}
    _write(folder / f"message-{number:05d}.json", (json.dumps(facts, indent=1) + "\n").encode())


def read(folder: Path | str) -> Iterator[WireMessage]:
    """The messages of a captured federation, in the order they were sent.

    Raises ``FileNotFoundError`` where ``folder`` holds none, ``ValueError`` that names the file
    for one that is not what was captured.
    """
    paths = {int(name[1]): path for path in Path(folder).glob("message-*.json")
             if (name := re.fullmatch(r"message-(\d+)\.json", path.name))}
    if not paths:
        raise FileNotFoundError(f"folder: {folder} holds no message, expected a capture")
    for number in sorted(paths):
        yield _read(paths[number])


def updates(messages: Iterable[WireMessage]) -> tuple[Update, ...]:
    """The training updates among ``messages``: what each hospital received and what it returned.

    Answers that hold no usable update are left out: errors, answers without a number of examples,
    and tensors unlike those sent. The server may leave out more, such as a second answer under
    one name. Raises ``ValueError`` for an answer from a hospital that was sent nothing, and for
    one to a message that names no round.
    """
    sent: dict[int, WireMessage] = {}
    found = []
    for message in messages:
        if message.kind != "train" or message.error is not None:
            continue
        if message.way == "down":
            sent[message.node] = message
            continue
        if message.node not in sent:
            raise ValueError(f"messages: node {message.node} answers, expected a message to it "
                             "before; is the capture complete?")
        found.append(_update(sent[message.node], message))
    return tuple(filter(None, found))


def replay(folder: Path | str) -> tuple[Update, ...]:
    """The updates of a captured federation, for any attack to take.

    ``folder`` is one that :class:`leaklab.flower.wiretap.WireTap` filled. Raises
    ``FileNotFoundError`` where it holds no capture, and ``ValueError`` that names the file for one
    that is not what was captured.
    """
    return updates(read(folder))


def is_count(value: object) -> bool:
    """Whether ``value`` can count examples, or rounds: whole, and above 0."""
    return isinstance(value, int | float) and 1 <= value < math.inf and value == int(value)


def _update(down: WireMessage, up: WireMessage) -> Update | None:
    count = up.plain.get("metrics", {}).get("num-examples")
    if not is_count(count) or not _alike(down.arrays, up.arrays):
        return None
    number = down.plain.get("config", {}).get("server-round")
    if not is_count(number):
        raise ValueError(f"messages: server-round {number!r} given to node {down.node}, expected "
                         "a whole number above 0")
    return Update(
        before=_state(down.arrays),
        after=_state(up.arrays),
        num_examples=int(count),
        round=int(number),
        hospital=str(up.plain.get("sender", {}).get("hospital", f"node {up.node}")),
    )


def _alike(sent: Mapping[str, np.ndarray], returned: Mapping[str, np.ndarray]) -> bool:
    """Whether a returned model has the tensors that were sent, and numbers in them."""
    return sent.keys() == returned.keys() and all(
        (sent[name].shape, sent[name].dtype) == (values.shape, values.dtype)
        and np.isfinite(values).all() for name, values in returned.items())


def _state(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}


def _read(path: Path) -> WireMessage:
    """One message; whatever is wrong with its files, the error names one of them."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r} given, expected {FORMAT}")
        arrays = _arrays(path, str(facts["sha256"]))
        names = facts["tensors"]
        if len(names) != len(arrays):
            raise ValueError(f"{len(arrays)} tensors given, expected {len(names)}")
        return WireMessage(str(facts["way"]), str(facts["kind"]), int(facts["node"]),
                           {name: arrays[f"arr_{k}"] for k, name in enumerate(names)},
                           dict(facts["plain"]), facts["error"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, MemoryError,
            zipfile.BadZipFile) as flaw:
        raise ValueError(f"{path.name}: not a captured message ({flaw})") from None


def _arrays(path: Path, digest: str) -> dict[str, np.ndarray]:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"sha256 {digest!r} given, expected 64 hexadecimal digits")
    model = path.with_name(f"{digest}.npz")
    if not model.is_file() or model.stat().st_size > LARGEST:
        raise ValueError(f"{model.name} is missing or above {LARGEST} bytes")
    raw = model.read_bytes()
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ValueError(f"{model.name} has another sha256 than its name")
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        return dict(stored)


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
