"""An audit in plain sentences: what gave records away, up to which batch size, and what did not."""

from __future__ import annotations

from itertools import groupby

from leaklab.assess.audit.running import MEASURED, Audit, Result

SAID = {"records read": "records read to within 2 % in every entry",
        "records matched": "guesses matched to their own record",
        "labels read": "labels read",
        "tokens named": "tokens of the batch named (F1)",
        "membership AUC": "members told from others (AUC)"}


def findings(audit: Audit) -> tuple[str, ...]:
    """A sentence for each attack on each artefact: leaks first, then the rest.

    A leak is said to be there only where the whole interval lies above the blind guess.
    """
    rows = sorted(audit.results, key=_place)
    said = [(any(r.above for r in group), _sentence(group)) for group in
            (tuple(rows) for _, rows in groupby(rows, key=_place))]
    return (*(text for leak, text in said if leak), *(text for leak, text in said if not leak))


def _place(result: Result) -> tuple[str, str]:
    return result.artefact, result.attack


def _sentence(rows: tuple[Result, ...]) -> str:
    """One attack on one artefact over all batch sizes."""
    first = rows[0]
    head = f"{_who(first.seen_by)}, {_what(first)}: {first.attack}"
    done = sorted((r for r in rows if r.status == MEASURED), key=lambda r: r.batch_size)
    missing = [r for r in rows if r.status != MEASURED]
    leaks = [r for r in done if r.above]
    rest = [r for r in done if not r.above]
    parts = []
    if leaks:
        parts.append(f"{SAID[first.metric]}: " + "; ".join(map(_figures, leaks)))
    for rows_of, text in (
            ([r for r in rest if r.value > r.baseline],
             "more than a guess without it reaches, in too few rounds to be sure"),
            ([r for r in rest if r.value <= r.baseline],
             f"nothing above a guess without it ({first.blind})")):
        if rows_of:
            parts.append(f"{text}: " + "; ".join(map(_figures, rows_of)))
    parts += [f"{status} at batch {sizes}: {reason}" for status, sizes, reason in
              _distinct(missing)]
    return f"{head}. " + ". ".join(part[0].upper() + part[1:] for part in parts) + "."


def _who(seen_by: tuple[str, ...]) -> str:
    text = " or ".join(seen_by)
    return text[0].upper() + text[1:]


def _what(result: Result) -> str:
    return {"update": "one hospital's update", "sum": "the sum of all hospitals",
            "difference": "the others' part of the new model",
            "released model": "the model released"}[result.artefact]


def _figures(result: Result) -> str:
    low, high = result.interval
    behind = "" if result.records == result.batch_size else f" ({result.records} records in all)"
    return (f"batch {result.batch_size}{behind}: {result.value:.2f} ({low:.2f} to {high:.2f}, "
            f"{result.trials} rounds), without it {result.baseline:.2f}")


def _distinct(rows: list[Result]) -> list[tuple[str, str, str]]:
    """Status, batch sizes and reason, sizes with the same reason together."""
    sizes: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        sizes.setdefault((row.status, row.reason), []).append(str(row.batch_size))
    return [(status, ", ".join(of), reason) for (status, reason), of in sizes.items()]
