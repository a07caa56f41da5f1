"""Seeds, devices and sizes behave as labs rely on."""

import pytest
import torch

from leaklab import runtime


def draw(*key):
    return torch.rand(4, generator=runtime.generator(*key))


def test_a_key_always_gives_the_same_stream_and_another_key_another():
    assert torch.equal(draw(0, 1, "Aster"), draw(0, 1, "Aster"))
    for other in ((1, 1, "Aster"), (0, 2, "Aster"), (0, 1, "Birch"), (0, 11), (0, "1", "Aster")):
        assert not torch.equal(draw(0, 1, "Aster"), draw(*other))


def test_isolated_rng_restores_the_global_state_and_follows_its_source():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with runtime.isolated_rng(runtime.generator("a")):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with runtime.isolated_rng(runtime.generator("a")):
        assert torch.equal(torch.rand(2), inside)


def test_seed_all_makes_draws_repeat():
    runtime.seed_all(3)
    first = torch.rand(2)
    runtime.seed_all(3)
    assert torch.equal(torch.rand(2), first)


def test_scale_follows_the_environment(monkeypatch):
    monkeypatch.delenv("LEAKLAB_SCALE", raising=False)
    assert runtime.scale(fast=1, full=2) == 1
    monkeypatch.setenv("LEAKLAB_SCALE", "full")
    assert runtime.scale(fast=1, full=2) == 2
    monkeypatch.setenv("LEAKLAB_SCALE", "huge")
    with pytest.raises(ValueError, match="LEAKLAB_SCALE: 'huge'"):
        runtime.scale(fast=1, full=2)


def test_device_can_be_named(monkeypatch):
    monkeypatch.setenv("LEAKLAB_DEVICE", "cpu")
    assert runtime.pick_device() == torch.device("cpu")


def test_progress_passes_items_through_and_can_be_silent(monkeypatch, capsys):
    monkeypatch.setenv("LEAKLAB_PROGRESS", "0")
    assert list(runtime.progress(range(3), "steps")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LEAKLAB_PROGRESS", "1")
    assert list(runtime.progress(range(3), "steps")) == [0, 1, 2]
    assert "steps" in capsys.readouterr().err
