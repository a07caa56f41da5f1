"""The quiz that ends each chapter: its form, the spread of its answers, and its numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from scipy.stats import norm

from leaklab import bounds
from leaklab.assess.worksheet.findings import trials_needed
from leaklab.attacks.frequencies import theory
from leaklab.teaching import solutions

BOOK = Path(__file__).parents[1] / "book"
CHAPTERS = sorted(BOOK.glob("[0-9][0-9]_*.md"))
REASON = 12  # words, the least that says why


@dataclass(frozen=True)
class Question:
    """One question; ``options`` is empty for an open one, and ``right`` then ``None``."""

    number: int
    options: dict[str, str]
    answers: tuple[str, ...]

    @property
    def right(self) -> str | None:
        found = re.match(r"\*\*\(([a-z])\)\*\*", self.answers[0]) if self.answers else None
        return found[1] if found else None


def questions(page: str) -> list[Question]:
    """The questions under "Check what you know", in order."""
    quiz = page.partition("\n## Check what you know\n")[2]
    found = []
    for number, text in re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", quiz, re.M | re.S):
        options = re.findall(r"^   - \(([a-z])\) (.+)$", text, re.MULTILINE)
        answers = re.findall(r"^   :::\{dropdown\} Answer\n(.*?)^   :::$", text, re.M | re.S)
        found.append(Question(int(number), dict(options), tuple(a.strip() for a in answers)))
    return found


def complaints(page: str) -> list[str]:
    """What is wrong with the form of a page's quiz, in sentences."""
    quiz = questions(page)
    found = [] if 3 <= len(quiz) <= 5 else [f"{len(quiz)} questions, expected 3 to 5"]
    if [q.number for q in quiz] != list(range(1, len(quiz) + 1)):
        found.append("questions are not numbered 1, 2, 3")
    for question in quiz:
        found += [f"question {question.number}: {fault}" for fault in faults(question)]
    right = [q.right for q in quiz if q.options]
    if len(right) < 2:
        found.append(f"{len(right)} questions with options, expected at least 2")
    elif len(set(right)) == 1:
        found.append(f"the right answer is ({right[0]}) each time")
    return found


def faults(question: Question) -> list[str]:
    letters = "".join(question.options)
    if len(question.answers) != 1:
        return [f"{len(question.answers)} answers in a dropdown, expected one"]
    answer, = question.answers
    found = []
    if len(answer.split()) < REASON:
        found.append(f"a reason of {len(answer.split())} words, expected at least {REASON}")
    if question.right and not question.options:
        found.append(f"({question.right}) is right, but there are no options")
    if not question.options:
        return found
    if letters not in ("abc", "abcd") or len(set(question.options.values())) < len(letters):
        found.append(f"options {letters!r}, expected (a) to (c) or (d), all different")
    if question.right not in question.options:
        found.append(f"({question.right}) is right, expected one of the options {letters}")
    if missing := [k for k in letters if k != question.right and f"({k})" not in answer]:
        found.append(f"the answer does not say why {missing} is wrong")
    return found


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_every_chapter_ends_with_a_quiz_that_gives_reasons(page):
    assert complaints(page.read_text(encoding="utf-8")) == []


def test_over_the_book_no_letter_is_a_good_guess():
    keys = Counter(q.right for page in CHAPTERS for q in questions(page.read_text("utf-8"))
                   if q.options)
    assert set(keys) == {"a", "b", "c"}
    assert max(keys.values()) < 0.45 * keys.total() and min(keys.values()) > 0.2 * keys.total()


GOOD = """# A chapter

## Check what you know

1. How much is twice one?
   - (a) one
   - (b) two
   - (c) three

   :::{dropdown} Answer
   **(b)** One and one are two. Answer (a) forgets to add, and (c) adds once too often.
   :::

2. How much is twice two?
   - (a) four
   - (b) two
   - (c) three

   :::{dropdown} Answer
   **(a)** Two and two are four. Answer (b) forgets to add; (c) adds only one of the two.
   :::

3. Why?

   :::{dropdown} Answer
   Because to double is to add a number to itself, whatever the number may be.
   :::
"""


def test_a_good_quiz_passes():
    assert complaints(GOOD) == []


