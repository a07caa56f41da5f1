"""The bounds: known points, an independent accountant, and optimal attacks that keep below them.

Each simulated attack is the best there is, so a bound that claimed less than it allows would be
broken; each is also run with noise half as large as claimed, and must then break the bound.
"""

import math

import dp_accounting
import pytest
import torch
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from leaklab.bounds import (
    epsilon_of,
    gaussian_mu,
    reconstruction_robustness,
    subsampled_gaussian,
    tpr_ceiling,
    tpr_ceiling_from_dp,
    unbiased_error,
)
from leaklab.metrics import proportion_interval
from leaklab.runtime import generator

TRIALS = 10_000


def broken(successes: int, trials: int, ceiling: float) -> bool:
    """Whether so many successes cannot be chance: one honest run in a million is called so."""
    return proportion_interval(successes, trials, level=1 - 2e-6)[0] > ceiling


def singled_out(candidates: int, noise: float, releases: int, key: str) -> int:
    """How often in TRIALS the likeliest of so many candidates is the one that was sent.

    The worst records for a hospital: at right angles, all of clipping norm.
    """
    draw = generator("candidates", key, str(noise), releases)
    seen = noise * torch.randn(releases, TRIALS, candidates, generator=draw)
    seen[..., 0] += 1.0
    return int((seen.sum(0).argmax(1) == 0).sum())


def told_apart(mean: float, fpr: float, draw: torch.Generator) -> tuple[int, int]:
    """True and false positives in TRIALS each: the test that rejects above a point, the best."""
    point = norm.isf(fpr)
    without, with_it = torch.randn(2, TRIALS, generator=draw, dtype=torch.float64)
    return int((with_it + mean > point).sum()), int((without > point).sum())


def test_known_points():
    """Phi(-1.959964 + 1) and Phi(0 + 1), from a table of the normal distribution."""
    assert reconstruction_robustness(0.025, 1.0) == pytest.approx(0.168530, abs=1e-5)
    assert reconstruction_robustness(0.5, 1.0) == pytest.approx(0.841345, abs=1e-5)


@given(st.floats(0.001, 0.999), st.floats(0.01, 100), st.floats(1.01, 3))
def test_more_noise_and_more_candidates_never_raise_it(kappa, noise, factor):
    here = reconstruction_robustness(kappa, noise)
    assert kappa <= here + 1e-12 and here <= 1
    assert reconstruction_robustness(kappa, noise * factor) <= here + 1e-12
    assert reconstruction_robustness(kappa / factor, noise) <= here + 1e-12


def test_noise_without_limit_leaves_the_guess():
    assert reconstruction_robustness(1 / 200, 1e6) == pytest.approx(1 / 200, rel=1e-4)


@pytest.mark.parametrize("releases", [1, 10])
@pytest.mark.parametrize("noise", [0.3, 0.6, 1.0, 2.0, 4.0])
def test_the_best_reconstruction_keeps_below_its_bound(noise, releases):
    hits = singled_out(20, noise, releases, "honest")
    assert not broken(hits, TRIALS, reconstruction_robustness(1 / 20, noise, releases))
    assert broken(hits, TRIALS, 1 / 20)  # the attack is one


@pytest.mark.parametrize(("noise", "releases"), [(1.0, 1), (2.0, 1), (4.0, 10)])
def test_noise_half_as_large_as_claimed_breaks_it(noise, releases):
    hits = singled_out(20, noise / 2, releases, "careless")
    assert broken(hits, TRIALS, reconstruction_robustness(1 / 20, noise, releases))


def test_two_candidates_reach_what_the_bound_allows():
    """Two equally likely answers one noise spread apart are told apart with chance Phi(1/2)."""
    rate = singled_out(2, math.sqrt(2), 1, "two") / TRIALS  # sqrt 2 apart, noise sqrt 2
    assert rate == pytest.approx(norm.cdf(0.5), abs=0.02)


@given(st.floats(0.001, 0.9), st.floats(0.05, 20), st.integers(1, 100))
def test_epsilon_and_delta_are_never_below_the_tight_form(kappa, noise, releases):
    tight = reconstruction_robustness(kappa, noise, releases)
    epsilon = epsilon_of(gaussian_mu(noise, releases), 1e-3)
    assert tpr_ceiling_from_dp(kappa, epsilon, 1e-3) >= tight - 1e-9


# --- Membership -------------------------------------------------------------------------------

