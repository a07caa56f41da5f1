"""Train a prior on public images, and say how good it is on others.

The loss is the squared error of the velocity v, angles spread evenly over each batch. What is kept
is a running mean of the weights (Ho et al., 2020, arXiv:2006.11239), which is better than the last
ones. Mirroring is no augmentation here: the heart lies on one side.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import OneCycleLR

from leaklab.prior.diffusion import noise_like
from leaklab.prior.network import UNet
from leaklab.runtime import isolated_rng, progress


@dataclass(frozen=True)
class Recipe:
    """How to train: number of steps, images in each, the highest learning rate, and the width."""

    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 3e-3
    width: int = 32
    memory: float = 0.995  # of the running mean of the weights

    def __post_init__(self):
        for name in ("steps", "batch_size", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} given, expected 1 or more")


def train(images: Tensor, recipe: Recipe, *, generator: torch.Generator) -> UNet:
    """A network that denoises images like these, with the running mean of its weights.

    Shapes: images (n, 1, side, side) in [0, 1], sides a multiple of four. Trains on the device of
    ``images``; ``generator`` draws the weights, the batches and the noise. Raises ``ValueError``
    for images of another shape.
    """
    if images.ndim != 4 or images.shape[1] != 1 or images.shape[2] % 4 or images.shape[3] % 4:
        raise ValueError(f"images: shape {tuple(images.shape)} given, expected "
                         "(n, 1, height, width), sides multiples of four")
    mean = images.mean(0)
    spread = float((images - mean).std())
    with isolated_rng(generator):
        network = UNet(mean, spread, recipe.width).to(images)
    kept = copy.deepcopy(network)
    adam = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
    schedule = OneCycleLR(adam, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1)
    clean = (images - mean) / spread
    for step in progress(range(recipe.steps), "training the prior"):
        drawn = torch.randint(len(clean), (recipe.batch_size,), generator=generator,
                              device=generator.device)
        loss = velocity_loss(network, clean[drawn.to(clean.device)], generator)
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        _follow(kept, network, min(recipe.memory, (step + 1) / (step + 10)))
    return kept.requires_grad_(False).eval()


def velocity_loss(network: UNet, clean: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocity over a batch of standardised images, one angle each."""
    n = len(clean)
    offsets = torch.rand(n, generator=generator, device=generator.device).to(clean)
    angle = (torch.arange(n).to(clean) + offsets) / n * (math.pi / 2)
    noise = noise_like(network.mean, n, generator)
    cos, sin = (f(angle).view(-1, 1, 1, 1) for f in (torch.cos, torch.sin))
    velocity = cos * noise - sin * clean
    return mse_loss(network(cos * clean + sin * noise, angle), velocity)


@torch.no_grad()
def held_out_loss(network: UNet, images: Tensor, *, generator: torch.Generator) -> float:
    """:func:`velocity_loss` on images that were not trained on, shape (n, 1, side, side)."""
    return float(velocity_loss(network, (images - network.mean) / network.spread, generator))


@torch.no_grad()
def _follow(kept: nn.Module, network: nn.Module, memory: float) -> None:
    for mean, now in zip(kept.parameters(), network.parameters(), strict=True):
        mean.lerp_(now, 1 - memory)
