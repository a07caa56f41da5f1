"""Whole batches out of one dense layer: exact where the attack says so, and never wrong then."""

import dataclasses
import functools
import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes
from torch import nn

from leaklab.attacks import spear
from leaklab.attacks.layers import dense_gradient
from leaklab.attacks.spear.proof import fits, slopes_of
from leaklab.attacks.spear.search import Span, search
from leaklab.data import radiology
from leaklab.models import mlp, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, weighted_mean
from local_training import STEP, view_of

FEW = 2**13
"""Draws of the runs that are meant to fail."""


@functools.cache
def images():
    return torch.tensor(radiology.load("chest", source="synthetic", n=64).inputs).flatten(1)


@functools.cache
def table():
    columns = torch.tensor(load_diabetes(scaled=False).data, dtype=torch.float32)
    return (columns - columns.mean(0)) / columns.std(0)


@functools.cache
def genotypes(people=64, variants=500):
    draw = generator("genotypes")
    frequency = 0.05 + 0.45 * torch.rand(variants, generator=draw)
    return sum(torch.bernoulli(frequency.expand(people, -1), generator=draw) for _ in range(2))


KINDS = {"images": images, "table": table, "genotypes": genotypes}


def batch(kind, size, seed=0):
    rows = KINDS[kind]()
    return rows[torch.randperm(len(rows), generator=generator(kind, size, seed))[:size]]


def case(records, seed=0, classes=2, training=STEP, dtype=torch.float32, **network):
    net = mlp(generator("weights", seed), num_features=records.shape[1], num_classes=classes,
              **network).to(dtype)
    labels = torch.randint(0, classes, (len(records),), generator=generator("labels", seed))
    return net, labels, view_of(net, records.to(dtype), labels, training)


def attack(net, view, **arguments):
    return spear.batch(net, view, generator=generator("attack"), **arguments)


def distances(answer, records):
    """Of each guess from each record, in its worst feature."""
    return torch.cdist(answer.guess.double(), records.double(), p=float("inf"))


def is_right(answer, records, tolerance=1e-3):
    """As many guesses as records, each near one of its own."""
    gaps = distances(answer, records)
    return (gaps.shape[0] == gaps.shape[1] and bool((gaps.min(0).values < tolerance).all())
            and bool((gaps.min(1).values < tolerance).all()))


# --- Where it succeeds ------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_every_record_is_exact_and_the_attacker_knows(kind, size, classes):
    records = batch(kind, size)
    net, labels, view = case(records, classes=classes)
    answer = attack(net, view)
    gaps = distances(answer, records)
    assert is_right(answer, records, 2e-5), gaps.min(0).values
    assert answer.certificate.all() and answer.score.min() > 0.98
    assert torch.equal(answer.labels, labels[gaps.argmin(1)])


def test_rounded_genotypes_are_the_very_genotypes():
    records = batch("genotypes", 12)
    net, _, view = case(records, classes=10)
    answer = attack(net, view, batch_size=12)
    assert answer.certificate.all()
    found = {tuple(row) for row in answer.guess.round().int().tolist()}
    assert found == {tuple(row) for row in records.int().tolist()}


@pytest.mark.parametrize(("rate", "tolerance"), [(1.0, 1e-5), (0.1, 1e-4), (0.01, 1e-3)])
def test_the_error_grows_as_the_learning_rate_shrinks(rate, tolerance):
    records = batch("table", 4)
    net, _, view = case(records, training=LocalTraining(rate))
    answer = attack(net, view)
    assert answer.certificate.all() and is_right(answer, records, tolerance)


def test_in_double_precision_the_records_are_exact_to_ten_digits():
    records = batch("images", 6)
    net, _, view = case(records, dtype=torch.float64)
    answer = attack(net, view)
    assert answer.guess.dtype == answer.score.dtype == torch.float64
    assert answer.certificate.all() and is_right(answer, records, 1e-10)


def test_the_order_of_the_batch_changes_nothing_but_the_order():
    records = batch("images", 4)
    net, labels, view = case(records)
    turned = view_of(net, records.flip(0), labels.flip(0))
    first, second = attack(net, view), attack(net, turned)
    assert first.certificate.all() and second.certificate.all()
    assert is_right(second, first.guess, 1e-5)


def test_renamed_classes_rename_the_labels():
    records = batch("images", 4)
    net, labels, view = case(records, classes=3)
    first = attack(net, view)
    names = torch.tensor([2, 0, 1])
    with torch.no_grad():
        net[3].weight[names], net[3].bias[names] = net[3].weight.clone(), net[3].bias.clone()
    second = attack(net, view_of(net, records, names[labels]))
    nearest = distances(second, first.guess).argmin(1)
    assert torch.equal(second.labels, names[first.labels][nearest])


