r"""A diffusion model: it adds noise to images, learns to take it away, and draws new ones.

Images are standardised, :math:`z = (x - \mu) / s` with the mean public image :math:`\mu` and one
spread :math:`s`. Noise is measured by an angle :math:`\varphi` between 0 and :math:`\pi/2`:

.. math:: z_\varphi = \cos\varphi\, z + \sin\varphi\, \epsilon, \qquad
          v = \cos\varphi\, \epsilon - \sin\varphi\, z

A denoiser answers with the mean of z given :math:`z_\varphi`. Everything else follows from it, so
an analytic one can stand in the place of the network, as in the tests.

Sources: Ho et al. (2020, arXiv:2006.11239), the model; Song et al. (2021, arXiv:2010.02502), steps
without noise, DDIM; Salimans and Ho (2022, arXiv:2202.00512), the angle and the velocity v; Lu et
al. (2022, arXiv:2211.01095), steps of second order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""``(noisy, angle)``, shapes (n, channels, height, width) and (n,), to the mean of what is clean.

Records must not mix: the answer for one depends on that one alone.
"""

NOISIEST, FINEST = 50.0, 0.05
"""Noise over what is clean, both standardised: where sampling starts, and before its last step."""


@dataclass(frozen=True)
class Prior:
    """A denoiser of standardised images, and the way between those and pixels.

    mean
        Shape (channels, height, width): the mean image, in pixels.
    spread
        Standard deviation of a pixel about the mean image; one standardised unit.
    """

    denoise: Denoiser
    mean: Tensor
    spread: float

    def to(self, like: Tensor) -> Prior:
        """The same with the mean on the device and in the dtype of ``like``."""
        return Prior(self.denoise, self.mean.to(like), self.spread)

    def standardise(self, images: Tensor) -> Tensor:
        """Pixels to standardised values; the shape stays."""
        return (images - self.mean) / self.spread

    def pixels(self, standardised: Tensor) -> Tensor:
        """Standardised values to pixels, not clipped; the shape stays."""
        return self.mean + self.spread * standardised


def angles(steps: int, noisiest: float = NOISIEST, finest: float = FINEST) -> list[float]:
    """The angles of a walk of ``steps`` steps from noise to an image, ``steps + 1`` of them.

    The noise, over what is clean, falls by one factor from ``noisiest`` to ``finest``, and in the
    last step to 0. Raises ``ValueError`` for fewer than two steps, or noise that does not fall.
    """
    if steps < 2:
        raise ValueError(f"steps: {steps} given, expected 2 or more")
    if not noisiest > finest > 0:
        raise ValueError(f"noisiest, finest: {noisiest}, {finest} given, expected "
                         "noisiest > finest > 0")
    factor = (finest / noisiest) ** (1 / (steps - 1))
    return [*(math.atan(noisiest * factor**k) for k in range(steps)), 0.0]


def ddim_step(noisy: Tensor, clean: Tensor, angle: float, after: float) -> Tensor:
    """Keep the noise that ``clean`` leaves in ``noisy``, and mix it anew at the angle ``after``."""
    noise = (noisy - math.cos(angle) * clean) / math.sin(angle)
    return math.cos(after) * clean + math.sin(after) * noise


def walk(clean_of: Callable[[Tensor, float], Tensor], start: Tensor,
         path: Sequence[float]) -> Tensor:
    """From noise to an image along ``path``, with ``clean_of(noisy, angle)`` at each step.

    A DDIM step takes what is clean for constant. It is not, so on all but the first and the last
    step it is carried on by half of its last change: second order, at no further evaluation, for
    angles as :func:`angles` spaces them (Lu et al., 2022, arXiv:2211.01095).
    """
    noisy, before = start, None
    for angle, after in pairwise(path):
        clean = clean_of(noisy, angle)
        ahead = clean if before is None or after == 0 else clean + (clean - before) / 2
        noisy, before = ddim_step(noisy, ahead, angle, after), clean
    return noisy


def noise_like(mean: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Standard Gaussian noise, ``n`` times the shape of ``mean``, on its device."""
    drawn = torch.randn(n, *mean.shape, generator=generator, device=generator.device)
    return drawn.to(mean)


@torch.no_grad()
def prior_samples(prior: Prior, n: int, *, generator: torch.Generator, steps: int = 15) -> Tensor:
    """Images as the prior knows them, (n, channels, height, width) in [0, 1]; no update enters.

    The control of every attack with this prior: what it draws without a gradient is invented.
    Raises ``ValueError`` for fewer than two steps.
    """
    def clean_of(noisy: Tensor, angle: float) -> Tensor:
        return prior.denoise(noisy, noisy.new_full((n,), angle))

    drawn = walk(clean_of, noise_like(prior.mean, n, generator), angles(steps))
    return prior.pixels(drawn).clamp(0, 1)


@torch.no_grad()
def denoised(prior: Prior, images: Tensor, noise_std: Tensor | float) -> Tensor:
    """The mean of the clean image given ``images`` with Gaussian noise, in one pass.

    Shapes: images (n, channels, height, width), in pixels and not clipped; ``noise_std`` one number
    or (n,), in pixels, above 0. Raises ``ValueError`` for noise without a spread.
    """
    spread = torch.as_tensor(noise_std, dtype=images.dtype, device=images.device)
    if not bool((spread > 0).all()):
        raise ValueError(f"noise_std: {noise_std} given, expected numbers above 0")
    angle = torch.atan(spread / prior.spread).expand(len(images))
    own = prior.to(images)
    noisy = own.standardise(images) * angle.cos().view(-1, 1, 1, 1)
    return own.pixels(own.denoise(noisy, angle)).clamp(0, 1)
