"""Compressed updates: what survives the format, entry by entry."""

import pytest
import torch

from leaklab.defences.compression import eight_bits, half_precision, largest
from leaklab.updates import Update


def update(changes):
    before = {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "steps": torch.tensor(1)}
    after = {"weight": before["weight"] + torch.tensor(changes), "steps": torch.tensor(2)}
    return Update(before, after, 3, 0, "Aster")


def change(compressed):
    assert compressed.after["steps"] == 2 and compressed.num_examples == 3
    return compressed.after["weight"] - compressed.before["weight"]


def test_the_largest_entries_stay_and_the_others_did_not_move():
    kept = change(largest(update([[0.5, -2.0], [0.25, 1.0]]), 0.5))
    assert torch.equal(kept, torch.tensor([[0.0, -2.0], [0.0, 1.0]]))
    assert torch.equal(change(largest(update([[0.5, -2.0], [0.25, 1.0]]), 1.0)),
                       torch.tensor([[0.5, -2.0], [0.25, 1.0]]))


def test_eight_bits_are_steps_of_a_127th_of_the_largest():
    coarse = change(eight_bits(update([[1.27, 0.014], [0.016, -1.27]])))
    torch.testing.assert_close(coarse, torch.tensor([[1.27, 0.01], [0.02, -1.27]]), atol=1e-6,
                               rtol=0)
    assert not change(eight_bits(update([[0.0, 0], [0, 0]]))).any()


def test_half_precision_keeps_eleven_bits():
    whole = update([[0.5, -0.25], [0.1, 0.0]])
    half = change(half_precision(whole))
    assert half[0, 0] == 0.5 and half[0, 1] == -0.25 and half[1, 1] == 0
    assert 0 < (half[1, 0] - 0.1).abs() < 0.1 * 2**-11


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(ValueError, match="share"):
        largest(update([[1.0, 1], [1, 1]]), share)
