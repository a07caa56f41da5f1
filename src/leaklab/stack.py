"""Many models of one architecture, trained as one tensor program.

Membership attacks and audits need dozens to thousands of models that differ only in what they
were trained on. Trained one after another, a small model leaves the processor waiting for Python;
here the weights of all are stacked, (K, ...), and each step trains every model on its own batch
(``torch.func.vmap``; Horace He and Richard Zou, "Model ensembling", PyTorch documentation). The
result is that of K separate trainings: :func:`leaklab.federation.train_on` on the records of
model k, with the generator that :func:`leaklab.schedule.generators` has for it, gives the same
weights up to rounding.

BatchNorm is refused, because it would mix the padding of a short batch into its statistics;
GroupNorm, LayerNorm and dropout work. Dropout draws from one stream for all models, so its
trainings are equal to separate ones in distribution only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from leaklab.runtime import isolated_rng, progress
from leaklab.schedule import Schedule, generators, padded_batches, schedule
from leaklab.updates import LocalTraining

CACHE = {"cpu": 2**22, "cuda": 2**30}
"""Bytes of weights that are trained side by side: what a processor's cache holds."""


@dataclass(frozen=True)
class Stack:
    """K models of one architecture.

    model
        The architecture; its own weights are not used.
    parameters, buffers
        By name as in the model, each of shape (K, ...).
    """

    model: nn.Module
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def __getitem__(self, rows: slice | Tensor | list[int]) -> Stack:
        """The models of ``rows``."""
        return replace(self, parameters={n: t[rows] for n, t in self.parameters.items()},
                       buffers={n: t[rows] for n, t in self.buffers.items()})


def new_stack(
    make_model: Callable[[torch.Generator], nn.Module], number: int, generator: torch.Generator
) -> Stack:
    """``number`` fresh models, each with its own weights: ``make_model(generator)``, in turn.

    ``make_model`` is e.g. ``partial(leaklab.models.mlp, num_features=22)``. Raises ``ValueError``
    for fewer than one model.
    """
    _require(number >= 1, f"number: {number} given, expected 1 or more")
    return _stacked([make_model(generator) for _ in range(number)])


def repeat(model: nn.Module, number: int) -> Stack:
    """``number`` copies of ``model``, such as the global model that a federation sends out.

    Raises ``ValueError`` for fewer than one.
    """
    _require(number >= 1, f"number: {number} given, expected 1 or more")
    return _stacked([model])[[0] * number]


def state_of(stack: Stack, k: int) -> dict[str, Tensor]:
    """Model ``k`` as a ``state_dict`` that shares no memory with the stack."""
    tensors = {**stack.parameters, **stack.buffers}
    return {name: tensors[name][k].detach().clone() for name in stack.model.state_dict()}


