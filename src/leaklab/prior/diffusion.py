r"""A diffusion model: it adds noise to images, learns to take it away, and draws new ones.

Images are standardised, :math:`z = (x - \mu) / s` with the mean public image :math:`\mu` and one
spread :math:`s`. Noise is measured by an angle :math:`\varphi` between 0 and :math:`\pi/2`:

.. math:: z_\varphi = \cos\varphi\, z + \sin\varphi\, \epsilon, \qquad
          v = \cos\varphi\, \epsilon - \sin\varphi\, z

A denoiser answers with the mean of z given :math:`z_\varphi`. Everything else follows from it, so
an analytic one can stand in the place of the network, as in the tests.

Sources: Ho et al. (2020, arXiv:2006.11239), the model; Song et al. (2021, arXiv:2010.02502), steps
without noise, DDIM; Salimans and Ho (2022, arXiv:2202.00512), the angle and the velocity v.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""``(noisy, angle)``, shapes (n, channels, height, width) and (n,), to the mean of what is clean.

Records must not mix: the answer for one depends on that one alone.
"""

NOISIEST = math.atan(50.0)
"""Where sampling starts: noise fifty times as strong as what is clean."""


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


def angles(steps: int, noisiest: float = NOISIEST) -> list[float]:
    """The angles of a walk of ``steps`` steps from noise to an image, ``steps + 1`` of them.

    Raises ``ValueError`` for no steps, or a start outside (0, pi/2).
    """
    if steps < 1:
        raise ValueError(f"steps: {steps} given, expected 1 or more")
    if not 0 < noisiest < math.pi / 2:
        raise ValueError(f"noisiest: {noisiest} given, expected an angle between 0 and pi/2")
    return [noisiest * (1 - k / steps) for k in range(steps + 1)]


def ddim_step(noisy: Tensor, clean: Tensor, angle: float, after: float) -> Tensor:
    """Keep the noise that ``clean`` leaves in ``noisy``, and mix it anew at the angle ``after``."""
    noise = (noisy - math.cos(angle) * clean) / math.sin(angle)
    return math.cos(after) * clean + math.sin(after) * noise


def noise_like(mean: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Standard Gaussian noise, ``n`` times the shape of ``mean``, on its device."""
    drawn = torch.randn(n, *mean.shape, generator=generator, device=generator.device)
    return drawn.to(mean)


@torch.no_grad()
def prior_samples(prior: Prior, n: int, *, generator: torch.Generator, steps: int = 50) -> Tensor:
    """Images as the prior knows them, (n, channels, height, width) in [0, 1]; no update enters.

    The control of every attack with this prior: what it draws without a gradient is invented.
    Raises ``ValueError`` for fewer than one step.
    """
    noisy = noise_like(prior.mean, n, generator)
    for angle, after in pairwise(angles(steps)):
        clean = prior.denoise(noisy, noisy.new_full((n,), angle))
        noisy = ddim_step(noisy, clean, angle, after)
    return prior.pixels(noisy).clamp(0, 1)


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
