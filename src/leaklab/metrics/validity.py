"""Would this experiment find members where none can be found? Checks before and after an attack.

Before: if members differ from non-members by what they are, a classifier that never meets the
model tells them apart, and an attack that does the same has measured nothing (Das, Zhang and
Tramèr, 2024, arXiv:2406.16201, call these blind baselines). After: an attack judged against
memberships dealt anew among the patients must be at chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from leaklab.metrics.roc import Pooled, auc, patient_draws, pooled_auc

__all__ = ["blind_baseline"]


@dataclass(frozen=True)
class Blind:
    """What can be told about membership without the model: an AUC and its 95 % interval."""

    auc: float
    interval: tuple[float, float]

    @property
    def valid(self) -> bool:
        """Whether the check found nothing: the interval reaches down to 0.5."""
        return self.interval[0] <= 0.5

    @property
    def sentence(self) -> str:
        """The verdict, to print before an attack is run."""
        low, high = self.interval
        said = (f"without the model, members are told from non-members with AUC {self.auc:.2f} "
                f"({low:.2f} to {high:.2f})")
        if self.valid:
            return f"Nothing found: {said}."
        return f"INVALID: {said}. What an attack finds here need not come from the model."


def blind_baseline(
    inputs: Tensor, targets: Tensor, members: Tensor, patients: Sequence, *,
    generator: torch.Generator, folds: int = 5, trees: int = 200, draws: int = 1000,
) -> Blind:
    """Try to tell members from non-members by their inputs and labels alone.

    A random forest of ``trees``, judged on patients it was not fitted to, in ``folds`` folds of
    equal shares of members. Shapes: inputs (n, ...), targets and members (bool) (n,), a patient
    each. The interval is by patients. To find nothing is no proof: a better classifier might.

    Raises ``ValueError`` for lengths that differ, and for fewer members or non-members than folds.
    """
    lengths = {len(inputs), len(targets), len(members), len(patients)}
    fewest = min(int(members.sum()), int((~members).sum()))
    if len(lengths) > 1 or fewest < folds:
        raise ValueError(f"inputs, targets, members, patients: lengths {sorted(lengths)}, {fewest} "
                         f"on the smaller side given, expected one length and {folds} or more")
    kinds = torch.nn.functional.one_hot(targets.long())
    table = torch.cat([inputs.flatten(1), kinds.to(inputs)], 1).detach().cpu().numpy()
    truth, seed = members.cpu().numpy(), int(torch.randint(2**31, (), generator=generator))
    scores = np.empty(len(table))
    rounds = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fitted, judged in rounds.split(table, truth, np.asarray(patients)):
        forest = RandomForestClassifier(trees, min_samples_leaf=3, random_state=seed)
        scores[judged] = forest.fit(table[fitted], truth[fitted]).predict_proba(table[judged])[:, 1]
    found = pooled_auc(torch.from_numpy(scores)[None], torch.from_numpy(truth)[None],
                       patient_draws(patients, draws, generator))
    return Blind(found.value, found.interval)


def permuted_auc(
    scores: Tensor, members: Tensor, patients: Sequence, *, generator: torch.Generator,
    draws: int = 200,
) -> Pooled:
    """AUC of ``scores`` against memberships dealt anew: 0.5 but for chance; (K, n) each.

    In every draw the patients swap their rows of membership among patients with as many records,
    the same way for all models. ``value`` is the mean over draws, and ``interval`` holds 95 % of
    them: what an attack that knows nothing reaches by luck. Errors as in
    :func:`leaklab.metrics.roc.roc`.
    """
    _, owner, size = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    rows = np.argsort(owner, kind="stable")
    starts = np.cumsum(size) - size
    found = []
    for _ in range(draws):
        given = np.empty(len(owner), dtype=np.int64)
        for many in np.unique(size):
            people = np.flatnonzero(size == many)
            for mine, other in zip(people, rng.permutation(people), strict=True):
                given[rows[starts[mine]:starts[mine] + many]] = (
                    rows[starts[other]:starts[other] + many])
        found.append(auc(scores, members[..., torch.from_numpy(given).to(members.device)]))
    each = torch.tensor(found, dtype=torch.float64)
    return Pooled(float(each.mean()), each)
