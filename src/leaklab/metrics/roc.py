"""How well scores tell members from non-members, above all where hardly anyone is accused wrongly.

A score that names many members among few false alarms is a threat; one that is right a little more
often than not, on average, names nobody. So the figure of merit is the true-positive rate at a low
false-positive rate (Carlini et al., 2022, arXiv:2112.03570), and n non-members cannot show a rate
below 1/n: :func:`operating_point` then refuses. Ties are honest everywhere: records of one score
are accused together or not at all.

Scores and members may have any one shape; (K, n) pools K target models under one threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leaklab.metrics import proportion_interval

__all__ = ["auc", "operating_point", "posterior", "roc"]


@dataclass(frozen=True)
class Roc:
    """The curve, from accusing nobody to accusing all: a point for each distinct score.

    false_positives, true_positives
        Shape (points,), counts of non-members and members at or above ``thresholds``.
    non_members, members
        How many there are.
    """

    false_positives: Tensor
    true_positives: Tensor
    thresholds: Tensor
    non_members: int
    members: int

    @property
    def false_positive_rate(self) -> Tensor:
        """Share of non-members accused, at each point."""
        return self.false_positives.double() / self.non_members

    @property
    def true_positive_rate(self) -> Tensor:
        """Share of members accused, at each point."""
        return self.true_positives.double() / self.members


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does: counts, rates, and 95 % Clopper-Pearson intervals of the rates.

    ``wanted`` is the false-positive rate asked for; ``false_positive_rate`` the one reached, which
    is never above it. The intervals take records as independent. Accusations of one patient by
    several models are not: for those use :func:`pooled_tpr`.
    """

    wanted: float
    threshold: float
    false_positives: int
    non_members: int
    true_positives: int
    members: int

    @property
    def false_positive_rate(self) -> float:
        """Share of non-members accused."""
        return self.false_positives / self.non_members

    @property
    def true_positive_rate(self) -> float:
        """Share of members accused."""
        return self.true_positives / self.members

    @property
    def false_positive_interval(self) -> tuple[float, float]:
        """Of the false-positive rate."""
        return proportion_interval(self.false_positives, self.non_members)

    @property
    def true_positive_interval(self) -> tuple[float, float]:
        """Of the true-positive rate."""
        return proportion_interval(self.true_positives, self.members)


def roc(scores: Tensor, members: Tensor) -> Roc:
    """The exact curve of ``scores`` against ``members`` (bool), one shape, any.

    Raises ``ValueError`` for shapes that differ, a score that is no number, and where members or
    non-members are missing.
    """
    flat, truth = _checked(scores, members)
    order = flat.argsort(descending=True)
    flat, truth = flat[order], truth[order]
    last = torch.ones_like(truth)  # of its ties: where the next score is another one
    last[:-1] = flat[1:] != flat[:-1]
    hits, alarms = truth.cumsum(0)[last], (~truth).cumsum(0)[last]
    nobody = torch.zeros(1, dtype=hits.dtype, device=hits.device)
    return Roc(torch.cat([nobody, alarms]), torch.cat([nobody, hits]),
               torch.cat([flat.new_full((1,), torch.inf), flat[last]]),
               int((~truth).sum()), int(truth.sum()))


def auc(scores: Tensor, members: Tensor) -> float:
    """The chance that a member scores above a non-member, a tie counting half: 0.5 is nothing.

    Shapes and errors as in :func:`roc`.
    """
    curve = roc(scores, members)
    return float(torch.trapezoid(curve.true_positive_rate, curve.false_positive_rate))


def operating_point(scores: Tensor, members: Tensor, fpr: float) -> OperatingPoint:
    """The lowest threshold at which at most a share ``fpr`` of the non-members is accused.

    The threshold is chosen on the records it is judged on, as is usual. Shapes and errors as in
    :func:`roc`; also ``ValueError`` for an ``fpr`` outside (0, 1), or one that the non-members
    cannot carry because it allows less than one false alarm among them.
    """
    curve = roc(scores, members)
    allowed = _allowed(fpr, curve.non_members)
    k = int((curve.false_positives <= allowed).sum()) - 1
    return OperatingPoint(fpr, float(curve.thresholds[k]), int(curve.false_positives[k]),
                          curve.non_members, int(curve.true_positives[k]), curve.members)


@dataclass(frozen=True)
class Pooled:
    """A rate over many target models: its ``value``, and what it is in each draw of the patients.

    ``draws`` has shape (draws,). Values of several runs on the same patients may be averaged, and
    their draws too, one by one.
    """

    value: float
    draws: Tensor

    @property
    def interval(self) -> tuple[float, float]:
        """95 % percentile interval over draws of patients (bootstrap by clusters)."""
        low, high = torch.quantile(self.draws, self.draws.new_tensor([0.025, 0.975])).tolist()
        return min(low, self.value), max(high, self.value)


