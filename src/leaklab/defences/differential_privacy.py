r"""DP-SGD inside a hospital, through Opacus, with a budget that is kept over rounds.

Each step draws every unit with probability q on its own (a Poisson sample), clips the gradient of
each unit to norm C, and adds noise of standard deviation :math:`\sigma C` to their sum (Abadi et
al., 2016, arXiv:1607.00133). The unit is a record or, where ``patients`` are given, a patient: the
gradient clipped is then the mean over all of a patient's records, so that one who comes often
weighs no more than one who came once. What is used of Opacus (Yousefpour et al., 2021,
arXiv:2109.12298) are its gradients of single records, its optimiser, its sampler and its
accountants, and not its ``PrivacyEngine``: that keeps the budget in an object, and a new one in
each round forgets all rounds before. Here a history is a tuple, which :func:`spend` extends.

What it holds against: anyone who sees every update, knows all other units and sends any model, as
long as the hospital trains by this code. A unit whose gradient is not finite counts as 0, so that
no model makes its presence show as NaN. What it does not: it hides no fact about the hospital as a
whole; how many records and units there are is taken for public (the update carries
``num_examples``, and the sampling rate follows from the units), so the promise is about a unit's
data and not about that count; it says the less the larger epsilon is; and the noise comes from an
ordinary generator in floating point, which an adversary who guesses its key subtracts.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab.defences.accounting import Spent
from leaklab.defences.clip_and_noise import require_parameters
from leaklab.gradients import clipped_sum
from leaklab.runtime import isolated_rng
from leaklab.updates import LocalTraining, Update, copy_state

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer

__all__ = ["PrivateHospital"]

Sampler = Callable[[int, float, int, torch.Generator], Iterable[Sequence[int]]]
"""From units, sample rate, steps and a generator to the units in each step."""


def poisson_batches(
    units: int, sample_rate: float, steps: int, generator: torch.Generator
) -> Iterable[list[int]]:
    """Each unit by a coin of its own in each step: Opacus' sampler, for which accountants count.

    Batches differ in size and may be empty.
    """
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    return UniformWithReplacementSampler(num_samples=units, sample_rate=sample_rate,
                                         generator=generator, steps=steps)


@dataclass(frozen=True)
class PrivateHospital:
    """A hospital that trains by DP-SGD; takes the place of ``federation.Hospital``.

    inputs, targets
        Shapes (n, ...) and (n,).
    noise_multiplier, max_grad_norm
        sigma and C; noise of 0 only clips.
    patients
        For each record, whose it is: the unit is then the patient. ``None``: the record.
    sampler
        Draws the batches. Accountants count for :func:`poisson_batches` alone.
    one_pass
        Clip by :func:`leaklab.gradients.clipped_sum`, which is faster and holds no gradient of a
        single record. For records as units, and layers that it knows.

    Raises ``ValueError`` that names the argument.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    noise_multiplier: float
    max_grad_norm: float
    patients: tuple[str, ...] | None = None
    sampler: Sampler = poisson_batches
    one_pass: bool = False

    def __post_init__(self):
        require_parameters(self.max_grad_norm, self.noise_multiplier)
        for argument in ("targets", "patients"):
            given = getattr(self, argument)
            if given is not None and len(given) != len(self.inputs):
                raise ValueError(f"{argument}: {len(given)} given, expected {len(self.inputs)}, "
                                 "one a record")
        if self.one_pass and self.patients is not None:
            raise ValueError("one_pass: True given, expected False where the unit is a patient")
        if not len(self.inputs):
            raise ValueError("inputs: no records given, expected at least one")

    @property
    def owner(self) -> Tensor:
        """The unit (0, 1, ...) of each record, (n,)."""
        if self.patients is None:
            return torch.arange(len(self.inputs))
        return torch.from_numpy(np.unique(self.patients, return_inverse=True)[1])

    @property
    def units(self) -> int:
        """The number of records, or of patients."""
        return int(self.owner.max()) + 1

    def spends(self, training: LocalTraining) -> Spent:
        """What one round of ``training`` costs; a batch is the expected number of units in it."""
        return Spent(self.noise_multiplier, self._batch(training) / self.units,
                     training.local_steps)

    def train(
        self, model: nn.Module, training: LocalTraining, *, generator: torch.Generator,
        round: int = 0, defend: Callable[[Update], Update] | None = None,
        listen: Callable[[DPOptimizer], object] | None = None,
    ) -> Update:
        """Train a copy of ``model`` and return the update; what it costs is :meth:`spends`.

        Dropout and the like behave as in training. ``listen`` is given Opacus' optimiser before
        the first step: an auditor's way in. ``generator`` (on the CPU) draws batches and noise.

        Raises ``ValueError`` for a proximal term, for a batch larger than all units and for a
        model with a layer that mixes records, such as BatchNorm.
        """
        local = copy.deepcopy(model).train()
        before = copy_state(model.state_dict())
        module, optimiser = private_parts(
            local, training, self._batch(training), self.noise_multiplier, self.max_grad_norm,
            _twin(generator, self.inputs.device))
        if self.one_pass:
            module.disable_hooks()
        if listen:
            listen(optimiser)
        owner = self.owner
        weights = (1 / owner.bincount()[owner]).to(self.inputs)
        batches = self.sampler(self.units, self._batch(training) / self.units,
                               training.local_steps, generator)
        with isolated_rng(generator), warnings.catch_warnings():
            # the input needs no gradient, and torch says so of Opacus' hooks
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            for units in batches:
                optimiser.zero_grad()
                drawn = torch.as_tensor(units, dtype=torch.long)
                records = torch.isin(owner, drawn).nonzero()[:, 0]
                here = records.to(self.inputs.device)
                if self.one_pass and len(here):
                    _clip_at_once(local, optimiser, self.inputs[here], self.targets[here])
                else:
                    _gradients(module, self.inputs, self.targets, weights, here)
                    by_unit(optimiser.params, owner[records])
                    _zero_what_is_not_finite(optimiser.params)
                optimiser.step()
        update = Update(before, copy_state(local.state_dict()), len(self.inputs), round, self.name)
        return defend(update) if defend else update

    def _batch(self, training: LocalTraining) -> int:
        batch = training.batch_size or self.units
        if training.proximal or batch > self.units:
            raise ValueError(f"training: {training} given, expected no proximal term and batches "
                             f"of at most all {self.units} units")
        return batch


