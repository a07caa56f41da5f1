"""Label shares off the last bias: exact where the algebra is, refused where it does not hold."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from leaklab.attacks.labels import (
    asked_shares,
    class_shares,
    label_counts,
    largest_remainder,
    last_bias,
    mean_prediction,
    sign_rule,
)
from leaklab.federation import (
    SERVER,
    Hospital,
    client_views,
    fed_avg,
    public_views,
    server_views,
    train_on,
)
from leaklab.models import conv_net, logistic_regression, mlp, small_cnn
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View
from local_training import view_of

ONE_STEP = LocalTraining(learning_rate=0.2)


def hospital(name: str, counts: tuple[int, ...], features: int = 6) -> Hospital:
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return Hospital(name, torch.randn(len(targets), features, generator=generator(name)), targets)


def views_of(members, net, training=ONE_STEP, known=True):
    (step,) = fed_avg(net, members, training, rounds=1, seed=0)
    return step, server_views(step, Knowledge(training=training if known else None))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5))
def test_one_full_step_gives_the_shares_exactly_when_the_attacker_holds_the_inputs(counts):
    member = hospital("A", tuple(counts))
    net = logistic_regression(generator("w"), num_features=6, num_classes=len(counts))
    (step,) = fed_avg(net, [member], ONE_STEP, rounds=1, seed=0)
    (view,) = server_views(step, Knowledge(training=ONE_STEP))
    guess = class_shares(net, view, auxiliary=member.inputs).guess
    truth = torch.bincount(member.targets) / len(member)
    torch.testing.assert_close(guess, truth, atol=1e-4, rtol=0)
    assert float(guess.sum()) == pytest.approx(1, abs=1e-5)


def test_the_reading_follows_the_labels_and_a_wrong_sign_does_not():
    net = logistic_regression(generator("w"), num_features=6)
    members = [hospital("A", (45, 5)), hospital("B", (25, 25)), hospital("C", (5, 45))]
    outside = torch.randn(500, 6, generator=generator("outside"))
    step, seen = views_of(members, net)
    shares = [float(class_shares(net, view, auxiliary=outside).guess[1]) for view in seen]
    assert shares == pytest.approx([0.1, 0.5, 0.9], abs=0.12)
    said = float(mean_prediction(net, step.before, outside)[1])
    turned = [2 * said - share for share in shares]
    assert turned[0] > turned[2], "minus where plus belongs ranks the hospitals backwards"


def test_with_two_hospitals_the_client_reads_what_the_server_reads():
    net = logistic_regression(generator("w"), num_features=6)
    outside = torch.randn(500, 6, generator=generator("outside"))
    step, seen = views_of([hospital("A", (45, 5)), hospital("B", (5, 45))], net)
    (view,) = client_views(step, "A", Knowledge(training=ONE_STEP))
    torch.testing.assert_close(class_shares(net, view, auxiliary=outside).guess,
                               class_shares(net, seen[1], auxiliary=outside).guess,
                               atol=1e-4, rtol=0)


def test_what_it_needs_and_does_not_have_is_named():
    net = logistic_regression(generator("w"), num_features=6)
    outside = torch.randn(20, 6, generator=generator("outside"))
    members = [hospital("A", (5, 5)), hospital("B", (5, 5))]
    step, unknown = views_of(members, net, known=False)
    with pytest.raises(ValueError, match="view: training unknown"):
        class_shares(net, unknown[0], auxiliary=outside)
    (released,) = public_views(step, Knowledge(training=ONE_STEP))
    with pytest.raises(ValueError, match="view: a released model given"):
        class_shares(net, released, auxiliary=outside)
    for training in (LocalTraining(0.1, optimiser="adam"), LocalTraining(0.1, momentum=0.9),
                     LocalTraining(0.1, proximal=1.0)):
        _, seen = views_of(members, net, training)
        with pytest.raises(ValueError, match="expected SGD without momentum or proximal term"):
            class_shares(net, seen[0], auxiliary=outside)


@pytest.mark.parametrize("net", [
    nn.Sequential(nn.Linear(6, 2, bias=False)), nn.Sequential(nn.Linear(6, 2), nn.ReLU())])
def test_a_model_without_a_last_bias_is_refused(net):
    with pytest.raises(ValueError, match=r"model: ends in .* expected a linear layer with a bias"):
        last_bias(net)


class HeadFirst(nn.Module):
    """Registers the layer that runs last before the one that runs first."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(3, 2), nn.Linear(6, 3)

    def forward(self, inputs):
        return self.head(torch.relu(self.body(inputs)))


