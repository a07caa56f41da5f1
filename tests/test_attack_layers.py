"""Which layers are dense, in which order they run, and what a view says of one."""

import pytest
import torch
from torch import nn

from leaklab.attacks.layers import dense_gradient, dense_layers, running_order
from leaklab.models import lenet, mlp, small_cnn
from leaklab.runtime import generator
from local_training import view_of


class HeadFirst(nn.Module):
    """Registers the layer that runs last before the one that runs first; ends in a function."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(3, 2), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.head(torch.relu(self.body(inputs))).tanh()


class Branching(nn.Module):
    """Takes a way that depends on the input, so it has no one order."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs):
        return self.a(inputs) if inputs.sum() > 0 else self.b(inputs)


def test_dense_layers_are_named_in_the_order_in_which_they_run():
    assert dense_layers(HeadFirst()) == ("body", "head")
    assert dense_layers(small_cnn(generator("w"))) == ("5", "7")
    assert dense_layers(lenet(generator("w"))) == ("7",)
    assert dense_layers(nn.Linear(2, 2)) == ("",)
    shared = nn.Linear(2, 2)
    assert dense_layers(nn.Sequential(shared, nn.ReLU(), shared)) == ("0",)


def test_what_comes_last_may_be_a_function():
    assert running_order(HeadFirst())[-1][0] == ""
    assert running_order(mlp(generator("w"), num_features=3))[-1][0] == "3"


class Counting(nn.Module):
    """Changes a buffer whenever its code runs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, inputs):
        self.runs += 1
        return self.head(inputs)


def test_the_model_is_left_as_it_was():
    net = Counting()
    assert dense_layers(net) == ("head",)
    assert float(net.runs) == 0


def test_models_without_one_order_or_without_dense_layers_are_refused():
    with pytest.raises(ValueError, match="model: Branching cannot be traced"):
        dense_layers(Branching())
    with pytest.raises(ValueError, match="model: Sequential without a linear layer given"):
        dense_layers(nn.Sequential(nn.Conv2d(1, 1, 3)))


def test_a_gradient_is_read_to_within_its_noise():
    net = mlp(generator("w"), num_features=4, width=5)
    x, y = torch.randn(3, 4, generator=generator("x")), torch.tensor([0, 1, 1])
    view = view_of(net, x, y)
    nn.functional.cross_entropy(net(x), y).backward()
    truth = torch.cat([net[1].weight.grad, net[1].bias.grad[:, None]], 1)
    seen = dense_gradient(net, view)
    assert seen.name == "1" and seen.gradient.dtype == torch.float64
    assert ((seen.gradient - truth).abs() <= 3 * seen.noise).all()
    assert torch.equal(seen.weights[:, -1], net[1].bias.double())


@pytest.mark.parametrize(("layer", "complaint"), [
    ("2", r"layer: '2' given, which is ReLU\(\)"), ("9", "layer: '9' given, which is None")])
def test_a_name_that_is_no_dense_layer_is_refused(layer, complaint):
    net = mlp(generator("w"), num_features=4, width=5)
    view = view_of(net, torch.ones(1, 4), torch.tensor([0]))
    with pytest.raises(ValueError, match=complaint):
        dense_gradient(net, view, layer)


def test_a_layer_without_bias_and_a_gradient_that_is_not_finite_are_refused():
    net = nn.Sequential(nn.Linear(4, 2, bias=False))
    view = view_of(net, torch.ones(1, 4), torch.tensor([0]))
    with pytest.raises(ValueError, match="expected the name of a linear layer with a bias"):
        dense_gradient(net, view)
    net = nn.Linear(4, 2)
    view = view_of(net, torch.full((1, 4), torch.nan), torch.tensor([0]))
    with pytest.raises(ValueError, match="gradient of layer '' holds NaN"):
        dense_gradient(net, view)
