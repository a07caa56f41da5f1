r"""Updates added up under encryption: CKKS through TenSEAL, a thin wrapper.

Each hospital encrypts its update times its share of the records; the server, which holds no secret
key, adds ciphertexts; whoever holds the key opens the mean. CKKS (Cheon et al., 2017,
doi:10.1007/978-3-319-70694-8_15) computes with approximate numbers: the mean is off by the noise of
the scheme, here about :math:`10^{-8}`. A sum needs no product of ciphertexts, so two primes do:
with TenSEAL's usual three, which leave room for one product, ciphertexts are nearly twice as long.

Who holds the key decides what it is worth. Here all hospitals share one, as in most frameworks: one
of them and the server together read every single update. Threshold keys, which no hospital holds
alone, are not in TenSEAL. What the mean itself says is as with
:mod:`leaklab.defences.secure_aggregation`, and nothing proves that the server added what it was
sent; hospitals that were sent different models are not noticed either.

TenSEAL (Benaissa et al., 2021, arXiv:2104.03152) is optional: ``pip install leaklab[homomorphic]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tenseal
import torch

from leaklab.defences.vectors import flat_change, moved_by
from leaklab.updates import State, Update

DEGREE, MODULUS_BITS, SCALE = 8192, (60, 60), 2.0**40  # 128 bits of security, as SEAL's tables
SLOTS = DEGREE // 2  # numbers in one ciphertext
LARGEST = 2.0**18  # of an entry: times the scale it must stay within half the first prime


@dataclass(frozen=True)
class Keys:
    """``secret``: the context that hospitals share; ``public``: what the server is given."""

    secret: tenseal.Context
    public: tenseal.Context


def draw_keys() -> Keys:
    """A fresh key pair. The public half can encrypt and add, and opens nothing."""
    secret = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=MODULUS_BITS)
    secret.global_scale = SCALE
    public = secret.copy()
    public.make_context_public()
    return Keys(secret, public)


def encrypt(context: tenseal.Context, update: Update, share: float) -> tuple[bytes, ...]:
    """``share`` times the update, as ciphertexts of :data:`SLOTS` entries each.

    Tensors go in the order of names. Raises ``ValueError`` for entries that are not finite, or
    beyond :data:`LARGEST`: with shares that add up to one the mean then fits the modulus too.
    """
    moved = flat_change(update.before, update.after)
    if not moved.isfinite().all():
        raise ValueError(f"{update.hospital}: an update with NaN or infinite values given")
    if (largest := float(moved.abs().amax())) > LARGEST:
        raise ValueError(f"{update.hospital}: an entry of {largest:g} given, expected at most "
                         f"{LARGEST:g}")
    moved = moved * share
    return tuple(tenseal.ckks_vector(context, part.tolist()).serialize()
                 for part in moved.cpu().split(SLOTS))


def add(context: tenseal.Context, sent: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    """The server's part: the sum, ciphertext by ciphertext; the public context is enough."""
    lengths = {len(parts) for parts in sent}
    if len(lengths) != 1:
        raise ValueError(f"sent: {sorted(lengths)} ciphertexts given, expected as many of each")
    return tuple(sum(tenseal.ckks_vector_from(context, part) for part in parts).serialize()
                 for parts in zip(*sent, strict=True))


def decrypt(context: tenseal.Context, before: State, total: Sequence[bytes]) -> State:
    """``before`` moved by the mean behind ``total``.

    Raises ``ValueError`` where the context holds no secret key.
    """
    if not context.is_private():
        raise ValueError("context: a public one given, expected one that holds the secret key")
    mean = [tenseal.ckks_vector_from(context, part).decrypt() for part in total]
    return moved_by(before, torch.tensor(np.concatenate(mean)))
