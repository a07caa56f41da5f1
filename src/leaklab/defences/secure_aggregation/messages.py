"""What the parties of a round share and send: all are values.

The server carries the messages, so each is what it sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from leaklab.defences.secure_aggregation.keys import Secrets
from leaklab.defences.secure_aggregation.quantise import Quantiser
from leaklab.defences.vectors import moved_by
from leaklab.updates import UNKNOWN, Knowledge, Observer, State, View


@dataclass(frozen=True)
class Cohort:
    """What everyone in a round knows before it.

    hospitals
        Names, in an order that all share.
    threshold
        So many must be left at the end, and so many together can open a hospital's masks: more
        than half, so that a server cannot ask two halves for the two secrets of one hospital.
    bind_model
        Whether masks depend on the model received; off, only to show why.
    told
        What else decides the updates and must be the same for all, such as training settings.

    Raises ``ValueError`` that names the argument for a value out of range.
    """

    hospitals: tuple[str, ...]
    threshold: int
    round: int = 0
    quantiser: Quantiser = field(default_factory=Quantiser)
    bind_model: bool = True
    told: str = ""

    def __post_init__(self):
        n = len(self.hospitals)
        if n < 2 or len(set(self.hospitals)) < n:
            raise ValueError(f"hospitals: {self.hospitals} given, expected two or more, each once")
        if not n / 2 < self.threshold <= n:
            raise ValueError(f"threshold: {self.threshold} given, expected more than half of {n} "
                             "hospitals, and no more than there are")
        self.quantiser.require_room(n)

    @property
    def context(self) -> bytes:
        """A hash over all of it, which every key depends on."""
        return hashlib.sha256(repr(self).encode()).digest()


@dataclass(frozen=True)
class Advert:
    """A hospital's public keys, 32 bytes each: for masks, and for sealing shares."""

    hospital: str
    mask_key: bytes
    channel_key: bytes


@dataclass(frozen=True)
class Shares:
    """One hospital's shares, by holder: sealed, and the hashes of the two inside, in the open."""

    hospital: str
    sealed: Mapping[str, bytes]
    hashes: Mapping[str, tuple[bytes, bytes]]


@dataclass(frozen=True)
class Seat:
    """A hospital that has all it needs to mask; ``shares``: those it holds, by whose they are."""

    cohort: Cohort
    hospital: str
    secrets: Secrets
    adverts: Mapping[str, Advert]
    shares: Mapping[str, tuple[bytes, bytes]] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Masked:
    """What a hospital sends instead of its update; ``words`` uniform, (entries + 1,)."""

    hospital: str
    words: np.ndarray


@dataclass(frozen=True)
class Revealed:
    """Shares that a hospital hands out, by whose they are: of own masks, or of keys."""

    hospital: str
    own: Mapping[str, bytes]
    pairs: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class Opened:
    """What the server learns: the weighted mean of the updates, and of how many records.

    ``mean``: float64, (entries,), tensors in the order of names; exact up to the rounding of words.
    """

    before: State
    mean: Tensor
    contributors: tuple[str, ...]
    num_examples: int

    @property
    def after(self) -> State:
        """The next global model, in the types of ``before``."""
        return moved_by(self.before, self.mean)

    def view(self, observer: Observer, knowledge: Knowledge = UNKNOWN) -> View:
        """The same as a view of ``observer``."""
        return View(observer, "sum", self.before, self.after, self.contributors,
                    knowledge=knowledge)
