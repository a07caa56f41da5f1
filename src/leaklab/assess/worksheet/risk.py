"""Whether an impact assessment is due, and the matrix of severity and likelihood.

Severity is a person's judgement. Likelihood is read off the evidence by the signed cuts of the
appetite, from the largest rate above the baseline that the trials leave possible: what was not
excluded counts. It is inherent where no defence was in force, and residual where those of the
context were. A defence that was not measured, or only under a stronger guarantee, lowers nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from leaklab.assess.worksheet.findings import Finding
from leaklab.assess.worksheet.inputs import Appetite, Context, EvidenceItem, Guarantee
from leaklab.assess.worksheet.terms import Role, Value

Grade = Literal["low", "medium", "high"]
GRADES: tuple[Grade, ...] = ("low", "medium", "high")
LEVELS = {1: "negligible", 2: "limited", 3: "important", 4: "maximal"}


class Trigger(Value):
    """Whether an impact assessment is due, and what decides."""

    outcome: Literal["required", "required as a rule", "give reasons if none is made"]
    criteria: tuple[str, ...]
    decided_by: str


class Risk(Value):
    """The risk from one pair of hands; ``None`` where nothing that is a rate was measured."""

    role: Role
    severity: int
    inherent_likelihood: int | None
    residual_likelihood: int | None
    inherent: Grade | None
    residual: Grade | None
    reason: str


class Consultation(Value):
    """Whether the authority is consulted before the processing begins."""

    outcome: Literal["consult before processing", "cannot be ruled out",
                     "no high residual risk was measured"]
    reason: str
    decided_by: str = "GDPR 36(1)"


def trigger(context: Context) -> Trigger:
    """GDPR 35(3)(b) first, then the nine criteria of WP 248, two of which usually suffice."""
    special = any(category != "other" for category in context.categories)
    implied = [("sensitive data", special), ("large scale", context.large_scale)]
    met = tuple(dict.fromkeys([*(name for name, holds in implied if holds), *context.criteria]))
    if special and context.large_scale:
        return Trigger(outcome="required", criteria=met, decided_by="GDPR 35(3)(b)")
    if len(met) >= 2:
        return Trigger(outcome="required as a rule", criteria=met, decided_by="WP 248 rev.01")
    return Trigger(outcome="give reasons if none is made", criteria=met, decided_by="GDPR 35(1)")


def grade(severity: int, likelihood: int) -> Grade:
    """Low up to 4 of 16, high from 9, medium between."""
    product = severity * likelihood
    return GRADES[(product > 4) + (product >= 9)]


def likelihood(rates: Sequence[float], cuts: Sequence[float]) -> int | None:
    """1 to 4, by how many of the cuts the largest rate exceeds; ``None`` without a rate."""
    return 1 + sum(max(rates) > cut for cut in cuts) if rates else None


def risks(context: Context, appetite: Appetite, evidence: Sequence[EvidenceItem],
          findings: Sequence[Finding]) -> tuple[Risk, ...]:
    """One risk for each pair of hands, in the order of the evidence."""
    open_ = {found.evidence: found.not_excluded for found in findings}
    return tuple(_risk(role, context, appetite, [i for i in evidence if i.role == role], open_)
                 for role in dict.fromkeys(item.role for item in evidence))


def counted(items: Sequence[EvidenceItem], context: Context) -> list[EvidenceItem]:
    """Without what was measured under a stronger guarantee than the one said to be in force."""
    said = context.guarantee
    return [item for item in items if said is None or item.guarantee is None
            or item.defence not in context.defences or _as_strong(said, item.guarantee)]


def _as_strong(said: Guarantee, measured: Guarantee) -> bool:
    """Of the same unit and comparison, and no weaker, but for the rounding of what is typed."""
    return ((said.unit, said.adjacency) == (measured.unit, measured.adjacency)
            and said.epsilon <= 1.01 * measured.epsilon and said.delta <= 1.01 * measured.delta)


def residual_likelihood(items: Sequence[EvidenceItem], open_: Mapping[str, float | None],
                        defences: Sequence[str], cuts: Sequence[float]) -> int | None:
    """Under the ``defences`` in force where measured so, else without any.

    ``open_`` is what the trials of each item leave possible. A defence stands in for its absence
    only on the same artefact and metric; a sum under secure aggregation, for the update that the
    server no longer gets. Others, who may have the update from elsewhere, keep it.
    """
    defended: dict[tuple, list[float]] = {}
    bare: dict[tuple, list[float]] = {}
    for item in items:
        summed = item.artefact == "sum" and item.role in ("processor", "independent recipient")
        place = ("update" if summed else item.artefact, item.metric, item.fpr)
        side = bare if item.defence is None else defended if item.defence in defences else None
        if side is not None and open_[item.id] is not None:
            side.setdefault(place, []).append(open_[item.id])
    return likelihood([rate for rates in {**bare, **defended}.values() for rate in rates], cuts)


def _risk(role: Role, context: Context, appetite: Appetite, here: Sequence[EvidenceItem],
          open_: Mapping[str, float | None]) -> Risk:
    cuts, here = appetite.likelihood_cuts, counted(here, context)
    bare = residual_likelihood([i for i in here if i.defence is None], open_, (), cuts)
    residual = residual_likelihood(here, open_, context.defences, cuts)
    measured = {item.defence for item in here if open_[item.id] is not None}
    measured &= set(context.defences)
    unmeasured = [defence for defence in context.defences if defence not in measured]
    reason = "no defence is in force" if not context.defences else (
        f"measured under {', '.join(sorted(measured))}" if not unmeasured else
        f"not measured here, and so not counted: {', '.join(unmeasured)}")
    severity = context.severity.level
    grades = [None if level is None else grade(severity, level) for level in (bare, residual)]
    return Risk(role=role, severity=severity, inherent_likelihood=bare,
                residual_likelihood=residual, inherent=grades[0], residual=grades[1],
                reason=reason)


def consultation(found: Sequence[Risk]) -> Consultation:
    """GDPR 36(1): high residual risk goes to the authority first."""
    high = [risk.role for risk in found if risk.residual == "high"]
    if high:
        return Consultation(outcome="consult before processing",
                            reason=f"residual risk is high from: {', '.join(high)}")
    unrated = [risk.role for risk in found if risk.residual is None]
    if unrated or not found:
        return Consultation(outcome="cannot be ruled out", reason="no rate was measured for: "
                            + (", ".join(unrated) or "anybody"))
    return Consultation(outcome="no high residual risk was measured",
                        reason="among the hands, attacks and people that were measured")
