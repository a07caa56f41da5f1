"""DP-SGD through Opacus: steps by hand, units by construction, a budget that no round forgets."""

import math
from dataclasses import replace

import dp_accounting
import numpy as np
import pytest
import torch
from dp_accounting import pld
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leaklab.defences.accounting import (
    ACCOUNTANTS,
    Spent,
    epsilon,
    noise_for,
    spend,
)
from leaklab.defences.differential_privacy import PrivateHospital, poisson_batches
from leaklab.defences.record_level import RecordLevel
from leaklab.federation import Hospital, fed_avg
from leaklab.gradients import clipped_sum, record_gradients
from leaklab.models import conv_net, logistic_regression, mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

N, FEATURES = 12, 4
INPUTS = 3 * torch.randn(N, FEATURES, generator=generator("inputs"), dtype=torch.float64)
TARGETS = torch.arange(N) % 2
NET = mlp(generator("weights"), num_features=FEATURES, width=6).double()
ONE_STEP = LocalTraining(1.0)
DELTA = 1e-3


def everybody(units, sample_rate, steps, generator):
    return [range(units)] * steps


def hospital(noise=0.0, norm=1.0, **given):
    return PrivateHospital("A", INPUTS, TARGETS, noise, norm, **given)


def flat(update):
    return torch.cat([tensor.flatten() for tensor in update.delta.values()])


def train(hospital, training=ONE_STEP, net=NET, **given):
    return hospital.train(net, training, generator=generator("draws"), **given)


# --- One step -------------------------------------------------------------------------------


def by_hand(chosen, batch, noise, clip=True, norm=1.0):
    """Minus a step at learning rate 1: clip each gradient, add up, add noise, divide."""
    rows = record_gradients(NET, NET.state_dict(), INPUTS[chosen], TARGETS[chosen])
    share = (norm / rows.norm(dim=1)).clamp(max=1) if clip else torch.ones(len(rows)).double()
    return -((share[:, None] * rows).sum(0) + noise) / batch


def test_a_step_is_clip_and_noise_by_hand_on_the_same_noise(monkeypatch):
    size = sum(p.numel() for p in NET.parameters())
    noise = torch.randn(size, generator=generator("noise"), dtype=torch.float64)
    pieces = iter(noise.split([p.numel() for p in NET.parameters()]))
    stds = []

    def injected(std, reference, generator=None, secure_mode=False):
        stds.append(std)
        return next(pieces).view_as(reference)

    monkeypatch.setattr("opacus.optimizers.optimizer._generate_noise", injected)
    chosen = [1, 4, 5, 9]
    found = flat(train(hospital(0.7, 0.5, sampler=lambda *_: [chosen]),
                       LocalTraining(1.0, batch_size=3)))
    assert set(stds) == {0.7 * 0.5}
    # Opacus divides by the norm plus 1e-6
    torch.testing.assert_close(found, by_hand(chosen, 3, noise, norm=0.5), atol=1e-5, rtol=0)
    wrong = by_hand(chosen, 3, noise, clip=False)
    assert float((found - wrong).norm()) > 0.1  # without clipping it is another step
    # divided by the batch drawn, and not by the batch expected, it is another one too
    assert float((found - by_hand(chosen, 4, noise, norm=0.5)).norm()) > 0.1


@pytest.mark.parametrize("training", [
    LocalTraining(0.3, local_steps=4), LocalTraining(0.3, local_steps=4, momentum=0.9),
    LocalTraining(0.01, local_steps=4, optimiser="adam")])
def test_without_noise_and_with_a_norm_out_of_reach_it_is_the_plain_hospital(training):
    plain = Hospital("A", INPUTS, TARGETS)
    private = hospital(norm=1e6, sampler=everybody)
    before = NET.state_dict()["1.weight"].clone()
    ends = [list(fed_avg(NET, [clinic], training, rounds=2, seed=0))[-1].after
            for clinic in (plain, private)]
    torch.testing.assert_close(ends[0], ends[1], atol=1e-5, rtol=1e-5)
    assert torch.equal(NET.state_dict()["1.weight"], before)
    assert list(ends[1]) == list(NET.state_dict())


