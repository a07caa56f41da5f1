"""How well scores tell members from non-members, above all where hardly anyone is accused wrongly.

A score that names many members among few false alarms is a threat; one that is right a little more
often than not, on average, names nobody. So the figure of merit is the true-positive rate at a low
false-positive rate (Carlini et al., 2022, arXiv:2112.03570), and n non-members cannot show a rate
below 1/n: :func:`operating_point` then refuses. Ties are honest everywhere: records of one score
are accused together or not at all.

Scores and members may have any one shape; (K, n) pools K target models under one threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leaklab.metrics import proportion_interval


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
    several models are not: for those use :func:`pooled`.
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
