"""Masks cancel exactly, the server sees noise until then, and what is wrong stops the round."""

import dataclasses
import functools
import importlib.util
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leaklab.defences.compose import then
from leaklab.runtime import generator
from leaklab.updates import Update, weighted_mean

if not all(map(importlib.util.find_spec, ("cryptography", "Crypto"))):
    pytest.skip("not installed: pip install leaklab[defences]", allow_module_level=True)
from leaklab.defences import secure_aggregation as sa
from leaklab.defences.secure_aggregation import keys, protocol

NAMES = ("Aster", "Birch", "Cedar", "Dahlia", "Elder")


def updates(number: int = 5, entries: int = 40, dtype=torch.float32) -> list[Update]:
    source = generator("updates", number, entries)
    before = {"weight": torch.randn(entries, 2, generator=source, dtype=dtype),
              "count": torch.tensor(3), "bias": torch.randn(3, generator=source, dtype=dtype)}

    def moved(tensor):
        if not tensor.is_floating_point():
            return tensor + 2
        return tensor + 0.1 * torch.randn(tensor.shape, generator=source, dtype=dtype)

    return [Update(before, {name: moved(tensor) for name, tensor in before.items()}, 10 + 7 * k, 3,
                   NAMES[k]) for k in range(number)]


@dataclasses.dataclass
class Table:
    """All messages of a round, as its server holds them."""

    cohort: sa.Cohort
    updates: list[Update]
    adverts: list
    shares: list
    seats: list
    masked: list
    revealed: list

    def open(self):
        return sa.open_sum(self.cohort, self.updates[0].before, self.adverts, self.shares,
                           self.masked, self.revealed)


def played(threshold: int = 3, absent=(), **changes) -> Table:
    sent = updates()
    cohort = sa.Cohort(NAMES, threshold, 3, **changes)
    adverts, shares, seats = sa.seats(cohort)
    there = [k for k, name in enumerate(NAMES) if name not in absent]
    masked = [sa.mask(seats[k], sent[k]) for k in there]
    names = [answer.hospital for answer in masked]
    return Table(cohort, sent, list(adverts), list(shares), list(seats), masked,
                 [sa.reveal(seats[k], names) for k in there])


# --- The sum ----------------------------------------------------------------------------------


def test_three_masks_by_hand():
    """Modulo 2^32: A adds m_ab and m_ac, B takes off m_ab and adds m_bc, C takes off both."""
    ab, ac, bc = (np.array([seed], np.uint32) for seed in (4_000_000_000, 17, 3_123_456_789))
    x = [np.array([value], np.uint32) for value in (5, 6, 2**32 - 4)]
    sent = [x[0] + ab + ac, x[1] - ab + bc, x[2] - ac - bc]
    assert int((sent[0] + sent[1] + sent[2])[0]) == 7
    assert all(int(a[0]) != int(b[0]) for a, b in zip(sent, x, strict=True))


@pytest.mark.parametrize("absent", [(), ("Aster",), ("Elder", "Birch")])
def test_the_sum_is_that_of_the_rounded_updates_word_by_word(absent):
    table = played(absent=absent)
    words = sa.unmask(table.cohort, table.updates[0].before, table.adverts, table.shares,
                            table.masked, table.revealed)
    plain = [sa.encode(update, table.cohort.quantiser) for update in table.updates
             if update.hospital not in absent]
    assert np.array_equal(words, sum(plain[1:], plain[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("absent", [(), ("Cedar",)])
def test_the_model_moves_by_the_weighted_mean_of_those_who_were_there(dtype, absent):
    sent = updates(dtype=dtype)
    opened = sa.secure_sum(sent, absent=absent)
    there = [update for update in sent if update.hospital not in absent]
    mean = weighted_mean([u.after for u in there], [u.num_examples for u in there])
    for name, tensor in mean.items():
        assert opened.after[name].dtype == tensor.dtype
        torch.testing.assert_close(opened.after[name], tensor, rtol=0, atol=5e-7)
    assert opened.num_examples == sum(u.num_examples for u in there)
    assert opened.contributors == tuple(u.hospital for u in there)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 500), st.floats(-8, 8, allow_nan=False)),
                min_size=2, max_size=6), st.integers(4, 30))