@pytest.mark.parametrize("norm", [0.2, 1e6])
@pytest.mark.parametrize("net", [NET, conv_net(generator(0), size=8, num_classes=3).double()])
def test_clipping_in_one_pass_is_clipping_record_by_record(net, norm):
    inputs = INPUTS if net is NET else torch.randn(N, 1, 8, 8, generator=generator(1)).double()
    rows = record_gradients(net, net.state_dict(), inputs, TARGETS)
    share = (norm / rows.norm(dim=1)).clamp(max=1)
    found = torch.cat([g.flatten() for g in clipped_sum(net, inputs, TARGETS, norm)])
    torch.testing.assert_close(found, (share[:, None] * rows).sum(0))
    some = LocalTraining(0.1, local_steps=6, batch_size=2)
    slow, fast = (flat(train(PrivateHospital("A", inputs, TARGETS, 0.5, norm, one_pass=how), some,
                             net=net)) for how in (False, True))
    torch.testing.assert_close(slow, fast, atol=1e-5, rtol=1e-5)


def test_one_pass_refuses_layers_it_does_not_know():
    odd = nn.Sequential(nn.Linear(FEATURES, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()
    with pytest.raises(ValueError, match=r"'1.weight', '1.bias'.* given, expected those of"):
        clipped_sum(odd, INPUTS, TARGETS, 1.0)
    grouped = nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="grouped convolutions"):
        clipped_sum(grouped, torch.ones(1, 2, 3, 3), torch.zeros(1).long(), 1.0)


def test_the_draws_depend_on_the_generator_alone():
    some = LocalTraining(0.1, local_steps=3, batch_size=4)
    first, again = (flat(train(hospital(1.0), some)) for _ in range(2))
    assert torch.equal(first, again)
    other = hospital(1.0).train(NET, some, generator=generator("other draws"))
    assert not torch.allclose(flat(other), first)


def test_the_noise_is_as_large_as_stated():
    wide = logistic_regression(generator(0), num_features=20_000)
    clinic = PrivateHospital("A", torch.zeros(5, 20_000), torch.arange(5) % 2, 1.5, 2.0)
    moved = clinic.train(wide, LocalTraining(1.0), generator=generator(1)).delta["0.weight"]
    assert float(moved.std()) * 5 == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("net", [NET, conv_net(generator(0), size=8).double()])
def test_an_empty_batch_is_noise_and_nothing_else(net):
    inputs = torch.ones(N, 1, 8, 8).double() if net is not NET else INPUTS
    clinic = PrivateHospital("A", inputs, TARGETS, 0.0, 1.0, sampler=lambda *_: [[]])
    assert float(flat(train(clinic, net=net)).abs().max()) == 0
    noisy = flat(train(replace(clinic, noise_multiplier=1.0), net=net))
    assert bool(torch.isfinite(noisy).all()) and float(noisy.std()) > 0
    records = PrivateHospital("A", inputs, TARGETS, 1.0, 1.0)  # about a third of batches is empty
    assert bool(torch.isfinite(flat(train(records, LocalTraining(
        0.1, local_steps=20, batch_size=1), net=net))).all())


def test_batches_are_a_poisson_sample():
    drawn = [list(batch) for batch in poisson_batches(40, 0.2, 3000, generator("coins"))]
    sizes = np.array([len(batch) for batch in drawn])
    assert len(drawn) == 3000
    assert sizes.mean() == pytest.approx(8, abs=0.2)
    assert sizes.var() == pytest.approx(40 * 0.2 * 0.8, rel=0.1)  # shuffled batches: 0
    both = np.mean([0 in batch and 1 in batch for batch in drawn])
    assert both == pytest.approx(0.04, abs=0.012)


# --- The unit -------------------------------------------------------------------------------


def sum_over(clinic, keep):
    """The sum of clipped gradients of the units that ``keep`` leaves, from a step without noise."""
    some = replace(clinic, inputs=clinic.inputs[keep], targets=clinic.targets[keep],
                   patients=clinic.patients and tuple(np.array(clinic.patients)[keep.numpy()]))
    return -some.units * flat(train(some))


@settings(max_examples=25, deadline=None)
@given(patients=st.lists(st.sampled_from("abcd"), min_size=N, max_size=N).filter(
    lambda names: len(set(names)) > 1), norm=st.floats(0.05, 5))
def test_removing_a_patient_moves_the_sum_by_no_more_than_the_norm(patients, norm):
    clinic = hospital(norm=norm, patients=tuple(patients), sampler=everybody)
    gone = torch.tensor([name != patients[0] for name in patients])
    moved = sum_over(clinic, torch.ones(N, dtype=torch.bool)) - sum_over(clinic, gone)
    assert float(moved.norm()) <= norm * (1 + 1e-6)


def test_clipping_records_lets_a_patient_of_several_move_the_sum_by_more():
    same = hospital(norm=0.1, sampler=everybody)
    same = replace(same, inputs=INPUTS[:1].repeat(N, 1), targets=TARGETS[:1].repeat(N))
    gone = torch.arange(N) >= 5
    everything = torch.ones(N, dtype=torch.bool)
    moved = sum_over(same, everything) - sum_over(same, gone)
    assert float(moved.norm()) == pytest.approx(5 * 0.1, rel=1e-3)
    by_patient = replace(same, patients=("one",) * 5 + tuple("abcdefg"))
    moved = sum_over(by_patient, everything) - sum_over(by_patient, gone)
    assert float(moved.norm()) == pytest.approx(0.1, rel=1e-3)


def test_patients_of_one_record_are_records_and_those_of_several_count_once():
    some = LocalTraining(0.1, local_steps=5, batch_size=4)
    single = hospital(0.5, patients=tuple(f"{k:02d}" for k in range(N)))
    torch.testing.assert_close(flat(train(single, some)), flat(train(hospital(0.5), some)))
    assert single.units == N
    twice = replace(single, patients=tuple("aabbccddeeff"))
    assert twice.units == 6
    assert twice.spends(some) == Spent(0.5, 4 / 6, 5)
    # without noise or clipping: the mean over patients of the mean over their records
    found = flat(train(replace(twice, noise_multiplier=0.0, max_grad_norm=1e6, sampler=everybody)))
    rows = record_gradients(NET, NET.state_dict(), INPUTS, TARGETS)
    torch.testing.assert_close(-found, rows.mean(0), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("given", [{}, {"one_pass": True}, {"patients": tuple("aabbccddeeff")}])
def test_a_gradient_that_is_not_finite_does_not_show(given):
    odd = INPUTS.clone()
    odd[0] = math.inf
    bare = replace(hospital(sampler=everybody, **given), inputs=odd)
    rest = slice(2, None) if given.get("patients") else slice(1, None)
    without = replace(bare, inputs=INPUTS[rest], targets=TARGETS[rest],
                      patients=bare.patients and bare.patients[rest])
    found, expected = bare.units * flat(train(bare)), without.units * flat(train(without))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("net", [NET, conv_net(generator(0), size=8, num_classes=3).double()])
def test_the_sum_in_one_pass_leaves_out_what_is_not_finite(net):
    inputs = (INPUTS if net is NET else torch.randn(N, 1, 8, 8, generator=generator(1))).double()
    odd = torch.cat([inputs[:1] * math.nan, inputs[1:]])
    for found, expected in zip(clipped_sum(net, odd, TARGETS, 0.5),
                               clipped_sum(net, inputs[1:], TARGETS[1:], 0.5), strict=True):
        torch.testing.assert_close(found, expected)


def test_records_by_themselves_are_clipped_without_nan():
    rows = torch.tensor([[3.0, 4.0], [math.inf, 1.0], [math.nan, 1.0], [0.3, 0.4]])
    clipped = RecordLevel(1.0, 0.0).clip(rows)
    torch.testing.assert_close(
        clipped, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 0.0], [0.3, 0.4]]))


