"""The gradient of each record by itself: attacks look for it, record-level privacy bounds it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from leaklab.updates import State


def record_gradients(
    model: nn.Module, state: State, inputs: Tensor, targets: Tensor, *, chunk: int = 256
) -> Tensor:
    """The loss gradient of each record by itself, in evaluation mode; shape (n, p).

    Shapes: inputs (n, ...), targets (n,). The p columns are the parameters of ``model``, flattened
    one after another as ``named_parameters`` lists them, at the weights ``state``. ``chunk``
    records are worked on at once. Raises ``ValueError`` for targets of another length.
    """
    if len(inputs) != len(targets):
        raise ValueError(f"targets: {len(targets)} given, expected {len(inputs)}, one per input")
    net = copy.deepcopy(model).eval()
    names = [name for name, _ in net.named_parameters()]
    weights = {name: state[name].detach() for name in names}
    rest = {name: tensor for name, tensor in state.items() if name not in weights}

    def loss(weights: dict[str, Tensor], record: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(net, {**rest, **weights}, (record[None],))
        return cross_entropy(logits, target[None])

    per_record = vmap(grad(loss), in_dims=(None, 0, 0))
    parts = [per_record(weights, some, own) for some, own
             in zip(inputs.split(chunk), targets.split(chunk), strict=True)]
    return torch.cat([torch.cat([part[name].flatten(1) for name in names], 1) for part in parts])
