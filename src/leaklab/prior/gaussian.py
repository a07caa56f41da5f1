"""The plain prior: a Gaussian with the mean and the covariance of public images.

It needs no training, knows that neighbouring pixels go together, and nothing of what a chest is
beyond that. Whatever a diffusion model gains has to be gained over this. Its denoiser is the filter
of Wiener (1949), and with it :mod:`leaklab.prior.posterior` is exact for linear measurements.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.prior.diffusion import Denoiser, Prior

SMALLEST_VARIANCE = 1e-6  # of a standardised direction; pixels that never vary have none


def gaussian_prior(public: Tensor) -> Prior:
    """The Gaussian fitted to ``public``, shape (n, channels, height, width).

    Raises ``ValueError`` for fewer than two images, or images that are all the same.
    """
    if len(public) < 2 or not bool((public.std(0) > 0).any()):
        raise ValueError(f"public: {len(public)} images given, expected two or more that differ")
    mean = public.mean(0)
    spread = float((public - mean).std())
    flat = ((public - mean) / spread).flatten(1).double()
    covariance = (flat.T @ flat / len(flat)).to(public)
    return Prior(gaussian_denoiser(covariance), mean, spread)


def gaussian_denoiser(covariance: Tensor) -> Denoiser:
    """The mean of a Gaussian of mean 0 and this covariance, (d, d), given a noisy draw of it."""
    variances, axes = torch.linalg.eigh(covariance)
    variances = variances.clamp_min(SMALLEST_VARIANCE)

    def denoise(noisy: Tensor, angle: Tensor) -> Tensor:
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        share = cos * variances / (cos**2 * variances + sin**2)
        return ((noisy.flatten(1) @ axes * share) @ axes.T).view_as(noisy)

    return denoise
