"""The hospital inside the attack sends what a real one sends, and touches nothing else."""

import copy
import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn

from leaklab.attacks.observed import mean_gradient, rounding
from leaklab.attacks.simulated import (
    batch_norm_layers,
    batch_norm_mismatch,
    batch_norm_statistics,
    client,
)
from leaklab.federation import Hospital, fed_avg, public_views, server_views
from leaklab.models import conv_net
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining
from local_training import STEP, smooth_images, view_of

INPUTS = smooth_images(generator("inputs"), 6, 8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 1])
WALK = LocalTraining(0.1, local_steps=5, batch_size=4, batch_order="sequential")


def network(**settings) -> nn.Module:
    return conv_net(generator("weights"), size=8, num_classes=3, **settings)


def with_mode(training: LocalTraining, mode: str) -> LocalTraining:
    return dataclasses.replace(training, mode=mode)


def knowing(view, training, defence=None):
    return dataclasses.replace(view, knowledge=Knowledge(training, LABELS, defence))


def sent(net, view, inputs=INPUTS, labels=LABELS):
    """What the simulated hospital sends, in the dtype of the view."""
    like = next(iter(view.before.values()))
    return client(net, view)(inputs.to(like), labels).gradient


def gap(simulated, observed) -> float:
    assert simulated.keys() == observed.keys()
    return max(float((simulated[name] - observed[name]).detach().abs().max()) for name in observed)


# --- The same as real training ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("training", [
    LocalTraining(1.0), LocalTraining(0.1, local_steps=7), WALK])
def test_the_simulated_hospital_sends_what_a_real_one_sends(mode, batch_norm, training):
    training = with_mode(training, mode)
    net = network(batch_norm=batch_norm).double()
    real = Hospital("A", INPUTS.double(), LABELS)
    (step,) = fed_avg(net, [real], training, rounds=1, seed=0)
    (view,) = server_views(step, Knowledge(training))
    assert gap(sent(net, view), mean_gradient(net, view)) < 1e-9
    by_hand = view_of(net, INPUTS.double(), LABELS, training)
    assert gap(sent(net, by_hand), mean_gradient(net, by_hand)) < 1e-9


def test_in_single_precision_they_agree_to_what_storing_the_weights_leaves():
    net = network()
    for training in (STEP, WALK):
        view = view_of(net, INPUTS, LABELS, training)
        noise, real = rounding(net, view), mean_gradient(net, view)
        for name, gradient in sent(net, view).items():
            assert torch.all((gradient - real[name]).abs() <= noise[name] + 2e-6)


