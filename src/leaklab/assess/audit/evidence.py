"""What an audit measured, as evidence for the worksheet of an impact assessment.

An audit does not know what an observer is in law, so the caller says it. Only metrics that the
worksheet knows are carried over: the tokens named have no place in it yet.
"""

from __future__ import annotations

from collections.abc import Mapping

from leaklab.assess.audit.running import MEASURED, Audit, Result
from leaklab.assess.worksheet.inputs import EvidenceItem
from leaklab.assess.worksheet.terms import Role

METRICS = {"records read": ("records read", "data reconstruction"),
           "records matched": ("records matched", "data reconstruction"),
           "labels read": ("labels read", "property inference"),
           "membership AUC": ("AUC", "membership inference")}
"""Metrics of an audit, as the worksheet calls them, with the class of the attack."""


def evidence_items(
    audit: Audit, roles: Mapping[str, Role], *, data: str, synthetic: bool
) -> tuple[EvidenceItem, ...]:
    """One item for each measured result and each observer in ``roles``, such as
    ``{"server": "processor"}``.

    ``data`` says what the records were and ``synthetic`` whether they were made up. No counts are
    handed on: an audit's intervals count rounds, and a round holds several records.

    Raises ``ValueError`` for an observer that the audit has no result of.
    """
    seen = {who for result in audit.results for who in result.seen_by}
    if unknown := sorted(set(roles) - seen):
        raise ValueError(f"roles: {unknown} given, expected some of {sorted(seen)}")
    return tuple(_item(audit, result, who, roles[who], data, synthetic)
                 for result in audit.results if result.status == MEASURED
                 and result.metric in METRICS for who in result.seen_by if who in roles)


def _item(audit: Audit, result: Result, who: str, role: Role, data: str,
          synthetic: bool) -> EvidenceItem:
    metric, attack = METRICS[result.metric]
    hospitals = audit.federation.hospitals
    behind = {"update": 1, "difference": hospitals - 1}.get(result.artefact, hospitals)
    return EvidenceItem(
        id=f"audit: {result.attack}, {result.artefact}, {who}, batch {result.batch_size}",
        statement=f"{result.success[0].upper()}{result.success[1:]}, by {result.attack}.",
        attack=attack, metric=metric, artefact=result.artefact, role=role, observer=who,
        contributors=behind, value=float(result.value), baseline=float(result.baseline),
        interval=tuple(float(end) for end in result.interval), baseline_kind=result.blind,
        unit="record", data=data, synthetic=synthetic)
