"""From context, evidence and signed thresholds to an assessment: one pure function.

The same inputs give the same assessment, byte for byte. Every answer names the provision or the
guidance that decided it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

import leaklab
from leaklab.assess.worksheet import law
from leaklab.assess.worksheet.exits import Entry, Export, exports, technical_file
from leaklab.assess.worksheet.findings import (
    CRITERIA,
    Ceiling,
    Cell,
    Certainty,
    Finding,
    ceiling,
    cells,
    certainties,
    finding,
)
from leaklab.assess.worksheet.incidents import Path, gdpr, hipaa
from leaklab.assess.worksheet.inputs import Appetite, Context, EvidenceItem, Incident, Judgement
from leaklab.assess.worksheet.judging import Bench, Ruling, rule
from leaklab.assess.worksheet.risk import (
    Consultation,
    Risk,
    Trigger,
    consultation,
    counted,
    risks,
    trigger,
)
from leaklab.assess.worksheet.terms import Value


class Inputs(Value):
    """All that was filled in."""

    context: Context
    evidence: tuple[EvidenceItem, ...]
    appetite: Appetite
    incident: Incident | None = None
    judgements: tuple[Judgement, ...] = ()

    @model_validator(mode="after")
    def _known(self):
        ids = [item.id for item in self.evidence]
        places = [(item.id, item.role) for item in self.evidence]
        twice = sorted({name for name, role in places if places.count((name, role)) > 1})
        if twice:
            raise ValueError(f"evidence: {twice} given more than once, expected each id once in "
                             "each pair of hands")
        measured = {item.id: item.model_copy(update={"role": "public"}) for item in self.evidence}
        other = sorted({item.id for item in self.evidence
                        if item.model_copy(update={"role": "public"}) != measured[item.id]})
        if other:
            raise ValueError(f"evidence: {other} given with different content, expected one "
                             "measurement behind one id")
        unknown = sorted({name for j in self.judgements for name in j.evidence} - set(ids))
        if unknown:
            raise ValueError(f"judgements: evidence {unknown} cited, expected ids of the evidence")
        context, signed = self.context, self.appetite.signed
        if signed.on > context.assessed_on:
            raise ValueError(f"appetite.signed.on: {signed.on} given, expected no later than the "
                             f"assessment, {context.assessed_on}")
        return self

    @property
    def sha256(self) -> str:
        """Of the inputs, written as JSON with sorted keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class Assessment(Value):
    """What the inputs give: findings with their limits, duties, and what a person must decide."""

    schema_version: Literal[1] = 1
    leaklab: str
    law_as_of: str
    inputs_sha256: str
    inputs: Inputs
    findings: tuple[Finding, ...]
    ceilings: tuple[Ceiling, ...]
    certainties: tuple[Certainty, ...]
    cells: tuple[Cell, ...]
    dpia: Trigger
    risks: tuple[Risk, ...]
    consultation: Consultation
    rulings: tuple[Ruling, ...]
    gdpr: Path | None
    hipaa: Path | None
    exports: tuple[Export, ...]
    technical_file: tuple[Entry, ...]
    limits: tuple[str, ...]


def assess(context: Context, evidence: Sequence[EvidenceItem], appetite: Appetite,
           incident: Incident | None = None, judgements: Sequence[Judgement] = ()) -> Assessment:
    """Assess ``evidence`` in ``context`` by the thresholds of ``appetite``.

    Raises ``ValueError`` for evidence of one id given twice and for a judgement that cites
    evidence which is not there. A judgement that the evidence cannot carry is no error: it is
    refused, with reasons, in ``rulings``.
    """
    return assess_inputs(Inputs(context=context, evidence=tuple(evidence), appetite=appetite,
                                incident=incident, judgements=tuple(judgements)))


def assess_inputs(inputs: Inputs) -> Assessment:
    """The same, of inputs that were read from a file."""
    context, evidence, appetite = inputs.context, inputs.evidence, inputs.appetite
    incident = inputs.incident
    european = not {"EU", "UK"}.isdisjoint(context.jurisdictions)
    found = tuple(finding(item, appetite) for item in evidence)
    places, threats = cells(evidence, found), risks(context, appetite, evidence, found)
    bench = Bench(context=context, appetite=appetite, evidence=evidence, findings=found,
                  cells=places, incident=incident)
    rulings = tuple(rule(judgement, bench) for judgement in inputs.judgements)
    promised = tuple(c for c in map(ceiling, evidence) if c is not None)
    return Assessment(
        leaklab=leaklab.__version__, law_as_of=law.AS_OF, inputs_sha256=inputs.sha256,
        inputs=inputs, findings=found, ceilings=promised,
        certainties=tuple(c for item in evidence for c in certainties(item, appetite.priors)),
        cells=places, dpia=trigger(context), risks=threats, consultation=consultation(threats),
        rulings=rulings,
        gdpr=gdpr(incident, places, rulings) if incident is not None and european else None,
        hipaa=hipaa(incident, places, rulings) if incident is not None else None,
        exports=exports(context, places), technical_file=technical_file(context, evidence),
        limits=limits(inputs, places, promised))


