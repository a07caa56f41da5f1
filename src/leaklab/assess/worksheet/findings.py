r"""What the evidence says, item by item and for each artefact in each pair of hands.

Perspective comes first: whose hands decide what the metric can decide at all. Then three criteria
(isolation, linkage, inference), each by an interval above its baseline; what the trials exclude;
what a differential privacy guarantee allows; and how sure an accusation would be.

A finding is one of three, in rising order: no failure was seen; none was seen, in too few trials to
say so; further analysis is required. None says that there is no risk. More hits never lower a
finding, and neither does another result beside it.

Zero hits in n trials exclude, at 95 %, a rate above p only from
:math:`n \ge \ln 0.05 / \ln(1 - p)`: 299 trials for 1 %, 2,995 for 0.1 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from scipy import stats

from leaklab.assess.worksheet import law
from leaklab.assess.worksheet.inputs import Appetite, EvidenceItem
from leaklab.assess.worksheet.terms import CRITERION, Artefact, Criterion, Role, Value
from leaklab.bounds.membership import tpr_ceiling, tpr_ceiling_from_dp
from leaklab.metrics.roc import posterior

Gate = Literal["case by case", "presumed personal data", "personal data by role"]
Status = Literal["not tested", "no failure seen", "no failure seen, too few trials",
                 "further analysis required"]
GATES = OPEN, PRESUMED, BY_ROLE = get_args(Gate)
STATUSES = UNTESTED, NONE_SEEN, TOO_FEW, FURTHER = get_args(Status)
"""In rising order, as the gates."""
CRITERIA = get_args(Criterion)
LEVEL = 0.95
VACUOUS = 0.99
"""A ceiling on the true positive rate from which on it rules out next to nothing."""


class Finding(Value):
    """What one item of evidence says about one criterion.

    ``excess`` is the interval minus the baseline; ``not_excluded`` the largest rate above the
    baseline that the trials leave possible, ``None`` for a metric that is no rate;
    ``trials_needed`` how many trials without a hit would exclude what is not tolerated.
    """

    evidence: str
    criterion: Criterion | None
    status: Status | None
    excess: tuple[float, float]
    not_excluded: float | None
    trials_needed: int
    reason: str
    decided_by: str


class Ceiling(Value):
    """What the guarantee in force allows a membership attack, beside what was measured."""

    evidence: str
    applies: bool
    fpr: float
    ceiling: float
    gaussian_ceiling: float | None
    vacuous: bool
    exceeded: bool
    reason: str


class Certainty(Value):
    """How sure an accusation is at one prior: the estimate, and at the interval's upper end."""

    evidence: str
    prior: float
    estimate: float
    highest: float


class Cell(Value):
    """One artefact in one pair of hands: its gate, and the gravest finding on each criterion."""

    artefact: Artefact
    role: Role
    gate: Gate
    gate_reason: str
    gate_by: str
    isolation: Status
    linkage: Status
    inference: Status

    @property
    def statuses(self) -> dict[Criterion, Status]:
        return {criterion: getattr(self, criterion) for criterion in CRITERIA}


