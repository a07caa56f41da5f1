"""When a record counts as read, and when a claim is false."""

import pytest
import torch

from leaklab.assess import reading
from leaklab.updates import Recovered

RECORDS = torch.tensor([[0.2, 0.4], [0.6, 0.8], [0.0, 1.0]])


def test_psnr_of_the_nearest_guess_by_hand():
    """Errors of 0.1 and 0.3 in both values of the first record: 20 dB, by the nearer guess."""
    guess = RECORDS[:1] + torch.tensor([[0.1, 0.1], [0.3, 0.3]])
    assert float(reading.best_psnr(guess, RECORDS)[0]) == pytest.approx(20, abs=1e-4)
    assert reading.best_psnr(guess[:0], RECORDS).tolist() == [-torch.inf] * 3


def test_an_error_of_a_thousandth_is_the_limit():
    for error, found in ((9e-4, True), (1.1e-3, False)):
        assert reading.read(RECORDS[:1] + error, RECORDS).tolist() == [found, False, False]


def test_guesses_are_clipped_to_the_range():
    assert reading.read(torch.tensor([[-5.0, 7.0]]), RECORDS).tolist() == [False, False, True]


def test_only_what_is_claimed_can_be_false():
    guess = torch.stack([RECORDS[0], RECORDS[1] + 0.1, RECORDS[2] + 0.1])
    answer = Recovered(guess, certificate=torch.tensor([True, True, False]))
    assert reading.claims(answer, RECORDS) == (2, 1)
    assert reading.claims(Recovered(guess, certificate=torch.zeros(3).bool()), RECORDS) == (0, 0)


def test_an_answer_without_a_certificate_claims_nothing_that_could_be_counted():
    with pytest.raises(ValueError, match="answer: no certificate given"):
        reading.claims(Recovered(RECORDS), RECORDS)
