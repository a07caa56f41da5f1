"""A search counts what it spends, stops when told, and answers with its best guess."""

import itertools
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.attacks.search import (
    SMOOTHING,
    Budget,
    Found,
    fading,
    grey,
    in_turn,
    l_bfgs,
    recovered,
    search,
    signed_adam,
    total_variation,
)
from leaklab.runtime import generator

ADAM, L_BFGS = signed_adam(0.05, 0.0, 1.0), l_bfgs()
DESCENTS = pytest.mark.parametrize("descend", [ADAM, L_BFGS], ids=["signed Adam", "L-BFGS"])
TARGET = torch.tensor([[0.2, 0.7, 0.4]], dtype=torch.float64)
CORNER = torch.full((1, 3), 0.9, dtype=torch.float64)


def bowl(guess, progress):
    """Fourth powers: steep enough to fall into, flat enough that L-BFGS takes its time."""
    return (guess - TARGET).pow(4).sum(), 0.0


def counted(loss):
    calls = []

    def counting(*variables, progress):
        calls.append((variables[0].detach().clone(), progress))
        return loss(*variables, progress=progress)

    return counting, calls


# --- Budget -----------------------------------------------------------------------------------


@DESCENTS
@pytest.mark.parametrize(("evaluations", "restarts"), [(1, 1), (7, 1), (31, 3)])
def test_evaluations_are_counted_exactly(descend, evaluations, restarts):
    loss, calls = counted(bowl)
    told = []
    search(descend, loss, [[CORNER]] * restarts, budget=Budget(evaluations, restarts),
           callback=lambda number, guess, loss: told.append(number))
    assert len(calls) == evaluations * restarts
    assert told == list(range(1, evaluations + 1)) * restarts


def test_the_prior_is_told_how_much_of_the_budget_is_used():
    loss, calls = counted(bowl)
    search(ADAM, loss, [[CORNER]], budget=Budget(4))
    assert [progress for _, progress in calls] == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("every", [0, -1])
def test_snapshots_less_than_one_evaluation_apart_are_refused(every):
    with pytest.raises(ValueError, match=f"every: {every} given, expected None or 1 or more"):
        search(ADAM, bowl, [[CORNER]], budget=Budget(3), every=every)


def cliff(guess, progress):
    """Falls towards a rim, beyond which the loss is not a number: whole steps jump over it."""
    return (guess.sum() if bool((guess > -1).all()) else guess.sum() * math.nan), 0.0


def test_descents_in_turn_share_one_budget_and_go_on_from_the_best_guess():
    loss, calls = counted(bowl)
    search(in_turn(l_bfgs(5), ADAM), loss, [[CORNER]], budget=Budget(12))
    assert len(calls) == 12
    best = min((guess for guess, _ in calls[:5]), key=lambda guess: float(bowl(guess, 0)[0]))
    assert torch.equal(calls[5][0], best.clamp(0, 1))
    assert [progress for _, progress in calls[5:]] == pytest.approx([n / 7 for n in range(7)])


def test_a_descent_that_runs_over_a_cliff_does_not_end_the_next():
    loss, calls = counted(cliff)
    found = search(in_turn(l_bfgs(10), ADAM), loss, [[CORNER]], budget=Budget(60))
    assert float(calls[2][0].min()) < -1, "L-BFGS has fallen at its third evaluation"
    assert len(calls) == 60 and found.loss == 0, "Adam goes on, down to the edge of its box"


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, None], ids=["Ctrl-C", "not a number"])
def test_what_the_run_up_found_survives_trouble_in_the_next_descents_first_evaluation(trouble):
    seen = []

    def troubled(guess, progress):
        if len(seen) == 5:  # before this evaluation has a value, as Ctrl-C mostly comes
            if trouble:
                raise trouble
            return guess.sum() * math.nan, 0.0
        value = bowl(guess, progress)
        seen.append((float(value[0].detach()), guess.detach().clone()))
        return value

    found = search(in_turn(l_bfgs(5), ADAM), troubled, [[CORNER]], budget=Budget(12))
    loss, guess = min(seen, key=lambda pair: pair[0])
    assert found.loss == loss and torch.equal(found.variables[0], guess)


@pytest.mark.parametrize("line_search", [False, True])
def test_l_bfgs_ends_where_it_no_longer_helps(line_search):
    loss, calls = counted(lambda guess, progress: ((guess - TARGET).square().sum(), 0.0))
    found = search(l_bfgs(line_search=line_search), loss, [[CORNER]], budget=Budget(300))
    assert found.loss < 1e-20 and len(calls) < 100


@DESCENTS
def test_a_callback_that_returns_true_ends_the_whole_search(descend):
    loss, calls = counted(bowl)
    search(descend, loss, [[CORNER]] * 2, budget=Budget(9, 2),
           callback=lambda number, guess, value: number == 5)
    assert len(calls) == 5
    loss, calls = counted(bowl)
    search(descend, loss, [[CORNER]], budget=Budget(9), callback=lambda *_: "going well")
    assert len(calls) == 9, "only True itself ends it"


