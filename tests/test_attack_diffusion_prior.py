"""Posterior samples use what the update says and no more; what is unknown is refused."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from leaklab.attacks.diffusion_prior import (
    candidate_scores,
    diffusion_prior,
    disagreement,
    posterior_samples,
    worst_case_release,
)
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.defences.clip_and_noise import ClipAndNoise
from leaklab.metrics.reconstruction import psnr
from leaklab.models import conv_net
from leaklab.prior.diffusion import prior_samples
from leaklab.prior.gaussian import gaussian_prior
from leaklab.runtime import generator
from leaklab.updates import Knowledge, Update
from local_training import STEP, smooth_images, view_of

SIZE = 8
PUBLIC = smooth_images(generator("public"), 400, SIZE)
SECRET = smooth_images(generator("secret"), 2, SIZE)
OTHERS = smooth_images(generator("others"), 19, SIZE)
LABEL = torch.tensor([1])
PRIOR = gaussian_prior(PUBLIC)
NORM = 0.5
FOUR = Budget(12, 4)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return conv_net(generator("weights"), size=SIZE, num_classes=2)


def noisy_view(net, noise_multiplier, image=SECRET[:1], seed=0, training=STEP):
    """What the server sees of one clipped and noisy step."""
    plain = view_of(net, image, LABEL, training)
    update = Update(plain.before, plain.after, 1, 1, "A")
    defence = ClipAndNoise(NORM, noise_multiplier)
    after = defence.defend(update, training, generator=generator("noise", seed)).after
    return dataclasses.replace(plain, after=after, knowledge=Knowledge(training, LABEL, defence))


def draw(net, view, budget=FOUR, key="attack", **arguments):
    return posterior_samples(net, view, PRIOR, shape=(1, 1, SIZE, SIZE), budget=budget,
                             generator=generator(key), **arguments)


# --- The defence ------------------------------------------------------------------------------


def length(gradient) -> float:
    return math.sqrt(sum(float(t.square().sum()) for t in gradient.values()))


@pytest.mark.parametrize(("norm", "expected"), [(2.5, 2.5), (5.0, 5.0), (10.0, 5.0)])
def test_a_gradient_is_shortened_to_the_norm_and_never_lengthened(norm, expected):
    gradient = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    clipped = ClipAndNoise(norm, 0.0).surrogate(gradient)
    assert length(clipped) == pytest.approx(expected)
    torch.testing.assert_close(clipped["a"][0] / clipped["b"][0, 0], torch.tensor(3 / 4))


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_the_update_holds_the_clipped_gradient_and_noise_of_the_stated_spread(net, rate):
    step = dataclasses.replace(STEP, learning_rate=rate)
    exact = mean_gradient(net, view_of(net, SECRET[:1], LABEL, step))
    clipped = ClipAndNoise(NORM, 0.0).surrogate(exact)
    assert length(exact) > NORM and length(clipped) == pytest.approx(NORM, rel=1e-4)
    seen = mean_gradient(net, noisy_view(net, 0.02, training=step))
    noise = torch.cat([(seen[name] - clipped[name]).flatten() for name in clipped])
    assert float(noise.std()) == pytest.approx(0.02 * NORM, rel=0.02)
    assert abs(float(noise.mean())) < 4 * 0.02 * NORM / math.sqrt(len(noise))


def test_buffers_are_left_alone():
    before = {"weight": torch.zeros(2), "count": torch.tensor(3), "still": torch.ones(2)}
    after = {"weight": torch.ones(2), "count": torch.tensor(4), "still": torch.ones(2)}
    sent = ClipAndNoise(1.0, 0.1).defend(Update(before, after, 1, 1, "A"), STEP,
                                         generator=generator(0)).after
    assert sent["count"] == 4 and torch.equal(sent["still"], torch.ones(2))
    assert not torch.equal(sent["weight"], after["weight"])


@pytest.mark.parametrize(("norm", "noise", "message"), [
    (0.0, 1.0, "max_grad_norm"), (1.0, -0.1, "noise_multiplier"),
    (1.0, float("nan"), "noise_multiplier")])
def test_a_defence_that_is_none_is_refused(norm, noise, message):
    with pytest.raises(ValueError, match=message):
        ClipAndNoise(norm, noise)


# --- The attack -------------------------------------------------------------------------------


def test_little_noise_gives_the_image_and_much_noise_gives_the_prior(net):
    mean = float(psnr(PUBLIC.mean(0, keepdim=True), SECRET[:1]))
    close = draw(net, noisy_view(net, 1e-4))
    assert float(psnr(close.mean(0), SECRET[:1])) > mean + 15
    lost = draw(net, noisy_view(net, 100.0))
    assert abs(float(psnr(lost.mean(0), SECRET[:1])) - mean) < 3.5
    assert float(disagreement(lost)) > 10 * float(disagreement(close))
    spread = float(disagreement(prior_samples(PRIOR, 200, generator=generator("p"))[:, None]))
    many = draw(net, noisy_view(net, 100.0), Budget(12, 20))
    assert float(disagreement(many)) == pytest.approx(spread, rel=0.2)


def test_the_answer_is_the_mean_and_the_score_the_disagreement(net):
    view = noisy_view(net, 0.01)
    answer = diffusion_prior(net, view, PRIOR, shape=(1, 1, SIZE, SIZE), budget=FOUR,
                             generator=generator("attack"))
    samples = draw(net, view)
    torch.testing.assert_close(answer.guess, samples.mean(0))
    torch.testing.assert_close(answer.score, -disagreement(samples))
    assert torch.equal(answer.labels, LABEL)
    single = diffusion_prior(net, view, PRIOR, shape=(1, 1, SIZE, SIZE), budget=Budget(5, 1),
                             generator=generator("attack"))
    assert single.score is None


def test_the_update_of_another_patient_gives_another_image(net):
    """The control: what is drawn follows the gradient, not the prior's favourite image."""
    own = draw(net, noisy_view(net, 1e-3)).mean(0)
    other = draw(net, noisy_view(net, 1e-3, SECRET[1:])).mean(0)
    assert float(psnr(own, SECRET[:1])) > float(psnr(other, SECRET[:1])) + 10
    assert float(psnr(other, SECRET[1:])) > float(psnr(own, SECRET[1:])) + 10


