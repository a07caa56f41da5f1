"""Small complete inputs for the worksheet, of which a test changes what it is about."""

from __future__ import annotations

from datetime import UTC, date, datetime

from leaklab.assess import worksheet
from leaklab.metrics import proportion_interval

SIGNED = worksheet.Signature(name="A. Signatory", capacity="head of data protection",
                             on=date(2026, 11, 20))
APPETITE = dict(tolerated=0.01, priors=(0.01, 0.5), likelihood_cuts=(0.01, 0.05, 0.2),
                reason="Set before anything was measured.", signed=SIGNED)
CONTEXT = dict(
    name="Five hospitals", purpose="Train one model.", controllers=("Hospital 1", "Hospital 2"),
    processors=("Operator",), legal_basis="GDPR 6(1)(e)", gateway="GDPR 9(2)(j)",
    categories=("health",), subjects=("patients",), hospitals=5, transport="mutual TLS",
    retention="until the last round", jurisdictions=("EU",), large_scale=True,
    severity=worksheet.Severity(level=3, reason="A diagnosis becomes known."),
    assessed_on=date(2026, 11, 26))
INCIDENT = dict(what="A stream of updates was copied from a disk.", artefact="update",
                role="outsider", security_breach=True, people=800,
                aware_at=datetime(2026, 11, 25, 8, tzinfo=UTC))
US = dict(entity="covered entity", meets_164_514=False, permitted=False, secured=False,
          largest_state=620)
FACTORS = dict(nature="Updates, no names.", recipient="Unknown.", acquired=False,
               mitigation="The disk was recovered and examined.")


def item(hits: int = 0, trials: int = 3000, /, **changes) -> worksheet.EvidenceItem:
    """Records read out of an update: ``hits`` of ``trials``, beside a guess that reads none."""
    fields = dict(
        id="study:records", statement="Records read.", attack="data reconstruction",
        metric="records read", artefact="released model", role="public", observer="public",
        contributors=5, value=hits / trials if trials else 0.0,
        interval=proportion_interval(hits, trials) if trials else (0.0, 0.0), baseline=0.0,
        baseline_kind="nothing", hits=hits, trials=trials, unit="record",
        data="REAL table, CC BY 4.0", synthetic=False)
    return worksheet.EvidenceItem(**{**fields, **changes})


def rate(value: float, low: float, high: float, **changes) -> worksheet.EvidenceItem:
    """A true positive rate at a false positive rate of 1 %, without counts."""
    fields = dict(id="study:tpr", statement="Members accused.", attack="membership inference",
                  metric="true positive rate", value=value, interval=(low, high), baseline=0.01,
                  baseline_kind="a coin", hits=None, trials=None, fpr=0.01)
    return item(**{**fields, **changes})


def all_three(hits: int = 0, trials: int = 3000, worst: float | None = 0.005,
              **changes) -> tuple[worksheet.EvidenceItem, ...]:
    """One item for each criterion; ``worst`` is the upper end for the group worst hit."""
    group = worst and worksheet.Group(name="patients over 80", value=0.0, interval=(0.0, worst))
    return tuple(item(hits, trials, id=f"study:{metric}", metric=metric, worst_group=group or None,
                      **changes)
                 for metric in ("records read", "records matched", "attributes filled in"))


def judgement(question: str, **changes) -> worksheet.Judgement:
    fields = dict(question=question, artefact="released model", role="public",
                  reason="By what was measured.", signed=SIGNED)
    return worksheet.Judgement(**{**fields, **changes})


def incident(us: dict | None = None, factors: dict | None = None, **changes) -> worksheet.Incident:
    if us is not None:
        four = worksheet.FourFactors(**{**FACTORS, **factors}) if factors is not None else None
        changes["us"] = worksheet.UsIncident(**{**US, "factors": four, **us})
    return worksheet.Incident(**{**INCIDENT, **changes})


def context(**changes) -> worksheet.Context:
    return worksheet.Context(**{**CONTEXT, **changes})


def appetite(**changes) -> worksheet.Appetite:
    return worksheet.Appetite(**{**APPETITE, **changes})


def assess(*evidence, judgements=(), incident=None, tolerated=0.01, **changed):
    return worksheet.assess(context(**changed), evidence, appetite(tolerated=tolerated), incident,
                            judgements)
