"""Compression: known answers, what it must not do to an update, and slopes to search along."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leaklab.defences.compression import (
    HalfPrecision,
    Quantised,
    Rounded,
    Sign,
    TopK,
    half_precision,
    int8,
    rounding,
    sign,
    top_k,
)
from leaklab.federation import train_on
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, Update

ROW = torch.tensor([0.1, -4.0, 3.0, -0.2])
ALL = (top_k(0.25), sign(), half_precision(), int8(), Quantised(4), rounding(2))


def sent(defence, moved: torch.Tensor) -> torch.Tensor:
    """What the server reads of an update that moved one tensor by ``moved``."""
    update = Update({"w": torch.ones_like(moved)}, {"w": 1 + moved}, 1, 1, "Aster")
    return defence(update).delta["w"]


def test_known_answers():
    torch.testing.assert_close(sent(TopK(0.5), ROW), torch.tensor([0.0, -4.0, 3.0, 0.0]))
    torch.testing.assert_close(sent(Sign(), ROW), torch.tensor([1.0, -1.0, 1.0, -1.0]) * 7.3 / 4)
    half = HalfPrecision().compressed(torch.tensor([0.5, 0.1], dtype=torch.float64))
    assert half[0] == 0.5 and 0 < abs(half[1] - 0.1) < 0.1 * 2**-11
    torch.testing.assert_close(sent(Quantised(2), ROW), torch.tensor([0.0, -4.0, 4.0, 0.0]))
    torch.testing.assert_close(sent(Rounded(0), ROW), torch.tensor([0.0, -4.0, 3.0, 0.0]))


def test_ties_do_not_let_more_through_than_the_share():
    assert int((sent(TopK(0.25), torch.ones(8)) != 0).sum()) == 2
    assert int((sent(TopK(0.001), ROW) != 0).sum()) == 1, "one entry at least"


@pytest.mark.parametrize("defence", ALL, ids=repr)
def test_a_tensor_without_entries_stays_as_it_is(defence):
    assert sent(defence, torch.empty(0, 3)).shape == (0, 3)


@given(st.integers(2, 12), st.integers(0, 1000))
def test_quantising_moves_no_entry_by_more_than_half_a_step(bits, seed):
    row = torch.randn(40, generator=generator(seed), dtype=torch.float64)
    step = row.abs().max() / (2 ** (bits - 1) - 1)
    found = Quantised(bits).compressed(row)
    assert float((found - row).abs().max()) <= float(step) / 2 * (1 + 1e-9)
    assert len(found.unique()) <= 2**bits - 1


@pytest.mark.parametrize("defence", ALL, ids=repr)
def test_compressing_twice_is_compressing_once(defence):
    row = torch.randn(50, generator=generator("row"), dtype=torch.float64)
    once = defence.compressed(row)
    torch.testing.assert_close(defence.compressed(once), once)


@pytest.mark.parametrize("defence", ALL, ids=repr)
def test_an_update_keeps_its_shape_dtype_and_buffers(defence):
    net = mlp(generator("w"), num_features=6, width=5).double()
    update = train_on(net, torch.rand(3, 6, generator=generator("x"), dtype=torch.float64),
                      torch.tensor([0, 1, 1]), LocalTraining(0.1), generator=generator("t"))
    counted = Update({**update.before, "seen": torch.tensor(3)},
                     {**update.after, "seen": torch.tensor(7)}, 3, 1, "Aster")
    changed = defence(counted)
    assert int(changed.after["seen"]) == 7
    assert {t.dtype for n, t in changed.after.items() if n != "seen"} == {torch.float64}
    assert [changed.after[n].shape for n in update.after] == [t.shape for t in
                                                              update.after.values()]
    assert counted.after["1.weight"] is update.after["1.weight"], "the update given is unchanged"


@pytest.mark.parametrize("defence", ALL, ids=repr)
def test_nothing_moved_stays_where_it_is(defence):
    assert sent(defence, torch.zeros(6)).tolist() == [0.0] * 6


@pytest.mark.parametrize("defence", ALL, ids=repr)
def test_the_surrogate_is_what_is_sent_and_has_slopes(defence):
    gradient = ROW.double().clone().requires_grad_()
    simulated = defence.surrogate({"w": gradient})["w"]
    torch.testing.assert_close(simulated.detach(), defence.compressed(ROW.double()))
    slope = torch.autograd.grad(simulated.sum(), gradient)[0]
    kept = simulated.detach() != 0 if isinstance(defence, TopK) else torch.ones(4)
    torch.testing.assert_close(slope, kept.double())


@pytest.mark.parametrize(("make", "message"), [
    (lambda: TopK(0.0), "share"), (lambda: TopK(1.5), "share"), (lambda: Quantised(1), "bits"),
    (lambda: Quantised(40), "bits"), (lambda: Rounded(-1), "digits")])
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=f"{message}: .* given, expected"):
        make()
