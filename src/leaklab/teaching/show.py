"""Show the code and the recorded evidence of the library inside a lab."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping

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
