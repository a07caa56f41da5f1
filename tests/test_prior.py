"""The prior: its walk is exact where the exact answer is known, its file is checked, its images
are nobody's victims."""

import hashlib
import math
import re
import tomllib
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.data import radiology
from leaklab.metrics.reconstruction import psnr
from leaklab.prior import checkpoint, nodules, posterior
from leaklab.prior.diffusion import (
    Prior,
    angles,
    ddim_step,
    denoised,
    prior_samples,
)
from leaklab.prior.gaussian import gaussian_denoiser, gaussian_prior
from leaklab.prior.network import UNet
from leaklab.prior.posterior import linearised, posterior_walk
from leaklab.prior.training import Recipe, held_out_loss, train
from leaklab.runtime import generator
from local_training import smooth_images

ROOT = Path(__file__).parents[1]
D = 6  # unknowns of the linear problem
MANY = 50  # enough: a walk is an affine map here, and starts are whitened exactly


# --- The walk against the closed form -----------------------------------------------------------


def spread_of(n: int, seed: str) -> torch.Tensor:
    """A covariance with neither axis-parallel nor equal directions."""
    mix = torch.randn(n, n, generator=generator(seed), dtype=torch.float64) / n**0.5
    return mix @ mix.T + 0.1 * torch.eye(n, dtype=torch.float64)


COVARIANCE = spread_of(D, "covariance")
SLOPE = torch.randn(4, D, generator=generator("slope"), dtype=torch.float64)
NOISE = 0.3
SEEN = torch.tensor([1.0, -0.5, 0.3, 2.0], dtype=torch.float64)


