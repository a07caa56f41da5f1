"""What people and machines fill in: context, evidence, appetite, incident and judgements.

Everything is checked where it enters. A field of a wrong kind, a number out of range, an unknown
field or a pair that contradicts itself raises ``pydantic.ValidationError``, a ``ValueError`` that
names the field and says what was expected.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from leaklab.assess.worksheet.terms import (
    GAINS,
    WP248,
    Artefact,
    AttackClass,
    Category,
    Count,
    Hash,
    Inside,
    Level,
    Metric,
    Number,
    Question,
    Rate,
    Role,
    Unit,
    Value,
)
from leaklab.assess.worksheet.wording import Text
from leaklab.metrics import proportion_interval


class Signature(Value):
    """Who answers for a decision, in what capacity, and when."""

    name: Text
    capacity: Text
    on: date


class Guarantee(Value):
    """A differential privacy guarantee. Epsilon alone says nothing: the unit is required.

    ``mu`` is the parameter of Gaussian differential privacy, where the accountant gives it;
    ``adjacency`` says what is compared: one unit more or fewer, or one in another's place.
    """

    epsilon: Annotated[float, Field(strict=True, gt=0)]
    delta: Annotated[float, Field(strict=True, ge=0, lt=1)]
    unit: Unit
    accountant: Text
    mu: Annotated[float, Field(strict=True, gt=0)] | None = None
    adjacency: Literal["add or remove", "replace"] = "add or remove"


class Group(Value):
    """The group of people for whom the attack did best, with the interval of its rate."""

    name: Text
    value: Rate
    interval: tuple[Rate, Rate]

    @model_validator(mode="after")
    def _ordered(self):
        _check_interval("worst_group.interval", self.interval, self.value)
        if self.interval[0] == self.interval[1]:
            raise ValueError(f"worst_group.interval: {self.interval} given, expected one with a "
                             "width, as any number of people leaves it")
        return self


class EvidenceItem(Value):
    """One result of one attack, on one artefact in one pair of hands, beside its baseline.

    role
        What the observer is in law. The measurement does not tell: the same server may be a
        processor or an independent recipient.
    contributors
        Hospitals behind a sum or a difference; ``None`` is unknown and taken as few.
    value, interval, baseline
        The rate reached, its 95 % interval, and what the attack reaches without the artefact.
    hits, trials, people
        Counts where there are some, and the number of different people behind the trials.
    fpr
        The false positive rate at which a true positive rate was read.
    defence, guarantee
        The defence in force when this was measured, and what it promises, if anything.
    exchange
        Whether, in the experiment, another comes in where a member goes out. Then a guarantee for
        one unit more or fewer counts twice.
    """

    id: Text
    statement: Text
    attack: AttackClass
    metric: Metric
    artefact: Artefact
    role: Role
    observer: Text
    contributors: Annotated[int, Field(strict=True, ge=1)] | None = None
    value: Number
    interval: tuple[Number, Number]
    baseline: Number
    baseline_kind: Text
    hits: Count | None = None
    trials: Annotated[int, Field(strict=True, ge=1)] | None = None
    people: Annotated[int, Field(strict=True, ge=1)] | None = None
    fpr: Inside | None = None
    worst_group: Group | None = None
    defence: Text | None = None
    guarantee: Guarantee | None = None
    exchange: bool = True
    unit: Unit
    data: Text
    synthetic: bool
    data_sha256: Hash | None = None

    @model_validator(mode="after")
    def _consistent(self):
        _check_interval("interval", self.interval, self.value)
        lowest = -1 if self.metric in GAINS else 0
        ends = (*self.interval, self.baseline)
        if self.metric != "similarity" and not lowest <= min(ends) <= max(ends) <= 1:
            raise ValueError(f"interval, baseline: {self.interval}, {self.baseline} given for "
                             f"{self.metric!r}, expected rates from {lowest} to 1")
        if self.metric == "true positive rate":
            if self.fpr is None:
                raise ValueError("fpr: None given, expected the rate of false alarms at which the "
                                 "true positive rate was read")
            if self.baseline < self.fpr:
                raise ValueError(f"baseline: {self.baseline} given, expected at least the false "
                                 f"positive rate {self.fpr}, which a coin reaches")
        if self.worst_group is not None and self.worst_group.value < self.value:
            raise ValueError(f"worst_group: a rate of {self.worst_group.value} given, expected at "
                             f"least that of all people, {self.value}")
        self._check_counts()
        return self

    def _check_counts(self) -> None:
        if (self.hits is None) != (self.trials is None):
            raise ValueError(f"hits, trials: {self.hits}, {self.trials} given, expected both or "
                             "neither")
        if self.hits is None:
            return
        if self.hits > self.trials:
            raise ValueError(f"hits: {self.hits} given, expected at most the {self.trials} trials")
        if abs(self.value - self.hits / self.trials) > 1e-3:
            raise ValueError(f"value: {self.value} given, expected {self.hits} / {self.trials}")
        low, high = proportion_interval(self.hits, self.trials)
        if self.interval[0] > low + 1e-3 or self.interval[1] < high - 1e-3:
            raise ValueError(f"interval: {self.interval} given, expected none narrower than "
                             f"({low:.4f}, {high:.4f}), the exact one of {self.hits} in "
                             f"{self.trials}")


class Appetite(Value):
    """How much risk the controller accepts: thresholds that the law does not set, signed.

    tolerated
        The largest rate above the baseline at which a criterion still counts as met.
    priors
        Shares of true members among those asked about, for whom certainties are worked out.
    likelihood_cuts
        Rates above the baseline from which a likelihood is 2, 3 and 4 of 4.
    """

    tolerated: Inside
    priors: Annotated[tuple[Inside, ...], Field(min_length=1)]
    likelihood_cuts: tuple[Inside, Inside, Inside]
    reason: Text
    signed: Signature

    @model_validator(mode="after")
    def _rising(self):
        first, second, third = self.likelihood_cuts
        if not first < second < third:
            raise ValueError(f"likelihood_cuts: {self.likelihood_cuts} given, expected rising ones")
        return self


class Severity(Value):
    """How bad for people, as a person decides: 1 negligible, 2 limited, 3 important, 4 maximal."""

    level: Level
    reason: Text


class Context(Value):
    """The processing that is assessed, as a person describes it.

    defences
        Those in force, named as in the evidence that was measured under them.
    guarantee
        What the noise in force promises. Evidence under a stronger promise does not count for it.
    criteria
        Of the nine criteria of WP 248, those that the description does not imply already.
    exports
        Artefacts that are to leave a secure processing environment, under an EHDS permit.
    """

    name: Text
    purpose: Text
    controllers: Annotated[tuple[Text, ...], Field(min_length=1)]
    processors: tuple[Text, ...] = ()
    legal_basis: Text
    gateway: Text
    categories: Annotated[tuple[Category, ...], Field(min_length=1)]
    subjects: Annotated[tuple[Text, ...], Field(min_length=1)]
    relatives_considered: bool = False
    hospitals: Annotated[int, Field(strict=True, ge=1)]
    transport: Literal["mutual TLS", "TLS", "plain"]
    defences: tuple[Text, ...] = ()
    guarantee: Guarantee | None = None
    recipients: tuple[Text, ...] = ()
    retention: Text
    jurisdictions: Annotated[tuple[Literal["EU", "UK", "US"], ...], Field(min_length=1)]
    large_scale: bool
    criteria: tuple[WP248, ...] = ()
    severity: Severity
    ehds_permit: bool = False
    exports: tuple[Artefact, ...] = ()
    medical_device: bool = False
    dpo_advice: Text | None = None
    views_of_people: Text | None = None
    assessed_on: date


class FourFactors(Value):
    """The four factors of 45 CFR 164.402(2), each in a person's words.

    ``acquired`` is whether the information was actually acquired or viewed; ``None`` is unknown.
    """

    nature: Text
    recipient: Text
    acquired: bool | None
    mitigation: Text | None = None


class UsIncident(Value):
    """What the HIPAA rule asks about an incident; ``None`` is not established."""

    entity: Literal["covered entity", "business associate", "neither"]
    meets_164_514: bool
    permitted: bool
    secured: bool
    exception: Literal["(i)", "(ii)", "(iii)"] | None = None
    factors: FourFactors | None = None
    largest_state: Count | None = None


class Incident(Value):
    """Somebody got hold of an artefact, or inverted one that they held.

    security_breach
        Whether security was breached, in the sense of GDPR 4(12): a stolen stream is one, a
        processor that misuses what it was given need not be; ``None`` is not established.
    unintelligible
        Whether what was taken is encrypted and the keys are not.
    signed
        Who answers for these answers, some of which are conclusions of law.
    """

    what: Text
    artefact: Artefact
    role: Role
    security_breach: bool | None
    unintelligible: bool = False
    people: Count | None = None
    aware_at: AwareDatetime
    us: UsIncident | None = None
    signed: Signature | None = None


class Judgement(Value):
    """A conclusion of law about one artefact in one pair of hands, which a person answers for."""

    question: Question
    artefact: Artefact
    role: Role
    reason: Text
    evidence: tuple[Text, ...] = ()
    signed: Signature


def _check_interval(name: str, interval: tuple[float, float], value: float) -> None:
    low, high = interval
    if low > high:
        raise ValueError(f"{name}: {interval} given, expected the lower end first")
    if not low <= value <= high:
        raise ValueError(f"{name}: {interval} given, expected one that holds the value {value}")