def test_a_defence_that_the_attacker_misjudges_costs_it(net):
    view = noisy_view(net, 1e-3)
    unclipped = dataclasses.replace(view, knowledge=Knowledge(STEP, LABEL))
    told = float(psnr(draw(net, view).mean(0), SECRET[:1]))
    wrong = draw(net, unclipped, noise_std=1e-3 * NORM)
    assert told > float(psnr(wrong.mean(0), SECRET[:1])) + 3


def test_draws_repeat_and_follow_the_generator_alone(net):
    view = noisy_view(net, 0.01)
    torch.manual_seed(3)
    first = draw(net, view, Budget(5, 2))
    torch.manual_seed(4)
    assert torch.equal(first, draw(net, view, Budget(5, 2)))
    assert not torch.equal(first, draw(net, view, Budget(5, 2), key="another"))
    assert not torch.equal(first[0], first[1])


def test_two_records_are_drawn_together_in_double_precision(net):
    double = conv_net(generator("weights"), size=SIZE, num_classes=4).double()
    images, labels = SECRET.double(), torch.tensor([0, 3])
    view = view_of(double, images, labels)
    samples = posterior_samples(double, view, gaussian_prior(PUBLIC.double()), shape=images.shape,
                                generator=generator("attack"), noise_std=1e-4, budget=Budget(20, 2))
    assert samples.shape == (2, *images.shape) and samples.dtype == torch.float64
    prior = psnr(PUBLIC.double().mean(0, keepdim=True).expand_as(images), images)
    assert bool((psnr(samples.mean(0), images) > prior + 5).all())