def limits(inputs: Inputs, places: Sequence[Cell], promised: Sequence[Ceiling]) -> tuple[str, ...]:
    """What these numbers cannot establish, one sentence each, from what was and was not given."""
    said = [*_of_evidence(inputs, places, promised), *_of_facts(inputs)]
    return tuple(sentence for sentence, holds in said if holds)


def _of_evidence(inputs: Inputs, places: Sequence[Cell],
                 promised: Sequence[Ceiling]) -> list[tuple[str, bool]]:
    context, evidence = inputs.context, inputs.evidence
    metrics = {item.metric for item in evidence}
    data = dict.fromkeys(item.data for item in evidence)
    named = dict.fromkeys(
        f"{i.defence}, epsilon {i.guarantee.epsilon:.3g} for a {i.guarantee.unit}"
        if i.guarantee else i.defence for i in evidence if i.defence in context.defences)
    kept = counted(evidence, context)
    weaker = dict.fromkeys(item.id for item in evidence if item not in kept)
    untested = [f"{cell.artefact}, {cell.role}: {criterion}" for cell in places
                for criterion in CRITERIA if cell.statuses[criterion] == "not tested"]
    return [
        ("Attacks get better: a finding holds for the attacks that were run, not for all.", True),
        ("A rate says nothing about whether an attacker has, or lawfully gets, what the attack "
         "needs besides.", bool(metrics - {"similarity"})),
        ("A membership attack presupposes that the attacker holds the record; it does not name "
         "anybody.", bool(metrics & {"true positive rate", "AUC"})),
        ("The draft guidelines count membership inference as inference (02/2026 paragraph 79); "
         "here it stands under isolation.", bool(metrics & {"true positive rate", "AUC"})),
        ("Similarity of images does not tell whether a person can be identified.",
         "similarity" in metrics),
        ("Measured on: " + "; ".join(data) + ". How it carries over to the people and the training "
         "of this processing is not known.", bool(data)),
        ("Some evidence was measured on synthetic data.", any(i.synthetic for i in evidence)),
        ("A defence is matched by its name: that it is in force as it was measured ("
         + "; ".join(named) + ") is not checked.", bool(named)),
        ("Measured under a stronger guarantee than the one in force, and not counted for the risk: "
         + "; ".join(weaker) + ".", bool(weaker)),
        ("Where no group worst hit is given, a rate is a mean over people. It says nothing about "
         "the person whom the attack finds most easily, so nothing is insignificant by it alone.",
         any(i.worst_group is None and i.metric != "similarity" for i in evidence)),
        ("Likelihood is how far the attack gets for whoever holds the artefact and tries. How "
         "likely it is that somebody does, a person has to add. The grades are the worksheet's "
         "own: severity times likelihood, low to 4 of 16, high from 9.", bool(evidence)),
        ("A guarantee bounds the influence of one unit. It does not cover relatives or facts about "
         "a whole hospital.", bool(promised)),
        ("More was measured than a stated guarantee allows: find out which is wrong before "
         "relying on either.", any(c.exceeded for c in promised)),
        ("Not tested: " + "; ".join(untested) + ".", bool(untested)),
        ("Nothing was measured.", not evidence),
    ]


def _of_facts(inputs: Inputs) -> list[tuple[str, bool]]:
    context, incident = inputs.context, inputs.incident
    return [
        ("Genetic data also tell about relatives, who are not among the people considered.",
         "genetic" in context.categories and not context.relatives_considered),
        ("Secure aggregation hides single updates from the server. It does not hide what the sum "
         "and the released model give away.", "secure aggregation" in context.defences),
        ("In the United Kingdom the articles are those of the UK GDPR; EDPB guidance and the EHDS "
         "do not apply there.", "UK" in context.jurisdictions),
        ("The incident was not put to the HIPAA tree: the facts it asks for are not given.",
         incident is not None and incident.us is None and "US" in context.jurisdictions),
        ("Nobody signed the answers about the incident, some of which are conclusions of law.",
         incident is not None and incident.signed is None),
        (f"The AI Act's duties for devices apply from {law.AI_ACT_DEVICES}; until then its list is "
         "a rehearsal.", context.medical_device and context.assessed_on < law.AI_ACT_DEVICES),
        ("What is called a draft binds nobody. Read second-hand: " + ", ".join(law.SECOND_HAND)
         + ". From memory: " + ", ".join(law.FROM_MEMORY) + ".", True),
    ]
