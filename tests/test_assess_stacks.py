"""Layers of defences: exposures by hand, by simulation, and who holds against whom."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leaklab.assess.stacks import (
    OBSERVERS,
    STACKS,
    Stack,
    cheapest,
    exposure,
    exposures,
    holds,
    noise_in_sum,
    rests_on,
    share_of_noise,
)
from leaklab.runtime import generator

BY_NAME = {stack.name: stack for stack in STACKS}
SHARES = BY_NAME["TLS, secure sum, shares of noise"]
LOCAL = BY_NAME["TLS, noise at each hospital"]
CENTRAL = BY_NAME["TLS, noise at the server"]


def test_exposures_by_hand():
    """Five hospitals, mu = 1: noise of 1 at each; of 1/2 at each, one not counted on; or one."""
    of = {(name, observer): left for name, row in exposures(1.0, 5).items()
          for observer, left in row.items()}
    assert len(of) == len(STACKS) * len(OBSERVERS)
    assert of[LOCAL.name, "server"] == of[LOCAL.name, "active server"] == pytest.approx(1)
    assert of[LOCAL.name, "client"] == pytest.approx(1 / 2)
    assert of[LOCAL.name, "public"] == pytest.approx(1 / math.sqrt(5))
    assert of[SHARES.name, "client"] == pytest.approx(1)
    assert of[SHARES.name, "server"] == of[SHARES.name, "public"] == pytest.approx(
        math.sqrt(4 / 5))
    assert of[CENTRAL.name, "server"] == math.inf and of[CENTRAL.name, "public"] == 1
    assert of["TLS, secure sum", "server"] == math.inf, "hidden among others is no bound"
    assert of["plain line", "eavesdropper"] == math.inf and of["TLS", "eavesdropper"] == 0


def test_shares_without_a_secure_sum_leave_each_update_nearly_bare():
    bare = Stack("shares alone", "shares", colluding=1)
    assert exposure(bare, "server", mu=1.0, hospitals=5) == pytest.approx(2)
    assert not holds(bare, "server", mu=1.0, hospitals=5)


@pytest.mark.parametrize("stack", [SHARES, LOCAL], ids=lambda stack: stack.noise)
@pytest.mark.parametrize("observer", ["server", "client", "public"])
def test_exposures_by_simulation(stack, observer):
    """Noise is drawn hospital by hospital; what the observer cannot take away is measured."""
    hospitals, mu = 4, 0.8
    drawn = share_of_noise(stack, hospitals) / mu * torch.randn(
        hospitals, 50_000, generator=generator("noise", stack.noise), dtype=torch.float64)
    assert float(drawn.sum(0).std()) == pytest.approx(noise_in_sum(stack, hospitals) / mu, rel=0.02)
    seen = {"public": drawn.sum(0), "client": drawn[1:].sum(0),
            "server": drawn.sum(0) if stack.secure else drawn[0]}[observer]
    assert exposure(stack, observer, mu=mu, hospitals=hospitals) == pytest.approx(
        1 / float(seen.std()), rel=0.02)


@given(st.floats(0.1, 8), st.integers(2, 50))
def test_whoever_sees_more_learns_no_less(mu, hospitals):
    for stack in STACKS:
        public, client, server = (exposure(stack, o, mu=mu, hospitals=hospitals)
                                  for o in ("public", "client", "server"))
        assert public <= client * (1 + 1e-12)
        if not stack.secure:
            assert client <= server * (1 + 1e-12)


@given(st.floats(0.1, 8), st.integers(2, 50))
def test_a_stack_made_for_mu_holds_against_those_it_is_made_for(mu, hospitals):
    for observer in ("server", "active server", "client", "public"):
        assert holds(SHARES, observer, mu=mu, hospitals=hospitals)
        assert holds(LOCAL, observer, mu=mu, hospitals=hospitals)
    assert holds(CENTRAL, "client", mu=mu, hospitals=hospitals)
    assert noise_in_sum(CENTRAL, hospitals) <= noise_in_sum(SHARES, hospitals)
    assert noise_in_sum(SHARES, hospitals) <= noise_in_sum(LOCAL, hospitals) * (1 + 1e-12)


def test_the_cheapest_stack_for_each_observer():
    chosen = {observer: cheapest(observer, mu=1.0, hospitals=5).name for observer in OBSERVERS}
    assert chosen == {"eavesdropper": "TLS", "server": SHARES.name, "active server": SHARES.name,
                      "client": CENTRAL.name, "public": CENTRAL.name}


def test_whoever_must_be_trusted_is_named():
    assert rests_on(LOCAL, "server") == rests_on(LOCAL, "public") == "nobody"
    assert rests_on(CENTRAL, "client") == "the server's noise"
    assert rests_on(CENTRAL, "server") == "nothing is proven"
    assert rests_on(SHARES, "active server") == "the secure sum, all hospitals' noise but 1"
    assert rests_on(SHARES, "public") == "all hospitals' noise but 1"
    assert rests_on(BY_NAME["TLS"], "eavesdropper") == "the cryptography of TLS"
    assert {rests_on(BY_NAME["TLS, secure sum"], observer) for observer in OBSERVERS} == {
        "the cryptography of TLS", "nothing is proven"}


@given(st.integers(2, 50))
def test_a_hospital_that_sides_with_the_server_leaves_it_what_was_promised(hospitals):
    left = (hospitals - SHARES.colluding) * share_of_noise(SHARES, hospitals) ** 2
    assert 1 / math.sqrt(left) == pytest.approx(1)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Stack("x", "somewhere"), "noise"), (lambda: Stack("x", colluding=-1), "colluding"),
    (lambda: exposure(LOCAL, "nobody", mu=1.0, hospitals=3), "observer"),
    (lambda: rests_on(LOCAL, "nobody"), "observer"),
    (lambda: exposure(LOCAL, "server", mu=0.0, hospitals=3), "mu"),
    (lambda: noise_in_sum(LOCAL, 1), "hospitals"),
    (lambda: noise_in_sum(Stack("x", "shares", colluding=3), 3), "hospitals")])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"{message}: .* given, expected"):
        call()
