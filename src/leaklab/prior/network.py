"""The network inside the prior: a U-Net small enough to train on one processor in minutes.

Images are first folded: each 2 x 2 block of pixels becomes one place with four channels (Shi et
al., 2016, arXiv:1609.05158, the other way round). The network then works at 14 x 14 and 7 x 7
places, which costs a quarter. Group normalisation (Wu and He, 2018, arXiv:1803.08494) keeps records
apart from each other.

Source: Ronneberger et al. (2015, arXiv:1505.04597), the U-Net; Ho et al. (2020, arXiv:2006.11239),
its form in diffusion models.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8
FREQUENCIES = 16
ANGLE_FEATURES = 64


class _Block(nn.Module):
    """Two convolutions and a way around them; the angle is added in between."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(GROUPS, before), nn.SiLU(),
                                   nn.Conv2d(before, after, 3, padding=1))
        self.angle = nn.Linear(ANGLE_FEATURES, after)
        self.second = nn.Sequential(nn.GroupNorm(GROUPS, after), nn.SiLU(),
                                    nn.Conv2d(after, after, 3, padding=1))
        self.around = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        nn.init.zeros_(self.second[-1].weight)  # a block starts as nothing but its way around

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        inner = self.first(x) + self.angle(angle)[..., None, None]
        return self.around(x) + self.second(inner)


class UNet(nn.Module):
    """``(noisy, angle)`` to the velocity v, shapes (n, 1, side, side) and (n,); side in fours.

    250,000 weights at the default width. ``mean`` and ``spread`` are buffers, so that a checkpoint
    holds all that a prior needs.
    """

    def __init__(self, mean: Tensor, spread: float = 1.0, width: int = 32):
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("spread", torch.tensor(float(spread)))
        self.embed = nn.Sequential(nn.Linear(2 * FREQUENCIES, ANGLE_FEATURES), nn.SiLU(),
                                   nn.Linear(ANGLE_FEATURES, ANGLE_FEATURES), nn.SiLU())
        self.enter = nn.Conv2d(4, width, 3, padding=1)
        self.fine = _Block(width, width)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList([_Block(2 * width, 2 * width), _Block(2 * width, 2 * width)])
        self.up = _Block(3 * width, width)
        self.leave = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(),
                                   nn.Conv2d(width, 4, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight)

    def forward(self, noisy: Tensor, angle: Tensor) -> Tensor:
        turns = angle[:, None] * torch.logspace(0, 2, FREQUENCIES).to(noisy)
        angle = self.embed(torch.cat([turns.sin(), turns.cos()], 1))
        fine = self.fine(self.enter(F.pixel_unshuffle(noisy, 2)), angle)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = block(coarse, angle)
        wide = F.interpolate(coarse, size=fine.shape[-2:])
        return F.pixel_shuffle(self.leave(self.up(torch.cat([wide, fine], 1), angle)), 2)

    def denoise(self, noisy: Tensor, angle: Tensor) -> Tensor:
        """The mean of the clean image given the noisy one, both standardised."""
        cos, sin = (f(angle).view(-1, 1, 1, 1) for f in (torch.cos, torch.sin))
        return cos * noisy - sin * self(noisy, angle)
