r"""An update as whole numbers modulo :math:`2^k`, so that masks can be uniform and sums exact.

A hospital with n records sends :math:`n \cdot \mathrm{round}(2^f \Delta)` for every entry of its
update, and n itself as the last word. Whole numbers add without rounding: the weighted mean is that
of the rounded updates exactly, and no further from the plain one than :math:`2^{-f-1}`.

The upper bits that no honest sum can reach are the checksum: where masks did not cancel, words are
uniform and almost surely out of range. It finds accidents, and no forger: a small number added to a
word on the way stays in range. That takes an authenticated channel to the server, such as TLS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leaklab.defences.vectors import flat_change
from leaklab.updates import Update


class RoundAborted(RuntimeError):
    """Something in the round was not as the protocol has it: nothing is released."""


@dataclass(frozen=True)
class Quantiser:
    """How numbers become words; all of a round use the same.

    fraction_bits
        f: an entry is rounded to a multiple of :math:`2^{-f}`.
    largest
        The largest entry of an update, in absolute value. A larger one is refused, never clipped.
    most_examples
        The largest number of records of one hospital.
    bits
        k, of a word: 32 or 64.

    Raises ``ValueError`` that names the argument for a value out of range.
    """

    fraction_bits: int = 30
    largest: float = 64.0
    most_examples: int = 2**20
    bits: int = 64

    def __post_init__(self):
        for holds, name, expected in (
                (self.fraction_bits >= 0, "fraction_bits", "0 or more"),
                (0 < self.largest < float("inf"), "largest", "a finite number above 0"),
                (self.most_examples >= 1, "most_examples", "1 or more"),
                (self.bits in (32, 64), "bits", "32 or 64")):
            if not holds:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, expected {expected}")

    @property
    def word(self) -> np.dtype:
        """The type of a word, unsigned, little-endian."""
        return np.dtype(f"<u{self.bits // 8}")

    @property
    def max_error(self) -> float:
        """By how much rounding moves an entry of the mean, at most."""
        return 2.0 ** -(self.fraction_bits + 1)

    def require_room(self, hospitals: int) -> None:
        """Raise ``ValueError`` where the sum of so many hospitals could overflow a word."""
        reach = hospitals * self.most_examples * (self.largest * 2**self.fraction_bits + 1)
        if reach >= 2 ** (self.bits - 1):
            raise ValueError(
                f"quantiser: {hospitals} hospitals of up to {self.most_examples} records and "
                f"entries up to {self.largest:g} in steps of 2^-{self.fraction_bits} given, which "
                f"overflow {self.bits} bits; expected fewer fraction_bits or smaller bounds")


def encode(update: Update, quantiser: Quantiser) -> np.ndarray:
    """The words of ``update``, (entries + 1,), tensors in the order of names, the weight last.

    Raises ``ValueError`` that names hospital and tensor for entries that are not finite or too
    large, and for a number of records that is out of range.
    """
    n = update.num_examples
    if not 1 <= n <= quantiser.most_examples:
        raise ValueError(f"{update.hospital}: {n} records given, expected 1 to "
                         f"{quantiser.most_examples}")
    moved = update.delta
    for name in sorted(moved):
        largest = float(moved[name].abs().max()) if moved[name].numel() else 0.0
        if not largest <= quantiser.largest:  # also where it is NaN
            found = f"an entry of {largest:g}" if largest == largest else "NaN"
            raise ValueError(f"{update.hospital}: update of {name} holds {found}, expected at "
                             f"most {quantiser.largest:g}")
    entries = flat_change(update.before, update.after).cpu().numpy()
    whole = np.rint(entries * 2.0**quantiser.fraction_bits)
    return np.append(whole.astype(np.int64) * n, n).astype(quantiser.word)


def decode(words: np.ndarray, hospitals: int, quantiser: Quantiser) -> tuple[np.ndarray, int]:
    """The weighted mean of the updates, float64 (entries,), and the number of all records.

    Raises :class:`RoundAborted` where a word is one that no sum of so many hospitals can have.
    """
    signed = words.view(words.dtype.str.replace("u", "i")).astype(np.int64)
    total, sums = int(signed[-1]), signed[:-1]
    reach = total * (quantiser.largest * 2.0**quantiser.fraction_bits + 1)
    outside = int(((sums > reach) | (sums < -reach)).sum())
    if not hospitals <= total <= hospitals * quantiser.most_examples or outside:
        raise RoundAborted(
            f"sum: {outside} of {len(sums)} entries out of range, {total} records; the masks did "
            "not cancel: a hospital was sent another model, or a masked update was altered")
    return sums / (total * 2.0**quantiser.fraction_bits), total
