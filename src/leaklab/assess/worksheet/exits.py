"""What leaves a secure processing environment, and what a device's file must show.

The EHDS lets only non-personal data out of a secure processing environment (73(2)), so a model or
an update that leaves is held against the three criteria. The AI Act asks for evidence on
confidentiality attacks (15(5)), data governance (10) and documentation (Annex IV).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal, get_args

from leaklab.assess.worksheet import law
from leaklab.assess.worksheet.findings import FURTHER, NONE_SEEN, Cell
from leaklab.assess.worksheet.inputs import Context, EvidenceItem
from leaklab.assess.worksheet.terms import Artefact, AttackClass, Value


class Export(Value):
    """Whether an artefact can be put before the health data access body, which decides."""

    artefact: Artefact
    outcome: Literal["hold back", "not ready for review", "put before the access body"]
    reason: str
    decided_by: str
    applies_from: date
    applies: bool


class Entry(Value):
    """One line of a technical file: what is asked for, the evidence there is, what is missing."""

    provision: str
    asks: str
    evidence: tuple[str, ...]
    missing: tuple[str, ...]


def exports(context: Context, cells: Sequence[Cell]) -> tuple[Export, ...]:
    """One answer for each artefact that is to leave; none without a permit."""
    if not context.ehds_permit:
        return ()
    start = law.EHDS_GENOMES if "genetic" in context.categories else law.EHDS_SECONDARY
    return tuple(_export(artefact, [c for c in cells if c.artefact == artefact], start,
                         context.assessed_on >= start)
                 for artefact in dict.fromkeys(context.exports))


def _export(artefact: Artefact, here: Sequence[Cell], start: date, applies: bool) -> Export:
    statuses = [status for cell in here for status in cell.statuses.values()]
    if FURTHER in statuses:
        outcome, reason, by = "hold back", "a criterion is not met", "EHDS 61(4)"
    elif not statuses or any(status != NONE_SEEN for status in statuses):
        outcome, by = "not ready for review", "EHDS 73(2)"
        reason = "a criterion is not tested, or in too few trials"
    elif any(cell.gate != "case by case" for cell in here):
        outcome, by = "hold back", "EHDS 73(2)"
        reason = "personal data by role or presumption: only non-personal data may be downloaded"
    else:
        outcome, by = "put before the access body", "EHDS 73(2)"
        reason = "no failure was seen on any criterion; the body reviews and decides"
    return Export(artefact=artefact, outcome=outcome, reason=reason, decided_by=by,
                  applies_from=start, applies=applies)


def technical_file(context: Context, evidence: Sequence[EvidenceItem]) -> tuple[Entry, ...]:
    """The evidence list for a medical device under the AI Act; empty for anything else."""
    if not context.medical_device:
        return ()
    evidence = {item.id: item for item in evidence}.values()  # one measurement, in several hands
    by_class = {attack: tuple(i.id for i in evidence if i.attack == attack)
                for attack in get_args(AttackClass)}
    real = tuple(item.id for item in evidence if not item.synthetic)
    return (
        Entry(provision="AI Act 15(5)", asks="resilience against confidentiality attacks",
              evidence=tuple(name for names in by_class.values() for name in names),
              missing=tuple(attack for attack, names in by_class.items() if not names)),
        Entry(provision="AI Act 10",
              asks="data governance; here only what the attacks were measured on",
              evidence=real, missing=() if real else ("a measurement on real data",)),
        Entry(provision="AI Act Annex IV", asks="the measures, their tests and their limits",
              evidence=tuple(item.id for item in evidence if item.defence is not None),
              missing=tuple(defence for defence in context.defences
                            if defence not in {item.defence for item in evidence})),
    )
