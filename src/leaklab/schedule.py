"""Which records each model of a stack sees in each step.

Every model draws its own batches, as :func:`leaklab.federation.draw_batches` draws them for one
hospital; here they are padded to one shape, so that all models can take a step at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from leaklab.updates import LocalTraining


@dataclass(frozen=True)
class Schedule:
    """The batches of K models, padded to one shape.

    index, weight
        (steps, K, batch): rows of the inputs, and what each adds to its model's mean loss; 0 for
        padding.
    active
        For each step, how many models still have a batch. They come first.
    """

    index: Tensor
    weight: Tensor
    active: list[int]


def generators(number: int, generator: torch.Generator) -> list[torch.Generator]:
    """One generator for each model of a stack; its batches are drawn from it."""
    seeds = torch.randint(2**62, (number,), generator=generator)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def padded_batches(
    n: int, training: LocalTraining, epochs: int | None, generator: torch.Generator
) -> Tensor:
    """``federation.draw_batches`` as one tensor, (steps, batch), short batches filled up by -1.

    ``epochs``, passes through the ``n`` records, takes the place of ``training.local_steps``.
    """
    size = min(training.batch_size or n, n)
    steps = training.local_steps if epochs is None else epochs * -(-n // size)
    shuffled = training.batch_order == "shuffled" and size < n
    order = torch.stack([torch.randperm(n, generator=generator) if shuffled else torch.arange(n)
                         for _ in range(-(-steps // -(-n // size)))])
    return pad(order, (0, -n % size), value=-1).view(-1, size)[:steps]


def schedule(batches: list[Tensor], members: Tensor) -> Schedule:
    """The schedule of models in order of falling numbers of batches.

    batches
        Of each model, (steps, batch): numbers within its own members, -1 for padding.
    members
        bool (K, n).
    """
    width = max(own.shape[1] for own in batches)
    number = pad_sequence([pad(own, (0, width - own.shape[1]), value=-1) for own in batches],
                          padding_value=-1)
    real = number >= 0
    weight = real / real.sum(-1, keepdim=True).clamp(min=1).double()
    # padding is one of the model's own records, at weight 0
    number = torch.where(real, number, number[..., :1].clamp(min=0))
    own = pad_sequence([row.nonzero()[:, 0] for row in members], batch_first=True)
    return Schedule(own.expand(len(number), -1, -1).gather(2, number), weight,
                    real[..., 0].sum(1).tolist())
