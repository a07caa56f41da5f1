"""Show the code and the recorded evidence of the library inside a lab."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

from IPython.display import Code

from leaklab.evidence import Evidence


def show_source(function: Callable) -> Code:
    """The source of ``function`` as a highlighted listing.

    Raises ``TypeError`` for something without Python source, such as a number or a built-in.
    """
    try:
        source = inspect.getsource(function)
    except (TypeError, OSError):
        raise TypeError(f"function: {function!r} given, expected one written in Python") from None
    return Code(textwrap.dedent(source), language="python")


def estimates(items: Mapping[str, Evidence], form: str = ".3f") -> None:
    """Print recorded values with their intervals, a line each, and the guess where there is one."""
    width = max(map(len, items))
    for label, item in items.items():
        guess = f"   guess {item.baseline:{form}}" if item.baseline else ""
        print(f"{label:{width}s}  {item.estimate(form)}{guess}")


def fields(names: Sequence[str], units: Sequence[str], steps: Sequence[float],
           true: Sequence[float], read: Sequence[float]) -> None:
    """Print the fields of one record as they are and as they were read, a line each.

    ``steps`` are those in which the fields are written: no digit beyond them is shown.
    """
    for name, unit, step, *values in zip(names, units, steps, true, read, strict=True):
        digits = max(0, math.ceil(-math.log10(step)))
        a, b = (f"{value:9.{digits}f}" for value in values)
        print(f"{name:{max(map(len, names))}s} {unit:{max(map(len, units))}s}  true {a}  read {b}")