def test_the_last_bias_is_that_of_the_layer_that_runs_last():
    assert last_bias(small_cnn(generator("w"))) == "7.bias"
    assert last_bias(nn.Linear(6, 2)) == "bias"
    nested = nn.Sequential(nn.Linear(6, 2), nn.Sequential(nn.Linear(2, 2)))
    assert last_bias(nested) == "1.0.bias"
    assert last_bias(HeadFirst()) == "head.bias"


def test_asking_works_for_every_view_and_follows_a_trained_model():
    training = LocalTraining(learning_rate=0.5, local_steps=200, optimiser="adam")
    member = hospital("A", (30, 10))
    net = logistic_regression(generator("w"), num_features=6)
    (step,) = fed_avg(net, [member], training, rounds=1, seed=0)
    for view in (*server_views(step), *public_views(step)):
        guess = asked_shares(net, view, auxiliary=member.inputs).guess
        torch.testing.assert_close(guess, torch.tensor([0.75, 0.25]), atol=0.03, rtol=0)


# --- One record, and whole numbers of records -------------------------------------------------


def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32), torch.tensor(labels)


def untrained(seed=0, **network):
    return conv_net(generator("weights", seed), size=8, **network)


@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_record_gives_its_label_by_a_sign(label, dtype):
    net = mlp(generator("weights"), num_features=6, num_classes=4).to(dtype)
    record = torch.randn(1, 6, generator=generator("record")).to(dtype)
    answer = sign_rule(net, view_of(net, record, torch.tensor([label])))
    assert answer.guess.tolist() == [label] and answer.certificate.all()
    given_up = 1 - torch.softmax(net(record), 1)[0, label].detach()
    torch.testing.assert_close(answer.score, given_up[None], atol=1e-4, rtol=0)


def test_two_labels_and_a_turned_sign_are_not_one_record():
    net = mlp(generator("weights"), num_features=6, num_classes=4)
    records = torch.randn(2, 6, generator=generator("records"))
    assert not sign_rule(net, view_of(net, records, torch.tensor([0, 3]))).certificate.any()
    view = view_of(net, records[:1], torch.tensor([2]))
    turned = dataclasses.replace(view, before=view.after, after=view.before)
    answer = sign_rule(net, turned)
    assert not answer.certificate.any() and answer.guess.tolist() != [2]


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("size", [1, 4, 16, 64])
def test_counts_are_right_before_training(size, public):
    images, labels = digits()
    right = []
    for seed in range(5):
        net, draw = untrained(seed), torch.randperm(len(images), generator=generator(size, seed))
        own = draw[:size]
        view = view_of(net, images[own], labels[own])
        outside = images[draw[-100:]] if public else None
        found = label_counts(net, view, batch_size=size, auxiliary=outside).guess
        wrong = (found - torch.bincount(labels[own], minlength=10)).abs().sum() / 2
        right.append(1 - float(wrong) / size)
    assert sum(right) / 5 >= 0.98


def test_counts_of_one_class_and_of_renamed_classes():
    images, _ = digits()
    net, labels = untrained(), torch.tensor([5] * 6 + [1] * 3)
    counts = label_counts(net, view_of(net, images[:9], labels), batch_size=9).guess
    assert counts.tolist() == [0, 3, 0, 0, 0, 6, 0, 0, 0, 0]
    names = torch.randperm(10, generator=generator("names"))
    head = net[-1]
    with torch.no_grad():
        head.weight[names], head.bias[names] = head.weight.clone(), head.bias.clone()
    renamed = label_counts(net, view_of(net, images[:9], names[labels]), batch_size=9).guess
    assert torch.equal(renamed[names], counts)


