"""The gradient of each record by itself: attacks look for it, record-level privacy bounds it."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, unfold

from leaklab.updates import State

__all__ = ["record_gradients"]


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


def clipped_sum(
    model: nn.Module, inputs: Tensor, targets: Tensor, max_grad_norm: float
) -> list[Tensor]:
    r"""The sum over records of their gradients, each clipped to ``max_grad_norm``, one a parameter.

    In one pass forward and one back, and without holding any record's gradient of a dense layer:
    it is an outer product :math:`s\,a^\top`, whose norm is that of the slope s times that of the
    input a, and :math:`\sum_i c_i s_i a_i^\top` is one product of matrices. The model runs in its
    own mode, its layers once each. A gradient that is not finite counts as 0, so that one record
    cannot turn the sum into NaN. Shapes: inputs (n, ...), targets (n,).

    Raises ``ValueError`` for parameters outside ``nn.Linear`` on vectors and ``nn.Conv2d`` without
    groups. Source: Bu et al., Differentially Private Optimization on Large Model at Small Cost
    (2023, arXiv:2210.00038), who call it book-keeping.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    known = {id(p) for layer in layers for p in layer.parameters()}
    odd = [name for name, p in model.named_parameters() if id(p) not in known]
    if odd or any(getattr(layer, "groups", 1) > 1 for layer in layers):
        raise ValueError(f"model: parameters {odd or 'of grouped convolutions'} given, expected "
                         "those of nn.Linear and of nn.Conv2d without groups")
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    hooks = [layer.register_forward_hook(lambda layer, given, out: seen.update(
        {layer: (given[0].detach(), out)})) for layer in layers]
    loss = cross_entropy(model(inputs), targets, reduction="sum")
    for hook in hooks:
        hook.remove()
    slopes = torch.autograd.grad(loss, [seen[layer][1] for layer in layers])
    parts = [_Layer.of(layer, seen[layer][0], slope)
             for layer, slope in zip(layers, slopes, strict=True)]
    norms = sum(part.squares for part in parts).sqrt()
    finite = norms.isfinite()
    if not bool(finite.all()):
        parts = [part.only(finite) for part in parts]
        norms = norms.masked_fill(~finite, 0)
    share = (max_grad_norm / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1)
    found = {id(p): g for part in parts for p, g in part.sums(share)}
    return [found[id(p)] for p in model.parameters()]


class _Layer(NamedTuple):
    """One layer's gradients, a record each, as far as they must be known."""

    layer: nn.Module
    squares: Tensor
    """Of the norms of the records' gradients, (n,)."""
    inputs: Tensor
    slopes: Tensor
    weights: Tensor | None
    """(n, out, in) where they are held, of a convolution."""

    @classmethod
    def of(cls, layer: nn.Module, inputs: Tensor, slopes: Tensor) -> _Layer:
        if isinstance(layer, nn.Linear):
            squares = slopes.square().sum(1)
            return cls(layer, squares * (inputs.square().sum(1) + (layer.bias is not None)),
                       inputs, slopes, None)
        patches = unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        slopes = slopes.flatten(2)
        weights = slopes @ patches.transpose(1, 2)
        bias = slopes.sum(2)
        squares = weights.square().sum((1, 2))
        if layer.bias is not None:
            squares = squares + bias.square().sum(1)
        return cls(layer, squares, inputs, bias, weights)

    def only(self, kept: Tensor) -> _Layer:
        """The same with 0 in the place of records that are not ``kept``, bool (n,)."""
        def zeroed(tensor: Tensor) -> Tensor:
            return tensor.masked_fill(~kept.view(-1, *[1] * (tensor.dim() - 1)), 0)

        weights = None if self.weights is None else zeroed(self.weights)
        return self._replace(inputs=zeroed(self.inputs), slopes=zeroed(self.slopes),
                             weights=weights)

    def sums(self, share: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """Each parameter with the sum of its gradients, weighted by ``share``, (n,)."""
        slopes = share[:, None] * self.slopes
        weight = (slopes.T @ self.inputs if self.weights is None else
                  torch.einsum("n,noi->oi", share, self.weights).view_as(self.layer.weight))
        bias = [] if self.layer.bias is None else [(self.layer.bias, slopes.sum(0))]
        return [(self.layer.weight, weight), *bias]
