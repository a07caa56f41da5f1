"""The small models the course trains. Plain ``nn.Sequential``, weights drawn from a generator."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from leaklab.runtime import isolated_rng
from leaklab.updates import State

__all__ = ["conv_net", "logistic_regression", "mlp", "predict", "small_cnn"]


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


def mlp(
    generator: torch.Generator, *, num_features: int, width: int = 256, num_classes: int = 2,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """One hidden layer over flattened inputs (n, ...); output logits (n, num_classes).

    The layers are ``0`` flatten, ``1`` the first dense layer, ``2`` the activation, ``3`` the head.
    """
    with isolated_rng(generator):
        return nn.Sequential(nn.Flatten(), nn.Linear(num_features, width), activation(),
                             nn.Linear(width, num_classes))


def conv_net(
    generator: torch.Generator, *, channels: int = 1, size: int = 28, num_classes: int = 10,
    activation: Callable[[], nn.Module] = nn.ReLU, batch_norm: bool = False,
) -> nn.Sequential:
    """Three convolutions and one dense layer, the network on which inversion is measured.

    Input (n, channels, size, size), output logits (n, num_classes); 87,000 weights at size 28
    and ten classes. Nothing dense stands between the image and the head, so only the head's
    gradient is an outer product. ``batch_norm`` puts BatchNorm behind each convolution.

    Raises ``ValueError`` if ``size`` is not a multiple of 4.
    """
    if size % 4:
        raise ValueError(f"size: {size} given, expected a multiple of 4")
    widths, strides = (channels, 32, 64, 64), (1, 2, 2)
    layers: list[nn.Module] = []
    with isolated_rng(generator):
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1)]
            layers += [nn.BatchNorm2d(after)] * batch_norm
            layers += [activation()]
        return nn.Sequential(*layers, nn.Flatten(),
                             nn.Linear(widths[-1] * (size // 4) ** 2, num_classes))


def lenet(
    generator: torch.Generator, *, channels: int = 1, size: int = 28, num_classes: int = 10
) -> nn.Sequential:
    """The sigmoid LeNet on which Zhu et al. (2019, arXiv:1906.08935) showed Deep Leakage.

    Three 5 x 5 convolutions of 12 channels and a dense head; every weight and bias is uniform
    in [-0.5, 0.5], as there: with torch's smaller weights the sigmoids pass on next to nothing.
    Input (n, channels, size, size), ``size`` a multiple of 4; output logits (n, num_classes).
    """
    if size % 4:
        raise ValueError(f"size: {size} given, expected a multiple of 4")
    with isolated_rng(generator):
        net = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2), nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=2, padding=2), nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=1, padding=2), nn.Sigmoid(),
            nn.Flatten(), nn.Linear(12 * (size // 4) ** 2, num_classes),
        )
        for parameter in net.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)
        return net


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a way around them."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        alike = stride == 1 and before == after
        self.around = nn.Identity() if alike else nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.around(x))


def resnet18(
    generator: torch.Generator, *, channels: int = 1, num_classes: int = 2
) -> nn.Sequential:
    """ResNet-18 (He et al., 2016, arXiv:1512.03385) for images of 64 pixels a side or more.

    Input (n, channels, height, width), output logits (n, num_classes); 11.2 million weights.
    """
    widths = (64, 64, 128, 256, 512)
    with isolated_rng(generator):
        stages = [nn.Sequential(_Block(before, after, 1 if before == after else 2),
                                _Block(after, after, 1))
                  for before, after in pairwise(widths)]
        return nn.Sequential(
            nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64),
            nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1), *stages,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes))


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
