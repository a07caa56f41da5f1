"""One record by division, the features of a batch by an equation: exact, and known to be."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leaklab.attacks.dense_layer import feature_target, last_layer_features, single_record
from leaklab.models import conv_net, lenet, logistic_regression, mlp, small_cnn
from leaklab.runtime import generator, isolated_rng
from leaklab.updates import Knowledge, LocalTraining
from local_training import STEP, smooth_images, view_of

SIZE = 12
ACTIVATIONS = (nn.ReLU, nn.Sigmoid, nn.GELU, nn.Tanh)


def turned(view):
    """The view of an attacker who takes the model sent out for the model returned."""
    return dataclasses.replace(view, before=view.after, after=view.before)


# --- One record -------------------------------------------------------------------------------


def by_hand():
    """One layer of two neurons without weights: p = (1/2, 1/2), so the gradient of the record
    (3, -1) with label 0 is ((-3/2, 1/2), (3/2, -1/2)), of the bias (-1/2, 1/2)."""
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.zero_(), net.bias.zero_()
    return net, view_of(net, torch.tensor([[3.0, -1.0]]), torch.tensor([0]))


def test_the_ratio_on_a_layer_computed_by_hand():
    net, view = by_hand()
    assert torch.equal(view.after["weight"], torch.tensor([[1.5, -0.5], [-1.5, 0.5]]))
    assert torch.equal(view.after["bias"], torch.tensor([0.5, -0.5]))
    answer = single_record(net, view)
    assert torch.equal(answer.guess, torch.tensor([[3.0, -1.0]]))
    assert answer.certificate.tolist() == [True] and answer.labels.tolist() == [0]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(ACTIVATIONS), st.integers(2, 5),
       st.sampled_from([torch.float32, torch.float64]))
def test_any_record_and_its_label_come_out_of_any_network(seed, activation, classes, dtype):
    record = torch.randn(1, 7, generator=generator("record", seed)).to(dtype)
    net = mlp(generator("weights", seed), num_features=7, width=20, num_classes=classes,
              activation=activation).to(dtype)
    label = torch.randint(classes, (1,), generator=generator("label", seed))
    answer = single_record(net, view_of(net, record, label))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(answer.guess, record, atol=tolerance, rtol=tolerance)
    assert answer.certificate.all() and torch.equal(answer.labels, label)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("classes", [2, 5])
def test_a_batch_is_not_taken_for_one_record(activation, classes):
    records = torch.randn(3, 7, generator=generator("records"))
    net = mlp(generator("weights"), num_features=7, num_classes=classes, activation=activation)
    labels = torch.tensor([0, 1, 1])
    assert not single_record(net, view_of(net, records, labels)).certificate.any()


def test_two_rows_that_always_agree_prove_nothing():
    records = torch.randn(5, 7, generator=generator("records"))
    net = logistic_regression(generator("weights"), num_features=7)
    answer = single_record(net, view_of(net, records, torch.tensor([0, 1, 1, 0, 1])))
    assert answer.score > -8, "rows in proportion alone would certify this mixture"
    assert not answer.certificate.any() and answer.labels is None
    several = view_of(net, records, torch.tensor([0, 1, 1, 0, 1]), LocalTraining(0.1, 3))
    assert not single_record(net, several).certificate.any()


def test_several_steps_on_one_record_still_give_it():
    record = torch.randn(1, 7, generator=generator("record"))
    net = mlp(generator("weights"), num_features=7, num_classes=3)
    answer = single_record(net, view_of(net, record, torch.tensor([2]), LocalTraining(0.1, 4)))
    torch.testing.assert_close(answer.guess, record, atol=1e-4, rtol=1e-4)
    assert answer.certificate.all() and answer.labels is None


def test_rows_that_agree_are_no_proof_of_one_record():
    """Two alike records of two classes give proportional rows; no rerun can tell them apart."""
    alike = torch.randn(1, 7, generator=generator("record")) + torch.tensor([[0.0], [0.01]])
    for seed in range(20):
        net = mlp(generator("weights", seed), num_features=7, width=8)
        view = view_of(net, alike, torch.tensor([0, 1]), LocalTraining(0.1, 2))
        assert not single_record(net, view).certificate.any()


def test_a_layer_inside_gives_the_features_that_enter_it():
    net = small_cnn(generator("weights"))
    image = smooth_images(generator("image"), 1, 28)
    view = view_of(net, image, torch.tensor([1]))
    for layer, depth in (("5", 5), ("7", 7)):
        answer = single_record(net, view, layer=layer)
        torch.testing.assert_close(answer.guess, net[:depth](image).detach(), atol=1e-4, rtol=1e-4)
        assert answer.certificate.all()


def test_a_gradient_of_the_wrong_sign_or_of_nothing_is_not_certified():
    net = mlp(generator("weights"), num_features=7)
    view = view_of(net, torch.randn(1, 7, generator=generator("record")), torch.tensor([0]))
    assert not single_record(net, turned(view)).certificate.any()
    still = dataclasses.replace(view, after=view.before)
    answer = single_record(net, still)
    assert not answer.certificate.any() and answer.guess.isfinite().all()


def test_one_live_neuron_proves_nothing():
    net = mlp(generator("weights"), num_features=7, width=20, num_classes=3)
    with torch.no_grad():
        net[1].bias[1:] = -100
        net[1].bias[0] = 10
    records = torch.randn(3, 7, generator=generator("records"))
    view = view_of(net, records, torch.tensor([0, 1, 1]), LocalTraining(0.1, 2))
    answer = single_record(net, view)
    assert answer.score == 0, "the others are all zero, and so in proportion"
    assert not answer.certificate.any()


def test_units_that_dropped_out_are_not_drawn_anew():
    with isolated_rng(generator("a draw of dropout")):
        net = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 3))
        record = torch.randn(1, 7, generator=generator("record"))
        view = view_of(net, record, torch.tensor([1]), LocalTraining(0.1))
    state = torch.get_rng_state()
    answer = single_record(net, view)
    torch.testing.assert_close(answer.guess, record, atol=1e-4, rtol=1e-4)
    assert answer.certificate.all() and answer.labels is None
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_cannot_run_on_one_record_is_no_error():
    net = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    records = torch.randn(4, 6, generator=generator("records"))
    view = view_of(net, records, torch.tensor([0, 1, 2, 0]), LocalTraining(0.1, mode="train"))
    assert not single_record(net, view).certificate.any()


# --- The features of a batch ------------------------------------------------------------------


def pictures(labels, net=None, training=STEP, seed=0, dtype=torch.float32):
    """Images with these labels, what enters the head for each, and the server's view."""
    net = (net or conv_net(generator("weights", seed), size=SIZE)).to(dtype)
    images = smooth_images(generator("images", seed), len(labels), SIZE).to(dtype)
    labels = torch.tensor(labels)
    return net, net[:-1](images).detach(), view_of(net, images, labels, training)