def test_the_wrong_sign_miscounts():
    images, labels = digits()
    net = untrained()
    view = view_of(net, images[:16], labels[:16])
    turned = dataclasses.replace(view, before=view.after, after=view.before)
    truth = torch.bincount(labels[:16], minlength=10)
    assert torch.equal(label_counts(net, view, batch_size=16).guess, truth)
    assert not torch.equal(label_counts(net, turned, batch_size=16).guess, truth)


def test_a_batch_of_none_is_refused():
    net = untrained()
    view = view_of(net, torch.zeros(1, 1, 8, 8), torch.tensor([0]))
    with pytest.raises(ValueError, match="batch_size: 0 given, expected 1 or more"):
        label_counts(net, view, batch_size=0)


def whole_points(classes, total):
    points = itertools.product(range(total + 1), repeat=classes)
    return torch.tensor([point for point in points if sum(point) == total], dtype=torch.float64)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 6))
def test_rounding_is_the_nearest_whole_point(weights, total):
    shares = torch.tensor(weights, dtype=torch.float64) + 1e-3
    shares = shares / shares.sum()
    found = largest_remainder(shares, total)
    assert int(found.sum()) == total and (found >= 0).all()
    assert ((found - shares * total).abs() < 1 + 1e-6).all(), "quota: never off by one or more"
    points = whole_points(len(shares), total)
    for order in (1, 2):
        least = torch.linalg.vector_norm(points - shares * total, order, dim=1).min()
        own = torch.linalg.vector_norm(found - shares * total, order)
        assert own == pytest.approx(float(least), abs=1e-6)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6), st.integers(0, 50))
def test_any_shares_become_counts(shares, total):
    found = largest_remainder(torch.tensor(shares), total)
    assert int(found.sum()) == total and (found >= 0).all() and found.dtype == torch.int64
    assert torch.equal(found, largest_remainder(found.double() / max(total, 1), total)) or not total


def test_equal_remainders_go_to_the_lower_class_and_nan_is_refused():
    assert largest_remainder(torch.full((3,), 1 / 3), 4).tolist() == [2, 1, 1]
    assert largest_remainder(torch.tensor([0.6, 0.6, -0.2]), 2).tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="expected finite shares"):
        largest_remainder(torch.tensor([torch.nan, 1.0]), 2)


@pytest.mark.parametrize("label", [0, 1])
def test_one_output_with_binary_cross_entropy_is_two_classes(label):
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(6, 1))
    two = nn.Sequential(nn.Linear(6, 2))
    with torch.no_grad():
        two[0].weight.copy_(torch.cat([torch.zeros(1, 6), one[0].weight]))
        two[0].bias.copy_(torch.tensor([0.0, float(one[0].bias)]))
    inputs = torch.randn(20, 6, generator=generator("inputs"))
    targets = (torch.arange(20) % 4 == 0).long() if label else torch.zeros(20, dtype=torch.long)

    def binary(outputs, labels):
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())

    def seen(net, loss, n):
        update = train_on(net, inputs[:n], targets[:n], ONE_STEP, loss=loss,
                          generator=generator(0))
        return View(SERVER, "update", update.before, update.after, ("A",),
                    knowledge=Knowledge(ONE_STEP))

    found = [label_counts(net, seen(net, loss, 20), batch_size=20, auxiliary=inputs).guess.tolist()
             for net, loss in ((one, binary), (two, nn.functional.cross_entropy))]
    assert found[0] == found[1] == torch.bincount(targets, minlength=2).tolist()
    single = sign_rule(one, seen(one, binary, 1))
    assert single.guess.tolist() == [label] and bool(single.certificate)
