"""Recorded evidence of a study as an item of the worksheet.

A study says what was seen. It does not say what the observer is in law, nor which of the
worksheet's metrics its unit is: both are given here, by whoever fills in the worksheet.
"""

from __future__ import annotations

from leaklab.assess.worksheet.inputs import EvidenceItem, Group, Guarantee
from leaklab.assess.worksheet.terms import Artefact, AttackClass, Metric, Role
from leaklab.evidence import Evidence

ARTEFACT_OF: dict[str, Artefact] = {
    "server": "update", "active server": "update", "server that starts late": "update",
    "eavesdropper without TLS": "update", "server; eavesdropper without TLS": "update",
    "sum": "sum", "server behind secure aggregation": "sum",
    "active server behind secure aggregation": "sum", "client": "difference",
    "public": "released model"}
"""The artefact behind each observer of the studies, where there is one answer."""

BEHIND_SUMS = "secure aggregation"
UNITS = {"note": "record", "record": "record", "patient": "patient",
         "person": "patient", "hospital": "hospital"}


def from_evidence(
    study: str, recorded: Evidence, *, role: Role, metric: Metric, attack: AttackClass,
    artefact: Artefact | None = None, contributors: int | None = None,
    baseline: float | None = None, worst_group: Group | None = None, exchange: bool = True,
) -> EvidenceItem:
    """The item that ``recorded`` of ``study`` makes.

    The artefact follows from the observer unless given. A measurement behind secure aggregation
    counts as one under that defence. Where the setting names an epsilon and a delta, so does the
    item; the record names one unit, which is taken for both. ``baseline`` stands in only where the
    record has none. ``exchange`` is that of the item.

    Raises ``ValueError`` where the record has no observer or baseline and none is given, has a
    baseline and another is given, is no evidence about an attack, or holds a guarantee for a unit
    that the worksheet does not know.
    """
    if recorded.view is None:
        raise ValueError(f"recorded: {recorded.name!r} given, expected evidence about an attack: "
                         "it names no observer")
    if (recorded.baseline is None) == (baseline is None):
        raise ValueError(f"baseline: {baseline} given, and {recorded.name!r} recorded "
                         f"{recorded.baseline}; expected exactly one of the two")
    artefact = artefact or ARTEFACT_OF.get(recorded.view)
    if artefact is None:
        raise ValueError(f"artefact: None given, expected one: {recorded.view!r} may hold several")
    setting = recorded.setting
    return EvidenceItem(
        id=f"{study}:{recorded.name}", statement=recorded.statement, attack=attack, metric=metric,
        artefact=artefact, role=role, observer=recorded.view,
        contributors=contributors or _contributors(artefact, setting.get("hospitals")),
        value=recorded.value, interval=recorded.interval,
        baseline=recorded.baseline if baseline is None else baseline,
        baseline_kind=recorded.baseline_kind, hits=recorded.successes, trials=recorded.trials,
        people=recorded.clusters, worst_group=worst_group, exchange=exchange,
        fpr=_fpr(recorded) if metric == "true positive rate" else None,
        defence=recorded.defence or (BEHIND_SUMS if artefact == "sum" else None),
        guarantee=_guarantee(recorded), unit=UNITS.get(recorded.privacy_unit, "record"),
        data=recorded.data, synthetic=not recorded.data.startswith("REAL"),
        data_sha256=recorded.data_sha256)


def _fpr(recorded: Evidence) -> float | None:
    """The studies record, as the baseline of a true positive rate, the false positive rate."""
    return recorded.baseline


def _contributors(artefact: Artefact, hospitals: object) -> int | None:
    if not isinstance(hospitals, int) or artefact == "update":
        return None
    return hospitals - 1 if artefact == "difference" else hospitals


def _guarantee(recorded: Evidence) -> Guarantee | None:
    setting = recorded.setting
    if recorded.defence is None or not {"epsilon", "delta"} <= setting.keys():
        return None
    if recorded.privacy_unit not in UNITS:
        raise ValueError(f"recorded: a guarantee for {recorded.privacy_unit!r} given, expected one "
                         f"of {sorted(UNITS)}")
    return Guarantee(epsilon=float(setting["epsilon"]), delta=float(setting["delta"]),
                     mu=float(setting["mu"]) if setting.get("mu") else None,
                     unit=UNITS[recorded.privacy_unit],
                     accountant=str(setting.get("accountant") or (
                         "Gaussian differential privacy, over all releases" if setting.get("mu")
                         else "not recorded")))
