"""Label shares off the last bias: exact where the algebra is, refused where it does not hold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leaklab.attacks.labels import asked_shares, class_shares, last_bias, mean_prediction
from leaklab.federation import Hospital, client_views, fed_avg, public_views, server_views
from leaklab.models import logistic_regression, small_cnn
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining

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
