"""Measured statements: what a study records, a lab checks and the book prints.

A study runs the full trials and writes ``recorded/<study>.json``, which ships with the package.
Every number the book prints about leakage or utility is an ``Evidence`` read from there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path

from leaklab import runtime
from leaklab.metrics import prediction_interval

__all__ = ["Evidence", "check", "load", "record"]

SCHEMA = 1


@dataclass(frozen=True)
class Evidence:
    """One measured statement, with the baseline that needed no update.

    name
        Unique within the study.
    statement
        One sentence: what was measured.
    value, unit, interval, interval_kind
        The estimate, its 95 % interval and how that was formed.
    baseline, baseline_kind
        What someone without the thing measured would reach, and who that is.
    runs, seeds
        The single runs behind the value and their seeds.
    successes, trials, clusters
        Counts, where the value is a proportion, and the number of independent units (patients).
    setting
        The conditions: every parameter a rerun needs.
    view, defence, privacy_unit
        Who saw what, through which defence, and what the privacy claim is about; ``None`` where
        the statement is not about an attack.
    data, data_sha256, scale, version
        Provenance line of the data and its hash, the scale of the study, the library's version.

    Raises ``ValueError`` for a value outside its interval, or other numbers of runs and seeds.
    """

    name: str
    statement: str
    value: float
    unit: str
    interval: tuple[float, float]
    interval_kind: str
    baseline: float | None
    baseline_kind: str
    runs: tuple[float, ...]
    seeds: tuple[int, ...]
    data: str
    data_sha256: str
    scale: str
    version: str
    setting: Mapping[str, object] = field(default_factory=dict)
    successes: int | None = None
    trials: int | None = None
    clusters: int | None = None
    view: str | None = None
    defence: str | None = None
    privacy_unit: str | None = None

    def __post_init__(self):
        low, high = self.interval
        if not low <= self.value <= high:
            raise ValueError(
                f"interval of {self.name!r}: {self.interval} given, expected to hold {self.value}"
            )
        if len(self.runs) != len(self.seeds):
            raise ValueError(
                f"seeds of {self.name!r}: {len(self.seeds)} given, expected {len(self.runs)}, "
                "one per run"
            )

    @property
    def lead(self) -> float:
        """How far the value leads from the baseline, 0, to certainty, 1; for shares and AUCs.

        ``(value - baseline) / (1 - baseline)``; 0 where the baseline is certain by itself.
        """
        return (self.value - self.baseline) / (1 - self.baseline) if self.baseline < 1 else 0.0

    def estimate(self, form: str = ".3f") -> str:
        """The value and its interval as text, each in the format ``form``."""
        low, high = self.interval
        return f"{self.value:{form}} ({low:{form}} to {high:{form}})"


def record(study: str, items: Sequence[Evidence], folder: Path | None = None) -> Path:
    """Write ``<study>.json`` atomically; the bytes depend on the content alone.

    Raises ``ValueError`` if a name occurs twice or a number is not finite.
    """
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"items: {twice} given more than once, expected each name once")
    folder = folder or Path(str(resources.files("leaklab") / "recorded"))
    document = {"schema": SCHEMA, "study": study, "evidence": [_rounded(asdict(i)) for i in items]}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path = folder / f"{study}.json"
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path


def load(study: str, folder: Path | None = None) -> dict[str, Evidence]:
    """What ``study`` recorded, by name.

    Raises ``FileNotFoundError`` that says how to record it, and ``ValueError`` for a file
    written under another schema.
    """
    folder = folder or resources.files("leaklab") / "recorded"
    try:
        document = json.loads((folder / f"{study}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no recorded evidence for {study!r}; record it with: make evidence NAME={study}"
        ) from None
    if document.get("schema") != SCHEMA:
        given = document.get("schema")
        raise ValueError(f"{study}.json: schema {given!r} given, expected {SCHEMA}")
    return {raw["name"]: _from_json(raw) for raw in document["evidence"]}


SAME_RUN = 0.01
"""How far a repeated run may differ from the recorded one: another processor rounds otherwise."""


def check(live: float, recorded: Evidence, *, seed: int, **setting: object) -> None:
    """Assert that a live run agrees with what the study recorded, and say so.

    A run on a recorded ``seed`` must repeat that run within :data:`SAME_RUN`. On any other seed
    it must lie within the 99 % prediction interval for one further run (so that one honest run
    in a hundred is turned away, not one in twenty). ``setting`` must equal the recorded
    conditions it names. Prints recorded numbers only, so that the line is the same on every
    machine.

    At another scale than the recorded one there is nothing to compare, and the line says that.

    Raises ``AssertionError`` that gives both sides where the run or a condition disagrees.
    """
    scale = runtime.scale(fast="fast", full="full")
    if scale != recorded.scale:
        print(f"{recorded.name}: recorded at scale {recorded.scale}, run at {scale}: not compared")
        return
    for name, value in setting.items():
        expected = recorded.setting.get(name)
        if value != expected:
            raise AssertionError(
                f"{recorded.name}: the live run used {name}={value!r}, the study {expected!r}")
    if seed in recorded.seeds:
        run = recorded.runs[recorded.seeds.index(seed)]
        low, high = run - SAME_RUN, run + SAME_RUN
        said = f"seed {seed} repeats its recorded run to within {SAME_RUN:g}"
    else:
        low, high = prediction_interval(recorded.runs, level=0.99)
        said = f"as further runs should, it lies between {low:.2f} and {high:.2f}"
    if not low <= live <= high:  # no bare assert: `python -O` would take it away
        raise AssertionError(
            f"{recorded.name}, seed {seed}: the live run gave {live:.3f}, expected {low:.3f} to "
            f"{high:.3f} from {len(recorded.runs)} recorded runs")
    print(f"{recorded.name}: {said}")


def _rounded(value: object) -> object:
    """Six significant digits: enough to plot and check, and the same after a reload."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value


def _from_json(raw: dict) -> Evidence:
    known = {f.name for f in fields(Evidence)}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise ValueError(f"evidence {raw.get('name')!r}: unknown fields {unknown}")
    as_tuples = {key: tuple(raw[key]) for key in ("interval", "runs", "seeds")}
    return Evidence(**{**raw, **as_tuples})
