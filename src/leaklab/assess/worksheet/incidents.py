"""An incident under GDPR 33 and 34 and under the HIPAA Breach Notification Rule.

Both trees take the graver branch wherever a fact is missing: a clock does not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from leaklab.assess.worksheet import law
from leaklab.assess.worksheet.findings import FURTHER, OPEN, Cell, gate
from leaklab.assess.worksheet.inputs import Incident, UsIncident
from leaklab.assess.worksheet.judging import Ruling
from leaklab.assess.worksheet.terms import Question, Value


class Duty(Value):
    """Something to be done, by when at the latest, and what asks for it."""

    what: str
    due: datetime | date | None
    by: str


class Path(Value):
    """The way through a decision tree, its outcome, and the provision at which it ended."""

    outcome: str
    steps: tuple[str, ...]
    duties: tuple[Duty, ...]
    decided_by: str


def gdpr(incident: Incident, cells: Sequence[Cell], rulings: Sequence[Ruling]) -> Path:
    """Personal data? A breach of security? A risk? A high one? GDPR 4(12), 33, 34."""
    register = Duty(what="document the breach", due=None, by="GDPR 33(5)")
    holds = _gate(incident, cells)
    if holds == OPEN and _carried("not personal data", incident, rulings):
        return _path("not personal data", "GDPR recital 26", [
            "a person signed that these hands cannot attribute it, and the evidence carries that"])
    steps = [f"{holds}; the controller keeps the records, and its view counts: {law.SENDER}"]
    if incident.security_breach is False:
        return _path("no breach of security", "GDPR 4(12)", [
            *steps, "security was not breached, as filled in: test lawfulness instead, "
            "GDPR 5(1)(b), 6, 28(10) and 32"],
            [Duty(what="document why it is none", due=None, by="GDPR 5(2)")])
    steps.append("a breach of security" if incident.security_breach else
                 "whether security was breached is not established: taken as yes")
    if _carried("risk unlikely", incident, rulings):
        return _path("document only", "GDPR 33(1)", [*steps, "a risk is unlikely, as signed"],
                     [register])
    due = incident.aware_at.astimezone(UTC) + law.TO_AUTHORITY
    duties = [register, Duty(what="notify the supervisory authority", due=due, by="GDPR 33(1)")]
    steps.append("a risk is not shown to be unlikely")
    if incident.role == "processor":
        duties.append(Duty(what="the processor notifies the controller without undue delay",
                           due=None, by="GDPR 33(2)"))
    if incident.unintelligible:
        return _path("notify authority", "GDPR 34(3)(a)", [
            *steps, "unintelligible to whoever took it: the people need not be told"], duties)
    if _carried("no high risk", incident, rulings):
        return _path("notify authority", "GDPR 34(1)", [*steps, "not a high risk, as signed"],
                     duties)
    duties.append(Duty(what="tell the people concerned without undue delay", due=None,
                       by="GDPR 34(1)"))
    return _path("notify authority and people", "GDPR 34(1)",
                 [*steps, "nobody has shown that the risk is not high"], duties)


def hipaa(incident: Incident, cells: Sequence[Cell], rulings: Sequence[Ruling]) -> Path | None:
    """45 CFR 164.402: outside, permitted, secured, excluded, low probability, or notice."""
    us = incident.us
    if us is None:
        return None
    read = any(FURTHER in c.statuses.values() for c in cells if c.artefact == incident.artefact)
    if us.entity == "neither":
        return _path("outside HIPAA", "45 CFR 160.103", [
            "neither a covered entity nor a business associate: test 16 CFR 318, state law and "
            "contract"])
    if us.meets_164_514 and not read:
        return _path("not protected health information", "45 CFR 164.514(a)", [
            "it meets 164.514(a) and (b), as filled in"])
    if us.permitted:
        return _path("no breach", "45 CFR 164.402", [
            "a use or disclosure that the Privacy Rule permits, as filled in; what it showed goes "
            "into the risk analysis, 164.308(a)(1)"])
    if us.secured:
        return _path("no notice", "45 CFR 164.402", ["secured, as filled in"])
    if us.exception is not None:
        return _path("excluded", f"45 CFR 164.402(1){us.exception}", [
            "an exclusion applies, as filled in; burden of proof: 164.414(b)"])
    steps = ["presumed a breach; burden of proof: 164.414(b)"]
    if us.meets_164_514:
        steps.insert(0, "filled in as meeting 164.514, and the evidence speaks against it")
    if _carried("low probability of compromise", incident, rulings):
        return _path("no notice, documented", "45 CFR 164.402(2)", [
            *steps, "a low probability of compromise is signed, and the evidence does not speak "
            "against it"])
    steps.append("a low probability of compromise is not demonstrated")
    if us.entity == "business associate":
        steps.append("patients, media and the Secretary are told by the covered entity; its clock "
                     "starts with the associate's if that is its agent, which is taken as so")
    return _path("notify", "45 CFR 164.404", steps, _us_duties(us, incident))


def _us_duties(us: UsIncident, incident: Incident) -> list[Duty]:
    discovered = incident.aware_at.date()
    last = discovered + law.TO_INDIVIDUALS
    duties, who = [], ""
    if us.entity == "business associate":
        who = "the covered entity: "
        duties.append(Duty(what="the business associate notifies the covered entity", due=last,
                           by="45 CFR 164.410"))
    duties.append(Duty(what=f"{who}notify individuals without unreasonable delay", due=last,
                       by="45 CFR 164.404"))
    if us.largest_state is None or us.largest_state > law.MEDIA_ABOVE:
        duties.append(Duty(what=f"{who}notify the media of the State", due=last,
                           by="45 CFR 164.406"))
    if incident.people is None or incident.people >= law.HHS_FROM:
        duties.append(Duty(what=f"{who}notify the Secretary at the same time", due=last,
                           by="45 CFR 164.408(b)"))
    else:
        end = date(discovered.year, 12, 31) + law.TO_INDIVIDUALS
        duties.append(Duty(what=f"{who}enter it in the annual log to the Secretary", due=end,
                           by="45 CFR 164.408(c)"))
    return duties


def _gate(incident: Incident, cells: Sequence[Cell]) -> str:
    """Of the cell, or for one that nobody measured, the strictest that it could be."""
    for cell in cells:
        if (cell.artefact, cell.role) == (incident.artefact, incident.role):
            return cell.gate
    return gate(incident.artefact, incident.role, None)[0]


def _carried(question: Question, incident: Incident, rulings: Sequence[Ruling]) -> bool:
    return any(ruling.carried and ruling.judgement.question == question
               and (ruling.judgement.artefact, ruling.judgement.role)
               == (incident.artefact, incident.role) for ruling in rulings)


def _path(outcome: str, decided_by: str, steps: Sequence[str], duties: Sequence[Duty] = ()) -> Path:
    return Path(outcome=outcome, steps=tuple(steps), duties=tuple(duties), decided_by=decided_by)
