r"""Clip the gradient that an update holds, and add Gaussian noise to it.

For one record and one step this is the Gaussian mechanism of DP-SGD (Abadi et al., 2016,
arXiv:1607.00133): the gradient is shortened to a norm of at most C, and noise of standard deviation
:math:`\sigma C` falls on every entry. Of several records it clips the mean, so the unit that it
protects is then the whole update and no single record.

What it does not do: no accountant keeps the budget over rounds, and the noise comes from an
ordinary generator, which an adversary who guesses its key can subtract. A tensor whose gradient is
zero throughout gets no noise, which tells that it is: a guarantee would need noise there too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaklab.updates import LocalTraining, Update

__all__ = ["ClipAndNoise"]

Gradient = dict[str, Tensor]


@dataclass(frozen=True)
class ClipAndNoise:
    """The defence and its parameters, which an adversary is taken to know.

    max_grad_norm
        C, the largest Euclidean norm that a gradient keeps, over all tensors.
    noise_multiplier
        Standard deviation of the noise on each entry, in units of C; 0 only clips.

    Raises ``ValueError`` for a norm that is not above 0, or noise below 0.
    """

    max_grad_norm: float
    noise_multiplier: float

    def __post_init__(self):
        require_parameters(self.max_grad_norm, self.noise_multiplier)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on each entry of the gradient."""
        return self.max_grad_norm * self.noise_multiplier

    def surrogate(self, gradient: Gradient) -> Gradient:
        """The clipped gradient, differentiable: what an attacker simulates, noise left out."""
        squares = sum(tensor.square().sum() for tensor in gradient.values())
        norm = (squares + torch.finfo(squares.dtype).tiny).sqrt()
        share = (self.max_grad_norm / norm).clamp(max=1.0)
        return {name: share * tensor for name, tensor in gradient.items()}

    def defend(self, update: Update, training: LocalTraining, *,
               generator: torch.Generator) -> Update:
        """The update with its mean gradient clipped and noisy; buffers stay as they are.

        Entries that are not floating point, or did not move at all, are taken for buffers and for
        frozen weights, and get no noise.
        """
        rate = training.learning_rate * training.local_steps
        moved = {name: delta for name, delta in update.delta.items()
                 if delta.is_floating_point() and bool(delta.any())}
        clipped = self.surrogate({name: -delta / rate for name, delta in moved.items()})
        after = dict(update.after)
        for name, gradient in clipped.items():
            noise = torch.randn(gradient.shape, generator=generator, device=generator.device)
            noisy = gradient + self.noise_std * noise.to(gradient)
            after[name] = update.before[name] - rate * noisy
        return Update(update.before, after, update.num_examples, update.round, update.hospital)


def require_parameters(max_grad_norm: float, noise_multiplier: float) -> None:
    """Raise ``ValueError`` for a norm that is not above 0, or noise below 0."""
    if not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm: {max_grad_norm} given, expected a number above 0")
    if not noise_multiplier >= 0:
        raise ValueError(f"noise_multiplier: {noise_multiplier} given, "
                         "expected a number of 0 or more")
