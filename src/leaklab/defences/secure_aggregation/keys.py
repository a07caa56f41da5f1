"""The cryptography under the protocol, each piece from a library: keys, masks, shares, seals.

X25519, HKDF, AES-CTR and AES-GCM are those of ``cryptography``; Shamir's scheme (1979,
doi:10.1145/359168.359176) over 16 bytes is that of ``pycryptodome``, which Flower installs too.
Private keys are derived from seeds of 16 bytes, so that one share each hands them on.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leaklab.defences.secure_aggregation.quantise import RoundAborted

SEED = 16  # bytes
ONCE = bytes(16)  # a counter or nonce of zero: every key here encrypts one message


@dataclass(frozen=True)
class Secrets:
    """What a hospital draws for one round, 16 bytes each, and uses for no other.

    pairs
        Behind its key for the masks that it shares with each other hospital.
    own
        Behind the mask that it shares with nobody.
    channel
        Behind its key for sealing shares to the others.
    """

    pairs: bytes = field(repr=False)
    own: bytes = field(repr=False)
    channel: bytes = field(repr=False)


def draw_secrets() -> Secrets:
    """Fresh secrets from the operating system; sums do not depend on them."""
    return Secrets(*(secrets.token_bytes(SEED) for _ in range(3)))


def derive(secret: bytes, *context: bytes) -> bytes:
    """32 bytes that depend on ``secret`` and on each part of ``context`` (HKDF, RFC 5869)."""
    info = b"".join(len(part).to_bytes(4, "big") + part for part in context)
    return HKDF(SHA256(), 32, salt=None, info=info).derive(secret)


def private_key(seed: bytes) -> X25519PrivateKey:
    """The private key behind a seed."""
    return X25519PrivateKey.from_private_bytes(derive(seed, b"x25519"))


def public_bytes(seed: bytes) -> bytes:
    """The public key of :func:`private_key`, 32 bytes."""
    return private_key(seed).public_key().public_bytes_raw()


def agreed(seed: bytes, other: bytes, whose: str) -> bytes:
    """What two hospitals both compute, each from its own seed and the other's public key.

    Raises :class:`RoundAborted` that names whose public key is none.
    """
    try:
        return private_key(seed).exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError as reason:  # not of 32 bytes, or a point of which nothing secret follows
        raise RoundAborted(f"public key of {whose}: {reason}") from None


def mask_words(key: bytes, count: int, word: np.dtype) -> np.ndarray:
    """So many words of AES-256-CTR's key stream, (count,)."""
    stream = Cipher(algorithms.AES(key), modes.CTR(ONCE)).encryptor()
    return np.frombuffer(stream.update(bytes(count * word.itemsize)), word)


def split(secret: bytes, threshold: int, holders: tuple[str, ...]) -> dict[str, bytes]:
    """One share of ``secret`` a holder, 16 bytes; any ``threshold`` of them give it back."""
    shares = Shamir.split(threshold, len(holders), secret)
    return {holder: share for holder, (_, share) in zip(holders, shares, strict=True)}


def combine(shares: Mapping[str, bytes], threshold: int, holders: tuple[str, ...]) -> bytes:
    """The secret behind ``threshold`` or more shares, by holder; with fewer, noise."""
    chosen = [name for name in holders if name in shares][:threshold]
    return Shamir.combine([(holders.index(name) + 1, shares[name]) for name in chosen])


def seal(key: bytes, message: bytes) -> bytes:
    """``message`` under AES-256-GCM; ``key`` must be of this message alone."""
    return AESGCM(key).encrypt(ONCE, message, None)


def unseal(key: bytes, sealed: bytes, what: str) -> bytes:
    """The message again; raises :class:`RoundAborted` with ``what`` where it was altered."""
    try:
        return AESGCM(key).decrypt(ONCE, sealed, None)
    except InvalidTag:
        raise RoundAborted(f"{what}: altered on the way") from None