@pytest.mark.parametrize("fpr", [0.01, 0.1])
@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
def test_the_likelihood_ratio_test_reaches_its_ceiling_and_no_more(noise, fpr):
    mu = gaussian_mu(noise, 4)
    found, wrong = told_apart(mu, fpr, generator("test", str(noise), str(fpr)))
    allowed = tpr_ceiling(fpr, mu)
    assert not broken(found, TRIALS, allowed) and not broken(wrong, TRIALS, fpr)
    assert found / TRIALS == pytest.approx(allowed, abs=0.02)
    careless, _ = told_apart(2 * mu, fpr, generator("careless", str(noise), str(fpr)))
    assert broken(careless, TRIALS, allowed)
    balanced = (found + TRIALS - wrong) / (2 * TRIALS)
    assert balanced < norm.cdf(mu / 2) + 0.02
    loose = tpr_ceiling_from_dp(fpr, epsilon_of(mu, 1e-3), 1e-3)
    assert allowed <= loose + 1e-9


@given(st.floats(0.02, 8), st.floats(1e-8, 0.3), st.floats(0, 1))
def test_one_pair_of_epsilon_and_delta_is_never_below_the_whole_curve(mu, delta, fpr):
    epsilon = epsilon_of(mu, delta)
    assert tpr_ceiling_from_dp(fpr, epsilon, delta) >= tpr_ceiling(fpr, mu) - 1e-9


@settings(max_examples=40, deadline=None)
@given(mu=st.floats(0.05, 30), delta=st.sampled_from([1e-9, 1e-5, 1e-3]))
def test_epsilon_of_a_gaussian_is_that_of_dp_accounting(mu, delta):
    expected = dp_accounting.get_epsilon_gaussian(1 / mu, delta)
    assert epsilon_of(mu, delta) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_no_noise_no_delta_and_no_information_are_guarded():
    assert epsilon_of(math.inf, 1e-5) == epsilon_of(1.0, 0.0) == math.inf
    assert epsilon_of(0.0, 1e-5) == epsilon_of(1e-7, 1e-5) == 0


def test_known_membership_points():
    assert tpr_ceiling(0.5, 1.0) == pytest.approx(0.841345, abs=1e-6)
    assert tpr_ceiling(0.0, 3.0) == 0 and tpr_ceiling(1.0, 3.0) == 1
    assert tpr_ceiling(0.0, math.inf) == 1, "no bound, not no number"
    assert tpr_ceiling_from_dp(0.1, math.log(3), 0.05) == pytest.approx(0.35)
    assert tpr_ceiling_from_dp(0.4, math.log(3), 0.05) == pytest.approx(1 - 0.55 / 3)


# --- Against an independent accountant --------------------------------------------------------

@pytest.mark.parametrize(("noise", "releases"), [(1.0, 1), (2.0, 10), (0.7, 3)])
def test_epsilon_and_ceilings_agree_with_dp_accounting(noise, releases):
    mu = gaussian_mu(noise, releases)
    accountant = PLDAccountant().compose(GaussianDpEvent(noise), releases)
    assert accountant.get_epsilon(1e-5) == pytest.approx(epsilon_of(mu, 1e-5), abs=2e-3)
    profile = subsampled_gaussian(noise, 1.0, releases)
    for fpr in (1e-3, 0.05, 0.3):
        allowed = tpr_ceiling(fpr, mu)
        assert allowed - 1e-9 <= profile.tpr_ceiling(fpr) <= allowed + 1e-3


def test_the_profile_of_batches_drawn_by_chance():
    accountant = PLDAccountant()
    profile = subsampled_gaussian(1.0, 1 / 16, 160)
    accountant.compose(PoissonSampledDpEvent(1 / 16, GaussianDpEvent(1.0)), 160)
    exact = accountant.get_epsilon(1e-5)
    assert exact <= profile.epsilon(1e-5) <= exact + 1.1e-3
    whole = tpr_ceiling(0.1, gaussian_mu(1.0, 160))
    assert 0.1 < profile.reconstruction_robustness(0.1) < whole


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_the_best_test_of_subsampled_steps_keeps_below_its_profile(rate):
    """The likelihood ratio over ten steps, thresholds from draws of their own."""
    noise, steps, fpr = 0.8, 10, 0.1
    draw = generator("subsampled", str(rate))
    profile = subsampled_gaussian(noise, rate, steps)

    def scores(member: bool, spread: float) -> torch.Tensor:
        drawn = torch.rand(TRIALS, steps, generator=draw, dtype=torch.float64) < rate
        seen = drawn * member + spread * torch.randn(TRIALS, steps, generator=draw,
                                                     dtype=torch.float64)
        ratio = ((2 * seen - 1) / (2 * spread**2)).exp()
        return (1 - rate + rate * ratio).log().sum(1)

    for spread, expected in ((noise, False), (noise / 2, True)):
        point = scores(False, spread).quantile(1 - fpr)
        wrong = int((scores(False, spread) > point).sum())
        found = int((scores(True, spread) > point).sum())
        at = proportion_interval(wrong, TRIALS, level=1 - 2e-6)[1]
        assert broken(found, TRIALS, profile.tpr_ceiling(at)) is expected


