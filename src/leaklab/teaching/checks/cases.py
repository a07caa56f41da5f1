"""How an exercise is checked: known cases through the student's function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

TOLERANCE = 1e-5
"""Relative and absolute: what rounding to single precision may cost. Whole numbers are exact."""


@dataclass(frozen=True)
class Case:
    """One call with its answer, worked out by hand, and a hint for whoever misses it.

    An answer that ``requires_grad`` is one that a search has to be able to differentiate.
    """

    arguments: tuple
    expected: object
    hint: str


def run_cases(attempt: Callable, cases: Sequence[Case]) -> None:
    """Call ``attempt`` on every case and say how it went, as the package describes.

    A right value passes in any form: a number, a tensor, an array or a list, in any precision. An
    attempt that edits its arguments fails, since a hospital's state must survive being averaged.
    """
    name = attempt.__name__
    for case in cases:
        given = copy.deepcopy(case.arguments)
        call = f"Exercise {name}, case {name}{case.arguments}"
        try:
            answer = attempt(*given)
        except Exception as error:
            error.add_note(f"{call}\n{case.hint}\nexpected {case.expected!r}")
            raise
        if (answer is None or answer is ...) and case is cases[0]:
            print(f"Exercise {name}: not attempted yet (it returns nothing)")
            return
        if difference := _difference(answer, case.expected):
            raise AssertionError(f"{call}\n{case.hint}\nreturned {answer!r}\n"
                                 f"expected {case.expected!r}\n({difference})")
        _assert_unchanged(given, case.arguments, call)
    print(f"Exercise {name}: passed")


def _difference(answer: object, expected: object) -> str | None:
    """How the two differ, in words, or ``None`` where they agree."""
    if isinstance(expected, Mapping):
        if not isinstance(answer, Mapping) or set(answer) != set(expected):
            return f"a dictionary with the keys {list(expected)} is expected"
        return next(filter(None, (_difference(answer[k], expected[k]) for k in expected)), None)
    true = _as_tensor(expected)
    try:
        found = _as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        return f"{type(answer).__name__} given, which is neither a number nor a tensor of them"
    if found.shape != true.shape:
        wanted = f"shape {tuple(true.shape)}" if true.dim() else "a single number"
        return f"shape {tuple(found.shape)} given, {wanted} expected"
    tolerance = TOLERANCE if true.is_floating_point() else 0.0
    if not torch.allclose(found.double(), true.double(), rtol=tolerance, atol=tolerance):
        return "the values differ"
    if true.requires_grad and not found.requires_grad:
        return ("the value is right, but a search cannot follow its gradient, which float(), "
                ".item(), .detach() and NumPy cut off")
    return None


def _as_tensor(value: object) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(np.array(value))


def _assert_unchanged(given: tuple, before: tuple, call: str) -> None:
    """Fail where a call changed what it was given."""
    try:
        torch.testing.assert_close([_values(a) for a in given], [_values(a) for a in before])
    except AssertionError as error:
        raise AssertionError(f"{call}\nIt changed an argument in place; work on a copy.\n"
                             f"({error})") from None


def _values(argument: object) -> object:
    """What an in-place edit of ``argument`` could change."""
    return dict(argument.state_dict()) if isinstance(argument, nn.Module) else argument
