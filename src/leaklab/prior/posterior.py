r"""Draw images from a prior that fit a measurement: posterior sampling with a diffusion model.

At each step of the walk from noise to an image the denoiser says what is clean, :math:`\hat z`, and
through its slope how sure it is of that (Tweedie's formula for the covariance):

.. math:: \Sigma = \frac{\sin^2\varphi}{\cos\varphi}\,
                   \frac{\partial \hat z}{\partial z_\varphi}

A measurement :math:`y = f(z) + s\,\epsilon`, linear about :math:`\hat z` with slope J, then moves
it as a Kalman filter does, and the walk goes on from there:

.. math:: \hat z + (s^2 \Sigma^{-1} + J^\top J)^{-1} J^\top (y - f(\hat z))

Diffusion posterior sampling, DPS (Chung et al., 2023, arXiv:2209.14687), takes :math:`\hat z` for
certain, follows the slope of the likelihood alone and has a step size to tune. With :math:`\Sigma`
none is left, and for a Gaussian prior and a linear measurement the samples are those of the exact
posterior, as steps get small: moment matching (Rozet et al., 2024, arXiv:2405.13712; Boys et al.,
2023, arXiv:2310.06721). The system is solved by conjugate gradients.

Where it fails: a measurement far from linear over the spread of :math:`\Sigma`; a prior that does
not know the images that were measured. Samples then disagree less than they are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leaklab.prior.diffusion import Denoiser, walk

Operator = Callable[[Tensor], Tensor]
"""A symmetric linear map of standardised images, (n, ...) to (n, ...), each by itself."""


@dataclass(frozen=True)
class Linear:
    """A measurement made linear about a guess, with slope J.

    pull
        :math:`J^\\top` (measured - expected at the guess), shape (n, ...) as the guess.
    normal
        :math:`v \\mapsto J^\\top J v`.
    """

    pull: Tensor
    normal: Operator


Measurement = Callable[[Tensor], Linear]
"""A guess, shape (n, ...), to the measurement about it."""


def linearised(function: Callable[[Tensor], Sequence[Tensor]], guess: Tensor,
               measured: Sequence[Tensor]) -> Linear:
    """``function`` about one ``guess``, by automatic differentiation; all shapes are free.

    The slope itself is never formed. A product with it costs two passes backwards: the pull of
    weights w is linear in w, and its own slope is the transpose.
    """
    at = guess.detach().requires_grad_()
    expected = list(function(at))
    weights = [torch.zeros_like(value).requires_grad_() for value in expected]
    (pulled,) = torch.autograd.grad(expected, at, grad_outputs=weights, create_graph=True)

    def pull(values: Sequence[Tensor]) -> Tensor:
        return torch.autograd.grad(expected, at, grad_outputs=values, retain_graph=True)[0]

    def normal(direction: Tensor) -> Tensor:
        return pull(torch.autograd.grad(pulled, weights, direction, retain_graph=True))

    residual = [seen - value.detach() for seen, value in zip(measured, expected, strict=True)]
    return Linear(pull(residual), normal)


def posterior_walk(denoise: Denoiser, measure: Measurement, noise_std: float, start: Tensor,
                   path: Sequence[float], *, iterations: int = 3) -> Tensor:
    """From noise to samples of the posterior, standardised, shape (n, ...) as ``start``.

    Parameters
    ----------
    measure, noise_std
        The measurement and the standard deviation s of the noise on each of its entries.
    start
        Standard Gaussian noise; one sample grows from each row.
    path
        Angles from the noisiest to 0 (:func:`leaklab.prior.diffusion.angles`).
    iterations
        Of conjugate gradients in each step.

    Raises ``ValueError`` for noise without a spread.
    """
    if not noise_std > 0:
        raise ValueError(f"noise_std: {noise_std} given, expected a number above 0")

    def clean_of(noisy: Tensor, angle: float) -> Tensor:
        clean, covariance = _denoised(denoise, noisy, angle)
        return clean + _kalman_move(measure(clean), covariance, noise_std, iterations)

    return walk(clean_of, start.detach(), path)


def _denoised(denoise: Denoiser, noisy: Tensor, angle: float) -> tuple[Tensor, Operator]:
    """What is clean, and the covariance of what is not known of it."""
    noisy = noisy.detach().requires_grad_()
    clean = denoise(noisy, noisy.new_full((len(noisy),), angle))
    gain = math.sin(angle) ** 2 / math.cos(angle)

    def covariance(direction: Tensor) -> Tensor:
        return gain * torch.autograd.grad(clean, noisy, direction, retain_graph=True)[0]

    return clean.detach(), covariance


def _kalman_move(found: Linear, covariance: Operator, noise_std: float, iterations: int) -> Tensor:
    """Solve (s^2 / covariance + normal) move = pull, each row by itself.

    Conjugate gradients with the covariance as preconditioner, so that its inverse is never needed:
    ``image`` is the inverse times ``step``, and follows from what the step was made of. A row is
    left as it is where its covariance, which comes from a network, proves not to be positive.
    """
    move, rest = torch.zeros_like(found.pull), found.pull
    step, image = covariance(rest), rest
    size = _dot(rest, step)
    enough = 1e-10 * size
    for _ in range(iterations):
        applied = noise_std**2 * image + found.normal(step)
        curvature = _dot(step, applied)
        going = (curvature > 0) & (size > enough)
        if not bool(going.any()):
            break
        share = torch.where(going, size / torch.where(going, curvature, 1.0), 0.0)
        move = move + share * step
        rest = rest - share * applied
        spread = covariance(rest)
        before, size = size, _dot(rest, spread)
        turn = torch.where(going, size / torch.where(going, before, 1.0), 0.0)
        step, image = spread + turn * step, rest + turn * image
    return move


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each row, shape (n, 1, ...)."""
    return (a * b).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))