@DESCENTS
def test_a_limit_in_seconds_holds_for_all_starts_together(descend, monkeypatch):
    real, ticks = time.monotonic(), itertools.count(1)
    monkeypatch.setattr(time, "monotonic", lambda: real + next(ticks))
    loss, calls = counted(bowl)
    search(descend, loss, [[CORNER]] * 9, budget=Budget(4, 9, seconds=10.5))
    assert 8 <= len(calls) <= 11, "a second an evaluation"


@pytest.mark.parametrize(("given", "message"), [
    ({"evaluations": 0}, "evaluations: 0 given, expected 1 or more"),
    ({"restarts": -1}, "restarts: -1 given"), ({"seconds": 0.0}, r"seconds: 0\.0 given"),
    ({"seconds": float("nan")}, "seconds: nan given")])
def test_a_budget_of_nothing_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Budget(**given)


# --- The best guess, and its own loss -----------------------------------------------------------


@DESCENTS
@pytest.mark.parametrize("at", [1, 2, 6])
def test_ctrl_c_returns_the_best_guess_so_far_with_its_own_loss(descend, at):
    seen = []

    def interrupt(number, guess, loss):
        seen.append(loss)
        if number == at:
            raise KeyboardInterrupt

    found = search(descend, bowl, [[CORNER]], budget=Budget(20), callback=interrupt)
    assert len(seen) == at and found.loss == min(seen)
    assert float(bowl(found.variables[0], 0)[0]) == found.loss


def test_ctrl_c_before_anything_was_found_goes_through():
    def loss(guess, progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(ADAM, loss, [[CORNER]], budget=Budget(5))


def wells(guess, progress):
    """Two wells: the one at 0.2 is deep, the one at 0.8 is not."""
    return ((guess - 0.2).square() * ((guess - 0.8).square() + 0.01)).sum(), 0.0


@DESCENTS
@pytest.mark.parametrize("order", [1, -1])
def test_of_all_starts_the_best_guess_is_returned_with_its_own_snapshots(descend, order):
    starts = [[torch.full((1, 1), value)] for value in (0.82, 0.3)][::order]
    found = search(descend, wells, starts, budget=Budget(40, 2), every=1)
    assert float(found.variables[0]) == pytest.approx(0.2, abs=0.02)
    assert torch.equal(found.snapshots[0], torch.full((1, 1), 0.3))
    assert len(found.snapshots) <= 40


def test_a_snapshot_is_kept_each_so_many_evaluations():
    loss, calls = counted(bowl)
    found = search(ADAM, loss, [[CORNER]], budget=Budget(10), every=4)
    for snapshot, number in zip(found.snapshots, (0, 4, 8), strict=True):
        assert torch.equal(snapshot, calls[number][0])


def test_a_prior_that_fades_does_not_choose_the_guess():
    def loss(guess, progress):
        return (guess - 0.2).square().sum(), 100 * (1 - progress) * (guess - 0.8).square().sum()

    found = search(ADAM, loss, [[torch.full((1, 1), 0.25)]], budget=Budget(8))
    assert float(found.variables[0]) == 0.25, "the prior leads away, the data term remembers"


@DESCENTS
def test_a_loss_that_is_nan_from_the_outset_is_named(descend):
    with pytest.raises(ValueError, match="loss: NaN at every guess; is the update finite"):
        search(descend, lambda guess, progress: (guess.sum() * math.nan, 0.0), [[CORNER]] * 2,
               budget=Budget(5, 2))


@DESCENTS
def test_a_start_that_ends_in_nan_spoils_no_other(descend):
    def loss(guess, progress):
        return ((guess - 0.5).square() + (math.nan if guess > 0.8 else 0)).sum(), 0.0

    bad, good = [[torch.full((1, 1), value)] for value in (0.9, 0.6)]
    for starts in ([bad, good], [good, bad]):
        found = search(descend, loss, starts, budget=Budget(20, 2))
        assert float(found.variables[0]) == pytest.approx(0.5, abs=0.05)


# --- The descents -----------------------------------------------------------------------------


def test_signed_adam_is_adam_on_signs_with_a_rate_that_falls_along_a_cosine():
    loss, calls = counted(lambda guess, progress: ((guess - TARGET).square().sum(), 0.0))
    search(ADAM, loss, [[CORNER]], budget=Budget(12))
    guess, mean, spread = CORNER.numpy().copy(), 0.0, 0.0
    for step, (visited, _) in enumerate(calls):
        np.testing.assert_allclose(visited.numpy(), guess, atol=1e-9)
        sign = np.sign(guess - TARGET.numpy())
        mean, spread = 0.9 * mean + 0.1 * sign, 0.999 * spread + 0.001 * sign**2
        rate = 0.05 * (1 + math.cos(math.pi * step / 12)) / 2
        corrected = mean / (1 - 0.9 ** (step + 1)), spread / (1 - 0.999 ** (step + 1))
        guess = np.clip(guess - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8), 0, 1)


