"""Gradient matching finds what the update holds, only that, and says with what loss."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.gradient_matching import (
    cosine_distance,
    deep_leakage,
    gaussian_distance,
    inverting_gradients,
    norm,
    squared_distance,
)
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.attacks.simulated import client
from leaklab.metrics.reconstruction import match, psnr
from leaklab.models import conv_net, lenet, logistic_regression
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining
from local_training import STEP, smooth_images, view_of

SIZE = 12
IMAGES = smooth_images(generator("images"), 2, SIZE)
OTHERS = smooth_images(generator("others"), 2, SIZE)
LABELS = torch.tensor([0, 1])


def network(seed=0, **settings) -> nn.Module:
    return conv_net(generator("weights", seed), size=SIZE, num_classes=4, **settings)


def knowing(view, training=STEP, labels=LABELS, defence=None):
    return dataclasses.replace(view, knowledge=Knowledge(training, labels, defence))


def invert(net, view, images=IMAGES, evaluations=100, **arguments):
    return inverting_gradients(net, view, shape=images.shape, budget=Budget(evaluations),
                               generator=generator("attack"), **arguments)


def decibels(answer, images=IMAGES) -> float:
    """PSNR of the worst image, each guess beside the image it fits best."""
    images = images.to(answer.guess)
    return float(psnr(answer.guess[match(answer.guess, images)], images).min())


MEAN_IMAGE = float(psnr(IMAGES.mean(0, keepdim=True).expand_as(IMAGES), IMAGES).max())
"""What the mean of the two secret images themselves would reach: more than an attacker has."""


# --- Distances --------------------------------------------------------------------------------

gradients = st.lists(st.floats(-10, 10), min_size=6, max_size=6).filter(
    lambda values: max(map(abs, values)) > 0.1)


def as_gradient(values):
    tensor = torch.tensor(values, dtype=torch.float64)
    return {"weight": tensor[:4].reshape(2, 2), "bias": tensor[4:]}


def test_distances_by_hand():
    east, north_east = as_gradient([1, 0, 0, 0, 0, 0]), as_gradient([1, 0, 0, 0, 1, 0])
    assert float(cosine_distance(east, north_east)) == pytest.approx(1 - 2**-0.5)
    assert float(squared_distance(east, north_east)) == pytest.approx(1 / 2)
    assert float(squared_distance(north_east, east)) == pytest.approx(1)
    assert float(gaussian_distance(0.5)(east, north_east)) == pytest.approx(2)
    assert float(norm(north_east)) == pytest.approx(2**0.5)
    assert float(cosine_distance(east, as_gradient([-3, 0, 0, 0, 0, 0]))) == pytest.approx(2)


@settings(deadline=None)
@given(gradients, gradients, st.floats(0.01, 100))
def test_the_cosine_is_blind_to_length_and_the_squared_distance_is_not(first, second, scale):
    a, b = as_gradient(first), as_gradient(second)
    longer = {name: scale * tensor for name, tensor in a.items()}
    for pair in ((longer, b), (b, longer)):
        assert float(cosine_distance(*pair)) == pytest.approx(float(cosine_distance(a, b)))
    assert -1e-12 < float(cosine_distance(a, b)) < 2 + 1e-12
    for distance in (cosine_distance, squared_distance, gaussian_distance(0.3)):
        assert float(distance(a, a)) == pytest.approx(0, abs=1e-12)
    assert float(squared_distance(longer, a)) == pytest.approx((scale - 1) ** 2)


@settings(deadline=None)
@given(gradients, gradients, gradients, st.floats(0.1, 5))
def test_the_gaussian_distance_is_minus_the_log_likelihood_up_to_a_constant(a, b, seen, spread):
    likelihood = [stats.norm.logpdf(seen, loc=mean, scale=spread).sum() for mean in (a, b)]
    distance = gaussian_distance(spread)
    found = [float(distance(as_gradient(mean), as_gradient(seen))) for mean in (a, b)]
    assert found[1] - found[0] == pytest.approx(likelihood[0] - likelihood[1], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("spread", [0.0, -1.0, float("nan")])
def test_noise_without_spread_is_refused(spread):
    with pytest.raises(ValueError, match=r"noise_std: .* given, expected a number above 0"):
        gaussian_distance(spread)


def test_distances_without_a_gradient_have_a_slope():
    zero = as_gradient([0.0] * 6)
    for tensor in zero.values():
        tensor.requires_grad_()
    slopes = torch.autograd.grad(cosine_distance(zero, as_gradient([1] * 6)), list(zero.values()))
    assert all(slope.isfinite().all() for slope in slopes)


# --- Deep leakage -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sigmoid():
    """The original's own case, smaller: one image in its sigmoid LeNet, in double precision."""
    net = lenet(generator("lenet", 2), size=8, num_classes=4).double()
    image = smooth_images(generator("images"), 1, 8).double()
    return net, image, view_of(net, image, torch.tensor([2]))


