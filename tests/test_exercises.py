"""The checks of the exercises: right in every form, wrong in every plausible way, and helpful."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from leaklab.teaching import checks, solutions
from test_teaching import WRONG, named

SEARCHED = {"cosine_distance", "total_variation"}  # their answers have to carry a gradient


def each(change):
    """``change`` of an answer, or of each entry of a dictionary of answers."""
    def changed(answer):
        if isinstance(answer, dict):
            return {name: change(value) for name, value in answer.items()}
        return change(answer)
    return changed


def as_tensor(value) -> torch.Tensor:
    return torch.as_tensor(value)


FORMS = {
    "tensors": as_tensor,
    "arrays": lambda v: as_tensor(v).detach().numpy(),
    "lists and numbers": lambda v: as_tensor(v).tolist(),
    "tuples": lambda v: tuple(as_tensor(v).tolist()) if as_tensor(v).dim() else v,
    "double precision, whole numbers too": lambda v: as_tensor(v).double(),
    "rounded to single precision": lambda v: (
        v if isinstance(v, int) else as_tensor(v).float().double()),
}
SPOILT = {
    "a percent more": lambda v: as_tensor(v) * 1.01 + 1e-3,
    "one more": lambda v: as_tensor(v).double() + 1,
    "a dimension too many": lambda v: as_tensor(v)[None],
    "as words": str,
    "not a number": lambda v: as_tensor(v) * float("nan"),
}


def answers_in(form, name):
    solve = getattr(solutions, name)
    return named(lambda *given: each(form)(solve(*given)), name)


@pytest.mark.parametrize(("name", "form"), [
    (name, form) for name in WRONG for form in FORMS
    if name not in SEARCHED or form not in ("arrays", "lists and numbers")])
def test_a_right_answer_passes_in_every_form(name, form, capsys):
    getattr(checks, name)(answers_in(FORMS[form], name))
    assert capsys.readouterr().out == f"Exercise {name}: passed\n"


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("name", WRONG)
def test_a_spoilt_answer_fails_with_what_was_returned_and_expected(name, spoilt):
    with pytest.raises(AssertionError, match=r"(?s)case .*\n.*\nreturned .*\nexpected .*\n\(.+\)"):
        getattr(checks, name)(answers_in(SPOILT[spoilt], name))


@pytest.mark.parametrize("name", WRONG)
def test_no_single_case_can_be_answered_by_rote(name):
    """Whatever a student copies out of one complaint, another case asks for something else."""
    solve, seen = getattr(solutions, name), []
    getattr(checks, name)(named(lambda *given: (seen.append(solve(*given)), seen[-1])[1], name))
    assert len(seen) >= 2
    for answer in seen:
        with pytest.raises(AssertionError):
            getattr(checks, name)(named(lambda *given, answer=answer: answer, name))


@pytest.mark.parametrize("name", WRONG)
def test_every_exercise_has_two_plausible_mistakes_and_every_case_a_hint(name, monkeypatch):
    assert len(WRONG[name]) >= 2
    cases = []
    check = getattr(checks, name)
    monkeypatch.setitem(check.__globals__, "run_cases", lambda attempt, given: cases.extend(given))
    check(getattr(solutions, name))
    assert cases and all(len(case.hint.split()) >= 3 for case in cases)


def test_whole_numbers_are_exact_however_large():
    check = [checks.Case((2**32,), 2**32 - 4, "Exactly.")]
    checks.run_cases(named(lambda n: float(n - 4), "less"), check)
    with pytest.raises(AssertionError, match="the values differ"):
        checks.run_cases(named(lambda n: n - 5, "less"), check)


def test_rounding_passes_and_a_third_digit_does_not():
    check = [checks.Case((1.0,), 1 / 3, "A third.")]
    checks.run_cases(named(lambda x: np.float32(x) / np.float32(3), "third"), check)
    with pytest.raises(AssertionError):
        checks.run_cases(named(lambda x: 0.333, "third"), check)


def test_an_answer_that_a_search_cannot_follow_is_told_so():
    with pytest.raises(AssertionError, match="the value is right, but a search cannot follow"):
        checks.total_variation(
            named(lambda image: solutions.total_variation(image).item(), "total_variation"))


def test_an_error_inside_an_attempt_keeps_its_kind_and_names_the_case():
    with pytest.raises(ZeroDivisionError) as raised:
        checks.owner_chance(named(lambda counts: 1 / 0, "owner_chance"))
    assert raised.value.__notes__ == [
        "Exercise owner_chance, case owner_chance([1, 1, 1, 1],)\n"
        "Four hospitals with a record each: one in four.\nexpected 0.25"]


def test_an_attempt_that_edits_what_it_was_given_is_told_so():
    def in_place(before, after, learning_rate, local_steps):
        before -= after
        return before / (learning_rate * local_steps)

    with pytest.raises(AssertionError, match="changed an argument in place; work on a copy"):
        checks.mean_gradient(named(in_place, "mean_gradient"))