def test_dead_and_unheard_neurons_do_no_harm():
    records = batch("table", 5)
    net, labels, _ = case(records)
    with torch.no_grad():
        net[1].bias[:64] = -100
        net[3].weight[:, 64:128] = 0
    answer = attack(net, view_of(net, records, labels))
    assert answer.certificate.all() and is_right(answer, records)


def test_records_of_two_hospitals_are_read_from_their_sum():
    records = batch("genotypes", 5)
    net, labels, whole = case(records)
    parts = [view_of(net, records[rows], labels[rows]) for rows in ([0, 1], [2, 3, 4])]
    mean = weighted_mean([part.after for part in parts], [2, 3])
    answer = attack(net, dataclasses.replace(whole, artefact="sum", after=mean))
    assert answer.certificate.all() and is_right(answer, records)


def test_a_layer_inside_a_network_needs_the_number_of_records():
    net = small_cnn(generator("weights"))
    inputs = torch.randn(3, 1, 28, 28, generator=generator("inputs"))
    view = view_of(net, inputs, torch.tensor([0, 1, 1]))
    features = net[:5](inputs).detach()
    blind, told = attack(net, view), attack(net, view, batch_size=3)
    assert is_right(blind, features) and not blind.certificate.any()
    assert is_right(told, features) and told.certificate.all()


# --- Where it must refuse ---------------------------------------------------------------------


def noisy(view, size):
    draw = generator("noise")
    after = {name: tensor + size * torch.randn(tensor.shape, generator=draw)
             for name, tensor in view.after.items()}
    return dataclasses.replace(view, after=after)


HOSTILE = {
    "sigmoid": ({"activation": nn.Sigmoid}, {}, 4),
    "gelu": ({"activation": nn.GELU}, {}, 4),
    "gelu, two": ({"activation": nn.GELU}, {}, 2),
    "leaky": ({"activation": nn.LeakyReLU}, {}, 3),
    "none": ({"activation": nn.Identity}, {}, 2),
    "hard sigmoid": ({"activation": nn.Hardsigmoid}, {}, 3),
    "too few named": ({}, {"batch_size": 3}, 5),
    "too many named": ({}, {"batch_size": 6}, 5),
    "sixteen": ({}, {}, 16),
    "thirty": ({}, {}, 30),
    "several steps": ({"training": LocalTraining(0.5, local_steps=5)}, {}, 4),
    "small batches": ({"training": LocalTraining(0.5, local_steps=4, batch_size=2)}, {}, 4),
    "tiny rate": ({"training": LocalTraining(1e-6)}, {}, 4),
    "narrow": ({"width": 8}, {}, 5),
    "last layer": ({}, {"layer": "3"}, 4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_not_certain_where_it_cannot_be(name, kind):
    network, arguments, size = HOSTILE[name]
    net, _, view = case(batch(kind, size), **network)
    answer = attack(net, view, draws=FEW, **arguments)
    assert not answer.certificate.any()
    assert answer.guess.isfinite().all() and answer.guess.shape[0] == len(answer.score)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6])
def test_noise_beyond_rounding_is_no_certainty(kind, size):
    net, _, view = case(batch(kind, 4))
    assert not attack(net, noisy(view, size), draws=FEW).certificate.any()


def test_a_table_with_as_many_records_as_features_and_bias_is_refused():
    for size, sure in ((10, True), (11, False), (12, False)):
        records = batch("table", size)
        net, _, view = case(records, classes=10)
        answer = attack(net, view)
        assert bool(answer.certificate.all()) == sure
        assert not sure or is_right(answer, records)


def test_of_equal_records_it_finds_one_and_is_not_sure_of_their_number():
    records = batch("table", 3)
    net, _, view = case(records[[0, 1, 2, 2]])
    answer = attack(net, view)
    assert len(answer.guess) == 3 and not attack(net, view, batch_size=4).certificate.any()


def test_records_that_light_the_same_neurons_merge_and_only_the_labels_tell():
    records = batch("images", 1) + 1e-4 * torch.randn(2, 784, generator=generator("twin"))
    net, _, _ = case(records)
    view = view_of(net, records, torch.tensor([0, 1]))
    answer = attack(net, view)
    seen = dense_gradient(net, view)
    merged = torch.cat([answer.guess.double(), torch.ones(1, 1)], 1)
    assert len(answer.guess) == 1 and distances(answer, records).min() > 1e-3
    assert fits(seen, merged, slopes_of(seen, merged)), "pattern and gradient alone would be sure"
    assert not answer.certificate.any()


def test_records_that_leave_a_part_of_the_gradient_unexplained_do_not_fit():
    records = batch("genotypes", 4).double()
    net, _, view = case(records)
    seen = dense_gradient(net, view)
    whole = torch.cat([records, torch.ones(len(records), 1)], 1)
    assert fits(seen, whole, slopes_of(seen, whole))
    stranger = torch.cat([batch("genotypes", 1, seed=9).double(), torch.ones(1, 1)], 1)
    beside = stranger - stranger @ torch.linalg.pinv(whole) @ whole  # nothing of it in their span
    more = dataclasses.replace(seen, gradient=seen.gradient + 1e-3 * beside / beside.norm())
    assert torch.allclose(slopes_of(more, whole).value, slopes_of(seen, whole).value, atol=1e-9)
    assert not fits(more, whole, slopes_of(more, whole))


