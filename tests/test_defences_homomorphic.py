"""The server adds what it cannot read."""

import dataclasses
import importlib.util

import pytest
import torch

from leaklab.runtime import generator
from leaklab.updates import Update, weighted_mean

if importlib.util.find_spec("tenseal") is None:
    pytest.skip("TenSEAL is not installed: pip install leaklab[homomorphic]",
                allow_module_level=True)
from leaklab.defences import homomorphic

KEYS = homomorphic.draw_keys()


def updates(entries: int = 5000) -> list[Update]:
    source = generator("updates")
    before = {"weight": torch.randn(entries, generator=source), "count": torch.tensor(3)}
    return [Update(before, {"weight": before["weight"] + torch.randn(entries, generator=source),
                            "count": torch.tensor(3 + 2)}, 10 + k, 1, f"Hospital {k}")
            for k in range(3)]


def encrypted(sent: list[Update]) -> list[tuple[bytes, ...]]:
    total = sum(update.num_examples for update in sent)
    return [homomorphic.encrypt(KEYS.public, update, update.num_examples / total)
            for update in sent]


def test_the_mean_of_several_ciphertexts_is_that_of_the_updates():
    sent = updates()
    parts = encrypted(sent)
    assert [len(part) for part in parts] == [2, 2, 2]
    after = homomorphic.decrypt(KEYS.secret, sent[0].before, homomorphic.add(KEYS.public, parts))
    mean = weighted_mean([u.after for u in sent], [u.num_examples for u in sent])
    torch.testing.assert_close(after["weight"], mean["weight"], rtol=0, atol=1e-6)
    assert after["count"] == mean["count"]


def test_the_server_cannot_open_anything_and_any_hospital_can_open_everything():
    sent = updates(50)
    parts = encrypted(sent)
    with pytest.raises(ValueError, match="context: a public one"):
        homomorphic.decrypt(KEYS.public, sent[0].before, parts[0])
    total = sum(update.num_examples for update in sent)
    alone = homomorphic.decrypt(KEYS.secret, sent[0].before, parts[1])
    single = (alone["weight"] - sent[1].before["weight"]) * total / sent[1].num_examples
    torch.testing.assert_close(single, sent[1].delta["weight"], rtol=0, atol=1e-5)


def test_the_largest_entries_add_up_and_larger_ones_are_refused():
    before = {"weight": torch.zeros(50)}
    large = [Update(before, {"weight": torch.full((50,), homomorphic.LARGEST)}, 10, 1, name)
             for name in ("Aster", "Birch", "Cedar")]
    parts = [homomorphic.encrypt(KEYS.public, update, 1 / 3) for update in large]
    after = homomorphic.decrypt(KEYS.secret, before, homomorphic.add(KEYS.public, parts))
    torch.testing.assert_close(after["weight"], large[0].after["weight"])
    larger = Update(before, {"weight": torch.full((50,), 2 * homomorphic.LARGEST)}, 10, 1, "Aster")
    with pytest.raises(ValueError, match=r"Aster: an entry of 524288 given, expected at most 2621"):
        homomorphic.encrypt(KEYS.public, larger, 1 / 3)


def test_other_keys_give_noise():
    sent = updates(50)
    wrong = homomorphic.draw_keys().secret
    try:
        after = homomorphic.decrypt(wrong, sent[0].before, encrypted(sent)[0])
    except ValueError:
        return
    gap = (after["weight"] - sent[0].after["weight"]).abs().max()
    assert not gap < 1


def test_nan_and_other_numbers_of_ciphertexts_are_refused():
    sent = updates(50)
    spoilt = dataclasses.replace(sent[0], after={**sent[0].after,
                                                 "weight": sent[0].after["weight"] * torch.nan})
    with pytest.raises(ValueError, match="Hospital 0: an update with NaN"):
        homomorphic.encrypt(KEYS.public, spoilt, 0.5)
    with pytest.raises(ValueError, match="sent: "):
        homomorphic.add(KEYS.public, [(b"",), (b"", b"")])
