r"""Differential privacy for each record, at the hospital: clip every record's gradient, add noise.

DP-SGD (Abadi et al., 2016, arXiv:1607.00133) on all records in each step. One record moves the sum
of the clipped gradients by at most C, and the noise has standard deviation :math:`\sigma C`, so a
step is the Gaussian mechanism; T steps, all of them seen, are Gaussian differential privacy with
:math:`\mu = \sqrt T/\sigma` (Dong, Roth and Su, 2022, arXiv:1905.02383), for adding or removing one
record where the number of records is public. No accountant approximates anything here, and no
subsampling helps; chapter 16 has both.

What it does not do: hide the hospital, or several records of one patient. The noise comes from an
ordinary generator, which an adversary who guesses its key can subtract.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr
from torch import Tensor, nn

from leaklab.defences.clip_and_noise import require_parameters
from leaklab.gradients import record_gradients
from leaklab.updates import LocalTraining, Update, copy_state

__all__ = ["PrivateHospital", "RecordLevel"]


@dataclass(frozen=True)
class RecordLevel:
    """The defence and its parameters, which an adversary is taken to know.

    max_grad_norm
        C, the largest Euclidean norm that a record's gradient keeps, over all tensors.
    noise_multiplier
        Standard deviation of the noise on each entry of their sum, in units of C; 0 only clips.

    Raises ``ValueError`` for a norm that is not above 0, or noise below 0.
    """

    max_grad_norm: float
    noise_multiplier: float

    def __post_init__(self):
        require_parameters(self.max_grad_norm, self.noise_multiplier)

    def clip(self, gradients: Tensor) -> Tensor:
        """``gradients``, one a record, (n, p), none longer than the norm: an attacker's surrogate.

        One that is not finite counts as 0: else a record's presence would show as NaN.
        """
        norms = gradients.norm(dim=1).clamp(min=torch.finfo(gradients.dtype).tiny)
        clipped = gradients * (self.max_grad_norm / norms).clamp(max=1)[:, None]
        return torch.where(norms.isfinite()[:, None], clipped, 0.0)

    def mean(self, gradients: Tensor, generator: torch.Generator) -> Tensor:
        """The private mean of ``gradients``, one a record, (n, p); shape (p,)."""
        noise = torch.randn(gradients.shape[1], generator=generator, device=generator.device)
        scale = self.noise_multiplier * self.max_grad_norm
        return (self.clip(gradients).sum(0) + scale * noise.to(gradients)) / len(gradients)

    def noise_in_update(self, num_examples: int, local_steps: int) -> float:
        """Records times the variance of the noise on an entry of the mean gradient of an update.

        What :func:`leaklab.attacks.membership.updates.whitened` takes as ``noise``.
        """
        return (self.noise_multiplier * self.max_grad_norm) ** 2 / (num_examples * local_steps)


@dataclass(frozen=True)
class PrivateHospital:
    """A hospital that trains under ``defence``; takes the place of ``federation.Hospital``.

    Shapes: inputs (n, ...), targets (n,). ``train`` raises ``ValueError`` unless the training is
    plain SGD on all records.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    defence: RecordLevel

    def train(
        self, model: nn.Module, training: LocalTraining, *, generator: torch.Generator,
        round: int = 0, defend: object | None = None,
    ) -> Update:
        """Local steps of plain SGD on all records, each step private for every record.

        Gradients are taken in evaluation mode. Raises ``ValueError`` for training on batches, or
        with momentum, another optimiser or a proximal term.
        """
        n = len(self.inputs)
        plain = training.optimiser == "sgd" and not training.momentum and not training.proximal
        if not plain or (training.batch_size or n) < n:
            raise ValueError(f"training: {training} given, expected plain SGD on all records")
        local = copy.deepcopy(model)
        before = copy_state(model.state_dict())
        for _ in range(training.local_steps):
            gradients = record_gradients(local, local.state_dict(), self.inputs, self.targets)
            step = self.defence.mean(gradients, generator)
            with torch.no_grad():
                parameters = list(local.parameters())
                for p, part in zip(parameters, step.split([p.numel() for p in parameters]),
                                   strict=True):
                    p.sub_(part.reshape(p.shape), alpha=training.learning_rate)
        update = Update(before, copy_state(local.state_dict()), n, round, self.name)
        return defend(update) if defend else update


def noise_for(mu: float, releases: int) -> float:
    """The noise multiplier with which so many ``releases`` together are ``mu``-GDP."""
    if not mu > 0 or releases < 1:
        raise ValueError(f"mu, releases: {mu}, {releases} given, expected a number above 0 and "
                         "1 or more")
    return math.sqrt(releases) / mu


def epsilon_of(mu: float, delta: float) -> float:
    r"""The :math:`\varepsilon` of ``mu``-GDP at ``delta``: Dong, Roth and Su, Corollary 2.13.

    Solves :math:`\delta = \Phi(-\varepsilon/\mu + \mu/2) - e^\varepsilon
    \Phi(-\varepsilon/\mu - \mu/2)`; 0 where ``delta`` allows it. Raises ``ValueError`` for a mu
    that is not above 0 or a delta outside (0, 1).
    """
    if not mu > 0 or not 0 < delta < 1:
        raise ValueError(f"mu, delta: {mu}, {delta} given, expected a number above 0 and one "
                         "between 0 and 1")

    def excess(epsilon: float) -> float:
        return (ndtr(-epsilon / mu + mu / 2)
                - math.exp(epsilon + log_ndtr(-epsilon / mu - mu / 2)) - delta)

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high))


def auc_ceiling(mu: float) -> float:
    r"""The most that any attack on ``mu``-GDP reaches in AUC, :math:`\Phi(\mu/\sqrt 2)`.

    Of telling whether one record was there, all others alike: no test beats telling
    :math:`N(0, 1)` from :math:`N(\mu, 1)`, so no ROC curve lies above the one of that test, whose
    area this is. Where a non-member leaves its place to another record, two differ, and an AUC over
    members and non-members of one training run is bounded by :func:`ranking_ceiling`. Raises
    ``ValueError`` for a mu below 0.
    """
    if mu < 0:
        raise ValueError(f"mu: {mu} given, expected 0 or more")
    return float(ndtr(mu / math.sqrt(2)))


def ranking_ceiling(mu: float) -> float:
    r"""The most often that any attack ranks a member above a non-member, :math:`\Phi(\mu)`.

    Of a training run on a fixed number of records, dealt so that the two might as well have changed
    places. That exchange moves a sum of clipped gradients by up to 2C where the presence of one
    record moves it by C, so it is hidden by ``2 * mu``-GDP; and who guesses which of two equally
    likely normal distributions at a distance of :math:`2\mu` a value comes from is right with
    probability :math:`\Phi(\mu)` at best. Raises ``ValueError`` for a mu below 0.
    """
    return auc_ceiling(math.sqrt(2) * mu)