# --- The budget -----------------------------------------------------------------------------


def pld_epsilon(history, delta=DELTA):
    accountant = pld.PLDAccountant()
    for noise, rate, steps in history:
        accountant.compose(dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
            rate, dp_accounting.GaussianDpEvent(noise)), steps))
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize("history", [
    ((1.0, 0.1, 100),), ((2.0, 0.25, 40),), ((4.0, 1.0, 10),), ((1.0, 0.1, 30), (2.0, 0.3, 20))])
def test_epsilon_is_that_of_dp_accounting(history):
    history = tuple(Spent(*entry) for entry in history)
    exact = pld_epsilon(history)
    assert epsilon(history, DELTA, units=100) == pytest.approx(exact, abs=0.02)
    assert epsilon(history, DELTA, units=100, accountant="rdp") > exact


def test_the_accountant_left_out_promises_too_much():
    from opacus.accountants import GaussianAccountant

    counting = GaussianAccountant()
    counting.history = [(1.0, 1 / 16, 160)]
    assert "gdp" not in ACCOUNTANTS
    assert counting.get_epsilon(1e-5) < 0.95 * pld_epsilon((Spent(1.0, 1 / 16, 160),), 1e-5)


def test_the_budget_of_rounds_is_that_of_one_long_run_and_a_new_engine_forgets_it():
    clinic, some = hospital(1.0), LocalTraining(0.1, local_steps=4, batch_size=3)
    history = ()
    for _ in range(5):
        history = spend(history, clinic.spends(some))
    long = clinic.spends(replace(some, local_steps=20))
    assert history == (long,) == (Spent(1.0, 0.25, 20),)
    carried = epsilon(history, DELTA, units=N)
    assert carried == epsilon((long,), DELTA, units=N)
    fresh = epsilon((clinic.spends(some),), DELTA, units=N)  # what a new engine says each round
    assert fresh < 0.6 * carried
    other = spend(history, Spent(2.0, 0.25, 4))
    assert other == (long, Spent(2.0, 0.25, 4))
    assert epsilon(other, DELTA, units=N) > carried


