"""A membership experiment on federations: who holds which record, and how an attack is judged.

Records are dealt so that nothing but training sets members apart: one pool without duplicates, half
of the patients members of a federation and the other half of its twin, and a third part public,
which no federation sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from leaklab.data import hospitals as dealing
from leaklab.data.dataset import Dataset
from leaklab.metrics.roc import auc, operating_point
from leaklab.runtime import isolated_rng

Records = tuple[Tensor, Tensor]
"""Inputs (n, ...) and targets (n,)."""


@dataclass(frozen=True)
class Deal:
    """The records of one experiment.

    pool
        The n records that are asked about; half of them members of each federation.
    public
        The attacker's own, of the same kind.
    owners
        Integers, (2, n): the hospital of each record in each of the two federations, -1 at none.
    patients
        Of the pool, (n,).
    """

    pool: Records
    public: Records
    owners: Tensor
    patients: np.ndarray

    @property
    def members(self) -> Tensor:
        """Whether a record lies at any hospital, bool (2, n)."""
        return self.owners >= 0


def deal(
    dataset: Dataset, number: int, rng: np.random.Generator, *, public: float = 0.25,
    skew: float | None = None,
    prepare: Callable[[Dataset, Dataset], tuple[Dataset, Dataset]] | None = None,
) -> Deal:
    """Deal ``dataset`` to the public, and the rest to ``number`` hospitals of two federations.

    ``public`` is the public's share of the patients. Both sides, and the members of the two
    federations, agree in site and label. Within a federation records are dealt to hospitals at
    random, or by label skew of that concentration. ``prepare(public, pool)`` may scale both by
    what the public shows. Raises ``ValueError`` as :mod:`leaklab.data.hospitals` does.
    """
    pool, known = dealing.train_test(dealing.drop_duplicates(dataset), public, rng)
    if prepare:
        known, pool = prepare(known, pool)
    halves = dealing.train_test(pool, 0.5, rng)
    owners = np.full((2, len(pool)), -1)
    for row, half in zip(owners, halves, strict=True):
        # label skew so large that there is none deals at random, to hospitals of equal size
        parts = dealing.label_skew(half, number, skew or 1e6, rng,
                                   min_per_class=0 if skew is None else 1)
        for k, part in enumerate(parts.values()):
            row[np.isin(pool.patients, part.patients)] = k
    return Deal(_records(pool), _records(known), torch.from_numpy(owners), pool.patients)


def two_layers(generator: torch.Generator, *, num_features: int, width: int = 64) -> nn.Sequential:
    """Two hidden layers of ReLU: the network of this chapter, inputs (n, ...) to logits (n, 2)."""
    with isolated_rng(generator):
        return nn.Sequential(nn.Flatten(), nn.Linear(num_features, width), nn.ReLU(),
                             nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def of_hospitals(judge: Callable[[Tensor, Tensor], float], scores: Tensor, owners: Tensor
                 ) -> float:
    """``judge(scores, members)`` of each hospital's members against records at none, the mean.

    Shapes: scores (C, n), owners (n,). A record of another hospital is left out: it is no member
    here, but trained the model that this hospital was sent.
    """
    outside = owners < 0
    kept = [(owners == k) | outside for k in range(len(scores))]
    return float(np.mean([judge(own[keep], (owners == k)[keep])
                          for k, (own, keep) in enumerate(zip(scores, kept, strict=True))]))


def tpr_at(fpr: float) -> Callable[[Tensor, Tensor], float]:
    """A judge for :func:`of_hospitals`: the true-positive rate at that false-positive rate."""
    return lambda scores, members: operating_point(scores, members, fpr).true_positive_rate


def within_class(scores: Tensor, members: Tensor, targets: Tensor) -> float:
    """The AUC among records of one class, the mean over classes that have both sides.

    What is left of an attack once it may not use how common each class is at a hospital.
    """
    both = [c for c in targets.unique() if 0 < members[targets == c].double().mean() < 1]
    return float(np.mean([auc(scores[targets == c], members[targets == c]) for c in both]))


def _records(part: Dataset) -> Records:
    return torch.tensor(part.inputs), torch.tensor(part.targets)
