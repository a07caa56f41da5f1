r"""Two more ways to let a diffusion model read a noisy update: the mean alone, and plain guidance.

:func:`posterior_mean` is for an attacker who wants the guess of least squared error and no samples.
The mean of samples is a mean of draws, and the luck of the draws costs :math:`1/n` of the variance.
A walk that stops early, at much noise, and answers with what is clean *there* has drawn less. Its
answer is :math:`\mathrm{E}[z \mid z_\varphi, y]`, and the mean of such means is
:math:`\mathrm{E}[z \mid y]` as well, with less variance: Rao (1945) and Blackwell (1947,
doi:10.1214/aoms/1177730497). Stopped too early, it leans on a Gaussian where the prior is none.

:func:`plain_guidance` is diffusion posterior sampling, DPS, as Chung et al. (2023,
arXiv:2209.14687, Algorithm 1) published it and Huang et al. (2024, arXiv:2411.03053) turned it on
leaked gradients: a step of the model, then one down the slope of the misfit. It knows nothing of
how sure the denoiser is, so its step size has to be tuned, for each noise level anew. That makes it
the comparison for :func:`leaklab.attacks.diffusion_prior.posterior_samples`, which tunes nothing.

Threat model and failures: as in :mod:`leaklab.attacks.diffusion_prior`. Plain guidance needs the
tuning on top, on updates whose records the attacker knows; with it, samples agree more than a
posterior would, and their spread is no measure of doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from leaklab.attacks.measured import Measured, known_noise_std, measured, walked, walks
from leaklab.attacks.search import Budget
from leaklab.prior.diffusion import Prior, angles, noise_like
from leaklab.updates import Recovered, View

WALKS = Budget(evaluations=10, restarts=8)
GUIDED = Budget(evaluations=50, restarts=6)
"""As many seconds as :data:`WALKS`: its steps cost a third, without conjugate gradients."""

STOP = 2.0
"""Noise over what is clean, both standardised, at which a walk to a mean ends."""


def posterior_mean(
    model: nn.Module, view: View, prior: Prior, *, shape: tuple[int, ...],
    generator: torch.Generator, noise_std: float | None = None, labels: Tensor | None = None,
    budget: Budget = WALKS, iterations: int = 3, stop: float = STOP,
) -> Recovered:
    """The mean image given the update, from walks that end early; no image of it is a sample.

    shape
        Of the guess: (records, channels, height, width).
    noise_std
        Standard deviation of the noise on each entry of the gradient; by default that of
        ``view.knowledge.defence``.
    labels
        (records,); by default those of ``view.knowledge``.
    budget
        Steps of a walk, number of walks, and seconds after which no further walk is begun.
    iterations
        Of conjugate gradients in each step.
    stop
        Noise over what is clean at which a walk ends; small, and its end is a sample.

    Raises ``ValueError`` where the view does not allow the attack, labels or noise are unknown, the
    prior is one of other images, or ``stop`` lies outside the walk.
    """
    spread = known_noise_std(view, noise_std)
    found = measured(model, view, prior, shape, labels)
    path = angles(budget.evaluations, finest=stop)
    ends = walks(lambda start: walked(found, spread, start, path, iterations),
                 found, budget, generator, "walks to the mean")
    return Recovered(ends.mean(0), labels=found.labels)


def plain_guidance(
    model: nn.Module, view: View, prior: Prior, *, shape: tuple[int, ...],
    generator: torch.Generator, step_size: float, labels: Tensor | None = None,
    budget: Budget = GUIDED,
) -> Tensor:
    r"""DPS: images drawn by the model and pulled towards the update, (samples, \*shape) in [0, 1].

    Arguments as in :func:`posterior_mean`; the noise of the update does not enter. ``step_size`` is
    :math:`\zeta`: each step moves the image by
    :math:`-\zeta / \lVert y - f(\hat z) \rVert` times the slope of
    :math:`\lVert y - f(\hat z) \rVert^2`, in standardised values. The steps of the model are
    ancestral, those of Ho et al. (2020, arXiv:2006.11239), at the angles of
    :func:`leaklab.prior.diffusion.angles`.

    Raises ``ValueError`` as :func:`posterior_mean` does, and for a step size of 0 or less.
    """
    if not 0 < step_size < math.inf:
        raise ValueError(f"step_size: {step_size} given, expected a number above 0")
    found = measured(model, view, prior, shape, labels)
    path = angles(budget.evaluations)
    ends = walks(lambda start: _guided_walk(found, start, path, step_size, generator),
                 found, budget, generator, "guided samples")
    return found.prior.pixels(ends).clamp(0, 1)


def _guided_walk(found: Measured, noisy: Tensor, path: Sequence[float], step_size: float,
                 generator: torch.Generator) -> Tensor:
    """From noise to an image, each step of the model followed by one down the slope."""
    for angle, after in pairwise(path):
        at = noisy.detach().requires_grad_()
        clean = found.prior.denoise(at, at.new_full((len(at),), angle))
        misfit = sum((given - seen).square().sum() for given, seen in
                     zip(found.sent(clean), found.observed, strict=True)).sqrt()
        # The slope of a squared length, over that length, is twice the slope of the length.
        pull = 2 * torch.autograd.grad(misfit, at)[0]
        fresh = noise_like(found.prior.mean, len(at), generator)
        noisy = ancestral_step(noisy, clean.detach(), angle, after, fresh) - step_size * pull
    return noisy


def ancestral_step(noisy: Tensor, clean: Tensor, angle: float, after: float,
                   fresh: Tensor) -> Tensor:
    """From ``angle`` to ``after``, part of the noise drawn anew; shapes as ``noisy``.

    ``fresh`` is standard Gaussian noise. Its share is that of the posterior of a step between two
    angles, given what is clean (Ho et al., 2020, equation 7).
    """
    new = (math.sin(after) / math.sin(angle)
           * math.sqrt(max(0.0, 1 - (math.cos(angle) / math.cos(after)) ** 2)))
    kept = math.sqrt(max(0.0, math.sin(after) ** 2 - new**2))
    noise = (noisy - math.cos(angle) * clean) / math.sin(angle)
    return math.cos(after) * clean + kept * noise + new * fresh
