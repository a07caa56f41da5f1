"""The dense layers of a model, and what a view says of one: its gradient, its noise, its weights.

The dense-layer attacks all start from the same matrices. A record x enters a linear layer as
``[x, 1]``: the bias is the weight of a last input that is always one, so its gradient is one more
column.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from leaklab.attacks.observed import mean_gradient, rounding
from leaklab.updates import View


@dataclass(frozen=True)
class DenseGradient:
    """One linear layer as a view shows it, with the bias as a last column; float64.

    name
        Of the layer in the model, ``""`` where the model is that layer.
    gradient
        Mean gradient of the loss, shape (neurons, features + 1).
    noise
        Standard deviation of each entry of ``gradient``, from stored weights and arithmetic.
    weights
        Before training, shape (neurons, features + 1).
    like
        The gradient's first entry in the view's own dtype and on its device, for answers.
    """

    name: str
    gradient: Tensor
    noise: Tensor
    weights: Tensor
    like: Tensor

    @property
    def reach(self) -> Tensor:
        """Twice what noise of these sizes can reach of a singular value: its norm is at most about
        the longest row plus the longest column."""
        return 2 * (self.noise.norm(dim=1).max() + self.noise.norm(dim=0).max())


def running_order(model: nn.Module) -> tuple[tuple[str, nn.Module], ...]:
    """The layers of ``model`` by name, in the order in which they run, and last what comes last.

    Found by tracing a copy, without an input. Where the model ends in a plain function, the last
    entry is ``("", model)``. Raises ``ValueError`` for a model that cannot be traced, e.g. because
    it branches on its input.
    """
    if not list(model.children()):
        return (("", model),)
    try:
        # tracing runs the model's own code, which may change its buffers
        nodes = list(fx.Tracer().trace(copy.deepcopy(model)).nodes)
    except Exception as error:
        raise ValueError(f"model: {type(model).__name__} cannot be traced ({error}), expected "
                         "layers that run in one order") from error
    ran = [(node.target, model.get_submodule(node.target)) for node in nodes
           if node.op == "call_module"]
    ends_in_layer = len(nodes) > 1 and nodes[-2].op == "call_module"
    return (*ran, *([] if ends_in_layer else [("", model)]))


def dense_layers(model: nn.Module) -> tuple[str, ...]:
    """The names of the linear layers of ``model``, in the order in which they run.

    Raises ``ValueError`` where there is none, or as :func:`running_order` does.
    """
    names = tuple(dict.fromkeys(name for name, layer in running_order(model)
                                if isinstance(layer, nn.Linear)))
    if not names:
        raise ValueError(f"model: {type(model).__name__} without a linear layer given, expected "
                         "at least one")
    return names


def dense_gradient(model: nn.Module, view: View, layer: str | None = None) -> DenseGradient:
    """What ``view`` says of the linear layer ``layer``, by default the first that runs.

    Raises ``ValueError`` as :func:`leaklab.attacks.observed.mean_gradient` does, and where
    ``layer`` is not a linear layer with a bias or its gradient is not finite.
    """
    name = dense_layers(model)[0] if layer is None else layer
    module = dict(model.named_modules()).get(name)
    if not isinstance(module, nn.Linear) or module.bias is None:
        raise ValueError(f"layer: {name!r} given, which is {module}, expected the name of a "
                         "linear layer with a bias")

    def joined(parts) -> Tensor:
        prefix = f"{name}." if name else ""
        weight, bias = parts[f"{prefix}weight"], parts[f"{prefix}bias"]
        return torch.cat([weight, bias[:, None]], 1)

    observed = joined(mean_gradient(model, view))
    if not observed.isfinite().all():
        raise ValueError(f"view: gradient of layer {name!r} holds NaN or infinite values")
    gradient = observed.double()
    # A stored weight is off by at most `rounding`, evenly; the sums behind an entry by some units
    # in the last place of the largest entry beside it; our own algebra by one of the whole.
    stored = joined(rounding(model, view)).double()
    sums = 2 * torch.finfo(observed.dtype).eps * gradient.abs().amax(1, keepdim=True)
    algebra = torch.finfo(torch.float64).eps * gradient.norm()
    noise = (stored.square() / 3 + sums.square() + algebra.square()).sqrt()
    return DenseGradient(name, gradient, noise, joined(view.before).double(), observed[0, 0])
