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
long as the hospital trains by this code. What it does not: it hides no fact about the hospital as
a whole; a gradient is hidden with a probability that grows with epsilon; and the noise comes from
an ordinary generator in floating point, which an adversary who guesses its key subtracts.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab.defences.clip_and_noise import require_parameters
from leaklab.runtime import isolated_rng
from leaklab.updates import LocalTraining, Update, copy_state

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer

ACCOUNTANTS = ("prv", "rdp")
"""Opacus' accountants that never promise too much; its third, ``gdp``, is an approximation that
does."""


class Spent(NamedTuple):
    """So many steps at one noise and one rate: an entry in the history of Opacus' accountants."""

    noise_multiplier: float
    sample_rate: float
    steps: int


History = tuple[Spent, ...]
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

    Raises ``ValueError`` that names the argument.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    noise_multiplier: float
    max_grad_norm: float
    patients: tuple[str, ...] | None = None
    sampler: Sampler = poisson_batches

    def __post_init__(self):
        require_parameters(self.max_grad_norm, self.noise_multiplier)
        for argument in ("targets", "patients"):
            given = getattr(self, argument)
            if given is not None and len(given) != len(self.inputs):
                raise ValueError(f"{argument}: {len(given)} given, expected {len(self.inputs)}, "
                                 "one a record")
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
        if listen:
            listen(optimiser)
        owner = self.owner
        weights = (1 / owner.bincount()[owner]).to(self.inputs)
        batches = self.sampler(self.units, self._batch(training) / self.units,
                               training.local_steps, generator)
        with isolated_rng(generator):
            for units in batches:
                optimiser.zero_grad()
                drawn = torch.as_tensor(units, dtype=torch.long)
                records = torch.isin(owner, drawn).nonzero()[:, 0]
                _gradients(module, self.inputs, self.targets, weights, records.to(weights.device))
                by_unit(optimiser.params, owner[records])
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


def _gradients(module: nn.Module, inputs: Tensor, targets: Tensor, weights: Tensor,
               records: Tensor) -> None:
    """Leave the weighted gradient of each of ``records`` in ``grad_sample``; of none, no rows."""
    if not len(records):
        for p in module.parameters():
            p.grad_sample = p.new_zeros(0, *p.shape) if p.requires_grad else None
        return
    losses = cross_entropy(module(inputs[records]), targets[records], reduction="none")
    with warnings.catch_warnings():  # the input needs no gradient, and torch says so of the hooks
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        (weights[records] * losses).sum().backward()


def _twin(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator on ``device``, seeded by a draw."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)


# --- The budget -------------------------------------------------------------------------------


def spend(history: History, spent: Spent) -> History:
    """``history`` and one round more; rounds alike become one entry."""
    if history and history[-1][:2] == spent[:2]:
        return (*history[:-1], spent._replace(steps=history[-1].steps + spent.steps))
    return (*history, spent)


def epsilon(history: History, delta: float, *, units: int, accountant: str = "prv") -> float:
    r"""The epsilon at ``delta`` of all steps in ``history``, for adding or removing one unit.

    ``accountant`` is ``"prv"`` (Gopi, Lee and Wutschitz, 2021, arXiv:2106.02848; within 0.01, from
    above) or ``"rdp"`` (Mironov, 2017, arXiv:1702.07476; at once, and larger). Nothing spent is 0,
    no noise infinity. ``units`` is how many there are, taken for public: a ``delta`` of
    :math:`1/n` would allow to publish one unit as it is.

    Raises ``ValueError`` that names the argument.
    """
    if not 0 < delta < 1 / units:
        raise ValueError(f"delta: {delta} given, expected a number above 0 and below 1/{units}, "
                         "one over the number of units")
    if accountant not in ACCOUNTANTS:
        raise ValueError(f"accountant: {accountant!r} given, expected one of {ACCOUNTANTS}")
    if not history:
        return 0.0
    if min(spent.noise_multiplier for spent in history) == 0:
        return math.inf
    from opacus.accountants import create_accountant

    counting = create_accountant(accountant)
    counting.history = [tuple(spent) for spent in history]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return float(counting.get_epsilon(delta))


def noise_for(
    target_epsilon: float, delta: float, *, units: int, sample_rate: float, steps: int,
    accountant: str = "rdp", precision: float = 0.01,
) -> float:
    """The smallest noise multiplier, to ``precision``, whose epsilon is ``target_epsilon`` at most.

    Arguments as of :func:`epsilon`. Raises ``ValueError`` for a target that is not above 0, or
    that noise of 1,000 does not reach.
    """
    def spent(noise: float) -> float:
        return epsilon((Spent(noise, sample_rate, steps),), delta, units=units,
                       accountant=accountant)

    low, high = 0.0, 1.0
    while high <= 1000 and spent(high) > target_epsilon:
        low, high = high, 2 * high
    if not target_epsilon > 0 or high > 1000:
        raise ValueError(f"target_epsilon: {target_epsilon} given, expected a number above 0 that "
                         "noise of 1,000 reaches")
    while high - low > precision:
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= target_epsilon else (middle, high)
    return high


def distributed_noise(noise_multiplier: float, hospitals: int, honest: int) -> float:
    r"""Each hospital's noise multiplier, so that a sum is private though no share alone is.

    Of ``hospitals`` whose updates are only seen added up, at least ``honest`` add their noise and
    tell nobody. Their variances add up to :math:`\sigma^2 C^2` if each adds
    :math:`\sigma C/\sqrt{honest}`; the others' noise may be subtracted. A share alone protects
    :math:`\sqrt{honest}` times worse: this needs secure aggregation.

    Raises ``ValueError`` for noise that is not above 0, or ``honest`` not in 1 to ``hospitals``.
    Source: Truex et al. (2019, arXiv:1812.03224).
    """
    if not noise_multiplier > 0:
        raise ValueError(f"noise_multiplier: {noise_multiplier} given, expected a number above 0")
    if not 1 <= honest <= hospitals:
        raise ValueError(f"honest: {honest} given, expected 1 to {hospitals}, the number of "
                         "hospitals")
    return noise_multiplier / math.sqrt(honest)
