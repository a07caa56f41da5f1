"""Means from early ends have less variance than means of samples; plain guidance is DPS by hand."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from leaklab.attacks import guided_means
from leaklab.attacks.diffusion_prior import disagreement, posterior_samples
from leaklab.attacks.guided_means import ancestral_step, plain_guidance, posterior_mean
from leaklab.attacks.measured import Measured
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.attacks.simulated import client
from leaklab.defences.clip_and_noise import ClipAndNoise
from leaklab.metrics.reconstruction import psnr
from leaklab.models import conv_net
from leaklab.prior.diffusion import Prior, angles, ddim_step, noise_like
from leaklab.prior.gaussian import gaussian_denoiser, gaussian_prior
from leaklab.prior.posterior import Linear, posterior_walk
from leaklab.runtime import generator
from leaklab.updates import Knowledge, Update
from local_training import STEP, smooth_images, view_of

SIZE = 8
PUBLIC = smooth_images(generator("public"), 400, SIZE)
SECRET = smooth_images(generator("secret"), 2, SIZE)
LABEL = torch.tensor([1])
PRIOR = gaussian_prior(PUBLIC)
SHAPE = (1, 1, SIZE, SIZE)
NOISE = 0.02
TWO = Budget(12, 2)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return conv_net(generator("weights"), size=SIZE, num_classes=2)


def noisy_view(net, image=SECRET[:1], noise=NOISE):
    plain = view_of(net, image, LABEL)
    defence = ClipAndNoise(0.5, noise)
    after = defence.defend(Update(plain.before, plain.after, 1, 1, "A"), STEP,
                           generator=generator("noise")).after
    return dataclasses.replace(plain, after=after, knowledge=Knowledge(STEP, LABEL, defence))


def mean_of(net, view, key=0, **arguments):
    return posterior_mean(net, view, PRIOR, shape=SHAPE, generator=generator(key, "walks"),
                          **arguments).guess


def guided(net, view, step_size, budget=TWO, key="guided", **arguments):
    return plain_guidance(net, view, PRIOR, shape=SHAPE, generator=generator(key),
                          step_size=step_size, budget=budget, **arguments)


# --- The mean from early ends -------------------------------------------------------------------


def test_an_early_end_has_the_mean_of_the_posterior_and_the_variance_left_to_draw():
    """A linear measurement of a Gaussian: the end is a mean given a noisy view of the record.

    That view has precision 1 / stop^2, so of the posterior's covariance P the end varies by
    P - (P^-1 + 1 / stop^2)^-1, and not by P.
    """
    stop, spread, slope = 1.5, 0.3, torch.tensor([[1.0, 1.0]]).double()
    prior = torch.tensor([[1.0, 0.6], [0.6, 1.0]]).double()
    precision = torch.linalg.inv(prior) + slope.T @ slope / spread**2
    mean = torch.linalg.solve(precision, slope.T @ torch.tensor([1.5]).double()) / spread**2
    posterior = torch.linalg.inv(precision)
    start = torch.randn(50, 2, generator=generator("start"), dtype=torch.float64)
    start = start - start.mean(0)
    start = start @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(start.T))).T
    ends = posterior_walk(
        gaussian_denoiser(prior), lambda z: Linear((1.5 - z @ slope.T) @ slope,
                                                   lambda v: v @ slope.T @ slope),
        spread, start, angles(60, finest=stop), iterations=2)
    expected = posterior - torch.linalg.inv(precision + torch.eye(2) / stop**2)
    torch.testing.assert_close(ends.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(ends.T), expected, atol=0.02, rtol=0)
    assert (torch.cov(ends.T) - posterior).abs().max() > 0.1


def test_early_ends_vary_less_than_samples(net):
    view, one = noisy_view(net), Budget(5, 1)
    early, late = (torch.stack([mean_of(net, view, key, budget=one, stop=stop)
                                for key in range(4)]) for stop in (3.0, 0.05))
    assert float(disagreement(early)) < 0.8 * float(disagreement(late))


def test_stopped_late_the_walk_ends_in_a_sample(net):
    view = noisy_view(net)
    sample = posterior_samples(net, view, PRIOR, shape=SHAPE, generator=generator(3, "walks"),
                               budget=Budget(12, 1))
    torch.testing.assert_close(mean_of(net, view, 3, budget=Budget(12, 1), stop=0.05), sample[0])


def test_the_mean_follows_the_update_and_not_the_prior(net):
    own, other = (mean_of(net, noisy_view(net, image[None], 1e-3), budget=Budget(8, 2))
                  for image in SECRET)
    assert float(psnr(own, SECRET[:1])) > float(psnr(other, SECRET[:1])) + 10


# --- Plain guidance -----------------------------------------------------------------------------


def test_an_ancestral_step_keeps_a_mixture_of_one_image_and_noise():
    """Noise of another angle comes out, part kept and part new: variances by hand."""
    angle, after = math.atan(3.0), math.atan(1.0)
    clean = torch.full((1, 1, 1, 1), 0.7)
    kept = ancestral_step(math.cos(angle) * clean + math.sin(angle), clean, angle, after,
                          torch.zeros(1, 1, 1, 1)) - math.cos(after) * clean
    new = ancestral_step(math.cos(angle) * clean, clean, angle, after,
                         torch.ones(1, 1, 1, 1)) - math.cos(after) * clean
    assert float(kept**2 + new**2) == pytest.approx(0.5)
    assert float(new**2) == pytest.approx(0.5 / 0.9 * (1 - 0.1 / 0.5))
    torch.testing.assert_close(ancestral_step(clean, clean, angle, 0.0, clean),
                               ddim_step(clean, clean, angle, 0.0))


def test_a_walk_without_guidance_has_the_moments_of_the_prior():
    """As steps get small; at the few that an attack takes, the spread falls short by a tenth."""
    covariance = torch.tensor([[1.0, 0.6], [0.6, 1.0]])
    prior = Prior(gaussian_denoiser(covariance), torch.zeros(1, 1, 2), 1.0)
    found = Measured(prior, lambda z: [z.flatten()], [torch.zeros(40_000)], LABEL)
    rng = generator("walk")
    drawn = guided_means._guided_walk(found, noise_like(prior.mean, 20_000, rng), angles(400), 0.0,
                                      rng).flatten(1)
    assert (torch.cov(drawn.T) - covariance).abs().max() < 0.06


def by_hand(net, view, step_size, steps):
    """Algorithm 1 of the paper, squared misfit and all, for one sample."""
    rng, observed = generator("guided"), mean_gradient(net, view)
    simulate, path = client(net, view), angles(steps)
    noisy = noise_like(PRIOR.mean, 1, rng)
    for angle, after in pairwise(path):
        noisy.requires_grad_()
        clean = PRIOR.denoise(noisy, torch.tensor([angle]))
        sent = simulate(PRIOR.pixels(clean), LABEL).gradient
        squares = sum(((observed[name] - sent[name]) ** 2).sum() for name in observed)
        slope = torch.autograd.grad(squares, noisy)[0]
        noisy, clean = noisy.detach(), clean.detach()
        fresh = torch.randn(SHAPE, generator=rng)
        noisy = ancestral_step(noisy, clean, angle, after, fresh)
        noisy = noisy - step_size / squares.detach().sqrt() * slope
    return PRIOR.pixels(noisy).clamp(0, 1)


def test_plain_guidance_is_the_published_algorithm(net):
    view = noisy_view(net)
    found = guided(net, view, 5.0, Budget(12, 1))
    torch.testing.assert_close(found[0], by_hand(net, view, 5.0, 12), atol=1e-4, rtol=0)
    assert not torch.allclose(found[0], by_hand(net, view, 10.0, 12), atol=1e-3)


def test_guidance_brings_the_image_nearer_and_too_large_a_step_does_not(net):
    view = noisy_view(net, noise=1e-3)
    none, some, much = (float(psnr(guided(net, view, step).mean(0), SECRET[:1]))
                        for step in (1e-6, 100.0, 1e5))
    assert some > none + 3
    assert some > much + 3


# --- Both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [mean_of, lambda *a, **k: guided(*a, 5.0, **k)])
def test_draws_repeat_and_seconds_leave_one(net, call):
    view, budget = noisy_view(net), Budget(4, 500, seconds=1e-9)
    torch.manual_seed(1)
    first = call(net, view, budget=budget)
    torch.manual_seed(2)
    assert torch.equal(first, call(net, view, budget=budget))


@pytest.mark.parametrize(("call", "message"), [
    (lambda n, v: mean_of(n, v, noise_std=0.0), "noise_std: 0.0 given"),
    (lambda n, v: mean_of(n, v, noise_std=float("inf")), "noise_std: inf given"),
    (lambda n, v: mean_of(n, v, stop=100.0), "noisiest, finest: 50.0, 100.0 given"),
    (lambda n, v: mean_of(n, dataclasses.replace(v, knowledge=Knowledge(STEP, LABEL))),
     "noise_std: None given"),
    (lambda n, v: guided(n, v, 0.0), "step_size: 0.0 given"),
    (lambda n, v: guided(n, v, math.nan), "step_size: nan given"),
    (lambda n, v: guided(n, v, 1.0, labels=torch.tensor([0, 1])), "labels: 2 given, expected 1"),
    (lambda n, v: plain_guidance(n, v, PRIOR, shape=(1, 1, 4, 4), generator=generator(0),
                                 step_size=1.0), r"shape: \(1, 1, 4, 4\) given"),
])
def test_bad_arguments_are_named(net, call, message):
    with pytest.raises(ValueError, match=message):
        call(net, noisy_view(net))