def closed_form() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of a Gaussian of mean 0, given SEEN = SLOPE z + noise."""
    precision = torch.linalg.inv(COVARIANCE) + SLOPE.T @ SLOPE / NOISE**2
    covariance = torch.linalg.inv(precision)
    return covariance @ SLOPE.T @ SEEN / NOISE**2, covariance


def measure(guess: torch.Tensor) -> posterior.Linear:
    """The linear measurement, for all rows at once."""
    return posterior.Linear((SEEN - guess @ SLOPE.T) @ SLOPE, lambda v: v @ SLOPE.T @ SLOPE)


def starts() -> torch.Tensor:
    """Noise whose mean is 0 and whose covariance is the identity, to the last digit."""
    noise = torch.randn(MANY, D, generator=generator("starts"), dtype=torch.float64)
    noise = noise - noise.mean(0)
    return noise @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(noise.T))).T


def walk(noise_std=NOISE, steps=60):
    return posterior_walk(gaussian_denoiser(COVARIANCE), measure, noise_std, starts(),
                          angles(steps, finest=0.01), iterations=D)


def moments_agree(found: torch.Tensor, tolerance: float = 0.02) -> bool:
    """Whether mean and covariance are within the tolerance, relative to their largest entries."""
    mean, covariance = closed_form()
    return bool((found.mean(0) - mean).abs().max() < tolerance * mean.abs().max()
                and (torch.cov(found.T) - covariance).abs().max() < tolerance * covariance.max())


def test_samples_have_the_moments_of_the_exact_posterior():
    assert moments_agree(walk())


def test_a_walk_without_the_covariance_fails_that_test(monkeypatch):
    """Plain guidance: what is clean is taken for known, with the same spread in all directions."""
    right = posterior._denoised

    def isotropic(denoise, noisy, angle):
        clean, _ = right(denoise, noisy, angle)
        return clean, lambda v: math.sin(angle) ** 2 * v

    monkeypatch.setattr(posterior, "_denoised", isotropic)
    assert not moments_agree(walk())
    assert not moments_agree(walk(), tolerance=0.1)


def test_a_walk_with_half_the_noise_fails_that_test():
    assert not moments_agree(walk(noise_std=NOISE / 2))


def test_without_information_the_posterior_is_the_prior():
    found = walk(noise_std=1e6)
    assert (torch.cov(found.T) - COVARIANCE).abs().max() < 0.02 * COVARIANCE.max()


def test_a_measurement_made_linear_is_the_matrix_where_it_is_one():
    guess = torch.randn(1, D, generator=generator("guess"), dtype=torch.float64)
    direction = torch.randn(1, D, generator=generator("direction"), dtype=torch.float64)
    found = linearised(lambda z: [z[0] @ SLOPE[:1].T, z[0] @ SLOPE[1:].T], guess,
                       [SEEN[:1], SEEN[1:]])
    expected = measure(guess)
    torch.testing.assert_close(found.pull, expected.pull)
    torch.testing.assert_close(found.normal(direction), expected.normal(direction))


def test_a_slope_is_that_of_finite_differences():
    def function(z):
        return [z.sin() * z.roll(1, 1), (z**3).sum(1)]

    guess = torch.randn(1, D, generator=generator("guess"), dtype=torch.float64)
    step = 1e-6 * torch.eye(D, dtype=torch.float64)
    slope = torch.stack([torch.cat([((up - down) / 2e-6).flatten() for up, down in zip(
        function(guess + s), function(guess - s), strict=True)]) for s in step], 1)
    found = linearised(function, guess, [torch.zeros(1, D).double(), torch.ones(1).double()])
    direction = torch.randn(1, D, generator=generator("direction"), dtype=torch.float64)
    torch.testing.assert_close(found.normal(direction), direction @ slope.T @ slope, rtol=1e-5,
                               atol=1e-6)


def test_the_walk_needs_few_steps_and_its_second_order(monkeypatch):
    """At the steps that the attack takes, moments are off by a few percent; of first order, not."""
    assert moments_agree(walk(steps=15), tolerance=0.05)
    monkeypatch.setattr(posterior, "walk", first_order)
    assert not moments_agree(walk(steps=15), tolerance=0.05)


def first_order(clean_of, noisy, path):
    for angle, after in pairwise(path):
        noisy = ddim_step(noisy, clean_of(noisy, angle), angle, after)
    return noisy


@pytest.mark.parametrize("noise_std", [0.0, -1.0, float("nan")])
def test_a_measurement_without_noise_is_refused(noise_std):
    with pytest.raises(ValueError, match=r"noise_std: .* given, expected a number above 0"):
        posterior_walk(gaussian_denoiser(COVARIANCE), measure, noise_std,
                       torch.zeros(1, D).double(), angles(2))


# --- Angles, steps, samples ---------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(0.05, 1.5), st.floats(0, 1.5), st.integers(0, 2**32))
def test_a_step_moves_between_mixtures_of_one_image_and_one_noise(angle, after, seed):
    clean, noise = torch.randn(2, 1, 3, generator=generator(seed), dtype=torch.float64)
    noisy = math.cos(angle) * clean + math.sin(angle) * noise
    torch.testing.assert_close(ddim_step(noisy, clean, angle, after),
                               math.cos(after) * clean + math.sin(after) * noise)


def test_a_walk_without_an_update_has_the_moments_of_the_prior():
    mean = torch.full((1, 2, 2), 0.5).double()
    prior = Prior(gaussian_denoiser(spread_of(4, "prior")), mean, 0.05)
    drawn = prior_samples(prior, 20_000, generator=generator("draws")).flatten(1)
    expected = 0.05**2 * spread_of(4, "prior")
    assert (drawn.mean(0) - 0.5).abs().max() < 0.002
    assert (torch.cov(drawn.T) - expected).abs().max() < 0.05 * expected.max()


def test_one_pass_is_the_filter_of_wiener():
    """Scalar by hand: variance 4 against noise of 1 keeps 4/5 of the distance from the mean."""
    prior = Prior(gaussian_denoiser(torch.tensor([[4.0]])), torch.full((1, 1, 1), 0.5), 0.1)
    given_, noise = torch.tensor([0.4, 0.75]).view(2, 1, 1, 1), 0.1
    expected = 0.5 + 0.8 * (given_ - 0.5)
    torch.testing.assert_close(denoised(prior, given_, noise), expected)
    several = denoised(prior, given_, torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(several[1], 0.5 + 0.5 * (given_[1] - 0.5))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: angles(1), "steps: 1 given"),
    (lambda: angles(5, 0.01), "noisiest, finest: 0.01, 0.05 given"),
    (lambda: gaussian_prior(torch.zeros(1, 1, 4, 4)), "public: 1 images given"),
    (lambda: gaussian_prior(torch.zeros(5, 1, 4, 4)), "public: 5 images given"),
    (lambda: Recipe(steps=0), "steps: 0 given"),
    (lambda: train(torch.zeros(4, 3, 8, 8), Recipe(1), generator=generator(0)), "images: shape"),
    (lambda: train(torch.zeros(4, 1, 6, 8), Recipe(1), generator=generator(0)), "images: shape"),
    (lambda: denoised(checkpoint.chest_prior(), torch.zeros(1, 1, 28, 28), 0.0), "noise_std: 0.0"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- The network and its training ---------------------------------------------------------------


def test_the_network_is_small_and_keeps_records_apart():
    network = UNet(torch.zeros(1, 28, 28))
    assert 200_000 < sum(p.numel() for p in network.parameters()) < 300_000
    torch.nn.init.normal_(network.leave[-1].weight)
    noisy, angle = torch.randn(3, 1, 28, 28, generator=generator(0)), torch.tensor([0.1, 0.7, 1.4])
    together = network.denoise(noisy, angle)
    alone = torch.cat([network.denoise(noisy[i:i + 1], angle[i:i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_training_repeats_itself_leaves_the_global_generator_alone_and_learns():
    images = smooth_images(generator("images"), 64, 8)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (train(images, Recipe(60, 16, width=8), generator=generator("t")) for _ in range(2))
    assert torch.rand(1) == expected
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    none = train(images, Recipe(1, 16, width=8), generator=generator("t"))
    others = smooth_images(generator("others"), 256, 8)
    losses = [held_out_loss(net, others, generator=generator("l")) for net in (one, none)]
    assert losses[0] < 0.95 * losses[1]


# --- The prior that ships -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Prior:
    return checkpoint.chest_prior()


@pytest.fixture(scope="module")
def unseen() -> torch.Tensor:
    return checkpoint.public_images(100, checkpoint.HELD_OUT_SEED)


def test_the_file_is_small_and_goes_into_the_wheel():
    path = Path(str(resources.files("leaklab.prior") / checkpoint.SHIPPED))
    assert path.stat().st_size <= checkpoint.LARGEST
    assert hashlib.sha256(path.read_bytes()).hexdigest() == checkpoint.SHA256
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "prior/*.pt" in data["package-data"]["leaklab"]


@pytest.mark.parametrize("kind", ["chest", "nodule"])
def test_it_was_trained_on_the_images_that_its_module_names(kind):
    """Its mean image is theirs to the last bit."""
    prior, images = {"chest": (checkpoint.chest_prior, checkpoint.public_images),
                     "nodule": (nodules.nodule_prior, nodules.public_nodules)}[kind]
    assert torch.equal(images().mean(0).half().float(), prior().mean)


def test_it_denoises_images_it_never_saw_better_than_a_gaussian(shipped, unseen):
    plain = gaussian_prior(checkpoint.public_images(1000))
    noise = 0.1 * torch.randn(unseen.shape, generator=generator("noise"))
    found = {name: float(psnr(denoised(prior, unseen + noise, 0.1), unseen).mean())
             for name, prior in (("network", shipped), ("gaussian", plain))}
    assert found["network"] > found["gaussian"] + 0.3 > 20.3 + 0.3


def test_its_samples_look_like_chests_and_like_none_in_particular(shipped, unseen):
    drawn = prior_samples(shipped, 100, generator=generator("drawn"))
    mean = unseen.mean(0)
    apart = ((unseen - mean) ** 2).mean().sqrt()
    assert 0.8 * apart < ((drawn - mean) ** 2).mean().sqrt() < 1.2 * apart
    assert float((drawn.mean(0) - mean).abs().mean()) < apart


def test_public_images_are_nobodys_victims():
    """The seed is used for nothing else, and no image of it is among those that labs attack."""
    own = {checkpoint.PUBLIC_SEED, checkpoint.HELD_OUT_SEED}
    assert own.isdisjoint(range(10_000))  # seeds of studies, labs and tests
    public = checkpoint.public_images(500).flatten(1)
    victims = torch.tensor(radiology.load("chest", source="synthetic", n=500).inputs).flatten(1)
    closest = torch.cdist(victims, public).min(1).values
    among = torch.cdist(victims, victims).fill_diagonal_(math.inf).min(1).values
    assert float(closest.min()) > 0.5 * float(among.min())
    for folder in ("studies", "notebooks/text", "benchmarks", "src"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".py", ".md") and path.name != "checkpoint.py":
                text = path.read_text(encoding="utf-8").replace("_", "")
                assert not re.search(rf"\b({'|'.join(map(str, own))})\b", text), path


def test_a_checkpoint_is_written_whole_and_loaded_again(tmp_path):
    network = UNet(torch.rand(1, 8, 8, generator=generator(0)), 0.2, width=8)
    torch.nn.init.normal_(network.leave[-1].weight, std=0.1)
    digest = checkpoint.save(network, tmp_path / "deep" / "prior.pt")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["prior.pt"]
    prior = checkpoint.load(tmp_path / "deep" / "prior.pt", sha256=digest)
    noisy = torch.randn(2, 1, 8, 8, generator=generator(1))
    angle = torch.tensor([0.3, 1.0])
    torch.testing.assert_close(prior.denoise(noisy, angle), network.denoise(noisy, angle),
                               atol=0.01, rtol=0.01)
    assert prior.spread == pytest.approx(0.2, rel=1e-3)
    assert checkpoint.save(network, tmp_path / "again.pt") == digest


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "with SHA-256"),
    (lambda data: data + bytes(checkpoint.LARGEST), "bytes given, expected at most"),
])
def test_a_file_that_was_changed_is_refused(tmp_path, spoil, message):
    good = Path(str(resources.files("leaklab.prior") / checkpoint.SHIPPED)).read_bytes()
    bad = tmp_path / "bad.pt"
    bad.write_bytes(spoil(good))
    with pytest.raises(ValueError, match=message):
        checkpoint.load(bad, sha256=checkpoint.SHA256)


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize("content", [
    b"", b"not a checkpoint", Harmful(), {"mean": torch.zeros(1, 8, 8)}, [1, 2],
])
def test_a_file_that_holds_something_else_is_refused_and_never_run(tmp_path, content):
    path = tmp_path / "other.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match="expected the checkpoint of a prior"):
        checkpoint.load(path)
