"""The audit itself: rounds with known records, every observer's view, every attack that fits."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, floor

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab import federation as observers
from leaklab.assess.audit.inputs import KINDS, Batch, Effort, Federation, kind_of, overdrawn, split
from leaklab.assess.audit.subject import Anatomy, Subject, counted, device_of, examine
from leaklab.assess.audit.suite import ON_RELEASES, ON_UPDATES, Attack
from leaklab.assess.audit.trying import Case, Outcome
from leaklab.assess.observers import one_round, views_by_observer
from leaklab.attacks.diagnose import Finding, diagnose
from leaklab.federation import Loss
from leaklab.metrics import mean_interval, proportion_interval
from leaklab.runtime import generator, progress
from leaklab.updates import Knowledge, View

SEEN_BY = {"update": ("server", "eavesdropper on a plain line"),
           "sum": ("server behind secure aggregation",),
           "difference": ("another hospital",),
           "released model": ("public",)}
"""Who holds each artefact. On a line under TLS an eavesdropper holds none."""
HELD_BY = {"update": "server", "sum": "server behind secure aggregation", "difference": "client"}
MEASURED, INAPPLICABLE, FAILED, NOT_RUN = "measured", "does not apply", "failed", "not run"


@dataclass(frozen=True)
class Result:
    """What one attack reached on one artefact at one batch size.

    attack, source, metric, success, blind, granted
        As :class:`leaklab.assess.audit.suite.Attack` has them.
    artefact, seen_by, batch_size, records
        What was attacked, who holds it, the records of each hospital and those behind the view.
    status, reason
        ``"measured"``, ``"does not apply"``, ``"failed"`` or ``"not run"``, and why not measured.
    value, interval, baseline, trials, details
        Mean over rounds, its 95 % interval, the blind guess, the number of rounds, further means;
        ``None`` where nothing was measured.
    """

    attack: str
    source: str
    metric: str
    success: str
    blind: str
    granted: str
    artefact: str
    seen_by: tuple[str, ...]
    batch_size: int
    records: int
    status: str
    reason: str | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    baseline: float | None = None
    trials: int = 0
    details: dict[str, float] = field(default_factory=dict)

    @property
    def above(self) -> bool:
        """Whether the interval lies above the blind guess."""
        return self.value is not None and self.interval[0] > self.baseline


@dataclass(frozen=True)
class Picture:
    """Images of one round: what the attack answers, the truth, and the blind guess."""

    title: str
    guess: Tensor
    truth: Tensor
    blind: Tensor


@dataclass(frozen=True)
class Audit:
    """All that an audit found out; see :func:`audit`.

    model, parameters, kind
        What was audited: its class, its number of weights, and what its inputs are.
    federation, effort, seed, records
        How, and with how many records.
    warnings, diagnosis
        What makes the answers less sure, and what stands in the way of an inversion.
    results, pictures
        A :class:`Result` for each attack, artefact and batch size; images of some rounds.
    """

    model: str
    parameters: int
    kind: str
    federation: Federation
    effort: Effort
    seed: int
    records: int
    warnings: tuple[str, ...]
    diagnosis: tuple[Finding, ...]
    results: tuple[Result, ...]
    pictures: tuple[Picture, ...]


def audit(
    model: nn.Module, loss: Loss = cross_entropy, batch: Batch | None = None, *,
    federation: Federation | None = None, effort: Effort | None = None, kind: str | None = None,
    seed: int = 0,
) -> Audit:
    """Attack ``model`` as each observer of ``federation`` could, on the records of ``batch``.

    Half of the patients are victims, the other half is what an attacker has beside the view. For
    each batch size, hospitals train on victims for a round, each trial on a draw of its own; each
    artefact that leaves is attacked by all that fits its ``kind``, which defaults to what the
    inputs look like. ``loss`` is of (outputs, targets). ``model`` is left unchanged; its device is
    used.

    Raises ``ValueError`` that names what is wrong with the model, the loss or the records, as
    :func:`leaklab.assess.audit.subject.examine` does; attacks that fail are results.
    """
    if batch is None:
        raise ValueError("batch: none given, expected records to audit with")
    if seed < 0:
        raise ValueError(f"seed: {seed} given, expected 0 or more")
    federation, effort = federation or Federation(), effort or Effort()
    kind = kind or kind_of(batch.inputs)
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} given, expected one of {KINDS}")
    subject, anatomy = examine(model, loss, batch, federation.training)
    device = device_of(subject)
    private, public = (_on(device, half) for half in split(batch, seed))
    begun = time.monotonic()
    deadline = None if effort.seconds is None else begun + effort.seconds
    bench = _Bench(subject, anatomy, loss, kind, federation, effort, private, public, seed,
                   deadline)
    tried: dict[tuple, list] = defaultdict(list)
    pictures, diagnosis = [], ()
    steps = [(size, trial) for size in federation.batch_sizes for trial in range(effort.trials)]
    for size, trial in progress(steps, "rounds"):
        views, why = bench.round(size, trial)
        if trial == 0 and "update" in views and not diagnosis and kind in ("image", "tabular"):
            diagnosis = diagnose(subject, views["update"][0], batch_size=size,
                                 input_shape=tuple(batch.inputs.shape[1:]))
        for attack, artefact, outcome in bench.attacked(views, why, trial):
            tried[attack, artefact, size].append(outcome)
            if trial == 0 and isinstance(outcome, Outcome) and outcome.picture:
                pictures.append(_picture(attack, artefact, size, outcome))
    results = tuple(_result(*key, outcomes, federation) for key, outcomes in tried.items())
    return Audit(type(model).__name__, sum(p.numel() for p in model.parameters()), kind,
                 federation, effort, seed, len(batch),
                 (*anatomy.warnings, *overdrawn(federation, effort, len(private))), diagnosis,
                 results, tuple(pictures))


@dataclass(frozen=True)
class _Refusal:
    """Why an attack has no outcome."""

    status: str
    reason: str


@dataclass(frozen=True)
class _Bench:
    """What all rounds of an audit share."""

    subject: Subject
    anatomy: Anatomy
    loss: Loss
    kind: str
    federation: Federation
    effort: Effort
    private: Batch
    public: Batch
    seed: int
    deadline: float | None

    def round(self, size: int, trial: int) -> tuple[dict[str, tuple[View, Batch]], _Refusal | None]:
        """The views of one round by artefact, each with the records behind it; or why none."""
        if over := self._over():
            return {}, over
        names = [f"hospital {k + 1}" for k in range(self.federation.hospitals)]
        needed = size * len(names)
        if needed > len(self.private):
            return {}, _Refusal(NOT_RUN, f"{needed} records of victims needed, half of those given "
                                         f"are {len(self.private)}")
        drawn = torch.randperm(len(self.private),
                               generator=generator(self.seed, "victims", size, trial))[:needed]
        parts = {name: self.private.take(rows) for name, rows in
                 zip(names, drawn.split(size), strict=True)}
        records = {name: (part.inputs, part.targets) for name, part in parts.items()}
        training = self.federation.training
        try:
            done = one_round(self.subject, records, training, self.seed + trial, loss=self.loss)
        except Exception as error:  # as in _one: a model may raise anything
            return {}, _Refusal(INAPPLICABLE, f"the model does not train on {counted(size)} at "
                                              f"once in {training.mode} mode ({_short(error)})")
        if not all(torch.isfinite(t).all() for t in done.after.values()):
            return {}, _Refusal(FAILED, "the round ended in NaN or infinite weights; lower the "
                                        "learning rate or look at the loss")
        held = views_by_observer(done, names[-1], records, training)
        views = {artefact: held[who][0] for artefact, who in HELD_BY.items()}
        told = Knowledge(training, torch.cat([targets for _, targets in records.values()]))
        views["released model"] = observers.public_views(done, told)[0]
        return {artefact: (view, _joined([parts[name] for name in view.contributors]))
                for artefact, view in views.items()}, None

    def attacked(
        self, views: dict[str, tuple[View, Batch]], why: _Refusal | None, trial: int
    ) -> Iterator[tuple[Attack, str, Outcome | _Refusal]]:
        """Each attack on each artefact."""
        for artefact in SEEN_BY:
            suite = ON_RELEASES if artefact == "released model" else ON_UPDATES[self.kind]
            for attack in suite:
                yield attack, artefact, why or self._one(attack, *views[artefact], trial)

    def _one(self, attack: Attack, view: View, truth: Batch, trial: int) -> Outcome | _Refusal:
        if over := self._over():
            return over
        left = None if self.deadline is None else self.deadline - time.monotonic()
        case = Case(self.subject, self.anatomy, self.loss, view, truth, self.public, self.private,
                    self.effort, left, self.seed + trial)
        try:
            return attack.run(case)
        except ValueError as error:
            return _Refusal(INAPPLICABLE, _short(error))
        except Exception as error:  # whatever a model of unknown make raises under an attack
            return _Refusal(FAILED, f"{type(error).__name__}: {_short(error)}")

    def _over(self) -> _Refusal | None:
        """Why nothing more is run, once the time is up."""
        if self.deadline is None or time.monotonic() < self.deadline:
            return None
        return _Refusal(NOT_RUN, f"the {self.effort.seconds:g} seconds were over")


def _result(attack: Attack, artefact: str, size: int, outcomes: list,
            federation: Federation) -> Result:
    """Outcomes of all trials as one result."""
    behind = {"update": 1, "difference": federation.hospitals - 1}
    common = dict(attack=attack.name, source=attack.source, metric=attack.metric,
                  success=attack.success, blind=attack.blind, granted=attack.granted,
                  artefact=artefact, seen_by=SEEN_BY[artefact], batch_size=size,
                  records=size * behind.get(artefact, federation.hospitals))
    done = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, _Refusal)]
    if not done:
        return Result(**common, status=refused[0].status, reason=refused[0].reason)
    values = [outcome.value for outcome in done]
    value = sum(values) / len(values)
    reason = None if not refused else f"{len(refused)} rounds missing: {refused[0].reason}"
    names = done[0].details
    return Result(**common, status=MEASURED, reason=reason, value=value,
                  interval=interval_of(values, attack.metric), trials=len(done),
                  baseline=sum(outcome.baseline for outcome in done) / len(done),
                  details={n: sum(o.details[n] for o in done) / len(done) for n in names})


def interval_of(values: list[float], metric: str) -> tuple[float, float]:
    """A 95 % interval of the mean over rounds, for values in [0, 1].

    Records of a round are not independent, so rounds are counted: the exact interval of a
    proportion, at the whole numbers of rounds around the sum. Of a perfect reading in all n rounds
    no interval begins higher: what succeeds with probability p is perfect in all with p ** n. F1
    and AUC, which are no counts, get Student's t, with values that do not vary, or a single one,
    left wide: as a count.
    """
    mean, n = sum(values) / len(values), len(values)
    varies = n > 1 and max(values) > min(values)
    if metric in ("tokens named", "membership AUC") and varies:
        low, high = mean_interval(values)
        return max(0.0, low), min(1.0, high)
    total = mean * n
    low = proportion_interval(min(n, floor(total + 1e-9)), n)[0]
    return low, proportion_interval(max(0, ceil(total - 1e-9)), n)[1]


def _picture(attack: Attack, artefact: str, size: int, outcome: Outcome) -> Picture:
    title = f"{attack.name}, {artefact}, {counted(size)} a hospital"
    return Picture(title, *(images[:8].detach().cpu() for images in outcome.picture))


def _joined(parts: list[Batch]) -> Batch:
    return Batch(torch.cat([p.inputs for p in parts]), torch.cat([p.targets for p in parts]))


def _on(device: torch.device, batch: Batch) -> Batch:
    return Batch(batch.inputs.to(device), batch.targets.to(device), batch.groups)


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else "no message"
