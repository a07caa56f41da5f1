"""Notes by grammar: what is marked is what was written, and nothing can be looked up."""

import re
from collections import Counter

import numpy as np
import pytest
from conftest import promised_data
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.data import mts_dialog, notes
from leaklab.data import notes_grammar as grammar

CORPUS = notes.synthetic(400, 7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_a_note_depends_on_seed_and_place_alone(seed, n):
    assert notes.synthetic(n, seed).notes == notes.synthetic(n + 3, seed).notes[:n]


def test_every_field_is_marked_once_where_it_stands():
    for note in CORPUS.notes:
        assert sorted(kind for kind, _, _ in note.spans) == sorted(notes.FIELDS)
        said = {kind: notes.to_text(note.field(kind), CORPUS.words) for kind in notes.FIELDS}
        assert all(text in note.text for text in said.values())
        assert re.fullmatch(r"\d( \d){6}", said["number"])
        assert re.fullmatch(r"\d{1,2} [A-Z][a-z]+ 20\d\d", said["date"])
        assert re.fullmatch(r".+ \([A-Z]\d[\w.]+\)", said["diagnosis"])
        first, last = said["name"].split()
        assert first in grammar.FIRST_NAMES and last in grammar.LAST_NAMES


def test_no_field_overlaps_another():
    for note in CORPUS.notes:
        places = [t for _, start, stop in note.spans for t in range(start, stop)]
        assert len(places) == len(set(places)) and max(places) < len(note.tokens)


def test_numbers_are_spelt_so_that_chance_alone_finds_one():
    digits = np.array([note.field("number") for note in notes.synthetic(3000, 1).notes])
    assert digits.shape[1] == notes.DIGITS
    for column in digits.T:
        counts = np.bincount(np.unique(column, return_inverse=True)[1])
        assert len(counts) == 10 and (abs(counts - 300) < 85).all()  # five standard deviations


def test_there_are_eighty_diagnoses_with_a_code_of_their_own_and_eight_forms_a_slot():
    lines = [line.split("|") for table in grammar.DIAGNOSES.values()
             for line in table.strip().splitlines()]
    assert len(lines) == 80 and {len(line) for line in lines} == {5}
    codes = [line[1] for line in lines]
    assert len(set(codes)) == 80
    assert all(re.fullmatch(r"[A-Z]\d\w(\.\w{1,4})?", code) for code in codes)
    assert {len(slot) for slot in grammar.SLOTS} == {8}
    assert all(len(set(names)) == len(names) for names in (grammar.FIRST_NAMES, grammar.LAST_NAMES))


def test_the_vocabulary_has_about_fifteen_hundred_words_and_every_name_is_one_of_them():
    words = notes.vocabulary()
    assert 1450 <= len(words) <= 1600 and len(set(words)) == len(words)
    assert words[:3] == notes.SPECIAL
    assert {*grammar.FIRST_NAMES, *grammar.LAST_NAMES} <= set(words)


def test_the_class_of_a_note_is_the_specialty_of_its_diagnosis():
    for note in CORPUS.notes:
        name = notes.to_text(note.field("diagnosis"), CORPUS.words).split(" (")[0]
        assert f"{name}|" in grammar.DIAGNOSES[CORPUS.classes[note.label]]


def test_text_is_its_tokens_and_padding_is_not_read():
    note = CORPUS.notes[0]
    row = notes.padded([note])[0]
    assert notes.to_text(row, CORPUS.words) == note.text
    assert (row[len(note.tokens):] == notes.PAD).all() and notes.PAD not in note.tokens
    assert max(len(n.tokens) for n in notes.synthetic(4000, 2).notes) <= notes.LENGTH


def test_the_likeliest_fields_are_the_commonest_of_each_kind():
    best = notes.likeliest_fields(CORPUS.notes)
    for kind, value in best.items():
        counts = Counter(note.field(kind) for note in CORPUS.notes)
        assert counts[value] == max(counts.values())


def test_the_same_notes_have_the_same_hash_and_others_another():
    assert notes.synthetic(5, 1).sha256 == notes.synthetic(5, 1).sha256
    assert notes.synthetic(5, 1).sha256 != notes.synthetic(5, 2).sha256


@pytest.mark.parametrize("call", [
    lambda: notes.synthetic(0, 1), lambda: notes.padded(CORPUS.notes, 10)])
def test_bad_input_is_named(call):
    with pytest.raises(ValueError, match=r"given, expected"):
        call()


def test_sections_of_mts_dialog_are_split_cut_and_kept_apart():
    with promised_data():
        public, private = mts_dialog.load()
    assert public.words == private.words and len(public.words) == 4000 + len(notes.SPECIAL)
    assert len(public) > 700 and len(private) > 200
    lengths = [len(note.tokens) for note in private.notes]
    assert min(lengths) >= mts_dialog.SHORTEST and max(lengths) == notes.LENGTH
    first = private.notes[0]
    known = [w for w, t in zip(first.text.split(), first.tokens, strict=True) if t != notes.UNKNOWN]
    assert known == [public.words[t] for t in first.tokens if t != notes.UNKNOWN]
    shared = {n.text for n in private.notes} & {n.text for n in public.notes}
    assert len(shared) < 0.05 * len(private), "stock sentences, found in both files as published"
    assert private.tag == "REAL" and private.licence == "CC BY 4.0"