def test_the_mean_is_within_half_a_step(parts, fraction_bits):
    quantiser = sa.Quantiser(fraction_bits=fraction_bits, largest=8.0, most_examples=500)
    before = {"w": torch.zeros(1, dtype=torch.float64)}
    sent = [Update(before, {"w": torch.tensor([value], dtype=torch.float64)}, n, 0, str(k))
            for k, (n, value) in enumerate(parts)]
    words = sum((sa.encode(update, quantiser) for update in sent), np.zeros(2, quantiser.word))
    (mean,), total = sa.decode(words, len(sent), quantiser)
    assert total == sum(n for n, _ in parts)
    assert abs(mean - sum(n * v for n, v in parts) / total) <= quantiser.max_error + 1e-12


def test_the_weights_of_32_bits_suffice_where_bounds_are_small():
    small = sa.Quantiser(fraction_bits=18, largest=1.0, most_examples=100, bits=32)
    sent = updates()
    sent = [dataclasses.replace(update, after={**update.after, "count": torch.tensor(4)})
            for update in sent]
    mean = weighted_mean([u.after for u in sent], [u.num_examples for u in sent])
    opened = sa.secure_sum(sent, quantiser=small)
    torch.testing.assert_close(opened.after["weight"], mean["weight"], rtol=0, atol=4e-6)


def test_a_defence_composes_with_the_mask():
    table = played()
    half = lambda update: dataclasses.replace(update, after={  # noqa: E731
        name: before + (update.after[name] - before) // 2 if name == "count" else
        before + (update.after[name] - before) / 2 for name, before in update.before.items()})
    table.masked = [then(half, functools.partial(sa.mask, seat))(update)
                    for seat, update in zip(table.seats, table.updates, strict=True)]
    sent = list(map(half, table.updates))
    mean = weighted_mean([u.after for u in sent], [u.num_examples for u in sent])
    torch.testing.assert_close(table.open().after["weight"], mean["weight"], rtol=0, atol=5e-7)


def test_the_view_is_a_sum_without_weights():
    from leaklab.federation import SERVER_BEHIND_SECURE_AGGREGATION
    view = sa.secure_sum(updates()).view(SERVER_BEHIND_SECURE_AGGREGATION)
    assert (view.artefact, view.weights, view.contributors) == ("sum", None, NAMES)


# --- What the server sees ----------------------------------------------------------------------


def uniform(words: np.ndarray) -> float:
    """p-value of a chi-square test that every byte of the words is uniform."""
    return float(stats.chisquare(np.bincount(words.view(np.uint8), minlength=256)).pvalue)


def masked_zeros(seats_of, entries: int = 4000) -> list[np.ndarray]:
    """What two hospitals send whose updates are zero, so that all that is seen is the masks."""
    cohort = sa.Cohort(NAMES[:2], 2)
    before = {"w": torch.zeros(entries)}
    return [sa.mask(seat, Update(before, before, 1, 0, seat.hospital)).words
            for seat in seats_of(cohort)]


def leaks(words: list[np.ndarray]) -> bool:
    """Whether bytes, or those of the difference or the sum of two messages, are not uniform."""
    tried = [*words, *(f(a, b) for a, b in itertools.combinations(words, 2)
                       for f in (np.subtract, np.add))]
    return min(map(uniform, tried)) < 1e-6


def test_what_a_hospital_sends_is_uniform_and_so_are_differences():
    assert not leaks(masked_zeros(lambda cohort: sa.seats(cohort)[2]))


def test_masks_used_twice_would_be_seen(monkeypatch):
    """Two rounds under the same keys and context: the difference of messages is that of updates."""
    cohort = sa.Cohort(NAMES[:2], 2)
    seats = sa.seats(cohort)[2]
    assert leaks([*masked_zeros(lambda _: seats), *masked_zeros(lambda _: seats)])
    again = sa.seats(cohort)[2]
    assert not leaks([*masked_zeros(lambda _: seats), *masked_zeros(lambda _: again)])


def test_own_masks_left_out_would_be_seen(monkeypatch):
    """Without them the messages of two hospitals add up to their sum before it is opened."""
    monkeypatch.setattr(protocol, "_own_mask",
                        lambda cohort, secret, count: np.zeros(count, cohort.quantiser.word))
    assert leaks(masked_zeros(lambda cohort: sa.seats(cohort)[2]))


