"""One reason why an attack will disappoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SEVERITIES = ("blocks", "misleads", "weakens")


@dataclass(frozen=True)
class Finding:
    """One reason why an attack will disappoint.

    code
        A word for programs.
    severity
        One of :data:`SEVERITIES`.
    sentence
        What was found, with its numbers.
    remedy
        What to try.
    """

    code: str
    severity: str
    sentence: str
    remedy: str


def listed(words: Sequence[str]) -> str:
    """The first four of ``words``."""
    return ", ".join(words[:4]) + (", ..." if len(words) > 4 else "")
