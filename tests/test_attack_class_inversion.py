"""Class inversion finds what the model is sure of: a template, and a patient only where asked."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cosine_similarity

from leaklab.attacks.class_inversion import invert_class
from leaklab.attacks.search import Budget
from leaklab.federation import PUBLIC, train_on
from leaklab.metrics.reconstruction import identification_rate
from leaklab.models import predict, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, View
from local_training import smooth_images

BLACK = torch.zeros(1, 1, 8, 8)


def released(state):
    return View(PUBLIC, "released model", None, dict(state), ("A",))


def linear(classes=2, size=8, key="weights"):
    net = nn.Sequential(nn.Flatten(), nn.Linear(size * size, classes))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(net[1].weight.shape, generator=generator(key)))
        net[1].bias.zero_()
    return net


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 1))
def test_of_two_classes_of_a_linear_model_the_guess_is_the_difference_of_their_weights(seed, label):
    net = linear(key=seed)
    found = invert_class(net, released(net.state_dict()), label, start=BLACK, learning_rate=0.01)
    template = net[1].weight[label] - net[1].weight[1 - label]
    alike = cosine_similarity(found.guess.flatten(), template.detach().clamp_min(0), dim=0)
    assert alike > 0.999  # black cannot get darker, so what is negative never shows


def test_the_score_is_the_confidence_and_nothing_else_changes():
    net = linear(classes=3).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    start = torch.rand(1, 1, 8, 8, generator=generator("start"))
    kept = start.clone()
    found = invert_class(net, released(before), 2, start=start, enough=0.95)
    confidence = torch.softmax(predict(net, before, found.guess), 1)[0, 2]
    torch.testing.assert_close(found.score, confidence[None])
    assert confidence >= 0.95 and found.guess.min() >= 0 and found.guess.max() <= 1
    assert torch.equal(start, kept) and net.training and found.labels.tolist() == [2]
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_a_start_that_is_enough_comes_back_as_it_is():
    net = linear()
    with torch.no_grad():
        net[1].bias[:] = torch.tensor([9.0, 0.0])
    found = invert_class(net, released(net.state_dict()), 0, start=BLACK)
    assert torch.equal(found.guess, BLACK) and found.score > 0.99


def test_a_model_that_is_sure_of_another_class_is_no_obstacle():
    net = linear()
    with torch.no_grad():
        net[1].bias[:] = torch.tensor([0.0, 10.0])  # 1 - p is flat there to within rounding
    image = BLACK.clone().requires_grad_()
    (slope,) = torch.autograd.grad(1 - torch.softmax(net(image), 1)[0, 0], [image])
    assert float(slope.abs().max()) < 1e-3
    found = invert_class(net, released(net.state_dict()), 0, start=BLACK)
    assert float(found.score) >= 0.99


def test_where_a_class_is_one_patient_the_guess_is_that_patient():
    images = smooth_images(generator("patients"), 12, 8)
    net = linear(classes=12)
    with torch.no_grad():
        net[1].weight.zero_()
    after = train_on(net, images, torch.arange(12), LocalTraining(0.5, local_steps=300),
                     generator=generator(0)).after
    start = smooth_images(generator("public"), 50, 8).mean(0, keepdim=True)
    guesses = torch.cat([invert_class(net, released(after), k, start=start).guess
                         for k in range(12)])
    assert identification_rate(guesses, images, images) >= 0.9
    assert identification_rate(start.expand_as(images), images, images) == pytest.approx(1 / 12)


def test_a_network_is_sure_of_a_picture_that_looks_like_nothing():
    draws = generator("blobs")
    labels = torch.arange(200) % 2
    images = smooth_images(draws, 200, 28) * 0.5
    images[labels == 1, :, 10:18, 10:18] += 0.5
    net = small_cnn(generator("weights"))
    after = train_on(net, images, labels, LocalTraining(0.05, local_steps=100, batch_size=32,
                                                        momentum=0.9), generator=draws).after
    found = invert_class(net, released(after), 1, start=torch.zeros(1, 1, 28, 28))
    mean = images[labels == 1].mean(0)
    alike = torch.corrcoef(torch.stack([found.guess.flatten(), mean.flatten()]))[0, 1]
    assert float(found.score) >= 0.99 and float(alike) < 0.8


def test_the_budget_bounds_the_search_and_snapshots_show_it():
    net = linear()
    found = invert_class(net, released(net.state_dict()), 0, start=BLACK, learning_rate=1e-6,
                         budget=Budget(7), every=2)
    assert found.trajectory.shape == (4, 1, 1, 8, 8)
    assert float(found.score) == pytest.approx(0.5, abs=1e-3)


def test_double_precision_is_kept():
    net = linear().double()
    found = invert_class(net, released(net.state_dict()), 0, start=BLACK.double())
    assert found.guess.dtype == found.score.dtype == torch.float64


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"label": 2}, "label: 2 given, expected 0 to 1"),
    ({"label": -1}, "label: -1 given"),
    ({"start": BLACK.expand(2, 1, 8, 8)}, "start: 2 inputs given, expected one"),
    ({"enough": 1.0}, "enough: 1.0 given"),
    ({"enough": math.nan}, "enough: nan given"),
])
def test_bad_input_is_named(changes, complaint):
    net = linear()
    arguments = {"label": 0, "start": BLACK, **changes}
    with pytest.raises(ValueError, match=complaint):
        invert_class(net, released(net.state_dict()), **arguments)
    with pytest.raises(ValueError, match="states that are not those of the model"):
        invert_class(net, released(linear(size=4).state_dict()), 0, start=BLACK)