def test_signed_adam_does_not_mind_the_scale_of_the_loss_and_stays_in_range():
    paths = []
    for scale in (1.0, 1e-6):
        loss, calls = counted(lambda guess, progress, s=scale: (s * (guess - 3).square().sum(), 0))
        search(ADAM, loss, [[CORNER]], budget=Budget(20))
        paths.append(torch.stack([visited for visited, _ in calls]))
    assert torch.equal(*paths)
    assert float(paths[0].max()) == 1.0


def test_l_bfgs_finds_the_end_of_rosenbrocks_valley_and_stops_by_itself():
    def valley(guess, progress):
        x, y = guess[0]
        return 100 * (y - x**2) ** 2 + (1 - x) ** 2, 0.0

    loss, calls = counted(valley)
    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    found = search(L_BFGS, loss, [[start]], budget=Budget(1000))
    torch.testing.assert_close(found.variables[0], torch.ones(1, 2, dtype=torch.float64),
                               atol=1e-8, rtol=0)
    assert len(calls) < 200, "where arithmetic ends, so does the search"


@DESCENTS
def test_several_variables_are_searched_for_together_and_starts_are_left_alone(descend):
    def loss(guess, other, progress):
        return (guess - TARGET).square().sum() + (other - 5 * guess.sum()).square().sum(), 0.0

    start = [CORNER.clone(), torch.full((2,), 6.0, dtype=torch.float64)]
    found = search(descend, loss, [start], budget=Budget(200))
    assert found.loss < 0.01 and len(found.variables) == 2
    assert torch.equal(start[0], CORNER) and not start[0].requires_grad


# --- Starts and priors --------------------------------------------------------------------------


def test_total_variation_of_two_by_two_pixels_by_hand():
    image = torch.tensor([[[[0.1, 0.4], [0.5, 0.9]]]], dtype=torch.float64)
    # one pixel has a neighbour below, 0.4 away, and one to the right, 0.3 away
    assert float(total_variation(image)) == pytest.approx(0.5, abs=1e-5)
    flat = torch.full((2, 3, 5, 4), 0.3)
    assert float(total_variation(flat)) == pytest.approx(math.sqrt(SMOOTHING))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 6), st.integers(2, 6))
def test_total_variation_is_the_mean_length_of_the_slope(n, channels, height, width):
    images = torch.rand(n, channels, height, width, generator=generator(n, height),
                        dtype=torch.float64)
    down, across = np.diff(images.numpy(), axis=2), np.diff(images.numpy(), axis=3)
    lengths = np.hypot(down[..., :, :-1], across[..., :-1, :])
    assert float(total_variation(images)) == pytest.approx(lengths.mean(), abs=1e-3)
    turned = total_variation(images.flip(2).flip(3).transpose(2, 3))
    assert turned.isfinite() and turned > 0


def test_tables_have_no_variation():
    table = torch.rand(4, 7, dtype=torch.float64)
    assert float(total_variation(table)) == 0 and total_variation(table).dtype == torch.float64


def test_the_prior_fades_from_its_weight_to_nothing():
    weights = [fading(0.4, step / 10) for step in range(11)]
    assert weights[0] == 0.4 and weights[10] == 0
    assert weights[2] == pytest.approx(0.2 * (1 + math.cos(math.pi / 5)))
    assert weights == sorted(weights, reverse=True)


def test_the_grey_start_is_grey_its_own_and_not_the_global_generators():
    state = torch.get_rng_state()
    like = torch.zeros(1, dtype=torch.float64)
    start = grey((4, 1, 8, 8), generator("a"), like)
    assert torch.equal(torch.get_rng_state(), state)
    assert start.dtype == torch.float64 and start.shape == (4, 1, 8, 8)
    assert float((start - 0.5).abs().max()) < 0.02
    assert not torch.equal(start[0], start[1]), "equal images would never part"
    assert torch.equal(start, grey((4, 1, 8, 8), generator("a"), like))
    assert not torch.equal(start, grey((4, 1, 8, 8), generator("b"), like))


def bowl_of_one(guess, progress):
    """The sum of squares of what is left of 1, which clipping changes."""
    return (1 - guess).square().sum(), 0.0


def test_an_answer_lies_in_range_and_keeps_the_dtype_of_the_search():
    outside = torch.tensor([[-0.5, 0.25], [1.5, 0.75]], dtype=torch.float64)
    answer = recovered(Found([outside], 1e-30, [outside, outside]), bowl_of_one,
                       torch.tensor([1, 0]))
    assert torch.equal(answer.guess, outside.clamp(0, 1))
    assert answer.trajectory.shape == (2, 2, 2) and float(answer.trajectory.max()) == 1
    assert answer.score.dtype == torch.float64 and answer.score.tolist() == [-1.625] * 2
    assert recovered(Found([outside], 1.0, []), bowl_of_one).trajectory is None
