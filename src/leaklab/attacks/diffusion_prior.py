r"""From a noisy update to images, with a generative model of what such images look like.

Clipping and noise blur what an update says. :mod:`leaklab.attacks.gradient_matching` fills the gap
with total variation, which knows that images are smooth. Here a diffusion model of public images
fills it: :func:`posterior_samples` draws images that look like those *and* whose clipped gradient
fits the one observed, and :func:`diffusion_prior` answers with their mean. Where samples disagree,
the prior was asked and not the update: that is the attacker's own measure of confidence.

:func:`worst_case_release` is the update that shows an image most plainly, the record itself, to be
denoised in one pass (:func:`leaklab.prior.diffusion.denoised`). :func:`candidate_scores` is the
attack of one who already holds the record among others and needs no picture.

Threat model: a passive observer of a ``View`` who knows the training, the labels, the defence with
its parameters, and public images of the same kind. Labels may be read off beforehand
(:mod:`leaklab.attacks.labels`).

Sources: Huang et al. (2024, arXiv:2411.03053), a diffusion model guided by a leaked noisy gradient;
Chung et al. (2023, arXiv:2209.14687), the posterior sampling that this takes up; Rozet et al.
(2024, arXiv:2405.13712), the covariance in its guidance; Song et al. (2021, arXiv:2010.02502), DDIM
steps; Balunovic et al. (2022, arXiv:2111.04706), the defence inside the attack; Schwethelm et al.
(2025, arXiv:2403.07588), auditing a release with a diffusion model; Hayes et al. (2023,
arXiv:2302.07225), the attack with candidates.

Where it fails: an image always comes out, sharp and plausible, and beyond some noise it is of
nobody, or of somebody else. Images unlike the public ones are drawn as if they were like them. The
other failures are those of gradient matching: many records, trained models, many local steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from leaklab.attacks.measured import known_noise_std, measured, walked, walks
from leaklab.attacks.observed import known_labels, mean_gradient
from leaklab.attacks.search import Budget
from leaklab.attacks.simulated import client
from leaklab.prior.diffusion import Prior, angles, noise_like
from leaklab.updates import Recovered, View

__all__ = ["diffusion_prior"]

DEFAULT = Budget(evaluations=15, restarts=4)
"""Steps of each walk, each with one evaluation of the gradient and its slopes; four samples."""


def diffusion_prior(
    model: nn.Module, view: View, prior: Prior, *, shape: tuple[int, ...],
    generator: torch.Generator, labels: Tensor | None = None, budget: Budget = DEFAULT,
    iterations: int = 3, noise_std: float | None = None,
) -> Recovered:
    """The mean of posterior samples, the guess of least expected squared error.

    Arguments as in :func:`posterior_samples`. ``score`` is minus the :func:`disagreement` of the
    samples, in grey values, one a record; ``None`` from a single sample.
    """
    samples = posterior_samples(model, view, prior, shape=shape, generator=generator, labels=labels,
                                budget=budget, iterations=iterations, noise_std=noise_std)
    score = -disagreement(samples) if len(samples) > 1 else None
    return Recovered(samples.mean(0), labels=known_labels(view, labels, shape[0]), score=score)


def posterior_samples(
    model: nn.Module, view: View, prior: Prior, *, shape: tuple[int, ...],
    generator: torch.Generator, labels: Tensor | None = None, budget: Budget = DEFAULT,
    iterations: int = 3, noise_std: float | None = None,
) -> Tensor:
    """Images that fit both the prior and the observed gradient, (samples, *shape) in [0, 1].

    shape
        Of one guess: (records, channels, height, width). All records of an update are drawn
        together.
    labels
        (records,); by default those of ``view.knowledge``.
    budget
        Steps of a walk, number of samples, and seconds after which no further sample is begun.
    iterations
        Of conjugate gradients in each step.
    noise_std
        Standard deviation of the noise on each entry of the gradient; by default that of
        ``view.knowledge.defence``.

    Raises ``ValueError`` where the view does not allow the attack, labels or noise are unknown, or
    the prior is one of images of another shape.
    """
    spread, found = known_noise_std(view, noise_std), measured(model, view, prior, shape, labels)
    path = angles(budget.evaluations)
    return walks(lambda start: walked(found, spread, start, path, iterations),
                 found, budget, generator, "posterior samples")


def disagreement(samples: Tensor) -> Tensor:
    """How far samples of the same record lie apart: standard deviation, root mean square of pixels.

    Shapes: (samples, records, ...) to (records,), in grey values. It needs no truth. Raises
    ``ValueError`` for fewer than two samples.
    """
    if len(samples) < 2:
        raise ValueError(f"samples: {len(samples)} given, expected two or more")
    return samples.var(0).flatten(1).mean(1).sqrt()


def worst_case_release(images: Tensor, noise_multiplier: float, *,
                       generator: torch.Generator) -> tuple[Tensor, Tensor]:
    r"""Images as an update without any network would give them away, and the noise on each.

    :math:`x + \sigma \lVert x \rVert \epsilon`: the gradient of a model made for it is the record,
    clipped to its own norm, and the noise of the Gaussian mechanism falls on that. Nothing has to
    be undone to see it; to tell two given records apart, another release may serve better.
    A clipping norm that follows the record is no defence by itself: the noise gives it away, and
    bounds for a norm fixed beforehand (:mod:`leaklab.bounds`) do not cover one who uses that.
    Shapes: images (n, ...), not clipped; noise (n,). Raises ``ValueError`` for noise below 0.
    """
    if not 0 <= noise_multiplier < math.inf:
        raise ValueError(f"noise_multiplier: {noise_multiplier} given, "
                         "expected a number of 0 or more")
    norms = images.flatten(1).norm(dim=1)
    noise = noise_like(images[0], len(images), generator)
    spread = noise_multiplier * norms
    return images + spread.view(-1, *[1] * (images.ndim - 1)) * noise, spread


def candidate_scores(
    model: nn.Module, view: View, candidates: Tensor, *, labels: Tensor | None = None,
    noise_std: float | None = None,
) -> Tensor:
    """Log-likelihood of each candidate to be the one record behind an update, shape (n,).

    Up to a constant. Candidates, (n, ...), are records that the attacker already holds; nothing is
    rebuilt. Where all are equally likely beforehand, no attack names the right one more often than
    the highest score does. Raises ``ValueError`` without candidates, labels or noise.
    """
    if not len(candidates):
        raise ValueError("candidates: none given, expected one or more")
    known, spread = known_labels(view, labels, 1), known_noise_std(view, noise_std)
    simulate, observed = client(model, view), mean_gradient(model, view)
    scores = []
    for candidate in candidates:
        gradient = simulate(candidate[None], known).gradient
        gap = sum((gradient[name].detach() - seen).square().sum()
                  for name, seen in observed.items())
        scores.append(-gap / (2 * spread**2))
    return torch.stack(scores)
