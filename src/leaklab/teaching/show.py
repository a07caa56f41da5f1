"""Show the code of the library inside a lab."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Code


def show_source(function: Callable) -> Code:
    """The source of ``function`` as a highlighted listing.

    Raises ``TypeError`` for something without Python source, such as a number or a built-in.
    """
    try:
        source = inspect.getsource(function)
    except (TypeError, OSError):
        raise TypeError(f"function: {function!r} given, expected one written in Python") from None
    return Code(textwrap.dedent(source), language="python")