def test_other_rounds_and_other_models_have_other_masks():
    drawn = [sa.draw_secrets() for _ in NAMES]
    adverts = [sa.advertise(*pair) for pair in zip(NAMES, drawn, strict=True)]

    def message(round: int, shift: float) -> np.ndarray:
        cohort = sa.Cohort(NAMES, 3, round)
        shares = [sa.share(cohort, name, own, adverts)
                  for name, own in zip(NAMES, drawn, strict=True)]
        seat = sa.take_seat(cohort, "Aster", drawn[0], adverts, shares)
        before = {"w": torch.full((4000,), shift)}
        return sa.mask(seat, Update(before, before, 1, round, "Aster")).words

    words = [message(1, 0.0), message(2, 0.0), message(1, 1.0)]
    assert np.array_equal(words[0], message(1, 0.0))
    for one, other in itertools.combinations(words, 2):
        assert uniform(one - other) > 1e-6


def test_one_share_less_than_the_threshold_says_nothing_of_a_secret():
    secret = bytes(range(16))
    shares = keys.split(secret, 3, NAMES)
    assert len({bytes(part) for part in shares.values()}) == 5
    for chosen in itertools.combinations(NAMES, 3):
        assert keys.combine({name: shares[name] for name in chosen}, 3, NAMES) == secret
    for chosen in itertools.combinations(NAMES, 2):
        assert keys.combine({name: shares[name] for name in chosen}, 3, NAMES) != secret


def test_a_hospital_called_gone_that_is_not_stays_masked():
    """A server that asks for the pair key of one who did answer can take off the pair masks; what
    is left is the update behind its own mask, so still noise."""
    table = played(absent=("Birch",))
    seat, before = table.seats[1], table.updates[1].before
    late = sa.mask(seat, table.updates[1]).words
    pair_key = keys.combine({answer.hospital: answer.pairs["Birch"] for answer in table.revealed},
                            3, NAMES)
    left = late - protocol._pair_masks(table.cohort, "Birch", pair_key, seat.adverts, NAMES,
                                       before, len(late))
    plain = sa.encode(table.updates[1], table.cohort.quantiser)
    assert not np.array_equal(left, plain)
    assert np.array_equal(left - protocol._own_mask(table.cohort, seat.secrets.own, len(late)),
                          plain), "and nothing but its own mask was in the way"


def test_no_hospital_hands_out_both_secrets_of_another():
    table = played(absent=("Birch",))
    for answer in table.revealed:
        assert set(answer.pairs) == {"Birch"}
        assert set(answer.own) == set(NAMES) - {"Birch"}


def test_secrets_are_not_printed():
    secrets = sa.draw_secrets()
    assert repr(secrets.own) not in repr(secrets)
    assert repr(secrets.pairs) not in repr(secrets)


# --- Another model -----------------------------------------------------------------------------


def with_another_model(bind_model: bool) -> Table:
    """Aster was sent another model than the others."""
    table = played(bind_model=bind_model)
    other = {**table.updates[0].before, "bias": table.updates[0].before["bias"] + 1}
    changed = dataclasses.replace(table.updates[0], before=other,
                                  after={**table.updates[0].after,
                                         "bias": table.updates[0].after["bias"] + 1})
    table.masked[0] = sa.mask(table.seats[0], changed)
    return table


def test_masks_bound_to_the_model_do_not_cancel_where_models_differ():
    with pytest.raises(sa.RoundAborted, match="did not cancel"):
        with_another_model(True).open()


def test_a_server_that_does_not_stop_there_reads_noise():
    table = with_another_model(True)
    words = sa.unmask(table.cohort, table.updates[1].before, table.adverts, table.shares,
                            table.masked, table.revealed)
    assert uniform(words) > 1e-4


def test_without_binding_they_cancel_all_the_same():
    table = with_another_model(False)
    assert table.open().num_examples == sum(u.num_examples for u in table.updates)


# --- What is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda t: t.adverts.pop(1), "adverts of Birch: missing"),
    (lambda t: t.adverts.append(t.adverts[0]), "adverts of Aster: more than one"),
    (lambda t: t.shares.pop(2), "shares of Cedar: missing"),
    (lambda t: t.shares.append(t.shares[2]), "shares of Cedar: more than one"),
    (lambda t: t.masked.append(t.masked[4]), "masked of Elder: more than one"),
    (lambda t: t.masked.append(sa.Masked("Fern", t.masked[0].words)), "Fern: not of this round"),
    (lambda t: t.revealed.append(t.revealed[4]), "revealed of Elder: more than one"),
    (lambda t: t.revealed.__delitem__(slice(2, None)),
     "shares of Aster: 2 given, expected 3"),
    (lambda t: t.masked.__delitem__(slice(2, None)), r"2 left \(Aster, Birch\), expected at least"),
])
def test_what_is_missing_repeated_or_too_few_is_named(spoil, said):
    table = played()
    spoil(table)
    with pytest.raises(sa.RoundAborted, match=said):
        table.open()