def leak(net, view, image, evaluations=400, **arguments):
    return deep_leakage(net, view, shape=image.shape, budget=Budget(evaluations),
                        generator=generator("attack"), **arguments)


def test_deep_leakage_is_exact_on_the_originals_own_case(sigmoid):
    net, image, view = sigmoid
    answer = leak(net, view, image)
    assert float(-answer.score) < 1e-20
    torch.testing.assert_close(answer.guess, image, atol=1e-9, rtol=0)
    assert answer.guess.dtype == torch.float64


@pytest.mark.parametrize("label", [0, 3])
def test_labels_that_are_not_known_are_found_with_the_images(label, sigmoid):
    net, image, _ = sigmoid
    view = knowing(view_of(net, image, torch.tensor([label])), labels=None)
    answer = leak(net, view, image, 200)
    assert answer.labels.tolist() == [label]
    assert decibels(answer, image) > 50


def test_several_images_come_back_in_the_order_of_their_labels():
    net = lenet(generator("lenet", 2), size=8, num_classes=4).double()
    images, labels = smooth_images(generator("images"), 2, 8).double(), torch.tensor([3, 1])
    view = view_of(net, images, labels)
    first = leak(net, view, images, 200)
    second = leak(net, view, images, 200, labels=labels.flip(0))
    assert float(psnr(first.guess, images).min()) > 50
    assert float(psnr(second.guess, images.flip(0)).min()) > 50


