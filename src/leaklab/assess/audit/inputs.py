"""What an audit is told: the federation to be, how hard to try, and the records to try it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from leaklab.updates import LocalTraining

KINDS = ("image", "tabular", "tokens", "genotypes")
FEWEST_SNPS = 20  # of columns that hold 0, 1 and 2 alone: fewer are a table of codes


@dataclass(frozen=True)
class Federation:
    """The federation that the model is meant for.

    hospitals
        How many take part in a round; two or more.
    batch_sizes
        Records that each of them trains on in the rounds tried, each size once.
    training
        How they train; plain SGD, since the attacks on updates read that alone.

    Raises ``ValueError`` that names the argument for a value out of range.
    """

    hospitals: int = 3
    batch_sizes: tuple[int, ...] = (1, 4, 16)
    training: LocalTraining = field(default_factory=lambda: LocalTraining(0.1))

    def __post_init__(self):
        if self.hospitals < 2:
            raise ValueError(f"hospitals: {self.hospitals} given, expected 2 or more")
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(f"batch_sizes: {self.batch_sizes} given, expected one or more numbers "
                             "of 1 or more")
        if len(set(self.batch_sizes)) < len(self.batch_sizes):  # the same rounds, counted twice
            raise ValueError(f"batch_sizes: {self.batch_sizes} given, expected each size once")


@dataclass(frozen=True)
class Effort:
    """How hard the audit tries.

    trials
        Rounds for each batch size, each with a draw of records. Ten or more give intervals of use.
    evaluations
        Of the loss and its gradient, for each search.
    draws
        Of directions, for each search of a dense layer.
    most_searched
        Views of more records are not searched for images: a limit of the audit, no safety.
    seconds
        For the whole audit; what is left then is reported as not run. ``None`` for no limit.

    Raises ``ValueError`` that names the argument for a value out of range.
    """

    trials: int = 3
    evaluations: int = 150
    draws: int = 2**13
    most_searched: int = 4
    seconds: float | None = None

    def __post_init__(self):
        for name in ("trials", "evaluations", "draws", "most_searched"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} given, expected 1 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds: {self.seconds} given, expected None or a number above 0")


@dataclass(frozen=True)
class Batch:
    """Records to audit with, public or synthetic or the auditor's own: they stay on the machine.

    inputs
        Shape (n, ...), as the model takes them.
    targets
        Shape (n, ...), as the loss takes them.
    groups
        Shape (n,): the patient of each record, so that no patient is victim and public at once.

    Raises ``ValueError`` for other shapes and for inputs that are not finite.
    """

    inputs: Tensor
    targets: Tensor
    groups: Tensor | None = None

    def __post_init__(self):
        n = len(self.inputs) if self.inputs.ndim else 0
        if self.inputs.ndim < 2 or n < 1:
            raise ValueError(f"inputs: shape {tuple(self.inputs.shape)} given, expected (n, ...) "
                             "with n of 1 or more")
        for name in ("targets", "groups"):
            given = getattr(self, name)
            if given is not None and given.shape[:1] != (n,):
                raise ValueError(f"{name}: shape {tuple(given.shape)} given, expected {n} entries, "
                                 "one a record")
        if not torch.isfinite(self.inputs).all():
            raise ValueError("inputs: NaN or infinite values given, expected finite ones; impute "
                             "or drop those records first")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Sequence[int] | Tensor) -> Batch:
        """The records at ``index``, in that order."""
        index = torch.as_tensor(index, dtype=torch.long)
        groups = None if self.groups is None else self.groups[index]
        return Batch(self.inputs[index], self.targets[index], groups)


def split(batch: Batch, seed: int) -> tuple[Batch, Batch]:
    """Victims and public records, half each, no patient in both; each seed another split.

    Raises ``ValueError`` where ``groups`` name fewer than two patients.
    """
    groups = torch.arange(len(batch)) if batch.groups is None else batch.groups.cpu()
    people = groups.unique()
    if len(people) < 2:
        raise ValueError("groups: one patient given, expected two or more")
    order = np.random.default_rng(seed).permutation(len(people))
    private = torch.isin(groups, people[torch.from_numpy(order[: len(people) // 2])])
    rows = torch.from_numpy(np.random.default_rng((seed, 1)).permutation(len(batch)))
    return batch.take(rows[private[rows]]), batch.take(rows[~private[rows]])


def overdrawn(federation: Federation, effort: Effort, victims: int) -> Iterator[str]:
    """A warning where the rounds of a batch size use victims over and over."""
    often = [size for size in federation.batch_sizes
             if (drawn := size * federation.hospitals) <= victims < drawn * effort.trials]
    if often:
        yield (f"At batch {', '.join(map(str, often))} the rounds draw more records than the "
               f"{victims} victims there are: these intervals say how rounds among these victims "
               "vary, and not what other patients would bring.")


def kind_of(inputs: Tensor) -> str:
    """Which of :data:`KINDS` these inputs are, by type and shape.

    Whole numbers as integers are tokens; (n, columns) that hold 0, 1 and 2 alone are genotypes,
    from 20 columns on; other (n, columns) a table; (n, channels, height, width) images.

    Raises ``ValueError`` for any other shape.
    """
    if not inputs.is_floating_point() and inputs.ndim == 2:
        return "tokens"
    if inputs.is_floating_point() and inputs.ndim == 4:
        return "image"
    if inputs.is_floating_point() and inputs.ndim == 2:
        whole = torch.isin(inputs, torch.tensor([0.0, 1.0, 2.0]).to(inputs)).all()
        return "genotypes" if whole and inputs.shape[1] >= FEWEST_SNPS else "tabular"
    raise ValueError(f"inputs: {inputs.dtype} of shape {tuple(inputs.shape)} given, expected "
                     "floats (n, channels, height, width) or (n, columns), or integer tokens "
                     "(n, length)")