def test_an_altered_share_is_named_with_its_holder():
    table = played()
    false = dict(table.revealed[3].own)
    false["Birch"] = bytes([false["Birch"][0] ^ 1]) + false["Birch"][1:]
    table.revealed[3] = dataclasses.replace(table.revealed[3], own=false)
    with pytest.raises(sa.RoundAborted, match="share of Birch held by Dahlia: altered"):
        table.open()


def test_an_altered_sealed_share_is_named():
    cohort = sa.Cohort(NAMES, 3)
    drawn = [sa.draw_secrets() for _ in NAMES]
    adverts = [sa.advertise(*pair) for pair in zip(NAMES, drawn, strict=True)]
    shares = [sa.share(cohort, *pair, adverts) for pair in zip(NAMES, drawn, strict=True)]
    text = bytearray(shares[1].sealed["Dahlia"])
    text[5] ^= 1
    shares[1] = dataclasses.replace(shares[1],
                                    sealed={**shares[1].sealed, "Dahlia": bytes(text)})
    sa.take_seat(cohort, "Cedar", drawn[2], adverts, shares)
    with pytest.raises(sa.RoundAborted, match="share of Birch for Dahlia: altered"):
        sa.take_seat(cohort, "Dahlia", drawn[3], adverts, shares)
    shares[1] = dataclasses.replace(shares[1], sealed={"Cedar": shares[1].sealed["Cedar"]})
    with pytest.raises(sa.RoundAborted, match="share of Birch for Dahlia: missing"):
        sa.take_seat(cohort, "Dahlia", drawn[3], adverts, shares)


def test_an_exchanged_key_is_noticed_by_its_owner():
    cohort, drawn = sa.Cohort(NAMES, 3), [sa.draw_secrets() for _ in NAMES]
    adverts = [sa.advertise(*pair) for pair in zip(NAMES, drawn, strict=True)]
    adverts[0] = sa.advertise("Aster", sa.draw_secrets())
    with pytest.raises(sa.RoundAborted, match="advert of Aster: not the one it sent"):
        sa.share(cohort, "Aster", drawn[0], adverts)


@pytest.mark.parametrize("flip", [0, 1, 77])
def test_a_tampered_word_or_a_mask_left_in_stops_the_round(flip):
    table = played()
    words = table.masked[1].words.copy()
    words[flip] ^= np.uint64(2**60)
    table.masked[1] = sa.Masked("Birch", words)
    with pytest.raises(sa.RoundAborted, match="1 of 84 entries out of range"):
        table.open()


def test_a_small_number_added_on_the_way_is_not_noticed():
    """The limit that the docstring states: the range is a check against accidents."""
    table = played()
    words = table.masked[1].words.copy()
    plain = table.open().mean
    words[0] += np.uint64(2**30)
    table.masked[1] = sa.Masked("Birch", words)
    changed = table.open().mean - plain
    assert changed[0] > 0
    assert not changed[1:].any()


def dealt() -> tuple:
    """A cohort in which everyone has drawn, advertised and shared."""
    cohort, drawn = sa.Cohort(NAMES, 3), [sa.draw_secrets() for _ in NAMES]
    adverts = [sa.advertise(*pair) for pair in zip(NAMES, drawn, strict=True)]
    return cohort, drawn, adverts, [sa.share(cohort, *pair, adverts)
                                    for pair in zip(NAMES, drawn, strict=True)]


@pytest.mark.parametrize("false", [(bytes(32), bytes(32)), None])
def test_shares_that_do_not_match_their_hashes_name_who_dealt_them(false):
    """Else the blame would fall on the holder, and only when the sum is opened."""
    cohort, drawn, adverts, shares = dealt()
    hashes = {**shares[1].hashes, "Dahlia": false}
    if false is None:
        del hashes["Dahlia"]
    shares[1] = dataclasses.replace(shares[1], hashes=hashes)
    with pytest.raises(sa.RoundAborted, match="share of Birch for Dahlia: not the one whose hash"):
        sa.take_seat(cohort, "Dahlia", drawn[3], adverts, shares)
    table = played()
    hashes = {**table.shares[1].hashes, "Dahlia": hashes.get("Dahlia", ())}
    if false is None:
        del hashes["Dahlia"]
    table.shares[1] = dataclasses.replace(table.shares[1], hashes=hashes)
    with pytest.raises(sa.RoundAborted, match="share of Birch held by Dahlia: altered"):
        table.open()


