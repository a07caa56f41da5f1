"""Three mistakes in DP-SGD that raise no error and leave the program running, for auditors to find.

They are: noise that a flag turns off; the clipping of a batch's mean gradient in the place of each
record's (then one record moves the sum by up to twice the batch size times what the accountant
takes it to); shuffled batches accounted as Poisson samples (Chua et al., 2024, arXiv:2403.17673).
No defence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer


def noise_forgotten(optimiser: DPOptimizer) -> None:
    """Turn the noise of an Opacus optimiser off."""
    optimiser.noise_multiplier = 0.0


def clipped_after_averaging(optimiser: DPOptimizer) -> None:
    """Have an Opacus optimiser clip the mean gradient of a batch, and no record's own."""
    def clip_the_mean() -> None:
        batch = optimiser.expected_batch_size
        means = [p.grad_sample.sum(0) / batch for p in optimiser.params]
        norm = torch.stack([mean.norm() for mean in means]).norm()
        share = (optimiser.max_grad_norm / (norm + 1e-6)).clamp(max=1)
        for p, mean in zip(optimiser.params, means, strict=True):
            p.summed_grad = share * batch * mean

    optimiser.clip_and_accumulate = clip_the_mean


def shuffled_batches(
    units: int, sample_rate: float, steps: int, generator: torch.Generator
) -> Iterable[list[int]]:
    """Batches of ``sample_rate`` of the units, cut from one shuffled pass after another."""
    size = max(round(sample_rate * units), 1)
    left = 0
    while left < steps:
        batches = torch.randperm(units, generator=generator).split(size)[:steps - left]
        left += len(batches)
        yield from (batch.tolist() for batch in batches)
