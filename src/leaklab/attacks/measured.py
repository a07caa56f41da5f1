"""A noisy update as a measurement of images: what attacks with a diffusion prior share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leaklab.attacks.observed import known_labels, mean_gradient
from leaklab.attacks.search import Budget
from leaklab.attacks.simulated import client
from leaklab.prior.diffusion import Prior, noise_like
from leaklab.prior.posterior import linearised, posterior_walk
from leaklab.runtime import progress
from leaklab.updates import View


@dataclass(frozen=True)
class Measured:
    """An update as a measurement: what a standardised image would have sent, and what was sent."""

    prior: Prior
    sent: Callable[[Tensor], list[Tensor]]
    observed: list[Tensor]
    labels: Tensor


def measured(model: nn.Module, view: View, prior: Prior, shape: tuple[int, ...],
             labels: Tensor | None) -> Measured:
    """What ``view`` measures of images of ``shape``, (records, channels, height, width).

    Raises ``ValueError`` where the view does not allow the attack, labels are unknown, or the prior
    is one of images of another shape.
    """
    known, observed = known_labels(view, labels, shape[0]), mean_gradient(model, view)
    own = prior.to(next(iter(observed.values())))
    if tuple(shape[1:]) != tuple(own.mean.shape):
        raise ValueError(f"shape: {tuple(shape)} given, expected (records, "
                         f"{', '.join(map(str, own.mean.shape))}), as the prior knows images")
    simulate = client(model, view)

    def sent(standardised: Tensor) -> list[Tensor]:
        gradient = simulate(own.pixels(standardised), known).gradient
        return [gradient[name] for name in observed]

    return Measured(own, sent, list(observed.values()), known)


def known_noise_std(view: View, given: float | None) -> float:
    """The noise on each entry of the gradient: as ``given``, or that of the view's defence.

    Raises ``ValueError`` where neither is a finite number above 0.
    """
    spread = getattr(view.knowledge.defence, "noise_std", None) if given is None else given
    if spread is None or not 0 < spread < math.inf:
        raise ValueError(f"noise_std: {spread} given, expected a number above 0; without noise, "
                         "search instead (leaklab.attacks.gradient_matching)")
    return spread


def walked(found: Measured, spread: float, start: Tensor, path: Sequence[float],
           iterations: int) -> Tensor:
    """The end of one posterior walk, images in [0, 1]; noise ``start`` (records, ...)."""
    end = posterior_walk(
        lambda noisy, angle: found.prior.denoise(noisy[0], angle.expand(len(start)))[None],
        lambda clean: linearised(lambda z: found.sent(z[0]), clean, found.observed),
        spread, start[None], path, iterations=iterations)
    return found.prior.pixels(end[0]).clamp(0, 1)


def walks(walk: Callable[[Tensor], Tensor], found: Measured, budget: Budget,
          generator: torch.Generator, what: str) -> Tensor:
    """Where ``walk`` ends from fresh noise each time, (walks, records, ...); there is always one.

    As many as the budget has restarts, until its seconds are over.
    """
    begun, ends = time.monotonic(), []
    for _ in progress(range(budget.restarts), what):
        if ends and budget.seconds and time.monotonic() - begun > budget.seconds:
            break
        ends.append(walk(noise_like(found.prior.mean, len(found.labels), generator)))
    return torch.stack(ends)
