"""Audits of epsilon: the papers' equations, what others compute, and bounds that hold their level.

Coverage is measured on mechanisms whose privacy is known exactly. Randomised response has its
epsilon and not a bit less, so a bound that is too high somewhere is too high there.
"""

import math
import warnings
from functools import cache

import dp_accounting
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from torch import nn
from torch.nn.functional import cross_entropy

from leaklab.attacks.canaries import insert_canaries, many_run_audit, one_run_audit
from leaklab.attacks.epsilon_bounds import (
    many_run_bounds,
    one_run_epsilon,
    one_run_mu,
    one_run_p_value,
    upper_limit,
)
from leaklab.bounds import epsilon_of
from leaklab.models import mlp
from leaklab.runtime import generator, isolated_rng

LEVEL, DELTA = 0.95, 1e-5
FRACTIONS = tuple(k / 20 for k in range(1, 21))


@st.composite
def counts(draw):
    canaries = draw(st.integers(1, 120))
    guesses = draw(st.integers(1, canaries))
    return draw(st.integers(0, guesses)), guesses, canaries


# --- Known answers ---------------------------------------------------------------------------


def test_ten_right_of_ten_by_hand():
    assert one_run_p_value(10, 10, 40, 0.0, 0.0) == pytest.approx(0.5**10)
    right = 0.05**0.1  # a coin that falls right ten times in one of twenty audits
    assert one_run_epsilon(10, 10, 40, delta=0) == pytest.approx(math.log(right / (1 - right)))
    assert one_run_p_value(1, 1, 1, 0.0, 0.01) == pytest.approx(0.5 + 2 * 0.01 * 0.5)
    assert one_run_p_value(10, 10, 10, math.inf, 0.1) == 1


@settings(max_examples=60, deadline=None)
@given(counts=counts(), epsilon=st.floats(0, 6), delta=st.sampled_from([0.0, 1e-6, 1e-3]))
def test_p_values_are_those_of_the_paper_sum_by_sum(counts, epsilon, delta):
    correct, guesses, canaries = counts
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    tail = sum(binom.pmf(k, guesses, q) for k in range(correct, guesses + 1))
    alpha = max([0] + [sum(binom.pmf(k, guesses, q) for k in range(correct - i, correct)) / i
                       for i in range(1, correct + 1)])
    expected = min(1, tail + 2 * canaries * delta * alpha)
    found = one_run_p_value(correct, guesses, canaries, epsilon, delta)
    assert found == pytest.approx(expected, rel=1e-9)


def refuted(mu, correct, guesses, canaries, alpha=1 - LEVEL):
    """Algorithm 3 of Mahloujifar et al., with lists and scalars as there."""
    h, r = [0.0] * (correct + 1), [0.0] * (correct + 1)
    r[correct], h[correct] = alpha * correct / canaries, alpha * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        h[i] = max(h[i + 1], norm.cdf(norm.ppf(min(r[i + 1], 1)) - mu))
        r[i] = r[i + 1] + i / (guesses - i) * (h[i] - h[i + 1])
    return r[0] + h[0] > guesses / canaries


@settings(max_examples=25, deadline=None)
@given(counts=counts())
def test_mu_is_the_last_that_the_published_recursion_refutes(counts):
    mu = one_run_mu(*counts)
    assert mu == 0 or refuted(mu, *counts)
    assert not refuted(mu + 1e-3, *counts)


@settings(max_examples=60, deadline=None)
@given(runs=st.integers(1, 400), data=st.data(), alpha=st.floats(0.001, 0.4))
def test_limits_are_those_of_clopper_and_pearson(runs, data, alpha):
    errors = data.draw(st.integers(0, runs))
    interval = binomtest(errors, runs, alternative="less").proportion_ci(1 - alpha)
    assert upper_limit(errors, runs, alpha) == pytest.approx(interval.high, abs=1e-9)


def test_many_runs_without_an_error_by_hand():
    found = many_run_bounds(0, 100, 0, 100, delta=0.01)
    limit = 1 - 0.025**(1 / 100)
    assert found.epsilon == pytest.approx(math.log((0.99 - limit) / limit))
    assert found.mu == pytest.approx(-2 * norm.ppf(limit))
    assert many_run_bounds(50, 100, 50, 100, delta=0.01) == (0, 0)
    assert many_run_bounds(100, 100, 100, 100, delta=0.01) == (0, 0)


def test_a_perfect_guess_and_no_information_are_guarded():
    perfect = one_run_audit(torch.arange(200.0), torch.arange(200) >= 100, delta=DELTA,
                            guess_fraction=1.0)
    assert perfect.correct == 200
    assert 3 < perfect.epsilon < 6
    assert math.isfinite(perfect.epsilon_if_gaussian)