def paired_members(number: int, n: int, generator: torch.Generator) -> Tensor:
    """Members of ``number`` models among ``n`` records: bool (number, n), in pairs.

    Models 2j and 2j + 1 train on complementary random halves, so every record is in exactly half
    of the models. An attack on one of the two must leave out the other, which gives its members
    away. Raises ``ValueError`` for an odd number or fewer than two records.
    """
    _require(number >= 2 and number % 2 == 0, f"number: {number} given, expected 2, 4, 6, ...")
    _require(n >= 2, f"n: {n} given, expected 2 or more")
    members = torch.zeros(number, n, dtype=torch.bool)
    for k in range(0, number, 2):
        members[k, torch.randperm(n, generator=generator)[: n // 2]] = True
        members[k + 1] = ~members[k]
    return members


@torch.no_grad()
def stack_logits(stack: Stack, inputs: Tensor, *, chunk: int = 16, batch: int = 512) -> Tensor:
    """Logits of every model for every record, in evaluation mode: (K, n, classes).

    inputs (n, ...), on the device of the stack. ``chunk`` models answer for ``batch`` records at a
    time, which bounds the memory.
    """
    model = copy.deepcopy(stack.model).eval()

    def answer(parameters, buffers, x):
        return functional_call(model, (parameters, buffers), (x,))

    return torch.cat([
        torch.cat([vmap(answer, in_dims=(0, 0, None))(part.parameters, part.buffers, x)
                   for x in inputs.split(batch)], dim=1)
        for part in (stack[k:k + chunk] for k in range(0, len(stack), chunk))])


# --- Training ---------------------------------------------------------------------------------


def train_stack(
    stack: Stack, inputs: Tensor, targets: Tensor, members: Tensor, training: LocalTraining,
    generator: torch.Generator, *, epochs: int | None = None, chunk: int | None = None,
) -> Stack:
    """Train every model on its own records and return the stack of the results.

    inputs
        The records of all, shape (n, ...), on the device and in the dtype of the stack.
    targets
        Class labels, (n,), or (K, n) where models are trained on different labels.
    members
        bool (K, n): row k says which records model k trains on; the numbers may differ.
    training
        As of one hospital: each model draws its own batches and starts its own optimiser. Models
        with fewer batches stop earlier. ``epochs``, passes through a model's own records, takes
        the place of ``training.local_steps`` where given.
    generator
        On the CPU. Without dropout the result does not depend on ``chunk``, the number of models
        trained side by side.

    Raises ``ValueError`` that names the argument for shapes that do not fit, a model without
    records, and a model with BatchNorm.
    """
    members = members.cpu()
    _check(stack, inputs, targets, members, epochs, chunk)
    size = chunk or _chunk(stack)
    batches = [padded_batches(int(row.sum()), training, epochs, own)
               for row, own in zip(members, generators(len(stack), generator), strict=True)]
    # models that stop together are trained together
    order = sorted(range(len(stack)), key=lambda k: -len(batches[k]))
    parts = []
    with isolated_rng(generator):
        for rows in (order[k:k + size] for k in range(0, len(order), size)):
            labels = targets[rows] if targets.dim() == 2 else targets.expand(len(rows), -1)
            plan = schedule([batches[k] for k in rows], members[rows])
            parts.append(_train(stack[rows], inputs, labels, plan, training))
    back = torch.tensor(order).argsort()
    return replace(stack, parameters={
        name: torch.cat([part.parameters[name] for part in parts])[back]
        for name in stack.parameters})


def _chunk(stack: Stack) -> int:
    weights = sum(p[0].nbytes for p in stack.parameters.values())
    device = next(iter(stack.parameters.values())).device.type
    return max(16, CACHE.get(device, CACHE["cuda"]) // weights)


def _train(stack: Stack, inputs: Tensor, targets: Tensor, plan: Schedule,
           training: LocalTraining) -> Stack:
    model = copy.deepcopy(stack.model).train(training.mode == "train")
    parameters = {name: _laid_out(p) for name, p in stack.parameters.items()}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    optimiser = _Optimiser([parameters[name] for name in trained], training)
    index, weight = plan.index.to(inputs.device), plan.weight.to(inputs)
    labels = targets.expand(len(index), -1, -1).gather(2, index)
    _keep_freed_memory()
    steps = progress(range(len(index)), f"train {len(stack)} models")
    for active, group in groupby(steps, key=plan.active.__getitem__):
        now = {name: p[:active].requires_grad_(name in trained) for name, p in parameters.items()}
        buffers = {name: b[:active] for name, b in stack.buffers.items()}
        for step in group:
            gradients = _gradients(model, now, buffers, inputs[index[step, :active]],
                                   labels[step, :active], weight[step, :active])
            optimiser.step(gradients, active)
    return replace(stack, parameters={name: p.contiguous() for name, p in parameters.items()})


def _laid_out(parameter: Tensor) -> Tensor:
    """A copy in the layout of its gradient, which for a dense layer is transposed.

    Optimisers then run straight through memory.
    """
    if parameter.dim() != 3:
        return parameter.clone()
    return parameter.mT.clone(memory_format=torch.contiguous_format).mT


def _keep_freed_memory() -> None:
    """Have glibc keep what a step frees, for the next step; elsewhere, nothing happens.

    It keeps blocks as large as the largest it has seen freed, up to 32 MiB. Else the gradients of
    each step are fetched anew from the system: a third of the time of a small CNN.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _gradients(model, parameters, buffers, x, y, weight) -> list[Tensor]:
    """Of each model's mean loss by its own weights: the sum over models has them all at once."""
    def answer(own, own_buffers, own_x):
        return functional_call(model, (own, own_buffers), (own_x,))

    logits = vmap(answer, randomness="different")(parameters, buffers, x)
    losses = cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    leaves = [p for p in parameters.values() if p.requires_grad]
    return list(torch.autograd.grad((losses * weight.flatten()).sum(), leaves,
                                    materialize_grads=True))


class _Optimiser:
    """``torch.optim`` on stacked weights, of which only the first ``active`` rows may move."""

    def __init__(self, leaves: list[Tensor], training: LocalTraining):
        self.leaves, self.training = leaves, training
        self.received = [p.clone() for p in leaves] if training.proximal else []
        self.first = [torch.zeros_like(p) for p in leaves]
        self.second = [torch.zeros_like(p) for p in leaves]
        self.steps = [torch.zeros(()) for _ in leaves]

    @torch.no_grad()
    def step(self, gradients: list[Tensor], active: int) -> None:
        """One step along ``gradients``, each (active, ...)."""
        leaves, received, first, second = (
            [tensor[:active] for tensor in tensors]
            for tensors in (self.leaves, self.received, self.first, self.second))
        for gradient, p, old in zip(gradients, leaves, received, strict=False):
            gradient.add_(p - old, alpha=self.training.proximal)
        if self.training.optimiser == "adam":
            adam(leaves, gradients, first, second, [], self.steps, amsgrad=False, beta1=0.9,
                 beta2=0.999, lr=self.training.learning_rate, weight_decay=0, eps=1e-8,
                 maximize=False)
        else:
            sgd(leaves, gradients, first, weight_decay=0, momentum=self.training.momentum,
                lr=self.training.learning_rate, dampening=0, nesterov=False, maximize=False)


# --- Checks -----------------------------------------------------------------------------------


def _stacked(models: list[nn.Module]) -> Stack:
    parameters, buffers = stack_module_state(models)
    return Stack(copy.deepcopy(models[0]), {n: p.detach() for n, p in parameters.items()},
                 {n: b.detach() for n, b in buffers.items()})


def _check(stack, inputs, targets, members, epochs, chunk) -> None:
    k, n = len(stack), len(inputs)
    _require(members.dtype == torch.bool and members.shape == (k, n),
             f"members: {members.dtype} {tuple(members.shape)} given, "
             f"expected bool {(k, n)}: one row a model, one column a record")
    _require(targets.shape in ((n,), (k, n)),
             f"targets: shape {tuple(targets.shape)} given, expected {(n,)} or {(k, n)}")
    empty = (~members.any(1)).nonzero()[:, 0].tolist()
    _require(not empty, f"members: models {empty} have no records, expected at least one each")
    _require(epochs is None or epochs >= 1, f"epochs: {epochs} given, expected None or 1 or more")
    _require(chunk is None or chunk >= 1, f"chunk: {chunk} given, expected None or 1 or more")
    norms = [name for name, module in stack.model.named_modules() if isinstance(module, _NormBase)]
    _require(not norms, f"stack: layers {norms} normalise over a batch, which padding would "
                        "change; expected GroupNorm, LayerNorm or none")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)
