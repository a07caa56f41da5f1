"""An update as one vector, and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.defences.vectors import flat_change, moved_by


@settings(deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float64]))
def test_there_and_back(seed, dtype):
    source = torch.Generator().manual_seed(seed)
    before = {"b": torch.randn(2, 3, generator=source, dtype=dtype), "n": torch.tensor(7),
              "a": torch.randn(4, generator=source, dtype=dtype), "none": torch.zeros(0)}
    after = {"b": before["b"] + 1, "n": torch.tensor(9), "a": before["a"] * 2,
             "none": torch.zeros(0)}
    back = moved_by(before, flat_change(before, after))
    assert list(back) == list(before)
    for name, tensor in after.items():
        assert back[name].dtype == tensor.dtype
        torch.testing.assert_close(back[name], tensor)


def test_tensors_go_in_the_order_of_names():
    before = {"b": torch.zeros(1), "a": torch.zeros(2)}
    after = {"b": torch.tensor([3.0]), "a": torch.tensor([1.0, 2.0])}
    assert flat_change(before, after).tolist() == [1, 2, 3]


def test_integers_are_rounded_and_nothing_else_fits():
    assert moved_by({"n": torch.tensor(3)}, torch.tensor([1.6])) == {"n": torch.tensor(5)}
    with pytest.raises(ValueError, match=r"change: \(3,\) given, expected \(2,\)"):
        moved_by({"a": torch.zeros(2)}, torch.zeros(3, dtype=torch.float64))
