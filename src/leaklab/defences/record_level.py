r"""Differential privacy for each record, at the hospital: clip every record's gradient, add noise.

DP-SGD (Abadi et al., 2016, arXiv:1607.00133) on all records in each step. One record moves the sum
of the clipped gradients by at most C, and the noise has standard deviation :math:`\sigma C`, so a
step is the Gaussian mechanism; T steps, all of them seen, are Gaussian differential privacy with
:math:`\mu = \sqrt T/\sigma` (Dong, Roth and Su, 2022, arXiv:1905.02383), for adding or removing one
record where the number of records is public. No accountant approximates anything here, and no
subsampling helps; chapter 16 has both. What :math:`\mu` leaves an attacker is in
:mod:`leaklab.bounds.membership`.

What it does not do: hide the hospital, or several records of one patient. The noise comes from an
ordinary generator, which an adversary who guesses its key can subtract.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
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
