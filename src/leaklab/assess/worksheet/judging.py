"""Conclusions of law that a person signs, and whether the evidence can carry them.

The worksheet draws none of these itself. It refuses those that its trials cannot carry, with
reasons, and leaves the others to the person who signed.
"""

from __future__ import annotations

from leaklab.assess.worksheet import law
from leaklab.assess.worksheet.findings import (
    CRITERIA,
    NONE_SEEN,
    STATUSES,
    TOO_FEW,
    UNTESTED,
    Cell,
    Finding,
    Status,
)
from leaklab.assess.worksheet.inputs import Appetite, Context, EvidenceItem, Incident, Judgement
from leaklab.assess.worksheet.risk import counted, grade, residual_likelihood
from leaklab.assess.worksheet.terms import Criterion, Question, Value

DECIDED_BY: dict[Question, str] = {
    "insignificant": law.INSIGNIFICANT, "not personal data": "GDPR recital 26",
    "risk unlikely": "GDPR 33(1)", "no high risk": "GDPR 34(1)",
    "low probability of compromise": "45 CFR 164.402(2)"}


class Ruling(Value):
    """A judgement, and whether it is carried; if not, every reason why."""

    judgement: Judgement
    carried: bool
    reasons: tuple[str, ...]
    decided_by: str


class Bench(Value):
    """What judgements are held against."""

    context: Context
    appetite: Appetite
    evidence: tuple[EvidenceItem, ...]
    findings: tuple[Finding, ...]
    cells: tuple[Cell, ...]
    incident: Incident | None

    def cell(self, judgement: Judgement) -> Cell | None:
        """The cell that ``judgement`` is about, if anything was measured there."""
        return next((cell for cell in self.cells if (cell.artefact, cell.role)
                     == (judgement.artefact, judgement.role)), None)


def rule(judgement: Judgement, bench: Bench) -> Ruling:
    """Hold one judgement against the evidence."""
    decided_by = DECIDED_BY[judgement.question]
    by_role = judgement.role == "processor" and judgement.artefact != "released model"
    if judgement.question == "not personal data" and by_role:
        reasons = ["a processor is assessed from the controller's perspective, whatever was "
                   "measured" + ("" if judgement.artefact == "update" else
                                 f"; for a {judgement.artefact} that is contested")]
        decided_by = law.PROCESSOR
    else:
        if judgement.question == "insignificant" and judgement.artefact != "released model":
            decided_by = law.EVERYBODY
        against = {"insignificant": _against_insignificant,
                   "not personal data": _against_insignificant,
                   "risk unlikely": _against_unlikely, "no high risk": _against_no_high_risk,
                   "low probability of compromise": _against_low_probability}
        reasons = against[judgement.question](judgement, bench)
    return Ruling(judgement=judgement, carried=not reasons, decided_by=decided_by,
                  reasons=tuple(reasons) or ("the evidence does not speak against it; "
                                             "who signed answers for it",))


def _against_criteria(judgement: Judgement, bench: Bench) -> list[str]:
    cell = bench.cell(judgement)
    if cell is None:
        return [f"nothing was measured on this artefact from the {judgement.role}"]
    ids = {item.id for item in _items(judgement, bench)}
    found = {f.evidence: f for f in bench.findings if f.evidence in ids}
    short = []
    for criterion, status in cell.statuses.items():
        if status == NONE_SEEN:
            continue
        gravest = [f for f in found.values() if f.criterion == criterion and f.status == status]
        why = "; ".join(f"{f.evidence}: {f.reason}" + _trials(f, bench) for f in gravest)
        short.append(f"{criterion}: {status}" + (f" ({why})" if why else ""))
    return short


def _against_insignificant(judgement: Judgement, bench: Bench) -> list[str]:
    reasons = _against_criteria(judgement, bench)
    for item in _items(judgement, bench):
        if item.metric == "similarity":
            continue
        group = item.worst_group
        if group is None:
            reasons.append(f"{item.id}: a mean over people, and the question is asked for any "
                           "person; no group worst hit is given")
        elif group.interval[1] - item.baseline > bench.appetite.tolerated:
            reasons.append(f"{item.id}: for {group.name}, a rate of up to "
                           f"{group.interval[1]:.3g} is not excluded")
    return reasons


def _against_unlikely(judgement: Judgement, bench: Bench) -> list[str]:
    if bench.incident is not None and bench.incident.unintelligible:
        return []
    return [f"{criterion}: {status}" for criterion, status in _gravest(judgement, bench).items()
            if status != NONE_SEEN]


def _against_no_high_risk(judgement: Judgement, bench: Bench) -> list[str]:
    if bench.incident is not None and bench.incident.unintelligible:
        return []
    untested = [f"{criterion}: {status}" for criterion, status in _gravest(judgement, bench).items()
                if status == UNTESTED]
    items = counted([item for item in bench.evidence if item.artefact == judgement.artefact],
                    bench.context)
    level = residual_likelihood(items, {f.evidence: f.not_excluded for f in bench.findings},
                                bench.context.defences, bench.appetite.likelihood_cuts)
    if level is None:
        return ["no rate was measured on this artefact, in anybody's hands", *untested]
    severity = bench.context.severity.level
    high = [f"the risk from this artefact is high: severity {severity}, likelihood {level}"
            ] if grade(severity, level) == "high" else []
    return [*high, *untested]


def _against_low_probability(judgement: Judgement, bench: Bench) -> list[str]:
    us = bench.incident.us if bench.incident is not None else None
    factors = us.factors if us is not None else None
    if factors is None:
        return ["the four factors are not assessed"]
    reasons = []
    if factors.acquired is None:
        reasons.append("factor (iii): whether it was acquired or viewed is not established")
    if factors.mitigation is None:
        reasons.append("factor (iv): no mitigation is recorded")
    if factors.acquired:
        reasons += [f"factors (i) and (iii): it was acquired; {criterion}: {status}"
                    for criterion, status in _gravest(judgement, bench).items()
                    if status != NONE_SEEN]
    return reasons


def _gravest(judgement: Judgement, bench: Bench) -> dict[Criterion, Status]:
    """By criterion, for the artefact in any hands: what it gives away goes where it goes."""
    here = [cell.statuses for cell in bench.cells if cell.artefact == judgement.artefact]
    return {criterion: max((statuses[criterion] for statuses in here), key=STATUSES.index,
                           default=UNTESTED) for criterion in CRITERIA}


def _items(judgement: Judgement, bench: Bench) -> list[EvidenceItem]:
    return [item for item in bench.evidence
            if (item.artefact, item.role) == (judgement.artefact, judgement.role)]


def _trials(found: Finding, bench: Bench) -> str:
    if found.status != TOO_FEW or found.not_excluded is None:
        return ""
    item = next(item for item in bench.evidence if item.id == found.evidence)
    has = "no counts are given" if item.trials is None else f"it has {item.trials}" + (
        f" on {item.people} people" if item.people and item.people < item.trials else "")
    return f"; {found.trials_needed} trials on as many people without a hit would do, {has}"