# --- Errors of unbiased attackers -------------------------------------------------------------

def clipped(record: torch.Tensor) -> torch.Tensor:
    return record / record.norm()


def test_the_error_bound_by_hand():
    """Three entries, each passed on doubled: |J|^2 = 12; and a clipped row keeps its length."""
    record = torch.tensor([0.3, 0.4, 0.0], dtype=torch.float64)
    assert unbiased_error(lambda z: 2 * z, record, 0.5) == pytest.approx(3 * 0.25 / 12)
    assert unbiased_error(lambda z: 2 * z, record, 0.5, releases=4) == pytest.approx(0.25 / 16)
    # z/|z| has Jacobian (1 - zz'/|z|^2)/|z|, of squared norm (d - 1)/|z|^2
    assert unbiased_error(clipped, record, 1.0) == pytest.approx(3 * 0.25 / 2)
    assert unbiased_error(torch.zeros_like, record, 1.0) == math.inf


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_the_optimal_unbiased_attack_meets_the_bound_and_half_the_noise_breaks_it(noise):
    """A linear release: least squares is the best unbiased estimate, and efficient."""
    draw = generator("unbiased", str(noise))
    record = torch.rand(6, generator=draw, dtype=torch.float64)
    mix = torch.linalg.qr(torch.randn(40, 6, generator=draw, dtype=torch.float64)).Q
    bound = unbiased_error(lambda z: mix @ z, record, noise)

    def errors(spread: float) -> torch.Tensor:
        seen = mix @ record + spread * torch.randn(TRIALS, 40, generator=draw,
                                                   dtype=torch.float64)
        return (seen @ mix - record).square().mean(1)

    for spread, breaks in ((noise, False), (noise / 2, True)):
        error = errors(spread)
        highest = float(error.mean() + 5 * error.std() / math.sqrt(TRIALS))
        assert (highest < bound) is breaks
    assert float(errors(noise).mean()) == pytest.approx(bound, rel=0.05)


def test_a_guess_that_never_saw_the_release_may_lie_below_the_error_bound():
    """So the bound is none for attackers with a prior, as its docstring says."""
    record = torch.full((6,), 0.6, dtype=torch.float64)
    guess = torch.full((6,), 0.5, dtype=torch.float64)
    assert float((guess - record).square().mean()) < unbiased_error(clipped, record, 1.0)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: reconstruction_robustness(0.0, 1.0), "kappa"),
    (lambda: reconstruction_robustness(1.0, 1.0), "kappa"),
    (lambda: reconstruction_robustness(0.5, 0.0), "noise_multiplier"),
    (lambda: reconstruction_robustness(0.5, float("nan")), "noise_multiplier"),
    (lambda: reconstruction_robustness(0.5, 1.0, 0), "releases"),
    (lambda: tpr_ceiling(1.1, 1.0), "fpr"),
    (lambda: tpr_ceiling(0.1, -1.0), "mu"),
    (lambda: epsilon_of(-1.0, 1e-5), "mu: -1.0 given"),
    (lambda: epsilon_of(1.0, 1.0), "delta: 1.0 given"),
    (lambda: tpr_ceiling_from_dp(0.1, -1.0), "epsilon"),
    (lambda: subsampled_gaussian(1.0, 0.0, 1), "sampling_rate"),
    (lambda: subsampled_gaussian(1.0, 1.0, 1).epsilon(0.0), "delta"),
    (lambda: unbiased_error(clipped, torch.ones(2), 0.0), "noise_std"),
    (lambda: unbiased_error(clipped, torch.ones(2), 1.0, releases=0), "releases"),
])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
