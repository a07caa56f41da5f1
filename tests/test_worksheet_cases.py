"""The worksheet's decisions against a table of worked cases, each with what decides it.

A row says what is given, which answer is asked for, the answer, and the provision or guidance that
decides. The answers were worked out by hand from the text of the law pages, not read off the code.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from leaklab.assess import worksheet
from worksheet_builders import all_three, assess, context, incident, item, judgement, rate

PERSONAL, PRESUMED, OPEN = ("personal data by role", "presumed personal data", "case by case")
NONE_SEEN, TOO_FEW, FURTHER = ("no failure seen", "no failure seen, too few trials",
                               "further analysis required")
DRAFT_15 = "draft EDPB Guidelines 02/2026 paragraph 15"
DRAFT_34 = "draft EDPB Guidelines 02/2026 section 3.4"
SRB = "EDPS v SRB (C-413/23 P) paragraphs 77 and 85"
OPINION = "EDPB Opinion 28/2024 paragraphs 34 and 43"
AGGREGATE = "draft EDPB Guidelines 02/2026 paragraphs 17 and 77"
DRAFT_36 = "draft EDPB Guidelines 02/2026 paragraph 36"
OPINION_43 = "EDPB Opinion 28/2024 paragraph 43"
UPDATE = dict(artefact="update", role="outsider")


def gate(a):
    return a.cells[0].gate, a.cells[0].gate_by


def isolation(a):
    return a.cells[0].isolation, a.findings[0].decided_by


def ruling(a):
    return "carried" if a.rulings[0].carried else "refused", a.rulings[0].decided_by


def dpia(a):
    return a.dpia.outcome, a.dpia.decided_by


def consultation(a):
    return a.consultation.outcome, a.consultation.decided_by


def gdpr(a):
    return a.gdpr.outcome, a.gdpr.decided_by


def hipaa(a):
    return a.hipaa.outcome, a.hipaa.decided_by


def export(a):
    return a.exports[0].outcome, a.exports[0].decided_by


def ceiling(a):
    c = a.ceilings[0]
    return ("does not apply" if not c.applies else "exceeded" if c.exceeded else
            "vacuous" if c.vacuous else "bounds"), a.inputs.evidence[0].guarantee.unit


def guarantee(epsilon, unit="record", **changes):
    return worksheet.Guarantee(epsilon=epsilon, delta=1e-5, unit=unit, accountant="stated",
                               **changes)


NOISY = [item(37, 100), item(0, 3000, defence="noise", guarantee=guarantee(3.13867), id="study:b")]
HELD = dict(ehds_permit=True, exports=("released model",))
SIGNED = dict(question="not personal data", role="public")

CASES = [
    # --- A: perspective first ------------------------------------------------------------------
    ("update held by a processor, nothing read in 3,000 trials", gate, PERSONAL, DRAFT_15,
     dict(evidence=[item(artefact="update", role="processor")])),
    ("sum of fifty held by a processor", gate, PERSONAL, DRAFT_15,
     dict(evidence=[item(artefact="sum", role="processor", contributors=50)])),
    ("released model held by a processor: judged as its controllers are, which is open", gate, OPEN,
     OPINION, dict(evidence=[item(role="processor")])),
    ("update held by an independent recipient", gate, PRESUMED, SRB,
     dict(evidence=[item(artefact="update", role="independent recipient")])),
    ("update held by an outsider, all read", gate, PRESUMED, SRB,
     dict(evidence=[item(50, 50, artefact="update", role="outsider")])),
    ("sum of two hospitals", gate, PRESUMED, SRB,
     dict(evidence=[item(artefact="sum", role="independent recipient", contributors=2)])),
    ("sum of an unknown number of hospitals", gate, PRESUMED, SRB,
     dict(evidence=[item(artefact="sum", role="independent recipient", contributors=None)])),
    ("sum of three hospitals", gate, OPEN, AGGREGATE,
     dict(evidence=[item(artefact="sum", role="independent recipient", contributors=3)])),
    ("difference of one: the other of two hospitals", gate, PRESUMED, SRB,
     dict(evidence=[item(artefact="difference", role="other hospital", contributors=1)])),
    ("difference of four", gate, OPEN, AGGREGATE,
     dict(evidence=[item(artefact="difference", role="other hospital", contributors=4)])),
    ("released model, public", gate, OPEN, OPINION, dict(evidence=[item()])),
    ("two results on one sum, one of unknown size: the strictest gate counts", gate, PRESUMED, SRB,
     dict(evidence=[item(artefact="sum", contributors=5),
                    item(artefact="sum", contributors=None, id="study:b")])),
    # --- B, C: criteria and power --------------------------------------------------------------
    ("37 of 100 read", isolation, FURTHER, DRAFT_34, dict(evidence=[item(37, 100)])),
    ("one of 100,000 read, where a guess reads none", isolation, FURTHER, DRAFT_34,
     dict(evidence=[item(1, 100_000)])),
    ("interval touches the baseline", isolation, TOO_FEW, DRAFT_34,
     dict(evidence=[rate(0.05, 0.01, 0.09)])),
    ("interval just above the baseline", isolation, FURTHER, DRAFT_34,
     dict(evidence=[rate(0.05, 0.0101, 0.09)])),
    ("no hit in 298 trials, 1 % tolerated", isolation, TOO_FEW, DRAFT_34,
     dict(evidence=[item(0, 298)])),
    ("no hit in 299 trials, 1 % tolerated", isolation, NONE_SEEN, DRAFT_34,
     dict(evidence=[item(0, 299)])),
    ("no hit in 100 trials, 1 % tolerated", isolation, TOO_FEW, DRAFT_34,
     dict(evidence=[item(0, 100)])),
    ("no hit in 2,994 trials, 0.1 % tolerated", isolation, TOO_FEW, DRAFT_34,
     dict(evidence=[item(0, 2994)], tolerated=0.001)),
    ("no hit in 2,995 trials, 0.1 % tolerated", isolation, NONE_SEEN, DRAFT_34,
     dict(evidence=[item(0, 2995)], tolerated=0.001)),
    ("no hit in 3,000 trials on the same 20 people", isolation, TOO_FEW, DRAFT_34,
     dict(evidence=[item(0, 3000, people=20)])),
    ("twenty runs that all name nobody, without counts", isolation, TOO_FEW, DRAFT_34,
     dict(evidence=[rate(0.0, 0.0, 0.0)])),
    ("AUC of one half: an average says nothing about the worst hit", isolation, TOO_FEW, DRAFT_34,
     dict(evidence=[item(metric="AUC", hits=None, trials=None, value=0.5, interval=(0.499, 0.501),
                         baseline=0.5)])),
    ("no hit in 3,000, beside another attack with three in ten", isolation, FURTHER, DRAFT_34,
     dict(evidence=[item(), item(3, 10, id="study:b")])),
    ("40 dB of similarity decide no criterion", isolation, "not tested", DRAFT_34,
     dict(evidence=[item(metric="similarity", hits=None, trials=None, value=40.0,
                         interval=(39.0, 41.0), baseline=20.0)])),
    # --- D: what a guarantee bounds -------------------------------------------------------------
    ("epsilon 1 for a record", ceiling, "bounds", "record",
     dict(evidence=[rate(0.012, 0.005, 0.02, guarantee=guarantee(1.0))])),
    ("epsilon 8 at 0.1 %: next to nothing is ruled out", ceiling, "vacuous", "record",
     dict(evidence=[rate(0.012, 0.0005, 0.02, fpr=0.001, baseline=0.001,
                         guarantee=guarantee(8.0))])),
    ("epsilon 8 by a Gaussian mechanism of mu 1.67", ceiling, "bounds", "record",
     dict(evidence=[rate(0.012, 0.0005, 0.02, fpr=0.001, baseline=0.001,
                         guarantee=guarantee(8.0, mu=1.67))])),
    ("a guarantee for a record, an attack on a patient", ceiling, "does not apply", "record",
     dict(evidence=[rate(0.4, 0.3, 0.5, unit="patient", guarantee=guarantee(1.0))])),
    ("more measured than the guarantee allows", ceiling, "exceeded", "record",
     dict(evidence=[rate(0.4, 0.3, 0.5, guarantee=guarantee(1.0))])),
    # --- F: impact assessment and consultation -------------------------------------------------
    ("special categories on a large scale", dpia, "required", "GDPR 35(3)(b)", {}),
    ("health data, small scale, new technology", dpia, "required as a rule", "WP 248 rev.01",
     dict(large_scale=False, criteria=("innovative use",))),
    ("nothing sensitive, small scale", dpia, "give reasons if none is made", "GDPR 35(1)",
     dict(categories=("other",), large_scale=False)),
    ("37 of 100 read, no defence", consultation, "consult before processing", "GDPR 36(1)",
     dict(evidence=[item(37, 100)])),
    ("37 of 100 read; a defence is named but was not measured", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=[item(37, 100)], defences=("pruning",))),
    ("37 of 100 read, none in 3,000 under the defence", consultation,
     "no high residual risk was measured", "GDPR 36(1)",
     dict(evidence=[item(37, 100), item(0, 3000, defence="noise", id="study:b")],
          defences=("noise",))),
    ("noise measured on matching only; reading was measured without it", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=[item(37, 100), item(0, 3000, metric="records matched", defence="noise",
                                        id="study:b")], defences=("noise",))),
    ("noise measured on the model only; updates were measured without it", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=[item(37, 100, artefact="update"), item(0, 3000, defence="noise",
                                                           id="study:b")], defences=("noise",))),
    ("members named without noise; under noise only reading was measured", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=[rate(0.4, 0.3, 0.5), item(0, 3000, defence="noise", id="study:b")],
          defences=("noise",))),
    ("the sum is what a server gets in place of updates", consultation,
     "no high residual risk was measured", "GDPR 36(1)",
     dict(evidence=[item(37, 100, artefact="update", role="processor"),
                    item(0, 3000, artefact="sum", role="processor", defence="secure aggregation",
                         id="study:b")], defences=("secure aggregation",))),
    ("a thief may have the update from a hospital's disk, sum or no sum", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=[item(37, 100, artefact="update", role="outsider"),
                    item(0, 3000, artefact="sum", role="outsider", defence="secure aggregation",
                         id="study:b")], defences=("secure aggregation",))),
    ("none in 3,000 under a defence that is not in force", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=[item(37, 100), item(0, 3000, defence="noise", id="study:b")])),
    ("none in 3,000 under the guarantee that is in force", consultation,
     "no high residual risk was measured", "GDPR 36(1)",
     dict(evidence=NOISY, defences=("noise",), guarantee=guarantee(3.1))),
    ("the same guarantee, typed with fewer digits", consultation,
     "no high residual risk was measured", "GDPR 36(1)",
     dict(evidence=NOISY, defences=("noise",), guarantee=guarantee(3.14))),
    ("none in 3,000 under a stronger guarantee than the one in force", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=NOISY, defences=("noise",), guarantee=guarantee(8.0))),
    ("none in 3,000 under a guarantee for another unit", consultation,
     "consult before processing", "GDPR 36(1)",
     dict(evidence=NOISY, defences=("noise",), guarantee=guarantee(3.1, "hospital"))),
    ("nothing measured", consultation, "cannot be ruled out", "GDPR 36(1)", {}),
    # --- Conclusions that are signed ------------------------------------------------------------
    ("insignificant, by no hit in 100", ruling, "refused", OPINION_43,
     dict(evidence=all_three(0, 100), judgements=[judgement("insignificant")])),
    ("insignificant, enough trials, no group worst hit", ruling, "refused", OPINION_43,
     dict(evidence=all_three(worst=None), judgements=[judgement("insignificant")])),
    ("insignificant, the group worst hit at up to 9 %", ruling, "refused", OPINION_43,
     dict(evidence=all_three(worst=0.09), judgements=[judgement("insignificant")])),
    ("insignificant, linkage and inference never tested", ruling, "refused", OPINION_43,
     dict(evidence=all_three()[:1], judgements=[judgement("insignificant")])),
    ("insignificant, enough trials, on the group worst hit too", ruling, "carried", OPINION_43,
     dict(evidence=all_three(), judgements=[judgement("insignificant")])),
    ("insignificant for the public, measured at another's", ruling, "refused", OPINION_43,
     dict(evidence=all_three(role="outsider"), judgements=[judgement("insignificant")])),
    ("an update is not personal data at a processor, nothing ever read", ruling, "refused",
     DRAFT_15, dict(evidence=all_three(artefact="update", role="processor"), judgements=[
         judgement("not personal data", artefact="update", role="processor")])),
    ("the same of a sum, which is contested", ruling, "refused", DRAFT_15,
     dict(evidence=all_three(artefact="sum", role="processor"), judgements=[
         judgement("not personal data", artefact="sum", role="processor")])),
    ("the same of a released model, held against the evidence", ruling, "carried",
     "GDPR recital 26", dict(evidence=all_three(role="processor"), judgements=[
         judgement("not personal data", role="processor")])),
    ("a released model at a processor, records read", ruling, "refused", "GDPR recital 26",
     dict(evidence=[*all_three(role="processor"), item(37, 100, id="study:b", role="processor")],
          judgements=[judgement("not personal data", role="processor")])),
    ("a sum is insignificant: the draft asks so of data, the opinion of models", ruling, "carried",
     DRAFT_36, dict(evidence=all_three(artefact="sum"),
                    judgements=[judgement("insignificant", artefact="sum")])),
    ("not personal data, no group worst hit", ruling, "refused", "GDPR recital 26",
     dict(evidence=all_three(worst=None), judgements=[judgement("not personal data")])),
    ("not personal data, all three criteria met", ruling, "carried", "GDPR recital 26",
     dict(evidence=all_three(), judgements=[judgement("not personal data")])),
    # --- G: GDPR 33 and 34 ----------------------------------------------------------------------
    ("stolen stream of updates", gdpr, "notify authority and people", "GDPR 34(1)",
     dict(evidence=[item(37, 100, **UPDATE)], incident=incident())),
    ("curious aggregator: misuse, security intact", gdpr, "no breach of security", "GDPR 4(12)",
     dict(evidence=[item(37, 100, artefact="update", role="processor")],
          incident=incident(role="processor", security_breach=False))),
    ("own red team", gdpr, "no breach of security", "GDPR 4(12)",
     dict(incident=incident(role="processor", security_breach=False))),
    ("not established whether security was breached", gdpr, "notify authority and people",
     "GDPR 34(1)", dict(incident=incident(security_breach=None))),
    ("stolen, encrypted, keys kept", gdpr, "notify authority", "GDPR 34(3)(a)",
     dict(incident=incident(unintelligible=True))),
    ("stolen, encrypted, keys kept, risk signed as unlikely", gdpr, "document only", "GDPR 33(1)",
     dict(incident=incident(unintelligible=True),
          judgements=[judgement("risk unlikely", **UPDATE)])),
    ("risk signed as unlikely, though records were read", gdpr, "notify authority and people",
     "GDPR 34(1)", dict(evidence=[item(37, 100, artefact="update", role="processor")],
                        incident=incident(), judgements=[judgement("risk unlikely", **UPDATE)])),
    ("risk signed as unlikely, nothing measured", gdpr, "notify authority and people",
     "GDPR 34(1)", dict(incident=incident(), judgements=[judgement("risk unlikely", **UPDATE)])),
    ("risk signed as unlikely, by no hit in five trials", gdpr, "notify authority and people",
     "GDPR 34(1)", dict(evidence=all_three(0, 5, **UPDATE), incident=incident(),
                        judgements=[judgement("risk unlikely", **UPDATE)])),
    ("risk signed as unlikely, two criteria never tested", gdpr, "notify authority and people",
     "GDPR 34(1)", dict(evidence=[item(**UPDATE)], incident=incident(),
                        judgements=[judgement("risk unlikely", **UPDATE)])),
    ("risk signed as unlikely, all three criteria met", gdpr, "document only", "GDPR 33(1)",
     dict(evidence=all_three(**UPDATE), incident=incident(),
          judgements=[judgement("risk unlikely", **UPDATE)])),
    ("no high risk, by a null on another artefact of the same hands", gdpr,
     "notify authority and people", "GDPR 34(1)",
     dict(evidence=[item(role="outsider"), item(37, 100, artefact="update", role="processor",
                                                id="study:b")],
          incident=incident(), judgements=[judgement("no high risk", **UPDATE)])),
    ("no high risk, two criteria never tested", gdpr, "notify authority and people", "GDPR 34(1)",
     dict(evidence=[item(**UPDATE)], incident=incident(),
          judgements=[judgement("no high risk", **UPDATE)])),
    ("no high risk, by no hit in five trials", gdpr, "notify authority and people", "GDPR 34(1)",
     dict(evidence=all_three(0, 5, **UPDATE), incident=incident(),
          judgements=[judgement("no high risk", **UPDATE)])),
    ("no high risk, signed and measured", gdpr, "notify authority", "GDPR 34(1)",
     dict(evidence=all_three(**UPDATE), incident=incident(),
          judgements=[judgement("no high risk", **UPDATE)])),
    ("released model that nobody can attribute, signed and measured", gdpr, "not personal data",
     "GDPR recital 26", dict(evidence=all_three(), judgements=[judgement("not personal data")],
                             incident=incident(artefact="released model", role="public"))),
    ("the same signed for a stolen update: the controller's view counts", gdpr,
     "notify authority and people", "GDPR 34(1)",
     dict(evidence=all_three(**UPDATE), judgements=[judgement("not personal data", **UPDATE)],
          incident=incident())),
    ("a judgement about another artefact does not help", gdpr, "notify authority and people",
     "GDPR 34(1)", dict(evidence=[item(**UPDATE)], incident=incident(),
                        judgements=[judgement("no high risk")])),
    # --- H: HIPAA -------------------------------------------------------------------------------
    ("held by neither kind of entity", hipaa, "outside HIPAA", "45 CFR 160.103",
     dict(incident=incident(us=dict(entity="neither")))),
    ("meets 164.514", hipaa, "not protected health information", "45 CFR 164.514(a)",
     dict(incident=incident(us=dict(meets_164_514=True)))),
    ("filled in as meeting 164.514, but the lab read records out of it", hipaa, "notify",
     "45 CFR 164.404", dict(evidence=[item(37, 100, artefact="update", role="processor")],
                            incident=incident(us=dict(meets_164_514=True)))),
    ("own red team, permitted", hipaa, "no breach", "45 CFR 164.402",
     dict(incident=incident(us=dict(permitted=True), role="processor", security_breach=False))),
    ("secured by the guidance", hipaa, "no notice", "45 CFR 164.402",
     dict(incident=incident(us=dict(secured=True)))),
    ("seen in good faith by the workforce", hipaa, "excluded", "45 CFR 164.402(1)(i)",
     dict(incident=incident(us=dict(exception="(i)")))),
    ("stolen stream, nothing assessed", hipaa, "notify", "45 CFR 164.404",
     dict(incident=incident(us={}))),
    ("four factors assessed, nobody signed", hipaa, "notify", "45 CFR 164.404",
     dict(incident=incident(us={}, factors={}))),
    ("four factors assessed and signed", hipaa, "no notice, documented", "45 CFR 164.402(2)",
     dict(incident=incident(us={}, factors={}),
          judgements=[judgement("low probability of compromise", **UPDATE)])),
    ("signed without the four factors", hipaa, "notify", "45 CFR 164.404",
     dict(incident=incident(us={}),
          judgements=[judgement("low probability of compromise", **UPDATE)])),
    ("signed, whether it was viewed is unknown", hipaa, "notify", "45 CFR 164.404",
     dict(incident=incident(us={}, factors=dict(acquired=None)),
          judgements=[judgement("low probability of compromise", **UPDATE)])),
    ("signed, but acquired, and the lab read records out of it", hipaa, "notify",
     "45 CFR 164.404",
     dict(evidence=[item(37, 100, artefact="update", role="processor")],
          incident=incident(us={}, factors=dict(acquired=True)),
          judgements=[judgement("low probability of compromise", **UPDATE)])),
    ("signed, acquired, and nobody tested what it gives away", hipaa, "notify", "45 CFR 164.404",
     dict(incident=incident(us={}, factors=dict(acquired=True)),
          judgements=[judgement("low probability of compromise", **UPDATE)])),
    ("signed, acquired, all three criteria met", hipaa, "no notice, documented",
     "45 CFR 164.402(2)", dict(evidence=all_three(**UPDATE),
                               incident=incident(us={}, factors=dict(acquired=True)),
                               judgements=[judgement("low probability of compromise", **UPDATE)])),
    ("curious aggregator: an impermissible use by a business associate", hipaa, "notify",
     "45 CFR 164.404", dict(incident=incident(us=dict(entity="business associate"),
                                              role="processor", security_breach=False))),
    # --- I: leaving a secure processing environment ---------------------------------------------
    ("model with a failed criterion", export, "hold back", "EHDS 61(4)",
     dict(evidence=[*all_three(), item(37, 100, id="study:b")], **HELD)),
    ("model with two criteria untested", export, "not ready for review", "EHDS 73(2)",
     dict(evidence=[item()], **HELD)),
    ("model nobody tested", export, "not ready for review", "EHDS 73(2)", HELD),
    ("model with all criteria met", export, "put before the access body", "EHDS 73(2)",
     dict(evidence=all_three(), **HELD)),
    ("update with all criteria met", export, "hold back", "EHDS 73(2)",
     dict(evidence=all_three(artefact="update"), ehds_permit=True, exports=("update",))),
]


@pytest.mark.parametrize(("ask", "answer", "decided_by", "given"), [row[1:] for row in CASES],
                         ids=[row[0] for row in CASES])
def test_worked_case(ask, answer, decided_by, given):
    given = dict(given)
    assert ask(assess(*given.pop("evidence", ()), **given)) == (answer, decided_by)


def test_there_are_as_many_cases_as_the_course_promises():
    assert len(CASES) >= 40
    assert len({row[0] for row in CASES}) == len(CASES)


REFUSED = [  # inputs that no rule should ever see, and why
    ("zero trials", "trials.*greater than or equal to 1", lambda: item(0, 0)),
    ("more hits than trials", "hits: 5 given, expected at most the 4",
     lambda: item(4, 4, hits=5)),
    ("hits without trials", "hits, trials: 3, None given", lambda: item(3, 10, trials=None)),
    ("interval reversed", "lower end first",
     lambda: item(37, 100, interval=(0.47, 0.28))),
    ("value outside its interval", "holds the value",
     lambda: rate(0.3, 0.05, 0.1)),
    ("interval narrower than the counts allow", "narrower than",
     lambda: item(0, 100, interval=(0.0, 0.001))),
    ("value that the counts do not give", "expected 37 / 100",
     lambda: item(37, 100, value=0.3)),
    ("rate above one", "expected rates from 0 to 1", lambda: rate(1.2, 0.9, 1.4)),
    ("not a number", "finite number", lambda: rate(float("nan"), 0.1, 0.2)),
    ("baseline below what a coin reaches", "which a coin reaches",
     lambda: rate(0.05, 0.02, 0.09, baseline=0.0)),
    ("true positive rate without its false positive rate", "fpr: None given",
     lambda: rate(0.05, 0.02, 0.09, fpr=None)),
    ("epsilon without a unit", "unit.*Field required",
     lambda: worksheet.Guarantee(epsilon=1.0, delta=1e-5, accountant="stated")),
    ("epsilon of zero", "epsilon.*greater than 0", lambda: guarantee(0.0)),
    ("unknown observer's role", "role", lambda: item(role="trusted party")),
    ("unknown field", "Extra inputs", lambda: item(verdict="fine")),
    ("truth value for a count", "hits.*valid integer", lambda: item(hits=True)),
    ("thresholds that nobody signed", "signed.*Field required",
     lambda: worksheet.Appetite(tolerated=0.1, priors=(0.5,), likelihood_cuts=(0.1, 0.2, 0.3),
                                reason="none")),
    ("cuts that fall", "expected rising ones",
     lambda: worksheet.Appetite(tolerated=0.1, priors=(0.5,), likelihood_cuts=(0.3, 0.2, 0.1),
                                reason="none", signed=judgement("no high risk").signed)),
    ("thresholds signed after the assessment", "expected no later than the assessment",
     lambda: assess(assessed_on=date(2026, 11, 1))),
    ("a group worst hit that is hit less than the rest", "expected at least that of all people",
     lambda: item(37, 100, worst_group=worksheet.Group(name="few", value=0.1,
                                                       interval=(0.0, 0.2)))),
    ("a group worst hit whose interval has no width", "expected one with a width",
     lambda: worksheet.Group(name="few", value=0.0, interval=(0.0, 0.0))),
    ("a time without a zone", "timezone", lambda: incident(aware_at=datetime(2026, 11, 25, 8))),
    ("an id twice", "given more than once", lambda: assess(item(), item())),
    ("one id for two measurements", "one measurement behind one id",
     lambda: assess(item(), item(5, 100, role="outsider"))),
    ("evidence cited that is not there", "expected ids of the evidence",
     lambda: assess(item(), judgements=[judgement("insignificant", evidence=("study:x",))])),
]


@pytest.mark.parametrize(("complaint", "build"), [row[1:] for row in REFUSED],
                         ids=[row[0] for row in REFUSED])
def test_refused_at_the_door(complaint, build):
    with pytest.raises(ValidationError, match=f"(?s){complaint}"):
        build()


# --- What goes with an answer ------------------------------------------------------------------


def test_the_clock_runs_72_hours_from_awareness_in_any_zone():
    found = assess(incident=incident(aware_at="2026-11-25T09:30:00+01:00")).gdpr
    due = {duty.by: duty.due for duty in found.duties}
    assert due["GDPR 33(1)"] == datetime(2026, 11, 28, 8, 30, tzinfo=UTC)
    assert due["GDPR 33(5)"] is None


def test_a_processor_has_a_duty_of_its_own():
    by = [d.by for d in assess(incident=incident(role="processor")).gdpr.duties]
    assert "GDPR 33(2)" in by
    assert "GDPR 33(2)" not in [d.by for d in assess(incident=incident()).gdpr.duties]


@pytest.mark.parametrize(("people", "state", "by"), [
    (500, 501, {"45 CFR 164.404", "45 CFR 164.406", "45 CFR 164.408(b)"}),
    (499, 500, {"45 CFR 164.404", "45 CFR 164.408(c)"}),
    (None, None, {"45 CFR 164.404", "45 CFR 164.406", "45 CFR 164.408(b)"}),
])
def test_whom_hipaa_tells(people, state, by):
    found = assess(incident=incident(us=dict(largest_state=state), people=people)).hipaa
    assert {duty.by for duty in found.duties} == by
    due = {duty.by: duty.due for duty in found.duties}
    assert due["45 CFR 164.404"] == date(2027, 1, 24)
    if "45 CFR 164.408(c)" in by:
        assert due["45 CFR 164.408(c)"] == date(2027, 3, 1)


def test_a_business_associate_tells_the_covered_entity():
    found = assess(incident=incident(us=dict(entity="business associate"))).hipaa
    assert found.duties[0].by == "45 CFR 164.410"
    assert all(duty.what.startswith("the covered entity: ") for duty in found.duties[1:])
    assert "its clock starts with the associate's if that is its agent" in found.steps[-1]
    own = assess(incident=incident(us={})).hipaa
    assert not any("covered entity" in said for said in (*own.steps, *(d.what for d in own.duties)))


def test_no_high_risk_is_not_shown_by_a_stronger_guarantee_than_the_one_in_force():
    (kept,), (refused,) = (assess(
        *(evidence.model_copy(update={"metric": metric, "id": f"{evidence.id}{metric}"})
          for metric in ("records read", "records matched", "attributes filled in")
          for evidence in NOISY[1:]), *NOISY[:1], defences=("noise",), guarantee=guarantee(epsilon),
        judgements=[judgement("no high risk")]).rulings for epsilon in (3.1, 8.0))
    assert kept.carried and not refused.carried


def test_a_signature_is_not_called_a_demonstration():
    found = assess(incident=incident(us={}, factors={}), judgements=[
        judgement("low probability of compromise", **UPDATE)]).hipaa
    assert found.outcome == "no notice, documented" and "signed" in found.steps[-1]
    assert "demonstrated" not in " ".join(found.steps)


def test_each_law_speaks_only_where_it_applies():
    assert assess(incident=incident()).hipaa is None
    assert assess(incident=incident(us={}), jurisdictions=("US",)).gdpr is None
    assert assess(item()).gdpr is None
    assert assess(item(), exports=("released model",)).exports == ()


def test_dates_of_the_health_data_space_depend_on_the_data():
    when = {c: assess(categories=(c,), **HELD).exports[0] for c in ("health", "genetic")}
    assert when["health"].applies_from == date(2029, 3, 26) and not when["health"].applies
    assert when["genetic"].applies_from == date(2031, 3, 26)
    assert assess(assessed_on=date(2030, 1, 1), **HELD).exports[0].applies


def test_the_file_of_a_device_lists_evidence_and_gaps():
    entries = {e.provision: e for e in assess(
        rate(0.05, 0.02, 0.09, defence="noise"), medical_device=True,
        defences=("noise", "secure aggregation")).technical_file}
    assert entries["AI Act 15(5)"].evidence == ("study:tpr",)
    assert entries["AI Act 15(5)"].missing == ("data reconstruction", "property inference")
    assert entries["AI Act Annex IV"].missing == ("secure aggregation",)
    assert assess(item()).technical_file == ()


def test_a_refusal_gives_every_reason_and_the_trials_that_would_do():
    (refused,) = assess(*all_three(0, 100, worst=None),
                        judgements=[judgement("insignificant")]).rulings
    text = " ".join(refused.reasons)
    assert "299 trials on as many people without a hit would do, it has 100" in text
    (repeated,) = assess(*all_three(people=20), judgements=[judgement("insignificant")]).rulings
    assert "it has 3000 on 20 people" in " ".join(repeated.reasons)
    assert all(criterion in text for criterion in ("isolation", "linkage", "inference"))
    assert text.count("no group worst hit is given") == 3


def test_the_context_can_be_empty_of_nothing_that_decides():
    for field in ("controllers", "categories", "subjects", "jurisdictions"):
        with pytest.raises(ValidationError, match=field):
            context(**{field: ()})