@settings(max_examples=25, deadline=None)
@given(counts=counts())
def test_more_correct_guesses_prove_more_and_more_canaries_less(counts):
    correct, guesses, canaries = counts
    epsilon, mu = one_run_epsilon(*counts, delta=1e-3), one_run_mu(*counts)
    assert one_run_epsilon(correct, guesses, 2 * canaries, delta=1e-3) <= epsilon + 1e-6
    if correct < guesses:
        assert one_run_epsilon(correct + 1, guesses, canaries, delta=1e-3) >= epsilon - 1e-6
        assert one_run_mu(correct + 1, guesses, canaries) >= mu - 1e-3


# --- Guessing --------------------------------------------------------------------------------


def test_the_highest_are_guessed_in_and_the_lowest_out():
    scores = torch.tensor([0.1, 0.9, 0.5, 0.4, 0.8, 0.2, 0.6, 0.3, 0.55, 0.45])
    included = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0, 1], dtype=torch.bool)
    audit = one_run_audit(scores, included, delta=DELTA, guess_fraction=0.4)
    assert (audit.correct, audit.guesses, audit.canaries) == (2, 4, 10)  # 0.9 and 0.1 are right


def test_ties_give_nothing_away_even_where_the_canaries_are_sorted():
    included = torch.arange(4000) >= 2000
    audit = one_run_audit(torch.zeros(4000), included, delta=DELTA, guess_fraction=0.5)
    assert abs(audit.correct - 1000) < 100
    assert audit.epsilon < 0.3
    assert many_run_audit(torch.zeros(4000), included, delta=DELTA) == (0, 0)


# --- Coverage --------------------------------------------------------------------------------


def too_often(bounds, truth):
    """Whether bounds lie above the truth more often than their level allows (p < 0.001)."""
    above = sum(bound > truth + 1e-9 for bound in bounds)
    return binomtest(above, len(bounds), 1 - LEVEL, alternative="greater").pvalue < 0.001


def randomised_response(epsilon, trial, canaries=100):
    """Each canary's bit, told truly with the probability that epsilon allows."""
    rng = generator("response", trial)
    included = torch.rand(canaries, generator=rng) < 0.5
    lied = torch.rand(canaries, generator=rng) < 1 / (1 + math.exp(epsilon))
    return (included ^ lied).double(), included


@cache
def cached_epsilon(correct, guesses, canaries):
    return one_run_epsilon(correct, guesses, canaries, delta=0.0, level=LEVEL)


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_one_run_holds_its_level_where_it_is_hardest(epsilon, monkeypatch):
    monkeypatch.setattr("leaklab.attacks.canaries.one_run_mu", lambda *counts, level: 0.0)
    monkeypatch.setattr("leaklab.attacks.canaries.one_run_epsilon",
                        lambda *counts, delta, level: cached_epsilon(*counts))
    found = []
    for trial in range(400):
        scores, included = randomised_response(epsilon, trial)
        found.append([one_run_audit(scores, included, delta=0.0, guess_fraction=share).epsilon
                      for share in FRACTIONS])
    fixed, best = [row[9] for row in found], [max(row) for row in found]
    assert not too_often(fixed, epsilon)
    assert sum(bound > epsilon for bound in fixed) > 2  # and is not merely cautious
    assert too_often(best, epsilon)  # the best of twenty fractions is a wrong bound


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_one_run_holds_its_level_for_a_gaussian(mu):
    audits, exchanged = [], []
    for trial in range(300):
        rng = generator("gaussian", trial)
        included = torch.rand(200, generator=rng) < 0.5
        scores = included * mu + torch.randn(200, generator=rng)
        audits.append(one_run_audit(scores, included, delta=DELTA, guess_fraction=0.2))
        # a wrong bound: the level where its complement belongs
        exchanged.append(one_run_mu(*audits[-1][:3], level=1 - LEVEL))
    epsilon = epsilon_of(mu, DELTA)
    assert not too_often([audit.epsilon for audit in audits], epsilon)
    assert not too_often([audit.mu for audit in audits], mu)
    assert not too_often([audit.epsilon_if_gaussian for audit in audits], epsilon)
    assert sum(audit.mu for audit in audits) / 300 > 0.2 * mu
    assert too_often(exchanged, mu)


