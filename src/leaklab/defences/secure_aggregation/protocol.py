"""The phases of a round, each a pure function.

    hospital  advertise ->  Advert    two public keys
    hospital  share     ->  Shares    its secrets, split and sealed to the others
    hospital  mask      ->  Masked    its update, masked
    hospital  reveal    ->  Revealed  shares: of own masks of who is there, of keys of who is gone
    server    open_sum  ->  Opened    the weighted mean, where the masks cancel; else nothing

The server carries all messages. Bonawitz et al. (2017), section 4 and figure 4, semi-honest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import numpy as np
import torch

from leaklab.defences.detectors import fingerprint
from leaklab.defences.secure_aggregation import keys
from leaklab.defences.secure_aggregation.messages import (
    Advert,
    Cohort,
    Masked,
    Opened,
    Revealed,
    Seat,
    Shares,
)
from leaklab.defences.secure_aggregation.quantise import RoundAborted, decode, encode
from leaklab.updates import State, Update


def advertise(hospital: str, secrets: keys.Secrets) -> Advert:
    """The first message of ``hospital``."""
    return Advert(hospital, keys.public_bytes(secrets.pairs), keys.public_bytes(secrets.channel))


def share(cohort: Cohort, hospital: str, secrets: keys.Secrets,
          adverts: Sequence[Advert]) -> Shares:
    """Split the two mask secrets of ``hospital`` among all and seal each part to its holder.

    Raises :class:`RoundAborted` for adverts that are missing, repeated, or not what was sent.
    """
    known = _checked_adverts(cohort, hospital, secrets, adverts)
    halves = [keys.split(secret, cohort.threshold, cohort.hospitals)
              for secret in (secrets.pairs, secrets.own)]
    parts = {holder: tuple(half[holder] for half in halves) for holder in cohort.hospitals}
    sealed = {holder: keys.seal(_channel(cohort, secrets, known, hospital, holder), b"".join(pair))
              for holder, pair in parts.items()}
    return Shares(hospital, sealed, {holder: tuple(map(_hash, pair))
                                     for holder, pair in parts.items()})


def take_seat(cohort: Cohort, hospital: str, secrets: keys.Secrets, adverts: Sequence[Advert],
              shares: Sequence[Shares]) -> Seat:
    """Unseal what the others shared with ``hospital`` and hold it against their hashes.

    Raises :class:`RoundAborted` that names whose advert or share is missing, repeated or altered.
    """
    known, held = _checked_adverts(cohort, hospital, secrets, adverts), {}
    for owner, given in _each_once("shares", shares, cohort.hospitals).items():
        what = f"share of {owner} for {hospital}"
        if hospital not in given.sealed:
            raise RoundAborted(f"{what}: missing")
        key = _channel(cohort, secrets, known, owner, hospital)
        both = keys.unseal(key, given.sealed[hospital], what)
        held[owner] = both[:keys.SEED], both[keys.SEED:]
        if len(both) != 2 * keys.SEED or tuple(map(_hash, held[owner])) != _hashes(given, hospital):
            raise RoundAborted(f"{what}: not the one whose hash {owner} published")
    return Seat(cohort, hospital, secrets, known, held)


def mask(seat: Seat, update: Update) -> Masked:
    """The update behind the hospital's own mask and one with each other hospital.

    Of a pair, the first in the cohort's order adds the mask and the second subtracts it. A seat
    serves once: two messages from it differ by the difference of two updates. Raises
    ``ValueError`` as :func:`leaklab.defences.secure_aggregation.quantise.encode` does.
    """
    cohort, me = seat.cohort, seat.hospital
    if update.hospital != me:
        raise ValueError(f"update: of {update.hospital!r} given, expected of {me!r}")
    words = encode(update, cohort.quantiser)
    words += _own_mask(cohort, seat.secrets.own, len(words))
    words += _pair_masks(cohort, me, seat.secrets.pairs, seat.adverts, cohort.hospitals,
                         update.before, len(words))
    return Masked(me, words)


def reveal(seat: Seat, survivors: Sequence[str]) -> Revealed:
    """The shares that open the sum of ``survivors``; a hospital does this once a round.

    Never both of one hospital. Raises :class:`RoundAborted` where fewer than the threshold are
    left, or the list is not of this cohort.
    """
    cohort = seat.cohort
    if len(set(survivors)) < len(survivors) or not set(survivors) <= set(cohort.hospitals):
        raise RoundAborted(f"survivors: {list(survivors)}, expected some of {cohort.hospitals}")
    _enough(cohort, survivors)
    return Revealed(seat.hospital,
                    {name: own for name, (_, own) in seat.shares.items() if name in survivors},
                    {name: pair for name, (pair, _) in seat.shares.items()
                     if name not in survivors})


def unmask(cohort: Cohort, before: State, adverts: Sequence[Advert], shares: Sequence[Shares],
           masked: Sequence[Masked], revealed: Sequence[Revealed]) -> np.ndarray:
    """The sum of the masked updates, masks taken off, as words (entries + 1,); unchecked.

    Masks of those who are gone are rebuilt from shares of their keys. Raises
    :class:`RoundAborted` that names what is missing, repeated or altered.
    """
    known = _each_once("adverts", adverts, cohort.hospitals)
    there = _each_once("masked", masked, cohort.hospitals, all_of_them=False)
    survivors = tuple(name for name in cohort.hospitals if name in there)
    _enough(cohort, survivors)
    count, word = sum(tensor.numel() for tensor in before.values()) + 1, cohort.quantiser.word
    for name in survivors:
        words = there[name].words
        if words.shape != (count,) or words.dtype != word:
            raise RoundAborted(f"masked update of {name}: {words.dtype} {words.shape}, expected "
                               f"{word} {(count,)}")
    recovered = _recover(cohort, survivors, _each_once("shares", shares, cohort.hospitals),
                         _each_once("revealed", revealed, survivors, all_of_them=False))
    total = reduce(np.add, (there[name].words for name in survivors))
    for name, secret in recovered.items():
        if name in survivors:
            total = total - _own_mask(cohort, secret, count)
        else:
            if keys.public_bytes(secret) != known[name].mask_key:
                raise RoundAborted(f"key of {name}: the shares give another than it advertised")
            total = total + _pair_masks(cohort, name, secret, known, survivors, before, count)
    return total


def open_sum(cohort: Cohort, before: State, adverts: Sequence[Advert], shares: Sequence[Shares],
             masked: Sequence[Masked], revealed: Sequence[Revealed]) -> Opened:
    """The model ``before`` moved by the weighted mean of the masked updates.

    Raises :class:`RoundAborted` as :func:`unmask` does, and where the sum is none that updates
    can have; then nothing is released.
    """
    total = unmask(cohort, before, adverts, shares, masked, revealed)
    survivors = tuple(sorted((answer.hospital for answer in masked), key=cohort.hospitals.index))
    mean, num_examples = decode(total, len(survivors), cohort.quantiser)
    return Opened(before, torch.from_numpy(mean), survivors, num_examples)


# --- The parts of the phases ------------------------------------------------------------------


def _recover(cohort: Cohort, survivors: Sequence[str], shares: Mapping[str, Shares],
             revealed: Mapping[str, Revealed]) -> dict[str, bytes]:
    """Own-mask secrets of those who are there, key secrets of those who are gone."""
    found = {}
    for owner in cohort.hospitals:
        gone = owner not in survivors
        given = {holder: (answer.pairs if gone else answer.own).get(owner)
                 for holder, answer in revealed.items()}
        given = {holder: part for holder, part in given.items() if part is not None}
        for holder, part in given.items():
            if _hash(part) != _hashes(shares[owner], holder)[0 if gone else 1]:
                raise RoundAborted(f"share of {owner} held by {holder}: altered")
        if len(given) < cohort.threshold:
            raise RoundAborted(f"shares of {owner}: {len(given)} given, expected "
                               f"{cohort.threshold}")
        found[owner] = keys.combine(given, cohort.threshold, cohort.hospitals)
    return found


def _own_mask(cohort: Cohort, secret: bytes, count: int) -> np.ndarray:
    return keys.mask_words(keys.derive(secret, b"own", cohort.context), count,
                           cohort.quantiser.word)


def _pair_masks(cohort: Cohort, me: str, secret: bytes, adverts: Mapping[str, Advert],
                others: Iterable[str], model: State, count: int) -> np.ndarray:
    """The sum of the masks that ``me`` shares with ``others``, signed as ``me`` adds them."""
    bound = fingerprint(model).encode() if cohort.bind_model else b""
    total, place = np.zeros(count, cohort.quantiser.word), cohort.hospitals.index
    for other in others:
        if other != me:
            key = keys.derive(keys.agreed(secret, adverts[other].mask_key, other), b"pair",
                              cohort.context, bound)
            words = keys.mask_words(key, count, cohort.quantiser.word)
            total = total + words if place(me) < place(other) else total - words
    return total


def _channel(cohort: Cohort, secrets: keys.Secrets, adverts: Mapping[str, Advert], sender: str,
             receiver: str) -> bytes:
    """The key that seals shares on the way from ``sender`` to ``receiver``."""
    mine = keys.public_bytes(secrets.channel)
    other = receiver if adverts[sender].channel_key == mine else sender
    return keys.derive(keys.agreed(secrets.channel, adverts[other].channel_key, other), b"channel",
                       cohort.context, sender.encode(), receiver.encode())


def _checked_adverts(cohort: Cohort, hospital: str, secrets: keys.Secrets,
                     adverts: Sequence[Advert]) -> dict[str, Advert]:
    if hospital not in cohort.hospitals:
        raise RoundAborted(f"{hospital}: not of this round, which is of {cohort.hospitals}")
    known = _each_once("adverts", adverts, cohort.hospitals)
    if known[hospital] != advertise(hospital, secrets):
        raise RoundAborted(f"advert of {hospital}: not the one it sent")
    public = [key for advert in known.values() for key in (advert.mask_key, advert.channel_key)]
    if len(set(public)) < len(public):
        raise RoundAborted("adverts: a public key occurs twice")
    return known


def _each_once(what: str, messages: Sequence, names: Sequence[str], *,
               all_of_them: bool = True) -> dict:
    """Messages by hospital; raises :class:`RoundAborted` for one repeated, strange or missing."""
    given = [message.hospital for message in messages]
    for name in given:
        if name not in names or given.count(name) > 1:
            problem = "more than one" if name in names else "not of this round"
            raise RoundAborted(f"{what} of {name}: {problem}")
    if missing := [name for name in names if name not in given and all_of_them]:
        raise RoundAborted(f"{what} of {', '.join(missing)}: missing")
    return {message.hospital: message for message in messages}


def _enough(cohort: Cohort, survivors: Sequence[str]) -> None:
    if len(survivors) < cohort.threshold:
        raise RoundAborted(f"hospitals: {len(survivors)} left ({', '.join(survivors) or 'none'}), "
                           f"expected at least {cohort.threshold}")


def _hashes(given: Shares, holder: str) -> tuple[bytes, bytes]:
    """Of the two shares that ``holder`` has; of no share where none were published."""
    return given.hashes.get(holder, (b"", b""))


def _hash(share: bytes) -> bytes:
    return hashlib.sha256(share).digest()