def trials_needed(rate: float, level: float = LEVEL) -> int:
    """Trials without a hit from which on a rate above ``rate`` is excluded.

    Raises ``ValueError`` for a rate outside (0, 1).
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate: {rate} given, expected a number between 0 and 1")
    return math.ceil(math.log1p(-level) / math.log1p(-rate))


def upper_limit(item: EvidenceItem) -> float:
    """The highest rate that the trials leave possible, at 95 %.

    From counts, the exact one-sided limit, in which one person counts once: trials beyond the
    number of different people add none. An interval that is wider than the exact one, for trials
    that hang together, is taken at its word. One without counts and without a width excludes
    nothing: runs that all agree give it, be they two.
    """
    if item.hits is None:
        return item.interval[1] if item.interval[0] < item.interval[1] else 1.0
    n = min(item.trials, item.people or item.trials)
    hits = item.hits * n / item.trials
    exact = 1.0 if hits >= n else float(stats.beta.isf(1 - LEVEL, hits + 1, n - hits))
    two_sided = 1.0 if hits >= n else float(stats.beta.isf((1 - LEVEL) / 2, hits + 1, n - hits))
    return item.interval[1] if item.interval[1] > two_sided + 1e-3 else exact


def gate(artefact: Artefact, role: Role, contributors: int | None) -> tuple[Gate, str, str]:
    """Whose perspective counts, before any metric is read: the gate, its reason, what decides."""
    if role == "processor" and artefact != "released model":
        prudence = "no metric changes that" if artefact == "update" else (
            f"for a {artefact} that is prudence, and contested: its controllers' own answer may be "
            "case by case")
        return (BY_ROLE, "a processor is assessed from the controller's perspective, and the "
                f"hospital keeps the records; {prudence}", law.PROCESSOR)
    few = contributors is None or contributors <= (1 if artefact == "difference" else 2)
    if artefact == "update":
        return (PRESUMED, "the hospital that sent it keeps the records; that a recipient cannot "
                "attribute it has to be shown", law.RECIPIENT)
    if artefact != "released model" and few:
        number = contributors or "too few or unknown"
        return (PRESUMED, f"a {artefact} of hospitals, number: {number}; whoever knows one part "
                "can subtract it and may hold the update of another", law.RECIPIENT)
    return (OPEN, "mixed from several hospitals: judged case by case, with the evidence for this "
            "artefact", law.MODEL if artefact == "released model" else law.AGGREGATE)


def finding(item: EvidenceItem, appetite: Appetite) -> Finding:
    """Which of the three findings ``item`` supports, and how much its trials exclude."""
    criterion = CRITERION[item.metric]
    excess = (item.interval[0] - item.baseline, item.interval[1] - item.baseline)
    rate = item.metric not in ("AUC", "similarity")
    open_ = max(0.0, upper_limit(item) - item.baseline) if rate else None
    needed = trials_needed(min(max(item.baseline, 0.0) + appetite.tolerated, 0.999))
    status, reason = _status(item, excess, open_, appetite.tolerated)
    return Finding(evidence=item.id, criterion=criterion, status=status, excess=excess,
                   not_excluded=open_, trials_needed=needed, reason=reason,
                   decided_by=law.CRITERIA)


def _status(item: EvidenceItem, excess: tuple[float, float], open_: float | None,
            tolerated: float) -> tuple[Status | None, str]:
    if CRITERION[item.metric] is None:
        return None, "tells how alike two things look, and not whether a person can be identified"
    if excess[0] > 0:
        return FURTHER, "the whole interval lies above the baseline"
    if open_ is None:
        return TOO_FEW, "an average over people, which says nothing about the person worst hit"
    if open_ > tolerated:
        return TOO_FEW, (f"these trials leave a rate of up to {open_:.3g} above the baseline "
                         f"possible; {tolerated:g} is tolerated")
    return NONE_SEEN, (f"not above the baseline, and these trials exclude {tolerated:g} "
                       "above it, for the people tested")


def ceiling(item: EvidenceItem) -> Ceiling | None:
    """What the guarantee allows of the item's true positive rate; ``None`` for other metrics.

    To exchange two units is to remove one and add one: twice epsilon, or twice mu.
    """
    promise = item.guarantee
    if promise is None or item.metric != "true positive rate":
        return None
    applies = promise.unit == item.unit
    epsilon, delta, mu = promise.epsilon, promise.delta, promise.mu
    twice = item.exchange and promise.adjacency == "add or remove"
    if twice:  # one goes out and one comes in
        delta = min(1.0, delta * (1 + math.exp(min(epsilon, 700.0))))
        epsilon, mu = 2 * epsilon, None if mu is None else 2 * mu
    allowed = tpr_ceiling_from_dp(item.fpr, epsilon, delta)
    gaussian = None if mu is None else tpr_ceiling(item.fpr, mu)
    tightest = min(allowed, allowed if gaussian is None else gaussian)
    exceeded = applies and item.interval[0] > tightest
    if not applies:
        reason = (f"the guarantee is for a {promise.unit} and the attack asks about a {item.unit}: "
                  "it bounds nothing here")
    elif exceeded:
        reason = ("more was measured than the guarantee allows: the mechanism, its accounting or "
                  "the measurement is wrong")
    elif tightest >= VACUOUS:
        reason = "the guarantee rules out next to nothing at this false positive rate"
    else:
        reason = f"no attack on one {promise.unit} can do better, if the mechanism is as stated"
    if applies and twice:
        reason += "; it counts twice, since one comes in where another goes out"
    return Ceiling(evidence=item.id, applies=applies, fpr=item.fpr, ceiling=allowed,
                   gaussian_ceiling=gaussian, vacuous=tightest >= VACUOUS, exceeded=exceeded,
                   reason=reason)


def certainties(item: EvidenceItem, priors: Sequence[float]) -> tuple[Certainty, ...]:
    """How sure an accusation is, at each of the priors; empty without a false positive rate."""
    if item.metric != "true positive rate":
        return ()
    return tuple(Certainty(evidence=item.id, prior=prior,
                           estimate=posterior(prior, item.value, item.fpr),
                           highest=posterior(prior, item.interval[1], item.fpr))
                 for prior in priors)


def cells(evidence: Sequence[EvidenceItem], findings: Sequence[Finding]) -> tuple[Cell, ...]:
    """One cell for each artefact in each pair of hands, in the order of the evidence."""
    places = dict.fromkeys((item.artefact, item.role) for item in evidence)
    return tuple(_cell(artefact, role, evidence, findings) for artefact, role in places)


def _cell(artefact: Artefact, role: Role, evidence: Sequence[EvidenceItem],
          findings: Sequence[Finding]) -> Cell:
    here = [item for item in evidence if (item.artefact, item.role) == (artefact, role)]
    gates = [gate(artefact, role, item.contributors) for item in here]
    strictest = max(gates, key=lambda found: GATES.index(found[0]))
    ids = {item.id for item in here}
    gravest = {criterion: max((f.status for f in findings
                               if f.evidence in ids and f.criterion == criterion),
                              key=STATUSES.index, default=UNTESTED) for criterion in CRITERIA}
    return Cell(artefact=artefact, role=role, gate=strictest[0], gate_reason=strictest[1],
                gate_by=strictest[2], **gravest)