def test_many_runs_hold_their_level_and_bare_rates_do_not():
    mu, runs = 1.0, 400
    included = torch.arange(runs) % 2 == 0
    found, rates = [], []
    for trial in range(300):
        scores = included * mu + torch.randn(runs, generator=generator("runs", trial))
        found.append(many_run_audit(scores, included, delta=DELTA))
        alarms, misses = float((scores[~included] >= 0.5).double().mean()), float(
            (scores[included] < 0.5).double().mean())
        rates.append(norm.ppf(1 - alarms) - norm.ppf(misses))  # wrong: no limits
    assert not too_often([bounds.mu for bounds in found], mu)
    assert not too_often([bounds.epsilon for bounds in found], epsilon_of(mu, DELTA))
    assert sum(bounds.mu for bounds in found) / 300 > 0.35 * mu
    assert too_often(rates, mu)


# --- Inside Opacus ---------------------------------------------------------------------------


def records(n=40, features=5):
    rng = generator("audit records")
    inputs = torch.randn(n, features, generator=rng, dtype=torch.float64)
    return 3 * inputs, (inputs[:, 0] > 0).long()


def opacus_run(noise_multiplier, steps=20, canaries=600, included=None):
    from opacus import PrivacyEngine

    with warnings.catch_warnings(), isolated_rng(generator("opacus")):
        warnings.simplefilter("ignore")
        inputs, targets = records(64, 20)
        data = torch.utils.data.TensorDataset(inputs.float(), targets)
        model = mlp(generator("weights"), num_features=20, width=40)
        model, optimiser, loader = PrivacyEngine().make_private(
            module=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            data_loader=torch.utils.data.DataLoader(data, batch_size=16),
            noise_multiplier=noise_multiplier, max_grad_norm=1.0)
        rng = generator("canaries")
        if included is None:
            included = torch.rand(canaries, generator=rng) < 0.5
        scores = insert_canaries(optimiser, included, sample_rate=0.25, generator=rng)
        for _ in range(steps // 4):
            for x, y in loader:
                optimiser.zero_grad()
                cross_entropy(model(x), y).backward()
                optimiser.step()
    return scores, included


def test_opacus_trains_on_the_canaries_and_on_nothing_else_of_them():
    scores, included = opacus_run(0.0)
    gap = scores[included].mean() - scores[~included].mean()
    assert float(gap) == pytest.approx(20 * 0.25, rel=0.1)  # a norm of 1, sampled in a quarter
    none, _ = opacus_run(0.0, included=torch.zeros(600, dtype=torch.bool))
    assert float(none.abs().max()) < 1e-4  # what the records put there is known, and taken off


def test_an_audit_of_opacus_passes_the_noise_it_promised_and_catches_a_tenth_of_it():
    accountant = dp_accounting.rdp.RdpAccountant()
    accountant.compose(dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
        0.25, dp_accounting.GaussianDpEvent(3.0)), 20))
    promised = accountant.get_epsilon(DELTA)
    assert one_run_audit(*opacus_run(3.0), delta=DELTA, guess_fraction=0.2).epsilon < promised
    assert one_run_audit(*opacus_run(0.3), delta=DELTA, guess_fraction=0.2).epsilon > promised


# --- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "message"), [
    (lambda: one_run_epsilon(5, 4, 10, delta=0), "correct, guesses, canaries: 5, 4, 10 given"),
    (lambda: one_run_mu(0, 0, 10), "at least one guess"),
    (lambda: one_run_epsilon(3, 4, 10, delta=1.0), "delta: 1.0 given"),
    (lambda: one_run_epsilon(3, 4, 10, delta=0, level=1.0), "level: 1.0 given"),
    (lambda: many_run_bounds(3, 2, 0, 5, delta=0), "false_alarms: 3 of 2 given"),
    (lambda: many_run_bounds(0, 2, 0, 0, delta=0), "misses: 0 of 0 given"),
    (lambda: one_run_audit(torch.zeros(9), torch.zeros(8, dtype=torch.bool), delta=0),
     r"included: torch.bool \(8,\) given"),
    (lambda: one_run_audit(torch.zeros(9), torch.ones(9), delta=0), "included: torch.float32"),
    (lambda: one_run_audit(torch.full((40,), math.nan), torch.arange(40) > 20, delta=0),
     "scores: values that are not finite"),
    (lambda: one_run_audit(torch.zeros(9), torch.arange(9) > 4, delta=0),
     "guess_fraction: 0.1 of 9 canaries"),
    (lambda: many_run_audit(torch.zeros(9), torch.arange(9) > 7, delta=0),
     "included: 1 runs with the canary and 8 without"),
])
def test_what_cannot_be_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_more_canaries_than_weights_are_refused():
    class Optimiser:
        params = tuple(nn.Linear(2, 1).parameters())

    with pytest.raises(ValueError, match="4 canaries given, expected at most one for each of"):
        insert_canaries(Optimiser(), torch.ones(4, dtype=torch.bool), sample_rate=0.5,
                        generator=generator(0))
