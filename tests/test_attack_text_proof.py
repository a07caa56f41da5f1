"""A reading is proved by training on it; a search keeps to its budget; classifiers are read too."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.attacks import text
from leaklab.attacks.text import growing, proof, spans
from leaklab.data.notes import PAD
from leaklab.runtime import generator
from leaklab.transformer import blocks_only, next_words, note_model, with_adapters
from leaklab.updates import LocalTraining
from local_training import view_of

STEP = LocalTraining(0.1)
WALK = LocalTraining(0.1, local_steps=5)
WORDS, LENGTH = 300, 24


def model(width=64, seed=0, **changes):
    """A model of few words and short notes: the algebra is the same, and it is fast."""
    return note_model(generator("weights", seed), vocabulary=WORDS, length=LENGTH, width=width,
                      **changes)


def records(n, seed=0):
    """Notes of 14 to 20 words at random."""
    draw = generator("notes", seed)
    table = torch.randint(3, WORDS, (n, LENGTH), generator=draw)
    for row, end in zip(table, torch.randint(14, 21, (n,), generator=draw), strict=True):
        row[end:] = PAD
    return table


def seen(net, inputs, training=STEP):
    targets = torch.arange(len(inputs)) % 3 if net.classifies else next_words(inputs)
    return view_of(net, inputs, targets, training)


def same_notes(guess, inputs):
    return sorted(guess.tolist()) == sorted(inputs.tolist())


# --- What growing alone would lose --------------------------------------------------------------


@pytest.mark.parametrize("places", [1, 9, -1])
@pytest.mark.parametrize("classes", [None, 3])
def test_a_note_that_another_begins_with_is_found(places, classes):
    net, inputs = blocks_only(model(classes=classes)), records(1, 3).repeat(2, 1)
    inputs[1, places % int((inputs[0] != PAD).sum()):] = PAD
    found = text.sequences(net, seen(net, inputs), records=2)
    assert same_notes(found.guess, inputs) and found.certificate.all()


def test_the_same_note_twice_is_the_same_update_as_once():
    net, inputs = blocks_only(model()), records(1, 3)
    found = text.sequences(net, seen(net, inputs.repeat(2, 1)), records=2)
    assert torch.equal(found.guess[:1], inputs) and found.certificate.tolist() == [True, False]


def test_a_note_that_occurs_twice_among_others_is_found_twice():
    net, inputs = blocks_only(model()), records(2, 8)[[0, 1, 0]]
    found = text.sequences(net, seen(net, inputs), records=3)
    assert same_notes(found.guess, inputs) and found.certificate.all()


def test_a_note_cut_short_is_not_certified(monkeypatch):
    net, inputs = blocks_only(model()), records(2, 8)
    view, whole = seen(net, inputs), growing._candidates
    ends = (inputs != PAD).sum(1)
    calls = iter(range(inputs.shape[1]))
    monkeypatch.setattr(growing, "_candidates", lambda row, allowed: (
        whole(row, allowed) if next(calls) < ends.max() - 1 else []))
    found = text.sequences(net, view, records=2)
    cut = inputs.clone()
    cut[:, ends.max() - 1] = PAD
    assert same_notes(found.guess, cut) and not found.certificate.any()


# --- A model that classifies --------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 8])
def test_a_classifier_has_the_same_token_set(n):
    net, inputs = model(32, classes=8), records(n, 5)
    found = text.token_set(net, seen(net, inputs)).guess.tolist()
    assert found == sorted(set(inputs.flatten().tolist()) - {PAD})


@pytest.mark.parametrize("training", [STEP, WALK], ids=["one step", "five"])
def test_one_note_of_a_classifier_comes_out_with_its_class(training):
    net, inputs = model(64, classes=3), records(1, 5)
    found = text.ordered_tokens(net, seen(net, inputs, training))
    assert torch.equal(found.guess, inputs) and found.certificate.all()
    assert found.labels.tolist() == [0]


@pytest.mark.parametrize("part", [blocks_only, lambda net: net], ids=["frozen", "all"])
def test_two_notes_of_a_classifier_are_told_apart_each_with_its_class(part):
    net, inputs = part(model(64, classes=3)), records(2, 8)
    found = text.sequences(net, seen(net, inputs), records=2)
    assert same_notes(found.guess, inputs) and found.certificate.all()
    classes = {tuple(line): k for k, line in enumerate(inputs.tolist())}
    assert found.labels.tolist() == [classes[tuple(line)] for line in found.guess.tolist()]


def test_an_adapter_of_a_classifier_shows_as_much_as_its_rank():
    for rank, read in ((4, False), (48, True)):
        net = with_adapters(model(64, classes=3), generator(2), rank=rank)
        inputs = records(1)
        found = text.read_notes(net, seen(net, inputs), records=1)
        assert torch.equal(found.guess, inputs) is read
        assert bool(found.certificate.all()) is read


def test_classes_follow_from_the_gradient_of_the_head_of_any_model():
    net, inputs = model(64, classes=5), records(6, 2)
    with torch.no_grad():
        net.head.weight.mul_(40)  # sure of wrong answers: the largest score says nothing
    targets = torch.tensor([4, 0, 2, 2, 1, 4])
    view = view_of(net, inputs, targets, STEP)
    assert proof.classes_behind(net, view, inputs).tolist() == targets.tolist()
    assert net(inputs).argmax(1).tolist() != targets.tolist()
    assert proof.classes_behind(model(), seen(model(), inputs), inputs) is None


# --- The proof ----------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(None, STEP), (None, WALK), (3, STEP)]),
       st.sampled_from([lambda net: net, blocks_only]))
def test_the_notes_in_any_order_repeat_the_update_and_one_other_word_does_not(
        seed, case, part):
    classes, training = case
    net, inputs = part(model(classes=classes)), records(3, seed)
    view = seen(net, inputs, training)
    assert proof.repeats(net, view, inputs[[2, 0, 1]])
    place = seed % 14
    for wrong in (3 + seed % (WORDS - 3), int(inputs[1, place])):
        other = inputs.clone()
        other[0, place] = wrong
        assert proof.repeats(net, view, other) == (wrong == inputs[0, place])


def test_no_other_number_of_records_repeats_the_update():
    net, inputs = model(), records(3, 1)
    view = seen(net, inputs)
    assert not proof.repeats(net, view, inputs[:2])
    assert not proof.repeats(net, view, inputs[[0, 1, 2, 2]])
    assert proof.distance(net, view, inputs[:0]) == float("inf")


def test_batches_drawn_in_an_unknown_order_prove_nothing():
    net, inputs = model(), records(4, 1)
    training = LocalTraining(0.5, local_steps=4, batch_size=1)
    found = text.sequences(net, seen(net, inputs, training), records=4)
    assert not found.certificate.any()


# --- The budget ---------------------------------------------------------------------------------


def test_a_search_makes_no_more_checks_than_its_budget_and_claims_nothing_unfinished():
    net, inputs = blocks_only(model()), records(1)
    view, places = seen(net, inputs), inputs.shape[1]
    for reached in (0, 10, places):
        fits = text.word_fits(net, view, budget=text.Budget(WORDS * reached + 7))
        assert fits.isfinite().all(1).sum() == reached
        found = text.sequences(net, view, records=1,
                               budget=text.Budget(WORDS * reached + 7))
        assert torch.equal(found.guess[0, :reached], inputs[0, :reached])
        assert not found.guess[0, reached:].any()
        assert found.certificate.tolist() == [reached == places]


def test_growing_stops_with_the_budget_and_keeps_what_it_has(monkeypatch):
    net, inputs = blocks_only(model()), records(2, 8)
    view, counted = seen(net, inputs), []
    whole = spans.Meter.spend
    monkeypatch.setattr(spans.Meter, "spend",
                        lambda meter, n: whole(meter, n) and not counted.append(n))
    full = text.sequences(net, view, records=2)
    assert full.certificate.all()
    total, words = sum(counted), len(inputs[0]) * WORDS
    assert words < total < 1.01 * words, "the first block costs most"
    exact = text.sequences(net, view, records=2, budget=text.Budget(total))
    assert torch.equal(exact.guess, full.guess)
    short = text.sequences(net, view, records=2, budget=text.Budget(words + (total - words) // 2))
    read = (short.guess != PAD).sum(1).tolist()
    assert 0 < sum(read) < (inputs != PAD).sum() and not short.certificate.any()
    begun = [line[:n] for line, n in zip(short.guess.tolist(), read, strict=True)]
    assert all(any(line[:len(start)] == start for line in inputs.tolist()) for start in begun)


def test_seconds_end_a_search(monkeypatch):
    net, inputs = blocks_only(model()), records(1)
    clock = iter(range(10**6))
    monkeypatch.setattr(spans.time, "monotonic", lambda: next(clock))
    fits = text.word_fits(net, seen(net, inputs), budget=text.Budget(10**9, seconds=20))
    assert fits.isfinite().all(1).sum() == 19
