"""What every lab needs before it starts: seeds, a device, a size, a progress bar."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

__all__ = ["generator", "pick_device"]

T = TypeVar("T")


def seed_all(seed: int) -> None:
    """Seed Python, NumPy and torch, and use one thread.

    One thread makes floating-point sums run in one order, so a lab prints the same numbers
    again; the models here are too small to gain from more.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(1)


def generator(*key: object, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator seeded by the words of ``key``, e.g. ``generator(seed, round, "Aster")``.

    Streams are independent of each other and of the order in which they are asked for, so two
    processes that know the key draw the same numbers. The key is hashed with SHA-256 over the
    ``repr`` of its parts: use ints and strings.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def isolated_rng(source: torch.Generator) -> Iterator[None]:
    """Inside, torch's global random state is seeded by a draw from ``source``; after, restored.

    For code that offers no generator argument: layer initialisation, dropout.
    """
    seed = int(torch.randint(2**62, (), generator=source, device=source.device))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def pick_device() -> torch.device:
    """``LEAKLAB_DEVICE`` if set, else the first CUDA GPU, else the CPU."""
    named = os.environ.get("LEAKLAB_DEVICE")
    return torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))


def scale(*, fast: T, full: T) -> T:
    """``fast`` by default, ``full`` where ``LEAKLAB_SCALE=full`` asks for the larger size.

    Raises ``ValueError`` for any other value of ``LEAKLAB_SCALE``.
    """
    asked = os.environ.get("LEAKLAB_SCALE", "fast")
    if asked not in ("fast", "full"):
        raise ValueError(f"LEAKLAB_SCALE: {asked!r} given, expected 'fast' or 'full'")
    return full if asked == "full" else fast


def progress(steps: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
    """Iterate over ``steps`` behind a bar that clears itself; silent if ``LEAKLAB_PROGRESS=0``."""
    silent = os.environ.get("LEAKLAB_PROGRESS", "1") == "0"
    return tqdm(steps, desc=label, total=total, leave=False, disable=silent)


@contextmanager
def interrupts_passed_on() -> Iterator[None]:
    """Inside, Ctrl-C ends a search as ever, and is raised again at the end: for whoever
    runs many and would take one cut short for a result."""
    usual = signal.default_int_handler
    if (threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not usual):
        yield
        return
    pressed = []

    def note(*event) -> None:
        pressed.append(event)
        usual(*event)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed:
        raise KeyboardInterrupt