def private_parts(
    model: nn.Module, training: LocalTraining, batch: int, noise_multiplier: float,
    max_grad_norm: float, generator: torch.Generator,
) -> tuple[nn.Module, DPOptimizer]:
    """``model`` with Opacus' hooks, for a loss summed over records, and its private optimiser.

    ``batch`` is the number of units that the noisy sum is divided by. ``generator``, on the device
    of the model, draws the noise. Raises ``ValueError`` for layers that Opacus cannot make private.
    """
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer
    from opacus.validators import ModuleValidator

    if errors := ModuleValidator.validate(model, strict=False):
        raise ValueError(f"model: {errors[0]} given, expected layers that treat each record by "
                         "itself, such as GroupNorm in the place of BatchNorm")
    trained = [p for p in model.parameters() if p.requires_grad]
    plain = (torch.optim.Adam(trained, lr=training.learning_rate) if training.optimiser == "adam"
             else torch.optim.SGD(trained, lr=training.learning_rate, momentum=training.momentum))
    return GradSampleModule(model, loss_reduction="sum"), DPOptimizer(
        plain, noise_multiplier=noise_multiplier, max_grad_norm=max_grad_norm,
        expected_batch_size=batch, generator=generator)


def by_unit(parameters: Iterable[nn.Parameter], owner: Tensor) -> None:
    """Add up the gradients, one a record, of records that have one ``owner``, (records,), in place.

    Afterwards ``grad_sample`` of each parameter has one row a unit, so clipping is by unit.
    """
    units, row = owner.unique(return_inverse=True)
    if len(units) == len(row):
        return
    for p in parameters:
        summed = p.new_zeros(len(units), *p.shape)
        p.grad_sample = summed.index_add_(0, row.to(p.device), p.grad_sample)


def _zero_what_is_not_finite(parameters: Iterable[nn.Parameter]) -> None:
    """Zero the whole gradient of a unit, in place, where any of it is not finite.

    Clipping makes NaN of it, and NaN in the sum would tell that the unit is there.
    """
    rows = [p.grad_sample for p in parameters]
    finite = torch.stack([g.flatten(1).isfinite().all(1) for g in rows]).all(0)
    if not bool(finite.all()):
        for g in rows:
            g[~finite] = 0


def _gradients(module: nn.Module, inputs: Tensor, targets: Tensor, weights: Tensor,
               records: Tensor) -> None:
    """Leave the weighted gradient of each of ``records`` in ``grad_sample``; of none, no rows."""
    if not len(records):
        for p in module.parameters():
            p.grad_sample = p.new_zeros(0, *p.shape) if p.requires_grad else None
        return
    losses = cross_entropy(module(inputs[records]), targets[records], reduction="none")
    (weights[records] * losses).sum().backward()


def _clip_at_once(module: nn.Module, optimiser: DPOptimizer, inputs: Tensor,
                  targets: Tensor) -> None:
    """Leave the sum of clipped gradients with the optimiser, which finds no rows left to clip."""
    sums = clipped_sum(module, inputs, targets, optimiser.max_grad_norm)
    for p, total in zip(module.parameters(), sums, strict=True):
        p.grad_sample = p.new_zeros(0, *p.shape) if p.requires_grad else None
        p.summed_grad = total if p.requires_grad else None


def _twin(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator on ``device``, seeded by a draw."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)
