"""Scores of a reading: known answers, and no credit for what was not read."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from leaklab.metrics.text import align, fields_named, fields_read, token_f1, verbatim
from leaklab.runtime import generator

TRUTH = torch.tensor([[5, 6, 7, 8, 9, 0], [5, 9, 4, 4, 0, 0]])
SPANS = [[("name", 0, 2), ("number", 2, 5)], [("name", 1, 2), ("number", 2, 4)]]


def test_known_answers():
    guess = torch.tensor([[5, 6, 7, 9, 8, 0], [9, 5, 4, 4, 0, 0]])
    assert verbatim(guess, TRUTH).tolist() == [0, 0]
    assert token_f1(guess, TRUTH).tolist() == [1, 1], "a bag has no order"
    read = fields_read(guess, TRUTH, SPANS)
    assert read["name"].tolist() == [1, 1] and read["number"].tolist() == [0, 1]


def test_a_field_counts_anywhere_in_the_guess_but_only_in_its_order_and_whole():
    one, span = TRUTH[:1], [[("number", 2, 5)]]
    for line, hit in (([0, 7, 8, 9, 0, 0], 1), ([7, 0, 8, 9, 0, 0], 0), ([9, 8, 7, 0, 0, 0], 0),
                      ([7, 8, 0, 0, 0, 0], 0)):
        assert fields_read(torch.tensor([line]), one, span)["number"].item() == hit


def test_a_set_of_words_names_a_field_whose_words_are_all_in_it():
    named = fields_named(torch.tensor([9, 6, 5, 4]), TRUTH, SPANS)
    assert named["name"].tolist() == [1, 1] and named["number"].tolist() == [0, 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(5)))
def test_alignment_undoes_any_order(seed, order):
    truth = torch.randint(1, 50, (5, 8), generator=generator(seed))
    shuffled = truth[torch.tensor(order)]
    assert torch.equal(shuffled[align(shuffled, truth)], truth)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_f1_of_sets_is_that_of_scikit_learn(seed):
    draw = generator(seed)
    guess, truth = (torch.randperm(20, generator=draw)[:6][None] + 1 for _ in range(2))
    truth[0, 4:] = 0
    marks = [[int(k in row) for k in range(1, 21)] for row in (truth[0].tolist(),
                                                              guess[0].tolist())]
    assert token_f1(guess, truth).item() == pytest.approx(f1_score(*marks))


def test_an_empty_guess_scores_nothing():
    nothing = torch.zeros_like(TRUTH)
    assert token_f1(nothing, TRUTH).tolist() == verbatim(nothing, TRUTH).tolist() == [0, 0]
    assert all(not hits.any() for hits in fields_read(nothing, TRUTH, SPANS).values())
    assert all(not hits.any() for hits in fields_named(nothing[0, :0], TRUTH, SPANS).values())


@pytest.mark.parametrize("call", [
    lambda: verbatim(TRUTH[:1], TRUTH), lambda: token_f1(TRUTH[0], TRUTH[0]),
    lambda: fields_named(TRUTH[0], TRUTH[:0], []),
    lambda: align(TRUTH[:, :3], TRUTH), lambda: fields_read(TRUTH, TRUTH, SPANS[:1]),
    lambda: fields_read(TRUTH, TRUTH, [SPANS[0], SPANS[1][:1]])])
def test_bad_input_is_named(call):
    with pytest.raises(ValueError, match=r"(given|has).*expected"):
        call()
