"""An update as one vector, and back: what is masked, encrypted, or solved for."""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.updates import State


def flat_change(before: State, after: State) -> Tensor:
    """``after - before`` as one float64 vector, (entries,), tensors in the order of names."""
    return torch.cat([(after[name].double() - before[name].double()).flatten()
                      for name in sorted(before)])


def moved_by(before: State, change: Tensor) -> dict[str, Tensor]:
    """``before`` plus ``change``, (entries,), the reverse of :func:`flat_change`.

    In the types and on the device of ``before``; integers are rounded. Raises ``ValueError`` for
    another number of entries.
    """
    names = sorted(before)
    sizes = [before[name].numel() for name in names]
    if change.shape != (sum(sizes),):
        raise ValueError(f"change: {tuple(change.shape)} given, expected ({sum(sizes)},)")
    after = {}
    for name, part in zip(names, change.split(sizes), strict=True):
        tensor = before[name]
        exact = tensor.double() + part.to(tensor.device).reshape(tensor.shape)
        after[name] = (exact if tensor.is_floating_point() else exact.round()).to(tensor.dtype)
    return {name: after[name] for name in before}
