"""The bound on reconstruction: known points, limits, and an optimal attack that keeps below it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leaklab.bounds import reconstruction_robustness
from leaklab.runtime import generator


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


@pytest.mark.parametrize("noise", [0.3, 0.6, 1.0, 2.0])
def test_the_best_attack_on_the_worst_records_keeps_below_it(noise):
    """Candidates at right angles, all of clipping norm: the likeliest one is the best answer."""
    n, trials = 20, 20_000
    seen = noise * torch.randn(trials, n, generator=generator("noise", str(noise)))
    seen[:, 0] += 1.0  # the first candidate was sent
    rate = float((seen.argmax(1) == 0).double().mean())
    error = 3 * math.sqrt(rate * (1 - rate) / trials)
    assert 1 / n < rate - error
    assert rate - error < reconstruction_robustness(1 / n, noise)


@pytest.mark.parametrize(("kappa", "noise", "message"), [
    (0.0, 1.0, "kappa"), (1.0, 1.0, "kappa"), (0.5, 0.0, "noise_multiplier"),
    (0.5, float("nan"), "noise_multiplier")])
def test_bad_arguments_are_named(kappa, noise, message):
    with pytest.raises(ValueError, match=message):
        reconstruction_robustness(kappa, noise)
