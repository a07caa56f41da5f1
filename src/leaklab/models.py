"""The small models the course trains. Plain ``nn.Sequential``, weights drawn from a generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leaklab.runtime import isolated_rng
from leaklab.updates import State


def small_cnn(
    generator: torch.Generator,
    *,
    channels: int = 1,
    size: int = 28,
    num_classes: int = 2,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """The image classifier of chapter 1: two strided convolutions, one hidden layer.

    Input (n, channels, size, size), output logits (n, num_classes); about 100,000 weights at
    size 28. No BatchNorm: every number in an update then comes from a gradient.

    Raises ``ValueError`` if ``size`` is not a multiple of 4.
    """
    if size % 4:
        raise ValueError(f"size: {size} given, expected a multiple of 4")
    with isolated_rng(generator):
        return nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            activation(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            activation(),
            nn.Flatten(),
            nn.Linear(32 * (size // 4) ** 2, 64),
            activation(),
            nn.Linear(64, num_classes),
        )


def logistic_regression(
    generator: torch.Generator, *, num_features: int, num_classes: int = 2
) -> nn.Sequential:
    """Multinomial logistic regression on a table; input (n, num_features), output logits."""
    with isolated_rng(generator):
        return nn.Sequential(nn.Linear(num_features, num_classes))


@torch.no_grad()
def predict(model: nn.Module, state: State, inputs: Tensor) -> Tensor:
    """Logits of ``model`` with the weights ``state``, in evaluation mode; ``model`` is unchanged.

    Shapes: inputs (n, ...), result (n, num_classes).
    """
    was_training = model.training
    model.eval()
    try:
        return functional_call(model, dict(state), (inputs,))
    finally:
        model.train(was_training)
