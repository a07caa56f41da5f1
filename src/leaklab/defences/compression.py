r"""Send fewer bytes: the largest entries, their signs, or coarse steps.

Compression saves bandwidth, and was soon recommended against inversion of gradients too (Zhu et
al., 2019, arXiv:1906.08935, who tried pruning). It is no defence. What is sent is a function of the
records that the attacker knows, and no bound of any kind follows from sending less. Published
attacks on it: Yue et al. (2023, arXiv:2206.04055), Wu et al. (2023, arXiv:2210.10880).

Each is a value to call with an ``Update``: it compresses how far the weights moved and answers with
the update that the server then reads. ``surrogate`` is the same on a simulated gradient, with
slopes that a search can follow: those of what is kept, or, where a step function has none, those of
the identity (the straight-through estimate of Bengio et al., 2013, arXiv:1308.3432).

Sources: Aji and Heafield (2017, arXiv:1704.05021), the largest entries; Bernstein et al. (2018,
arXiv:1802.04434), signs; Alistarh et al. (2017, arXiv:1610.02132), few levels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leaklab.updates import Update

__all__ = ["half_precision", "int8", "rounding", "sign", "top_k"]

Gradient = dict[str, Tensor]


class _Compression(ABC):
    """What all share: a function of one tensor, applied to each."""

    @abstractmethod
    def compressed(self, tensor: Tensor) -> Tensor:
        """``tensor`` as the server reads it."""

    def smooth(self, tensor: Tensor) -> Tensor:
        """As :meth:`compressed`, with the slopes of the identity."""
        return tensor + (self.compressed(tensor) - tensor).detach()

    def __call__(self, update: Update) -> Update:
        """The update as the server reads it; buffers that are not floating point stay."""
        after = {name: update.before[name] + self.compressed(moved)
                 if moved.is_floating_point() else update.after[name]
                 for name, moved in update.delta.items()}
        return replace(update, after=after)

    def surrogate(self, gradient: Gradient) -> Gradient:
        """The compressed gradient, differentiable: what an attacker simulates."""
        return {name: self.smooth(tensor) for name, tensor in gradient.items()}


@dataclass(frozen=True)
class TopK(_Compression):
    """The share of the entries that is largest in size, of each tensor; the others become 0.

    Raises ``ValueError`` for a share outside (0, 1].
    """

    share: float

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ValueError(f"share: {self.share} given, expected a number above 0, at most 1")

    def compressed(self, tensor: Tensor) -> Tensor:
        """``tensor`` with all but its largest entries set to 0; at least one is kept."""
        keep = min(tensor.numel(), max(1, round(self.share * tensor.numel())))
        kept = tensor.abs().flatten().topk(keep).indices
        mask = torch.zeros(tensor.numel(), dtype=torch.bool, device=tensor.device)
        mask[kept] = True
        return torch.where(mask.view_as(tensor), tensor, torch.zeros_like(tensor))

    def smooth(self, tensor: Tensor) -> Tensor:
        """As :meth:`compressed`: what is kept has its own slopes."""
        return self.compressed(tensor)


@dataclass(frozen=True)
class Sign(_Compression):
    """One bit an entry, and one number a tensor: its mean size (scaled signSGD)."""

    def compressed(self, tensor: Tensor) -> Tensor:
        """The signs of ``tensor``, times the mean size of its entries."""
        return tensor.sign() * tensor.abs().mean()


@dataclass(frozen=True)
class HalfPrecision(_Compression):
    """Two bytes an entry: floating point with eleven significant bits (IEEE 754 binary16)."""

    def compressed(self, tensor: Tensor) -> Tensor:
        """``tensor`` to half precision and back; sizes above 65,504 overflow."""
        return tensor.half().to(tensor)


@dataclass(frozen=True)
class Quantised(_Compression):
    """Steps of one length, so many ``bits`` an entry: from minus to plus the largest entry.

    8 bits are int8. Rounds to the nearest step. Raises ``ValueError`` for fewer than 2 bits, or
    more than 16.
    """

    bits: int = 8

    def __post_init__(self):
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits: {self.bits} given, expected 2 to 16")

    def compressed(self, tensor: Tensor) -> Tensor:
        """``tensor`` in :math:`2^{bits} - 1` levels."""
        if not tensor.numel():
            return tensor
        step = tensor.abs().max() / (2 ** (self.bits - 1) - 1)
        return torch.where(step > 0, (tensor / step.clamp_min(torch.finfo(step.dtype).tiny)).round()
                           * step, tensor)


@dataclass(frozen=True)
class Rounded(_Compression):
    """Entries rounded to so many decimal ``digits``, as where an update is logged as text.

    Raises ``ValueError`` for a negative number of digits.
    """

    digits: int

    def __post_init__(self):
        if self.digits < 0:
            raise ValueError(f"digits: {self.digits} given, expected 0 or more")

    def compressed(self, tensor: Tensor) -> Tensor:
        """``tensor`` rounded to the nearest multiple of :math:`10^{-digits}`."""
        return torch.round(tensor, decimals=self.digits)


def top_k(share: float) -> TopK:
    """Keep the ``share`` of entries that is largest: 0.01 sends one in a hundred.

    Raises ``ValueError`` for a share outside (0, 1]. Source: Aji and Heafield (2017).
    """
    return TopK(share)


def sign() -> Sign:
    """Send one bit an entry, and the mean size of each tensor. Source: Bernstein et al. (2018)."""
    return Sign()


def half_precision() -> HalfPrecision:
    """Send two bytes an entry: floating point with eleven significant bits."""
    return HalfPrecision()


def int8() -> Quantised:
    """Send one byte an entry: steps of one length. Source: Alistarh et al. (2017)."""
    return Quantised(8)


def rounding(digits: int) -> Rounded:
    """Send so many decimal ``digits``, as where an update is logged as text."""
    return Rounded(digits)