def test_opacus_counts_the_steps_that_a_hospital_says_it_spends():
    from opacus.accountants import RDPAccountant

    counting, some = RDPAccountant(), LocalTraining(0.1, local_steps=4, batch_size=3)
    clinic = hospital(1.3)
    for number in range(3):
        train(clinic, some, round=number, listen=lambda optimiser: optimiser.attach_step_hook(
            counting.get_optimizer_hook_fn(sample_rate=3 / N)))
    assert counting.history == [(1.3, 0.25, 12)]
    assert counting.history == [tuple(clinic.spends(replace(some, local_steps=12)))]


def test_nothing_spent_is_nothing_and_no_noise_is_infinite():
    assert epsilon((), DELTA, units=10) == 0
    assert epsilon((Spent(1.0, 0.1, 3), Spent(0.0, 0.1, 1)), DELTA, units=10) == math.inf


@pytest.mark.parametrize("target", [0.5, 2.0, 8.0])
def test_noise_for_a_budget_is_the_least_that_keeps_it(target):
    noise = noise_for(target, DELTA, units=50, sample_rate=0.2, steps=60)
    around = [epsilon((Spent(n, 0.2, 60),), DELTA, units=50, accountant="rdp")
              for n in (noise, 0.99 * noise)]
    assert around[0] <= target < around[1]


# --- What is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "message"), [
    (lambda: epsilon((Spent(1, 0.1, 1),), 0.1, units=10), r"delta: 0.1 given, .* below 1/10"),
    (lambda: epsilon((Spent(1, 0.1, 1),), 0.0, units=10), "delta: 0.0 given"),
    (lambda: epsilon((Spent(1, 0.1, 1),), 1e-3, units=0), "units: 0 given, expected 1 or more"),
    (lambda: epsilon((Spent(-1, 0.1, 1),), 1e-3, units=10), r"history: \(-1, 0.1, 1\) given"),
    (lambda: epsilon((Spent(1, 1.5, 1),), 1e-3, units=10), "a rate above 0 and at most 1"),
    (lambda: epsilon((Spent(1, 0.1, 0),), 1e-3, units=10), "1 step or more"),
    (lambda: epsilon((Spent(1, 0.1, 1),), 1e-3, units=10, accountant="gdp"),
     "accountant: 'gdp' given"),
    (lambda: noise_for(0.0, 1e-3, units=10, sample_rate=0.1, steps=1), "target_epsilon: 0.0"),
    (lambda: hospital(-1.0), "noise_multiplier: -1.0"),
    (lambda: hospital(1.0, 0.0), "max_grad_norm: 0.0"),
    (lambda: hospital(patients=("a",)), "patients: 1 given, expected 12"),
    (lambda: hospital(patients=("a",) * N, one_pass=True), "one_pass: True given"),
    (lambda: PrivateHospital("A", INPUTS, TARGETS[:3], 1.0, 1.0), "targets: 3 given"),
    (lambda: PrivateHospital("A", INPUTS[:0], TARGETS[:0], 1.0, 1.0), "inputs: no records"),
    (lambda: train(hospital(), LocalTraining(0.1, proximal=0.1)), "expected no proximal term"),
    (lambda: train(hospital(), LocalTraining(0.1, batch_size=13)), "at most all 12 units"),
    (lambda: train(hospital(patients=("a", "b") * 6), LocalTraining(0.1, batch_size=3)),
     "at most all 2 units"),
])
def test_what_cannot_be_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_batch_norm_is_refused():
    images = PrivateHospital("A", torch.ones(4, 1, 8, 8), torch.arange(4) % 2, 1.0, 1.0)
    net = conv_net(generator(0), size=8, num_classes=2, batch_norm=True)
    with pytest.raises(ValueError, match=r"model: .*BatchNorm.*GroupNorm"):
        train(images, net=net)


def test_frozen_weights_stay():
    net = mlp(generator("weights"), num_features=FEATURES, width=6).double()
    net[1].requires_grad_(False)
    update = train(hospital(1.0), LocalTraining(0.1, local_steps=2), net=net)
    assert not bool(update.delta["1.weight"].any())
    assert bool(update.delta["3.weight"].any())
    assert isinstance(net[1], nn.Linear) and not hasattr(net[1].weight, "grad_sample")