class HeadFirst(nn.Module):
    """Its first parameters are those of the layer that runs last."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(6, 3), nn.Linear(4, 6)

    def forward(self, inputs):
        return self.head(torch.sigmoid(self.body(inputs)))


def test_the_number_of_classes_is_that_of_the_models_answer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = HeadFirst().double()
    record = torch.tensor([[0.2, 0.9, 0.4, 0.6]], dtype=torch.float64)
    view = knowing(view_of(net, record, torch.tensor([2])), labels=None)
    answer = leak(net, view, record)
    assert answer.labels.tolist() == [2]
    torch.testing.assert_close(answer.guess, record, atol=1e-4, rtol=0)


# --- Inverting gradients ------------------------------------------------------------------------


def test_the_update_gives_back_its_own_images_and_not_others():
    net = network()
    answer = invert(net, view_of(net, IMAGES, LABELS))
    assert decibels(answer) > MEAN_IMAGE + 8
    control = invert(net, view_of(net, OTHERS, LABELS))
    assert decibels(control) < MEAN_IMAGE
    assert decibels(control, OTHERS) > MEAN_IMAGE + 8
    assert torch.equal(answer.labels, LABELS)


def test_colours_come_back_too():
    net = network(channels=3)
    images = smooth_images(generator("colours"), 1, SIZE, channels=3)
    answer = invert(net, view_of(net, images, LABELS[:1]), images)
    assert answer.guess.shape == (1, 3, SIZE, SIZE) and decibels(answer, images) > 25


def test_a_table_comes_back_too():
    net = logistic_regression(generator("weights"), num_features=5)
    record = torch.tensor([[0.1, 0.8, 0.5, 0.3, 0.9]])
    answer = invert(net, view_of(net, record, LABELS[:1]), record, 200)
    torch.testing.assert_close(answer.guess / answer.guess.norm(), record / record.norm(),
                               atol=0.02, rtol=0)


def test_a_delta_of_the_wrong_sign_gives_nothing():
    net = network()
    view = view_of(net, IMAGES, LABELS)
    mirrored = {name: 2 * view.before[name] - view.after[name] for name in view.before}
    answer = invert(net, dataclasses.replace(view, after=mirrored))
    assert decibels(answer) < MEAN_IMAGE and float(answer.score[0]) < -0.5


def test_local_steps_must_be_unrolled():
    net, walk = network(), LocalTraining(0.02, local_steps=5, mode="eval")
    view = view_of(net, IMAGES, LABELS, walk)
    unrolled = invert(net, view, evaluations=60)
    as_one_step = invert(net, knowing(view, LocalTraining(0.1, mode="eval")), evaluations=60)
    assert decibels(unrolled) > MEAN_IMAGE + 8
    assert decibels(unrolled) > decibels(as_one_step) + 5


@pytest.mark.parametrize(("mode", "wrong"), [("train", "eval"), ("eval", "train")])
def test_batch_norm_must_be_simulated_in_the_mode_it_trained_in(mode, wrong):
    net = network(batch_norm=True)
    view = view_of(net, IMAGES, LABELS, LocalTraining(1.0, mode=mode))
    assert decibels(invert(net, view)) > MEAN_IMAGE + 5
    mixed = invert(net, knowing(view, LocalTraining(1.0, mode=wrong)), evaluations=60)
    assert decibels(mixed) < MEAN_IMAGE and float(mixed.score[0]) < -0.3


def test_batch_statistics_draw_the_guess_nearer():
    net = network(batch_norm=True)
    view = view_of(net, IMAGES, LABELS, LocalTraining(1.0))
    with_prior, without = (invert(net, view, evaluations=60, batch_norm_weight=weight)
                           for weight in (1.0, 0.0))
    assert decibels(with_prior) > decibels(without) + 2
    fresh = view_of(net, IMAGES, LABELS, STEP)  # statistics as they start: a mean of zero
    assert invert(net, fresh, evaluations=10, batch_norm_weight=1.0).guess.isfinite().all()


# --- A defence inside the search ------------------------------------------------------------------


class Mask:
    """Sends few entries, drawn at random; the mask is known."""

    def __init__(self, net, share):
        source = generator("mask")
        self.kept = {name: torch.rand(p.shape, generator=source) < share
                     for name, p in net.named_parameters()}

    def surrogate(self, gradient):
        return {name: slope * self.kept[name] for name, slope in gradient.items()}


class TopEntries(Mask):
    """Sends the largest entries of the true gradient; which ones those are is seen."""

    def __init__(self, gradient, share):
        self.kept = {name: slope.abs() >= slope.abs().flatten().quantile(1 - share)
                     for name, slope in gradient.items()}


class Clipped:
    """Scales the gradient to a norm of 0.1."""

    def surrogate(self, gradient):
        return {name: slope * 0.1 / norm(gradient) for name, slope in gradient.items()}


class Signs:
    """Sends signs; inside the search a steep slope stands in for their jump."""

    def act(self, gradient):
        return {name: slope.sign() for name, slope in gradient.items()}

    def surrogate(self, gradient):
        return {name: torch.tanh(slope / (0.1 * slope.detach().abs().mean() + 1e-12))
                for name, slope in gradient.items()}


def defended(net, view, defence):
    """The view where ``defence`` acted on the one gradient that was sent."""
    act = getattr(defence, "act", defence.surrogate)
    sent = act(mean_gradient(net, view))
    after = {name: view.before[name] - sent[name] for name in view.before}
    return dataclasses.replace(view, after=after)


@pytest.mark.parametrize("case", ["5 % at random", "largest 5 %", "signs", "clipped"])
def test_an_attacker_who_knows_the_defence_beats_one_who_does_not(case):
    net = network()
    plain = view_of(net, IMAGES, LABELS)
    defence, distance = {
        "5 % at random": (Mask(net, 0.05), cosine_distance),
        "largest 5 %": (TopEntries(mean_gradient(net, plain), 0.05), cosine_distance),
        "signs": (Signs(), cosine_distance), "clipped": (Clipped(), squared_distance)}[case]
    view = defended(net, plain, defence)
    naive, aware = (invert(net, seen, evaluations=60, distance=distance)
                    for seen in (view, knowing(view, defence=defence)))
    assert decibels(aware) > decibels(naive) + 6
    assert decibels(naive) < MEAN_IMAGE + 3


# --- What must change nothing -----------------------------------------------------------------


def test_the_same_generator_gives_the_same_guess_and_nothing_else_is_touched():
    net = network(batch_norm=True)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    view = view_of(net, IMAGES, LABELS, LocalTraining(1.0))
    first, second = (invert(net, view, evaluations=6, every=2) for _ in range(2))
    assert torch.equal(first.guess, second.guess) and torch.equal(first.score, second.score)
    assert first.trajectory.shape == (3, *IMAGES.shape)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training and all(torch.equal(net.state_dict()[name], before[name])
                                for name in before)
    assert not first.guess.requires_grad


def test_before_it_looks_at_the_gradient_the_guess_is_the_same_whatever_the_truth():
    net = network()
    starts = [attack(net, view_of(net, images, LABELS), shape=IMAGES.shape, budget=Budget(1),
                     generator=generator("attack")).guess
              for attack in (inverting_gradients, deep_leakage) for images in (IMAGES, OTHERS)]
    assert all(torch.equal(start, starts[0]) for start in starts)


def test_the_order_in_which_records_are_stored_does_not_matter():
    net = network().double()
    guesses = [invert(net, knowing(view_of(net, IMAGES[order].double(), LABELS[order])),
                      evaluations=20).guess for order in ([0, 1], [1, 0])]
    torch.testing.assert_close(*guesses, atol=1e-6, rtol=0)


def test_renamed_classes_do_not_matter():
    net = network().double()
    names = torch.tensor([2, 0, 3, 1])  # class c is now called names[c]
    renamed = copy.deepcopy(net)
    with torch.no_grad():
        for new, old in zip(renamed[-1].parameters(), net[-1].parameters(), strict=True):
            new[names] = old
    first = invert(net, view_of(net, IMAGES.double(), LABELS), evaluations=20)
    second = invert(renamed, view_of(renamed, IMAGES.double(), names[LABELS]), evaluations=20)
    torch.testing.assert_close(second.guess, first.guess, atol=1e-6, rtol=0)


def test_the_dtype_of_the_view_is_kept():
    net = network()
    exact = copy.deepcopy(net).double()
    double = invert(net, view_of(exact, IMAGES.double(), LABELS), evaluations=3)
    assert double.guess.dtype == double.score.dtype == torch.float64
    single = invert(net, view_of(net, IMAGES, LABELS), evaluations=3)
    assert single.guess.dtype == single.score.dtype == torch.float32


# --- Its own loss, and its end ----------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 9, 30])
def test_ctrl_c_returns_the_best_guess_with_its_own_loss(at):
    net = network()
    view, seen = view_of(net, IMAGES, LABELS), []

    def interrupt(number, guess, loss):
        seen.append((loss, guess.clone()))
        if number == at:
            raise KeyboardInterrupt

    answer = invert(net, view, callback=interrupt)
    again = client(net, view)(answer.guess, LABELS).gradient
    loss = float(cosine_distance(again, mean_gradient(net, view)).detach())
    assert len(seen) == at
    assert loss == pytest.approx(float(-answer.score[0]), abs=1e-6)
    best = min(seen, key=lambda pair: pair[0])[1]
    assert torch.equal(answer.guess, best.clamp(0, 1))


def test_of_several_starts_the_best_is_kept():
    net = network()
    view = view_of(net, IMAGES, LABELS)
    seen = []
    answer = inverting_gradients(
        net, view, shape=IMAGES.shape, generator=generator("attack"), budget=Budget(8, 3),
        callback=lambda number, guess, loss: seen.append((loss, guess.clone())))
    assert len(seen) == len({loss for loss, _ in seen}) == 24, "each start is another"
    best = min(seen, key=lambda pair: pair[0])[1]
    assert torch.equal(answer.guess, best.clamp(0, 1))


@pytest.mark.parametrize("attack", [inverting_gradients, deep_leakage])
@pytest.mark.parametrize("labels", [[0, 4], [-1, 1]])
def test_labels_that_are_no_classes_are_named(attack, labels):
    net = network()
    view = view_of(net, IMAGES, LABELS)
    with pytest.raises(ValueError, match=r"labels: .* given, expected classes from 0 to 3"):
        attack(net, view, shape=IMAGES.shape, generator=generator("attack"),
               labels=torch.tensor(labels), budget=Budget(2))


@pytest.mark.parametrize("attack", [inverting_gradients, deep_leakage])
def test_an_update_that_is_not_finite_is_named(attack):
    net = network()
    view = view_of(net, IMAGES, LABELS)
    view.after["0.bias"][0] = float("nan")
    with pytest.raises(ValueError, match="is the update finite"):
        attack(net, view, shape=IMAGES.shape, generator=generator("attack"), budget=Budget(3, 2))


def test_what_it_needs_and_does_not_have_is_named():
    net = network()
    view = view_of(net, IMAGES, LABELS)
    for attack in (inverting_gradients, deep_leakage):
        arguments = {"shape": IMAGES.shape, "generator": generator("attack"), "budget": Budget(1)}
        for odd, message in (
            (knowing(view, training=None), "view: training unknown"),
            (knowing(view, LocalTraining(0.1, optimiser="adam")), "expected SGD"),
            (dataclasses.replace(view, after={"0.bias": torch.zeros(32)}),
             "view: states that are not those of the model given"),
            (knowing(view, labels=LABELS[:1]), "labels: 1 given, expected 2, one a record"),
        ):
            with pytest.raises(ValueError, match=message):
                attack(net, odd, **arguments)
        with pytest.raises(ValueError, match="labels: 3 given, expected 2"):
            attack(net, view, labels=torch.tensor([0, 1, 2]), **arguments)
    with pytest.raises(ValueError, match="labels: unknown; give them, or read them off"):
        invert(net, knowing(view, labels=None))
    with pytest.raises(ValueError, match="layer: 'nose' given"):
        invert(net, view, features=("nose", torch.ones(2, 3)))


# --- Features ---------------------------------------------------------------------------------


def features_of(net, images):
    return "7", net[:7](images).detach()


def test_features_in_front_of_the_head_help_and_suffice():
    net = network(2)
    view, features = view_of(net, IMAGES, LABELS), features_of(net, IMAGES)
    assert decibels(invert(net, view, features=features)) > decibels(invert(net, view)) + 5

    def inverse(view, features):
        return invert_features(net, view, features, shape=IMAGES.shape, budget=Budget(100),
                               generator=generator("attack"))

    inverted = inverse(view, features)
    assert decibels(inverted) > MEAN_IMAGE + 15
    assert float(psnr(inverted.guess, IMAGES).min()) == decibels(inverted), "in the order given"
    released = dataclasses.replace(view, artefact="released model", before=None, after=view.before)
    assert torch.equal(inverse(released, features).guess, inverted.guess)
    assert decibels(inverse(view, features_of(net, OTHERS))) < MEAN_IMAGE


def test_features_may_come_in_another_dtype_and_shape_than_the_layers():
    net = network()
    view, features = view_of(net, IMAGES, LABELS), features_of(net, IMAGES)
    square = "7", features[1].double().reshape(2, 64, 3, 3)
    for attack in (inverting_gradients, invert_features):
        plain, odd = (attack(net, view, features=given, shape=IMAGES.shape, budget=Budget(5),
                             generator=generator("attack")) for given in (features, square))
        torch.testing.assert_close(odd.guess, plain.guess)
        assert odd.guess.dtype == torch.float32


def test_where_steps_take_batches_the_features_of_the_first_batch_are_compared():
    net = network()
    walk = LocalTraining(0.02, local_steps=2, batch_size=1, mode="eval")
    view = view_of(net, IMAGES, LABELS, walk)
    answer = invert(net, view, features=features_of(net, IMAGES), evaluations=60)
    assert float(psnr(answer.guess, IMAGES)[0]) > MEAN_IMAGE + 8


@pytest.mark.parametrize(("odd", "message"), [
    (torch.ones(3, 576), "features: 3 given, expected 2, one a record"),
    (torch.ones(2, 5), r"features: shape \(2, 5\) given, expected .* \(records, \*\(576,\)\)"),
    (torch.zeros(2, 576), "features: a mean square of 0 given, expected finite values"),
    (torch.full((2, 576), float("nan")), "features: a mean square of nan given"),
])
def test_features_that_cannot_be_met_are_named(odd, message):
    net = network()
    view = view_of(net, IMAGES, LABELS)
    with pytest.raises(ValueError, match=message):
        invert(net, view, features=("7", odd))
    settings = {"shape": IMAGES.shape, "generator": generator("attack")}
    with pytest.raises(ValueError, match=message):
        invert_features(net, view, ("7", odd), **settings)
    with pytest.raises(ValueError, match="layer: 'nose' given"):
        invert_features(net, view, ("nose", odd), **settings)
    with pytest.raises(ValueError, match="view: states that are not those of the model"):
        invert_features(network(batch_norm=True), view, ("7", odd), **settings)
