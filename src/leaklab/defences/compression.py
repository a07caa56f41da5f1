"""Updates made smaller: half precision, eight bits, the largest entries only.

Compression is made to save bandwidth. It is listed here because it is often taken for protection;
what it does to an attack is a matter of measurement. Each function takes an update and returns the
one that the server sees: the same start, and a change that has gone through the format and back.

Sources: Konecny et al. (2016, arXiv:1610.05492) for quantised and sparse updates in federated
learning; Aji and Heafield (2017, arXiv:1704.05021) for keeping the largest entries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from leaklab.updates import Update


def half_precision(update: Update) -> Update:
    """The change of each weight as a 16-bit float."""
    return _changed(update, lambda change: change.half().to(change))


def eight_bits(update: Update) -> Update:
    """The change of each tensor in 255 equal steps from minus to plus its largest entry."""
    def coarse(change: Tensor) -> Tensor:
        step = change.abs().max() / 127
        return (change / step).round() * step if step > 0 else change

    return _changed(update, coarse)


def largest(update: Update, share: float) -> Update:
    """The ``share`` of each tensor's entries that changed most; the others stay as received.

    Raises ``ValueError`` for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: {share!r} given, expected a number above 0 and up to 1")

    def sparse(change: Tensor) -> Tensor:
        kept = torch.zeros_like(change).flatten()
        chosen = change.flatten().abs().topk(max(1, round(share * change.numel()))).indices
        kept[chosen] = change.flatten()[chosen]
        return kept.reshape(change.shape)

    return _changed(update, sparse)


def _changed(update: Update, compress: Callable[[Tensor], Tensor]) -> Update:
    """``update`` with each floating-point tensor's change compressed; buffers of integers stay."""
    after = {}
    for name, change in update.delta.items():
        moved = change.is_floating_point()
        after[name] = update.before[name] + compress(change) if moved else update.after[name]
    return replace(update, after=after)