@pytest.mark.parametrize(("old", "new", "said"), [
    ("3. Why?", "Why?", "2 questions"),
    ("3. Why?", "4. Why?", "not numbered"),
    ("## Check what you know", "## Check", "0 questions"),
    ("   - (c) three\n\n   :::{dropdown} Answer\n   **(b)**",
     "   - (d) three\n\n   :::{dropdown} Answer\n   **(b)**", "options 'abd'"),
    ("(a) one", "(a) two", "all different"),
    ("**(b)** One", "**(d)** One", "(d) is right"),
    ("**(b)** One", "One", "(None) is right"),
    ("Answer (a) forgets to add, and (c)", "Answer (a) forgets to add, and another", "['c']"),
    ("Because to double is to add a number to itself, whatever the number may be.", "So it is.",
     "a reason of 3 words"),
    ("   :::{dropdown} Answer\n   Because", "   Because", "0 answers"),
    ("Because to", "**(a)** Because to", "no options"),
    ("**(a)** Two and two are four. Answer (b)", "**(b)** Two and two are four. Answer (a)",
     "(b) each time"),
])
def test_a_bad_quiz_is_told_what_is_wrong(old, new, said):
    assert old in GOOD
    page = GOOD.replace(old, new, 1)
    assert any(said in complaint for complaint in complaints(page)), complaints(page)


# --- Numbers: what the keyed option or the reason says is computed here -----------------------


def weighted(values, counts) -> float:
    states = [{"w": torch.tensor(float(v))} for v in values]
    return float(solutions.weighted_mean(states, counts)["w"])


def alone(bins, records) -> float:
    return (1 - 1 / bins) ** (records - 1)


COMPUTED = {  # (chapter, question): what has to stand in the keyed option, or in the reason
    (1, 1): f"{weighted([2, 6], [100, 300]):.0f}",
    (2, 1): f"${0.02 / 0.1:.1f}$",
    (2, 3): f"{solutions.class_share(0.5, 0.0, -0.2, 0.1 * 10):.1f}",
    (3, 2): f"$({0.6 / 0.2:.0f}, {-0.2 / 0.2:.0f})$",
    (4, 3): f"{(0.05 - 0.9 * 0) / 0.1:.1f}",
    (5, 1): f"{3 * (100 + 50 - 3)}",
    (7, 1): f"{alone(100, 50):.2f} to {alone(100, 100):.2f}",
    (7, 4): f"{solutions.alarm_bound(60):.3f}",
    (10, 2): f"{0.1 * 10 + 0.001 * 990:.0f} accused, {0.1 * 10:.0f} rightly",
    (11, 4): f"{solutions.best_area(1.0, 4):.2f}",
    (12, 2): f"{solutions.break_even(90, 55, 75):.2f}",
    (15, 1): f"{theory.expected_distance(10_000, 1000, 1000):.1f}",
    (18, 3): f"{1 / solutions.own_noise(1.0, 1, 5, 1):.0f}-GDP",
    (20, 2): f"{0.025 ** (1 / 3):.2f}",
}


@pytest.mark.parametrize(("chapter", "number"), COMPUTED)
def test_the_numbers_of_the_answers_are_computed(chapter, number):
    question = questions(CHAPTERS[chapter - 1].read_text("utf-8"))[number - 1]
    said = question.answers[0] + " " + question.options.get(question.right, "")
    assert COMPUTED[chapter, number] in said
    if question.options and COMPUTED[chapter, number] in " ".join(question.options.values()):
        assert COMPUTED[chapter, number] in question.options[question.right]


def test_the_claims_that_no_single_number_settles():
    assert solutions.rounds_needed(0.5, 0.95) == 6  # chapter 20, question 2
    assert 2 * alone(100, 100) * 50 > alone(100, 50) * 50  # 7, 1: the number read still rises
    assert norm.cdf(2) == pytest.approx(0.98, abs=0.005)  # 11, 4: the bound of a comparison
    assert trials_needed(0.05) <= 60  # 7, 4: sixty silent models exclude one in twenty
    at_eight = math.exp(8) * 0.01  # 18, 4: with (8, 1e-3) alone nearly everybody may be named
    assert at_eight > 1 and 1 - math.exp(-8) * (1 - 0.01 - 1e-3) > 0.999
    assert 0.35 < bounds.tpr_ceiling(0.01, gaussian_mu(8.0, 1e-3)) < 0.45  # and as Gaussian


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The mu at which the Gaussian mechanism is just (epsilon, delta)-differentially private."""
    def spent(mu):
        return (norm.cdf(mu / 2 - epsilon / mu)
                - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu))

    low, high = 0.01, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) < delta else (low, middle)
    return low
