"""How much leakage is accepted, as a file, and what an audit says to it: the exit status of CI.

The file is JSON, for example::

    {"tolerated": {"records read": 0.0, "records matched": 0.05, "labels read": 0.2},
     "judge": "value"}

``tolerated``: for each metric, the largest excess of the value above the blind guess. ``judge``:
``"value"`` takes the mean, ``"upper"`` the upper end of the interval, which needs many rounds to
pass. ``observers``, a list, may limit it to those who exist in the federation at hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leaklab.assess.audit.running import MEASURED, SEEN_BY, Audit, Result

__all__ = ["judge", "read_appetite"]

METRICS = ("records read", "records matched", "labels read", "tokens named", "membership AUC")
OBSERVERS = tuple(dict.fromkeys(who for held in SEEN_BY.values() for who in held))
WITHIN, EXCEEDED, UNUSABLE, UNMEASURED = 0, 1, 2, 3
"""Exit statuses. ``UNUSABLE`` is that of an audit that could not start."""
LARGEST_FILE = 100_000


@dataclass(frozen=True)
class Appetite:
    """What is tolerated; see the module. Raises ``ValueError`` for unknown words or numbers."""

    tolerated: Mapping[str, float]
    judge: str = "value"
    observers: tuple[str, ...] = OBSERVERS

    def __post_init__(self):
        unknown = sorted(set(self.tolerated) - set(METRICS))
        if unknown or not self.tolerated:
            raise ValueError(f"tolerated: {unknown or 'nothing'} given, expected some of {METRICS}")
        for metric, most in self.tolerated.items():
            if isinstance(most, bool) or not isinstance(most, int | float) or not 0 <= most <= 1:
                raise ValueError(f"tolerated: {most!r} for {metric!r} given, expected 0 to 1")
        if self.judge not in ("value", "upper"):
            raise ValueError(f"judge: {self.judge!r} given, expected 'value' or 'upper'")
        odd = sorted(set(self.observers) - set(OBSERVERS))
        if odd or not self.observers:
            raise ValueError(f"observers: {odd or 'none'} given, expected some of {OBSERVERS}")


@dataclass(frozen=True)
class Verdict:
    """What an appetite says of an audit: a status of this module, and a line for each reason."""

    status: int
    lines: tuple[str, ...]


def read_appetite(path: Path | str) -> Appetite:
    """The appetite in the file at ``path``.

    Raises ``ValueError`` for a file that is no such JSON, and ``OSError`` as ``open`` does.
    """
    path = Path(path)
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path.name}: over {LARGEST_FILE} bytes given, expected a small file")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: no JSON ({error})") from error
    keys = {"tolerated", "judge", "observers"}
    if not isinstance(raw, dict) or not isinstance(raw.get("tolerated"), dict) or set(raw) - keys:
        raise ValueError(f"{path.name}: expected an object with 'tolerated', an object, and at "
                         "most 'judge' and 'observers'")
    if not isinstance(raw.get("observers", []), list):
        raise ValueError(f"{path.name}: observers: {raw['observers']!r} given, expected a list")
    return Appetite(raw["tolerated"], raw.get("judge", "value"),
                    tuple(raw.get("observers", OBSERVERS)))


def judge(audit: Audit, appetite: Appetite) -> Verdict:
    """Whether ``audit`` stays within ``appetite``.

    Exceeded where any result does; unmeasured where a metric of the appetite has no result at
    all, since nobody knows then; within it otherwise.
    """
    seen = [r for r in audit.results if set(r.seen_by) & set(appetite.observers)]
    done = [r for r in seen if r.status == MEASURED and r.metric in appetite.tolerated]
    over = [r for r in done if _excess(r, appetite.judge) > appetite.tolerated[r.metric] + 1e-9]
    if over:
        return Verdict(EXCEEDED, tuple(_line(r, appetite) for r in over))
    lacking = [m for m in appetite.tolerated if m not in {r.metric for r in done}]
    if lacking:
        return Verdict(UNMEASURED, tuple(f"{metric}: tolerated up to "
                                         f"{appetite.tolerated[metric]:g}, and not measured"
                                         for metric in lacking))
    asked = [r for r in seen if r.metric in appetite.tolerated]
    return Verdict(WITHIN, ("within the appetite, for the attacks that were run", *(
        [f"not measured: {len(asked) - len(done)} of {len(asked)} results that it asks about"]
        if len(done) < len(asked) else [])))


def _excess(result: Result, by: str) -> float:
    return (result.value if by == "value" else result.interval[1]) - result.baseline


def _line(result: Result, appetite: Appetite) -> str:
    return (f"{result.metric} by {' or '.join(result.seen_by)}, {result.attack}, batch "
            f"{result.batch_size}: {_excess(result, appetite.judge):.2f} above a blind guess, "
            f"tolerated {appetite.tolerated[result.metric]:g}")
