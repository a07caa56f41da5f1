"""Show the code and the recorded evidence of the library inside a lab."""

from __future__ import annotations

import html
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


MARKS = {"name": "#E69F00", "number": "#56B4E9", "date": "#009E73", "diagnosis": "#CC79A7"}
"""Okabe-Ito colours of the fields of a note; each field bears its name too."""


class MarkedNote:
    """A note with its fields marked: coloured HTML, or text with each field in brackets.

    ``words`` are the note's tokens as words, ``spans`` its fields (kind, start, stop), and
    ``caption`` says whose words these are, with the tag of the data.
    """

    def __init__(self, words: Sequence[str], spans: Sequence[tuple[str, int, int]], caption: str):
        self.parts: list[tuple[str, str]] = []
        done = 0
        for kind, start, stop in sorted(spans, key=lambda span: span[1]):
            self.parts += [("", " ".join(words[done:start])), (kind, " ".join(words[start:stop]))]
            done = stop
        self.parts.append(("", " ".join(words[done:])))
        self.caption = caption

    def _repr_html_(self) -> str:
        style = "padding:0 .25em;border-radius:.25em;color:black;background:"
        line = " ".join(
            f'<mark style="{style}{MARKS[kind]}">{html.escape(text)} <small>{kind}</small></mark>'
            if kind else html.escape(text) for kind, text in self.parts if text)
        return (f'<figure style="margin:1em 0"><p style="line-height:1.9">{line}</p>'
                f"<figcaption><small>{html.escape(self.caption)}</small></figcaption></figure>")

    def __repr__(self) -> str:
        line = " ".join(f"[{kind}: {text}]" if kind else text for kind, text in self.parts if text)
        return "\n".join([*textwrap.wrap(line, 88), self.caption])
