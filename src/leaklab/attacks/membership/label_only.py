"""Label-only attacks: the model answers with a class and nothing else.

Choquette-Choo, Tramèr, Carlini and Papernot (2021, arXiv:2007.14321): a model gets copies of its
members right that were moved further, by noise or a shift, than it does for others. The score is
the share of copies that are classified right. With the record itself as the only copy this is the
gap attack of Yeom et al. (2018, arXiv:1709.01604).

Threat model: the label that the released model gives to each of many queries, and the true label.

Where it fails: the share takes one value more than there are copies, so many records tie at 1 and
few members can be named without false alarms. Like any signal it gains when shadow models calibrate
it record by record; it remains weaker than scores. It shows that hiding scores is no defence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor


def votes(
    classify: Callable[[Tensor], Tensor], copies: Iterable[Tensor], targets: Tensor
) -> Tensor:
    """Share of the copies of each record that get its true label, float64 (..., n).

    ``classify`` answers inputs (n, ...) with labels (..., n), for one model or a stack of them;
    ``copies`` yields inputs of that shape. Raises ``ValueError`` where there is no copy.
    """
    right = [(classify(copy) == targets).double() for copy in copies]
    if not right:
        raise ValueError("copies: none given, expected at least one")
    return torch.stack(right).mean(0)


def noisy_copies(
    inputs: Tensor, deviation: float, number: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """``number`` copies with independent normal noise of ``deviation``, for scaled tables.

    Raises ``ValueError`` unless ``deviation`` is above 0 and ``number`` at least 1.
    """
    if not deviation > 0 or number < 1:
        raise ValueError(f"deviation, number: {deviation}, {number} given, expected a number above "
                         "0 and 1 or more")
    for _ in range(number):
        noise = torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype,
                            device=generator.device)
        yield inputs + deviation * noise.to(inputs.device)


def shifted_copies(images: Tensor, distance: int) -> Iterator[Tensor]:
    """The images, and their shifts by (i, j) with |i| + |j| = ``distance`` pixels: 4 d + 1 copies.

    Shape (n, channels, height, width); what moves in from outside repeats the edge. Raises
    ``ValueError`` for another shape and a distance that is not from 1 to the size less one.
    """
    if images.ndim != 4 or not 1 <= distance < min(images.shape[-2:]):
        raise ValueError(f"images, distance: shape {tuple(images.shape)}, {distance} given, "
                         "expected (n, channels, height, width) and 1 to its size less 1")
    height, width = images.shape[-2:]
    wide = torch.nn.functional.pad(images, [distance] * 4, mode="replicate")
    yield images
    for down in range(-distance, distance + 1):
        for right in sorted({distance - abs(down), abs(down) - distance}):
            top, left = distance - down, distance - right
            yield wide[..., top:top + height, left:left + width]
