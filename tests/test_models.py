"""The networks: numbers of weights, shapes, and weights that the generator alone decides."""

import pytest
import torch
from torch import nn

from leaklab import models
from leaklab.runtime import generator

IMAGE = torch.zeros(2, 1, 28, 28)
MODELS = {
    "small_cnn": (lambda g: models.small_cnn(g), IMAGE, 2),
    "conv_net": (lambda g: models.conv_net(g), IMAGE, 10),
    "conv_net, BatchNorm": (lambda g: models.conv_net(g, batch_norm=True), IMAGE, 10),
    "lenet": (lambda g: models.lenet(g), IMAGE, 10),
    "mlp": (lambda g: models.mlp(g, num_features=784), IMAGE, 2),
    "logistic_regression": (lambda g: models.logistic_regression(g, num_features=5),
                            torch.zeros(2, 5), 2),
    "resnet18": (lambda g: models.resnet18(g), torch.zeros(2, 1, 64, 64), 2),
}


def weights(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_logits_have_one_column_a_class(name):
    make, inputs, classes = MODELS[name]
    assert make(generator(0))(inputs).shape == (2, classes)


@pytest.mark.parametrize("name", MODELS)
def test_the_generator_alone_draws_the_weights(name):
    make, _, _ = MODELS[name]
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = make(generator(0)).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    torch.testing.assert_close(make(generator(0)).state_dict(), first, rtol=0, atol=0)
    other = make(generator(1)).state_dict()
    assert any(not torch.equal(other[key], first[key]) for key in first)


def test_numbers_of_weights():
    assert weights(models.conv_net(generator(0))) == 87_114
    # that of torchvision's resnet18, colour images and a thousand classes
    assert weights(models.resnet18(generator(0), channels=3, num_classes=1000)) == 11_689_512


def test_the_weights_of_lenet_are_uniform():
    net = models.lenet(generator(0))
    drawn = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert drawn.abs().max() <= 0.5
    assert abs(float(drawn.std()) - 12 ** -0.5) < 0.01


@pytest.mark.parametrize("make", [models.small_cnn, models.conv_net, models.lenet])
def test_a_size_that_strides_cannot_halve_twice_is_refused(make):
    with pytest.raises(ValueError, match=r"size: 30 given, expected a multiple of 4"):
        make(generator(0), size=30)