def test_a_limit_in_seconds_still_gives_one_sample(net):
    found = draw(net, noisy_view(net, 0.01), Budget(5, 50, seconds=1e-9))
    assert len(found) == 1


def test_disagreement_by_hand():
    samples = torch.tensor([[[0.0, 1.0]], [[0.2, 1.0]]])
    assert float(disagreement(samples)) == pytest.approx(math.sqrt(0.02 / 2))
    with pytest.raises(ValueError, match="samples: 1 given"):
        disagreement(samples[:1])


@pytest.mark.parametrize(("change", "arguments", "message"), [
    ({"labels": None}, {}, "labels: unknown"),
    ({"defence": None}, {}, "noise_std: None given"),
    ({}, {"labels": torch.tensor([0, 1])}, "labels: 2 given, expected 1"),
    ({}, {"noise_std": 0.0}, "noise_std: 0.0 given"),
    ({}, {"noise_std": math.inf}, "noise_std: inf given"),
    ({"training": None}, {}, "training unknown"),
])
def test_what_is_not_known_is_refused(net, change, arguments, message):
    view = noisy_view(net, 0.1)
    view = dataclasses.replace(view, knowledge=dataclasses.replace(view.knowledge, **change))
    with pytest.raises(ValueError, match=message):
        draw(net, view, **arguments)


def test_a_prior_of_other_images_is_refused(net):
    other = gaussian_prior(smooth_images(generator(0), 5, 12))
    with pytest.raises(ValueError, match=r"shape: .* given, expected \(records, 1, 12, 12\)"):
        posterior_samples(net, noisy_view(net, 0.1), other, shape=(1, 1, SIZE, SIZE),
                          generator=generator(0))


# --- What needs no picture, and what no update exceeds --------------------------------------------


def test_the_likeliest_candidate_is_the_record_sent_until_noise_hides_it(net):
    gallery = torch.cat([SECRET, OTHERS])

    def hits(noise, trials=30):
        return sum(int(candidate_scores(net, noisy_view(net, noise, seed=s), gallery).argmax() == 0)
                   for s in range(trials)) / trials

    assert hits(0.01, 5) == 1
    assert hits(30.0) < 0.35


def test_candidate_scores_are_log_likelihoods(net):
    view = noisy_view(net, 0.1)
    scores = candidate_scores(net, view, SECRET)
    seen, spread = mean_gradient(net, view), 0.1 * NORM
    for image, score in zip(SECRET, scores, strict=True):
        sent = view.knowledge.defence.surrogate(mean_gradient(net, view_of(net, image[None],
                                                                          LABEL)))
        logs = [torch.distributions.Normal(sent[n].double(), spread).log_prob(seen[n].double())
                .sum() for n in seen]
        entries = sum(t.numel() for t in seen.values())
        constant = -entries * math.log(spread * math.sqrt(2 * math.pi))
        assert float(score) == pytest.approx(float(sum(logs)) - constant, rel=1e-3)


def test_no_candidates_are_refused(net):
    with pytest.raises(ValueError, match="candidates: none given"):
        candidate_scores(net, noisy_view(net, 0.1), SECRET[:0])


@pytest.mark.parametrize("noise", [-0.1, math.nan, math.inf])
def test_a_release_with_impossible_noise_is_refused(noise):
    with pytest.raises(ValueError, match=r"noise_multiplier: .* given"):
        worst_case_release(SECRET, noise, generator=generator("release"))


def test_the_worst_release_has_noise_in_proportion_to_the_image():
    images = torch.cat([torch.ones(1, 1, 50, 50), torch.full((1, 1, 50, 50), 0.5)])
    noisy, spread = worst_case_release(images, 0.01, generator=generator("release"))
    torch.testing.assert_close(spread, torch.tensor([0.5, 0.25]))
    for image, given, expected in zip(images, noisy, spread, strict=True):
        assert float((given - image).std()) == pytest.approx(float(expected), rel=0.05)
