"""An audit in plain sentences: what gave records away, what did not, and what was not tried."""

from __future__ import annotations

from itertools import groupby
from math import floor, log
from textwrap import fill

from leaklab.assess.audit.running import MEASURED, SEEN_BY, Audit, Result
from leaklab.assess.audit.subject import counted

SAID = {"records read": "records read to within 2 % in every entry",
        "records matched": "guesses matched to their own record",
        "labels read": "labels read",
        "tokens named": "tokens of the batch named (F1)",
        "membership AUC": "members told from others (AUC)"}
ARTEFACT = {"update": "one hospital's update", "sum": "the sum of all hospitals",
            "difference": "the others' part of the new model",
            "released model": "the model released"}
READ_AS = ("In brackets: what a guess without the artefact reaches. Perhaps: more than that, in "
           "too few rounds to be sure.")


def overview(audit: Audit) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """A row for each observer: who, what it holds, and what came out at each batch size.

    Of each metric the largest result above the blind guess is named; after "perhaps" those metrics
    that lie above it in too few rounds to be sure.
    """
    return tuple((who(SEEN_BY[artefact]), what,
                  tuple(_cell([r for r in audit.results if r.status == MEASURED
                               and (r.artefact, r.batch_size) == (artefact, size)])
                        for size in audit.federation.batch_sizes))
                 for artefact, what in ARTEFACT.items())


def findings(audit: Audit) -> tuple[str, ...]:
    """A sentence for each attack on each artefact that was measured: leaks first.

    A leak is said to be there only where the whole interval lies above the blind guess.
    """
    rows = sorted((r for r in audit.results if r.status == MEASURED), key=_place)
    groups = [tuple(rows) for _, rows in groupby(rows, key=_place)]
    return tuple(_sentence(rows) for rows in sorted(groups, key=_rank))


def gaps(audit: Audit) -> tuple[str, ...]:
    """A sentence for each reason why something was not measured. A gap is no safety."""
    reasons: dict[tuple[str, str], list[Result]] = {}
    for row in sorted(audit.results, key=_place):
        if row.status != MEASURED:
            reasons.setdefault((row.status, row.reason), []).append(row)
    return tuple(f"{_where(rows, audit)}: {status}, {reason}."
                 for (status, reason), rows in reasons.items())


def by_chance(audit: Audit) -> str:
    """How many results were held against a guess, and how many chance alone would put above it."""
    held = [r for r in audit.results if r.status == MEASURED]
    return (f"Results held against a guess: {len(held)}; above it: {sum(r.above for r in held)}. "
            "Chance alone puts up to one in forty above. One that nothing else supports is a "
            "reason to play more rounds.")


def as_text(audit: Audit) -> str:
    """All of it for a terminal: the overview, findings, gaps and warnings."""
    rows = overview(audit)
    lines = ["What an observer could read out of one round", fill(READ_AS, 96)]
    for observer, what, cells in rows:
        lines += ["", f"{observer}: {what}"]
        lines += [fill(cell, 96, initial_indent=f"  batch {size:<5} ", subsequent_indent=" " * 14)
                  for size, cell in zip(audit.federation.batch_sizes, cells, strict=True)]
    for title, texts in (("Findings, leaks first", (*findings(audit), by_chance(audit))),
                         ("Not measured, which is no safety", gaps(audit)),
                         ("Before you read the figures", audit.warnings)):
        lines += ["", title, *(fill(text, 96, initial_indent="- ", subsequent_indent="  ")
                               for text in texts or ("nothing",))]
    return "\n".join(lines)


def who(seen_by: tuple[str, ...]) -> str:
    """Observers as the beginning of a sentence."""
    text = " or ".join(seen_by)
    return text[0].upper() + text[1:]


def _place(result: Result) -> tuple[int, str]:
    return list(ARTEFACT).index(result.artefact), result.attack


def _rank(rows: tuple[Result, ...]) -> int:
    """0 for a leak, 1 for more than a guess reaches, 2 for nothing above one."""
    if any(r.above for r in rows):
        return 0
    return 1 if any(r.value > r.baseline for r in rows) else 2


def _cell(rows: list[Result]) -> str:
    if not rows:
        return "not measured"
    above = sorted((r for r in rows if r.value > r.baseline), key=lambda r: r.value)
    sure = {r.metric: r for r in above if r.above}
    unsure = {r.metric: r for r in above if r.metric not in sure}
    said = [", ".join(f"{metric} {r.value:.2f} (guess {r.baseline:.2f})"
                      for metric, r in named.items()) for named in (sure, unsure)]
    parts = [said[0]] * bool(sure) + [f"perhaps {said[1]}"] * bool(unsure)
    return "; ".join(parts) or "nothing above a guess"


def _sentence(rows: tuple[Result, ...]) -> str:
    """One attack on one artefact over all batch sizes."""
    first = rows[0]
    done = sorted(rows, key=lambda r: r.batch_size)
    parts = []
    for rows_of, text in (
            ([r for r in done if r.above], SAID[first.metric]),
            ([r for r in done if not r.above and r.value > r.baseline],
             f"{SAID[first.metric]}, more than a guess without it reaches, in too few rounds to "
             "be sure"),
            ([r for r in done if r.value <= r.baseline],
             f"nothing above a guess without it ({first.blind})")):
        if rows_of:
            said = f"{text}: " + "; ".join(map(_figures, rows_of))
            parts.append(said[0].upper() + said[1:])
    return f"{who(first.seen_by)}, {ARTEFACT[first.artefact]}: {first.attack}. {'. '.join(parts)}."


def _figures(result: Result) -> str:
    low, high = result.interval
    behind = "" if result.records == result.batch_size else f" ({result.records} records in all)"
    return (f"batch {result.batch_size}{behind}: {result.value:.2f} ({low:.2f} to {high:.2f}, "
            f"{counted(result.trials, 'round')}), without it {result.baseline:.2f}"
            f"{_rounds_to_show(result)}")


def _rounds_to_show(result: Result) -> str:
    """How many rounds in which all is read have an interval above the blind guess: n of n successes
    have the exact interval from 0.025 ** (1 / n)."""
    if result.value < 1 or result.above or not 0 < result.baseline < 1:
        return ""
    return f", and {floor(log(0.025) / log(result.baseline)) + 1} such rounds would show it"


def _where(rows: list[Result], audit: Audit) -> str:
    """Attack, artefacts and batch sizes; "everything" where no other attack was measured there."""
    sizes = {r.batch_size for r in rows}
    if len(rows) == sum(r.batch_size in sizes for r in audit.results):
        return f"Batch {_listed(sizes)}, everything"
    attacks = {}
    for row in rows:
        attacks.setdefault(row.attack, {}).setdefault(row.artefact, set()).add(row.batch_size)
    said = "; ".join(
        f"{attack}, on " + ", ".join(f"{artefact} at batch {_listed(of)}"
                                     for artefact, of in places.items())
        for attack, places in attacks.items())
    return said[0].upper() + said[1:]


def _listed(sizes: set[int]) -> str:
    return ", ".join(map(str, sorted(sizes)))