def test_a_gradient_of_the_wrong_sign_is_noticed():
    records = batch("images", 3)
    net, _, view = case(records)
    turned = dataclasses.replace(view, before=view.after, after=view.before)
    assert not attack(net, turned, draws=FEW).certificate.any()
    wrong = dataclasses.replace(view, after={name: 2 * view.before[name] - view.after[name]
                                             for name in view.after})
    assert not attack(net, wrong, draws=FEW).certificate.any()


def twins(net, records, labels):
    """Whether two records share label, neurons and nearly the model's answer."""
    with torch.no_grad():
        on, answers = net[1](net[0](records)) > 0, net(records)
    return any(labels[i] == labels[j] and torch.equal(on[i], on[j])
               and float((answers[i] - answers[j]).abs().max()) < 0.3
               for i, j in itertools.combinations(range(len(records)), 2))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(3, 12), st.integers(4, 40),
       st.integers(2, 4), st.sampled_from([1.0, 0.1, 0.01, 1e-3]))
@example(seed=19994, size=2, features=5, width=5, classes=2, rate=1e-3)
@example(seed=402599, size=2, features=5, width=4, classes=2, rate=1.0)
def test_it_is_never_certain_and_wrong(seed, size, features, width, classes, rate):
    records = torch.randn(size, features, generator=generator("records", seed))
    net, labels, view = case(records, seed, classes, LocalTraining(rate), width=width)
    told = attack(net, view, draws=2**11, batch_size=size)
    assert not told.certificate.any() or is_right(told, records, 0.02), distances(told, records)
    answer = attack(net, view, draws=2**11)
    if answer.certificate.any() and not twins(net, records, labels):
        assert is_right(answer, records, 0.02), distances(answer, records)


def test_twins_pass_for_their_mean_with_whoever_does_not_know_the_number():
    records = torch.randn(2, 5, generator=generator("records", 402599))
    net, labels, view = case(records, 402599, 2, LocalTraining(1.0), width=4)
    assert twins(net, records, labels)
    answer = attack(net, view, draws=FEW)
    assert answer.certificate.all() and len(answer.guess) == 1
    assert float((answer.guess - records.mean(0)).abs().max()) < 0.01
    assert not attack(net, view, draws=FEW, batch_size=2).certificate.any()


@pytest.mark.parametrize("seed", [8, 33, 41, 142])
def test_with_dropout_the_number_of_records_must_be_known(seed):
    """Narrow, so that records whose neurons all drop out leave no trace."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width, size = [2, 3, 8, 32][seed % 4], 2 + seed % 2
        net = nn.Sequential(nn.Linear(7, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 3))
        records, labels = torch.randn(size, 7), torch.randint(3, (size,))
        view = view_of(net, records, labels, LocalTraining(0.1))
    assert not attack(net, view, draws=FEW).certificate.any()


def test_bias_gradients_that_cancel_are_refused():
    net = nn.Linear(5, 2)
    with torch.no_grad():
        net.weight.zero_(), net.bias.zero_()
    view = view_of(net, torch.randn(2, 5, generator=generator("records")), torch.tensor([0, 1]))
    assert not view.after["bias"].any()
    answer = attack(net, view, draws=FEW)
    assert not answer.certificate.any() and answer.guess.isfinite().all()


@pytest.mark.parametrize("live", [0, 1, 4])
def test_too_few_neurons_with_a_gradient_single_out_no_record(live):
    neurons = torch.randn(10, 3, generator=generator("neurons"))
    span = Span(torch.eye(3, 6), neurons, torch.arange(10) < live, 50 * neurons[:live])
    assert list(search(span, generator("attack"), FEW)) == []


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("draws", 0)])
def test_arguments_out_of_range_are_named(name, value):
    net, _, view = case(batch("table", 2))
    with pytest.raises(ValueError, match=f"{name}: 0 given, expected 1 or more"):
        attack(net, view, **{name: value})


def test_the_slopes_are_those_of_autograd():
    records = batch("table", 4)
    net, labels, view = case(records, dtype=torch.float64)
    inside = net[1](records.double())
    loss = nn.functional.cross_entropy(net[3](torch.relu(inside)), labels)
    (truth,) = torch.autograd.grad(loss, inside)
    seen = dense_gradient(net, view)
    found = slopes_of(seen, torch.cat([records.double(), torch.ones(4, 1)], 1))
    torch.testing.assert_close(found.value, truth, atol=1e-10, rtol=0)
    assert torch.equal(~found.zero, truth != 0) and torch.equal(found.on, inside > 0)