@pytest.mark.parametrize("key", [b"short", bytes(32)])
def test_a_public_key_that_is_none_is_named(key):
    cohort, drawn, adverts, _ = dealt()
    adverts[1] = dataclasses.replace(adverts[1], channel_key=key)
    with pytest.raises(sa.RoundAborted, match="public key of Birch"):
        sa.share(cohort, "Aster", drawn[0], adverts)


def test_a_hospital_that_is_not_of_the_round_does_not_share():
    cohort, drawn, adverts, _ = dealt()
    with pytest.raises(sa.RoundAborted, match="Fern: not of this round"):
        sa.share(cohort, "Fern", drawn[0], adverts)


def test_a_masked_update_of_another_length_or_type_is_named():
    table = played()
    table.masked[1] = sa.Masked("Birch", table.masked[1].words[:-1])
    with pytest.raises(sa.RoundAborted, match="masked update of Birch"):
        table.open()
    table = played()
    table.masked[2] = sa.Masked("Cedar", table.masked[2].words.view(np.int64))
    with pytest.raises(sa.RoundAborted, match="masked update of Cedar"):
        table.open()


def test_fewer_than_the_threshold_release_nothing():
    with pytest.raises(sa.RoundAborted, match="2 left"):
        sa.secure_sum(updates(), absent=("Aster", "Birch", "Cedar"))
    table = played()
    with pytest.raises(sa.RoundAborted, match="2 left"):
        sa.reveal(table.seats[0], ["Aster", "Birch"])
    with pytest.raises(sa.RoundAborted, match="survivors"):
        sa.reveal(table.seats[0], ["Aster", "Birch", "Fern"])


@pytest.mark.parametrize(("value", "said"), [
    (float("nan"), "Cedar: update of bias holds NaN"),
    (float("inf"), "Cedar: update of bias holds an entry of inf"),
    (100.0, "Cedar: update of bias holds an entry of "),
])
def test_entries_that_cannot_be_sent_are_refused_before_anything_is(value, said):
    sent = updates()
    bias = sent[2].after["bias"].clone()
    bias[1] = value
    sent[2] = dataclasses.replace(sent[2], after={**sent[2].after, "bias": bias})
    with pytest.raises(ValueError, match=said):
        sa.secure_sum(sent)


def test_too_many_records_or_none_are_refused():
    for n in (0, 2**20 + 1):
        sent = [dataclasses.replace(updates()[0], num_examples=n), *updates()[1:]]
        with pytest.raises(ValueError, match=f"Aster: {n} records given"):
            sa.secure_sum(sent)


def test_bounds_that_could_overflow_a_word_are_refused_for_so_many_hospitals():
    sa.Quantiser().require_room(100)
    with pytest.raises(ValueError, match="overflow 64 bits"):
        sa.Quantiser().require_room(128)
    narrow = sa.Quantiser(fraction_bits=18, largest=1.0, most_examples=2000, bits=32)
    sa.Cohort(NAMES[:4], 3, quantiser=narrow)
    with pytest.raises(ValueError, match="5 hospitals of up to 2000 records"):
        sa.Cohort(NAMES, 3, quantiser=narrow)


@pytest.mark.parametrize("change", [{"fraction_bits": -1}, {"largest": 0.0}, {"bits": 16},
                                    {"largest": float("inf")}, {"most_examples": 0}])
def test_a_quantiser_out_of_range_is_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name}: "):
        sa.Quantiser(**change)


@pytest.mark.parametrize("threshold", [2, 6, 0])
def test_a_threshold_of_half_or_of_too_many_is_refused(threshold):
    with pytest.raises(ValueError, match=f"threshold: {threshold} given"):
        sa.Cohort(NAMES, threshold)


@pytest.mark.parametrize("names", [("Aster",), ("Aster", "Aster")])
def test_a_cohort_of_one_or_of_the_same_is_refused(names):
    with pytest.raises(ValueError, match="hospitals"):
        sa.Cohort(names, 1)


def test_an_update_of_another_hospital_is_refused():
    table = played()
    with pytest.raises(ValueError, match="expected of 'Aster'"):
        sa.mask(table.seats[0], table.updates[1])
