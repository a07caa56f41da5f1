"""Soteria, PRECODE and noise: they do what their papers say. What they do not is tested elsewhere.
"""

import pytest
import torch
from torch import nn

from leaklab.defences.heuristics import Bottleneck, Noise, Soteria, precode
from leaklab.federation import train_on
from leaklab.models import mlp, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, Update

STEP = LocalTraining(1.0, mode="eval")


def hospital(net: nn.Module, inputs: torch.Tensor, training: LocalTraining = STEP) -> Update:
    return train_on(net, inputs, torch.arange(len(inputs)) % 2, training, generator=generator("t"))


def test_soteria_withholds_the_features_with_the_largest_ratios():
    """Features 3x, x and 2x + 5: their ratios are |x|, |x| and |x + 2.5|, by hand."""
    net = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 2)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[3.0], [1.0], [2.0]]))
        net[0].bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
    one = torch.ones(1, 1, dtype=torch.float64)
    assert Soteria("1", 0.34).withheld(net, one).tolist() == [False, False, True]
    assert Soteria("1", 0.34).withheld(net, -2 * one).tolist() != [False, False, True]
    update = hospital(net, one)
    changed = Soteria("1", 0.34).defend(update, net, one)
    assert not changed.delta["1.weight"][:, 2].any()
    torch.testing.assert_close(changed.after["1.weight"][:, :2], update.after["1.weight"][:, :2])
    assert all(changed.after[name] is update.after[name] for name in update.after
               if name != "1.weight")


def test_soteria_sums_over_records_and_withholds_its_share():
    net = small_cnn(generator("w"), size=8)
    inputs = torch.rand(3, 1, 8, 8, generator=generator("x"))
    hidden = Soteria("5", 0.8).withheld(net, inputs)
    assert hidden.shape == (128,) and int(hidden.sum()) == round(0.8 * 128)


def test_soteria_keeps_features_without_a_slope():
    """A dead ReLU says nothing of the record: nothing to withhold before the others are."""
    net = mlp(generator("w"), num_features=4, width=8)
    with torch.no_grad():
        net[1].bias[:4] = -100.0
    hidden = Soteria("3", 0.25).withheld(net, torch.rand(1, 4, generator=generator("x")))
    assert not hidden[:4].any()


def test_noise_has_the_spread_stated_on_the_gradient_and_nothing_is_clipped():
    moved = torch.zeros(40_000, dtype=torch.float64)
    training = LocalTraining(0.5, local_steps=3)
    update = Update({"w": moved}, {"w": moved + 7.0}, 1, 1, "Aster")
    noise = Noise(0.2).defend(update, training, generator=generator("n")).after["w"] - 7.0
    assert float(noise.std()) == pytest.approx(0.2 * 0.5 * 3, rel=0.02)
    assert abs(float(noise.mean())) < 0.01
    huge = Update({"w": moved}, {"w": moved + 1e6}, 1, 1, "Aster")
    kept = Noise(0.2).defend(huge, training, generator=generator("n")).after["w"]
    assert float(kept.mean()) == pytest.approx(1e6, rel=1e-5), "no record is bounded"


def test_precode_draws_in_training_and_not_in_evaluation():
    net = precode(mlp(generator("w"), num_features=6, width=16), size=4, generator=generator("b"))
    inputs = torch.rand(5, 6, generator=generator("x"))
    assert isinstance(net[3], Bottleneck) and net(inputs).shape == (5, 2)
    assert not torch.equal(net.train()(inputs), net(inputs))
    assert torch.equal(net.eval()(inputs), net(inputs))


def test_precode_leaves_the_model_given_and_its_weights():
    model = mlp(generator("w"), num_features=6, width=16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    net = precode(model, size=4, generator=generator("b"))
    hospital(net.train(), torch.rand(2, 6), LocalTraining(1.0))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(net[1].weight, model[1].weight)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Noise(0.0), "std"), (lambda: Soteria("1", 1.0), "share"),
    (lambda: Soteria("0", 0.5).withheld(mlp(generator(), num_features=2), torch.ones(1, 2)),
     "layer"),
    (lambda: precode(nn.Sequential(nn.ReLU()), size=2, generator=generator()), "model, size"),
    (lambda: precode(mlp(generator(), num_features=2), size=0, generator=generator()),
     "model, size")])
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=f"{message}: .* expected"):
        make()