def test_a_wrong_simulation_is_caught():
    net = network(batch_norm=True).double()
    view = view_of(net, INPUTS.double(), LABELS, WALK)
    real = mean_gradient(net, view)
    assert gap(sent(net, view), real) < 1e-9
    for wrong in (with_mode(WALK, "eval"), dataclasses.replace(WALK, batch_size=None),
                  LocalTraining(0.5)):  # one step as far as five
        assert gap(sent(net, knowing(view, wrong)), real) > 0.01
    turned = dataclasses.replace(view, before=view.after, after=view.before)
    assert gap(sent(net, view), mean_gradient(net, turned)) > 0.01


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_its_derivative_in_images_and_labels_is_that_of_finite_differences(mode):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.randn(4, 3, generator=generator("table"), dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    view = view_of(net, inputs, labels, LocalTraining(0.3, local_steps=3, batch_size=2, mode=mode))
    simulate = client(net, view)

    def flat(guess, shares):
        return torch.cat([g.flatten() for g in simulate(guess, shares).gradient.values()])

    shares = torch.full((4, 2), 0.5, dtype=torch.float64)
    given = inputs.clone().requires_grad_(), shares.requires_grad_()
    assert torch.autograd.gradcheck(flat, given)


def test_labels_as_probabilities_are_the_classes_they_stand_for():
    net = network()
    view = view_of(net, INPUTS, LABELS)
    shares = nn.functional.one_hot(LABELS, 3).float()
    assert gap(sent(net, view, labels=shares), sent(net, view)) < 1e-6


def test_the_order_of_the_batch_changes_nothing_in_one_step():
    net = network().double()
    view = view_of(net, INPUTS.double(), LABELS)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert gap(sent(net, view, INPUTS[order], LABELS[order]), sent(net, view)) < 1e-12
    walk = knowing(view, WALK)
    assert gap(sent(net, walk, INPUTS[order], LABELS[order]), sent(net, walk)) > 1e-3


def test_renamed_classes_move_the_rows_of_the_head_and_nothing_else():
    net = network().double()
    names = torch.tensor([2, 0, 1])  # class c is now called names[c]
    renamed = copy.deepcopy(net)
    with torch.no_grad():
        for new, old in zip(renamed[-1].parameters(), net[-1].parameters(), strict=True):
            new[names] = old
    view = view_of(net, INPUTS.double(), LABELS, WALK)
    other = view_of(renamed, INPUTS.double(), names[LABELS], WALK)
    first, second = sent(net, view), sent(renamed, other, labels=names[LABELS])
    for name in first:
        rows = second[name][names] if name.startswith("7.") else second[name]
        torch.testing.assert_close(rows, first[name], atol=1e-12, rtol=0)
    assert {"7.weight", "7.bias"} <= first.keys() and len(net) == 8


# --- Odd models -------------------------------------------------------------------------------


def test_frozen_parameters_send_no_gradient_and_stay():
    net = network().double()
    for layer in (net[0], net[2]):
        layer.requires_grad_(False)
    view = view_of(net, INPUTS.double(), LABELS, WALK)
    assert gap(sent(net, view), mean_gradient(net, view)) < 1e-9
    assert not sent(net, view)["0.weight"].any()
    thawed = copy.deepcopy(net).requires_grad_(True)
    assert gap(sent(thawed, view), mean_gradient(net, view)) > 1e-3
    with pytest.raises(ValueError, match="model: all parameters frozen"):
        client(net.requires_grad_(False), view)


class Tied(nn.Module):
    """One matrix under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(inputs)))))


class Drifting(nn.Module):
    """Scales by a buffer that each run in training mode changes in place, and counts the runs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("runs", torch.tensor(0))
        self.register_buffer("unsaved", torch.ones(()), persistent=False)

    def forward(self, inputs):
        logits = self.head(inputs) * self.scale.clone() * self.unsaved.clone()
        if self.training:
            self.scale.mul_(1.5)
            self.unsaved.mul_(0.5)
            self.runs += 1
        return logits


@pytest.mark.parametrize("build", [Tied, Drifting])
def test_shared_weights_and_buffers_that_a_run_changes_are_simulated_too(build):
    net = build().double()
    table = torch.randn(6, 4, generator=generator("table"), dtype=torch.float64)
    view = view_of(net, table, LABELS, WALK)
    simulate = client(net, view)
    for _ in range(3):  # no run leaves a trace in the next one
        assert gap(simulate(table, LABELS).gradient, mean_gradient(net, view)) < 1e-9


def test_a_guess_leads_to_the_same_gradient_again_also_with_dropout():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    view = view_of(net, INPUTS, LABELS, LocalTraining(1.0))
    simulate, state = client(net, view), torch.get_rng_state()
    first, second = (simulate(INPUTS, LABELS).gradient for _ in range(2))
    assert gap(first, second) == 0
    assert torch.equal(torch.get_rng_state(), state), "torch's global random state is left alone"
    assert gap(first, mean_gradient(net, view)) > 0.01, "whose units dropped is not known"


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_model_is_left_as_it_was(mode):
    net = network(batch_norm=True)
    net[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    view = view_of(net, INPUTS, LABELS, with_mode(WALK, mode))
    client(net, view, watch=["0", "1"])(INPUTS, LABELS)
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    assert net.training and not net[1].training
    assert not any(layer._forward_pre_hooks for layer in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_it_computes_in_the_dtype_of_the_view_and_not_of_the_model():
    net = network(batch_norm=True)
    view = view_of(copy.deepcopy(net).double(), INPUTS.double(), LABELS, WALK)
    assert {g.dtype for g in sent(net, view).values()} == {torch.float64}
    assert gap(sent(net, view), mean_gradient(net, view)) < 1e-9
    assert float(rounding(net, view)["0.weight"].max()) < 1e-14


# --- Defences and watched layers ----------------------------------------------------------------


class Halved:
    """A defence that sends half of each gradient."""

    @staticmethod
    def surrogate(gradient):
        return {name: slope / 2 for name, slope in gradient.items()}


def test_the_surrogate_of_a_known_defence_acts_on_the_mean_gradient():
    net = network().double()
    view = view_of(net, INPUTS.double(), LABELS, WALK)
    defended = sent(net, knowing(view, WALK, Halved()))
    assert gap(defended, {k: g / 2 for k, g in sent(net, view).items()}) < 1e-12
    assert gap(sent(net, knowing(view, WALK, object())), sent(net, view)) == 0


def test_watched_layers_keep_what_went_into_them_in_the_first_step():
    net = network()
    view = view_of(net, INPUTS, LABELS, WALK)
    simulate = client(net, view, watch=["0", "7"])
    for images in (torch.zeros_like(INPUTS), INPUTS):
        inputs = simulate(images, LABELS).inputs
        assert inputs.keys() == {"0", "7"}
        assert torch.equal(inputs["0"], images[:4]), "the first batch of four"
        torch.testing.assert_close(inputs["7"], net[:7](images[:4]))


# --- BatchNorm --------------------------------------------------------------------------------


def batch_norm_inputs(net, inputs):
    """What goes into each BatchNorm layer of ``net`` in training mode."""
    net, found = copy.deepcopy(net).train(), {}
    for name, layer in batch_norm_layers(net).items():
        layer.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0]}))
    net(inputs)
    return found


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_one_step_in_training_mode_gives_the_statistics_of_the_batch_away(momentum):
    net = network(batch_norm=True).double()
    for layer in batch_norm_layers(net).values():
        layer.momentum = momentum
    net(torch.rand(9, 1, 8, 8, generator=generator("earlier"), dtype=torch.float64))
    view = view_of(net, INPUTS.double(), LABELS, LocalTraining(1.0))
    found = batch_norm_statistics(net, view)
    assert list(found) == ["1", "4", "7"]
    for name, given in batch_norm_inputs(net, INPUTS.double()).items():
        mean, variance = found[name]
        torch.testing.assert_close(mean, given.mean((0, 2, 3)), atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(variance, given.var((0, 2, 3)), atol=1e-12, rtol=1e-9)


def test_otherwise_the_statistics_are_those_that_the_buffers_hold():
    net = network(batch_norm=True)
    net(torch.rand(9, 1, 8, 8, generator=generator("earlier")))
    for training in (STEP, WALK):
        view = view_of(net, INPUTS, LABELS, training)
        for name, (mean, variance) in batch_norm_statistics(net, view).items():
            assert torch.equal(mean, view.after[f"{name}.running_mean"])
            assert torch.equal(variance, view.after[f"{name}.running_var"])
    for layer in batch_norm_layers(net).values():
        layer.momentum = 0.0
    view = view_of(net, INPUTS, LABELS, LocalTraining(1.0))
    assert torch.equal(batch_norm_statistics(net, view)["1"][0], view.after["1.running_mean"])
    assert batch_norm_layers(nn.BatchNorm1d(3, track_running_stats=False)) == {}


def test_the_mismatch_of_statistics_is_zero_at_the_truth_and_above_elsewhere():
    net = network(batch_norm=True).double()
    training = LocalTraining(1.0)
    view = view_of(net, INPUTS.double(), LABELS, training)
    statistics = batch_norm_statistics(net, view)
    simulate = client(net, view, watch=statistics)
    miss = [float(batch_norm_mismatch(simulate(images.double(), LABELS).inputs,
                                      statistics).detach())
            for images in (INPUTS, INPUTS.flip(0), INPUTS * 0.9, 1 - INPUTS)]
    assert max(miss[:2]) < 1e-18, "statistics are blind to the order of the batch"
    assert 1e-4 < miss[2] < miss[3]


def test_the_mismatch_is_a_number_by_hand_and_stays_finite():
    seen = {"a": torch.tensor([[0.0], [4.0]])}  # mean 2, variance 8
    statistics = {"a": (torch.tensor([1.0]), torch.tensor([4.0]))}
    # a mean off by 1 over a variance of 4; a variance off by 4 over 4 squared
    assert float(batch_norm_mismatch(seen, statistics)) == pytest.approx((1 / 4 + 1) / 2)
    fresh = {"a": (torch.zeros(1), torch.ones(1))}  # as BatchNorm starts: a mean of zero
    assert float(batch_norm_mismatch(seen, fresh)) == pytest.approx((4 + 49) / 2)
    one = {"a": torch.tensor([[3.0]], requires_grad=True)}  # one record in evaluation mode
    batch_norm_mismatch(one, fresh).backward()
    assert one["a"].grad.isfinite().all()


# --- What it needs ----------------------------------------------------------------------------


def test_what_it_needs_and_does_not_have_is_named():
    net = network()
    view = view_of(net, INPUTS, LABELS)
    with pytest.raises(ValueError, match="view: training unknown"):
        client(net, knowing(view, None))
    with pytest.raises(ValueError, match="expected SGD without momentum"):
        client(net, knowing(view, LocalTraining(0.1, optimiser="adam")))
    with pytest.raises(ValueError, match="layer: 'nose' given, expected one of"):
        client(net, view, watch=["nose"])
    (step,) = fed_avg(net, [Hospital("A", INPUTS, LABELS)], STEP, rounds=1, seed=0)
    (released,) = public_views(step, Knowledge(STEP))
    with pytest.raises(ValueError, match="view: a released model given"):
        client(net, released)


@pytest.mark.parametrize("end", ["before", "after"])
def test_the_states_of_another_model_are_refused(end):
    net, other = network(), network(batch_norm=True)
    view = view_of(net, INPUTS, LABELS)
    odd = dataclasses.replace(view, **{end: other.state_dict()})
    for attack in (client, mean_gradient, rounding, batch_norm_statistics):
        with pytest.raises(ValueError, match="view: states that are not those of the model given"):
            attack(net, odd)


def test_the_attacks_import_no_vision_library():
    """torchvision's compiled operators break against another build of torch than their own."""
    heavy = "{'torchvision', 'kornia', 'lpips'}"
    code = ("import importlib, pkgutil, sys, leaklab.attacks as a\n"
            "[importlib.import_module(m.name) for m in pkgutil.iter_modules(a.__path__,"
            " 'leaklab.attacks.')]\n"
            f"print(sorted({heavy} & {{name.split('.')[0] for name in sys.modules}}))")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