def patient_draws(patients: Sequence, number: int, generator: torch.Generator) -> Tensor:
    """How often each record counts in each of ``number`` draws of the patients, (number, n).

    As many patients as there are, drawn with replacement; a patient brings all of their records.
    Raises ``ValueError`` for fewer than two patients.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"patients: {len(names)} given, expected at least two")
    drawn = torch.randint(len(names), (number, len(names)), generator=generator,
                          device=generator.device)
    counts = torch.zeros(number, len(names), dtype=torch.float64, device=generator.device)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return counts[:, torch.from_numpy(owner).to(counts.device)]


def pooled_auc(scores: Tensor, members: Tensor, draws: Tensor) -> Pooled:
    """AUC over all pairs of target model and record, (K, n) each; draws (number, n) of patients.

    The models accuse the same patients again and again, so an interval that took accusations as
    independent would be far too narrow. Errors as in :func:`roc`.
    """
    return _pooled(scores, members, draws, lambda alarms, hits: torch.trapezoid(hits, alarms))


def pooled_tpr(scores: Tensor, members: Tensor, draws: Tensor, fpr: float) -> Pooled:
    """True-positive rate at a false-positive rate of at most ``fpr``, one threshold for all models.

    In each draw the threshold is chosen anew, on the records it is judged on. ``fpr`` is refused
    by the number of accusations that could be wrong, over all models, and not by that of patients:
    a rate that passes may still rest on a few of them. Shapes as in :func:`pooled_auc`, errors as
    in :func:`operating_point`.
    """
    _allowed(fpr, int((~members).sum()))

    def rate(alarms: Tensor, hits: Tensor) -> Tensor:
        return hits[int((alarms <= fpr * (1 + 1e-9)).sum()) - 1]

    return _pooled(scores, members, draws, rate)


def record_auc(scores: Tensor, members: Tensor) -> Tensor:
    """For each record, over models with and without it, the AUC of its own scores; (n,).

    How exposed one patient is, where :func:`auc` averages over patients. Among the scores of one
    record a threshold on the margin and LiRA with equal spreads accuse alike, so the margin itself
    serves as the score, and no shadow model enters.

    Shapes: (K, n) each. Raises ``ValueError`` as :func:`roc` does, for each record.
    """
    return torch.tensor([auc(own, truth) for own, truth in zip(scores.T, members.T, strict=True)],
                        dtype=torch.float64)


def _pooled(scores: Tensor, members: Tensor, draws: Tensor,
            statistic: Callable[[Tensor, Tensor], Tensor]) -> Pooled:
    flat, truth = _checked(scores, members)
    order = flat.argsort(descending=True)
    truth, record = truth[order].double(), order % scores.shape[-1]
    last = torch.cat([flat[order].diff() != 0, truth.new_ones(1, dtype=torch.bool)])

    def once(counts: Tensor) -> Tensor:
        weight = counts.to(truth)[record]
        sums = [(weight * side).cumsum(0) for side in (1 - truth, truth)]
        alarms, hits = (torch.cat([total.new_zeros(1), total[last] / total[-1]]) for total in sums)
        return statistic(alarms, hits)

    value = float(once(truth.new_ones(scores.shape[-1])))
    return Pooled(value, torch.stack([once(counts) for counts in draws]).cpu())


def posterior(prior: float, tpr: float, fpr: float) -> float:
    """How sure an accusation is, by Bayes' rule: the share of the accused who are members.

    ``prior`` is the share of members among those whom the attacker asks about; without it no pair
    of rates says anything about a patient. Raises ``ValueError`` for a number outside [0, 1] and
    where nobody is accused.
    """
    for name, value in (("prior", prior), ("tpr", tpr), ("fpr", fpr)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: {value} given, expected a number from 0 to 1")
    accused = prior * tpr + (1 - prior) * fpr
    if accused == 0:
        raise ValueError("prior, tpr, fpr: nobody is accused, expected somebody to be")
    return prior * tpr / accused


def _allowed(fpr: float, non_members: int) -> int:
    if not 0 < fpr < 1:
        raise ValueError(f"fpr: {fpr} given, expected a number between 0 and 1")
    allowed = fpr * non_members * (1 + 1e-9)  # 0.01 * 100 must not be 0.99
    if allowed < 1:
        raise ValueError(f"fpr: {fpr:g} given with {non_members} non-members, expected "
                         f"{1 / non_members:.2g} or more: less than one false alarm shows nothing")
    return int(allowed)


def _checked(scores: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    if scores.shape != members.shape or members.dtype != torch.bool:
        raise ValueError(f"scores, members: shapes {tuple(scores.shape)} and "
                         f"{tuple(members.shape)} given, the latter {members.dtype}; expected one "
                         "shape, members bool")
    if scores.isnan().any():
        raise ValueError(f"scores: {int(scores.isnan().sum())} NaN given, expected numbers")
    if not members.any() or members.all():
        raise ValueError(f"members: {int(members.sum())} of {members.numel()} given, expected some "
                         "members and some non-members")
    return scores.detach().double().flatten(), members.flatten()