def errors(answer, features):
    """Relative distance of each record's features, in the order of the labels."""
    return (answer.guess - features).norm(dim=1) / features.norm(dim=1)


@pytest.mark.parametrize("size", [1, 4, 8, 9])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_features_of_distinct_labels_are_exact(size, activation):
    net = conv_net(generator("weights"), size=SIZE, activation=activation)
    net, features, view = pictures(list(range(size)), net)
    answer = last_layer_features(net, view)
    assert errors(answer, features).max() < 1e-5 and answer.certificate.all()
    assert answer.labels.tolist() == list(range(size))


def test_in_double_precision_they_are_exact_to_ten_digits():
    net, features, view = pictures([3, 1, 7, 0], dtype=torch.float64)
    answer = last_layer_features(net, view)
    assert answer.guess.dtype == torch.float64 and answer.certificate.all()
    assert errors(answer, features).max() < 1e-10


def test_large_weights_do_not_settle_and_are_solved_for():
    net, features, view = pictures([0, 1, 2, 3], lenet(generator("weights"), size=SIZE))
    answer = last_layer_features(net, view)
    assert answer.certificate.all() and errors(answer, features).max() < 1e-3


def test_the_order_of_labels_is_the_order_of_features():
    net, _, view = pictures([0, 1, 2])
    first = last_layer_features(net, view, torch.tensor([0, 1, 2]))
    second = last_layer_features(net, view, torch.tensor([2, 0, 1]))
    torch.testing.assert_close(first.guess[[2, 0, 1]], second.guess, atol=1e-5, rtol=1e-5)


def test_a_label_that_occurs_twice_is_parted():
    net, features, view = pictures([4, 4, 1])
    answer = last_layer_features(net, view)
    swapped = features[[1, 0, 2]]
    assert answer.certificate.all()
    assert min(errors(answer, f).max() for f in (features, swapped)) < 0.01


@pytest.mark.parametrize(("labels", "training"), [
    ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], STEP), ([2, 2, 2, 2, 2, 2], STEP),
    ([0, 1, 2], LocalTraining(0.5, 3, mode="eval")),
    ([0, 1, 2, 3], LocalTraining(0.5, 2, batch_size=2, mode="eval"))])
def test_it_says_where_it_failed(labels, training):
    net, features, view = pictures(labels, training=training)
    answer = last_layer_features(net, view)
    assert errors(answer, features).max() > 0.02
    assert not answer.certificate.any() and feature_target(net, view) is None


def test_wrong_labels_and_a_wrong_sign_are_noticed():
    net, _, view = pictures([0, 1, 2])
    assert not last_layer_features(net, view, torch.tensor([0, 1, 3])).certificate.any()
    assert not last_layer_features(net, turned(view)).certificate.any()


def test_features_are_those_of_the_clients_mode():
    net = conv_net(generator("weights"), size=SIZE, batch_norm=True)
    net, _, view = pictures([0, 1, 2], net, LocalTraining(0.1, mode="train"))
    images = smooth_images(generator("images", 0), 3, SIZE)
    answer = last_layer_features(net, view)
    with torch.no_grad():
        train, frozen = net[:-1].train()(images), net[:-1].eval()(images)
    assert errors(answer, train).max() < 1e-4 and answer.certificate.all()
    assert errors(answer, frozen).min() > 0.1, "eval in place of train is another answer"


def test_the_target_names_the_head():
    net, _, view = pictures([0, 5])
    layer, found = feature_target(net, view)
    assert layer == "7" and torch.equal(found, last_layer_features(net, view).guess)


def test_labels_that_are_missing_or_no_classes_are_named():
    net, _, view = pictures([0, 1])
    blind = dataclasses.replace(view, knowledge=Knowledge(STEP))
    with pytest.raises(ValueError, match="labels: unknown"):
        last_layer_features(net, blind)
    with pytest.raises(ValueError, match="labels: from 0 to 10 given, expected 0 to 9"):
        last_layer_features(net, view, torch.tensor([0, 10]))
