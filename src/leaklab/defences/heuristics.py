r"""Defences that were published with experiments and without a proof, for students to break.

=================  =====================================  =========================================
defence            what it does                           what an attacker who knows it does
=================  =====================================  =========================================
:class:`Soteria`   withholds columns of one layer's       searches with the entries that were sent
                   gradient                               (Balunovic et al., 2022)
:func:`precode`    draws noise behind a bottleneck in     leaves out the layers behind the noise, or
                   the model                              reads a dense layer before it (Scheliga et
                                                          al., 2022; Balunovic et al., 2022)
:class:`Noise`     Gaussian noise, no clipping            averages over rows; a prior (chapter 6)
=================  =====================================  =========================================

Each was measured by its authors against an attacker who does not know of it. The attacks on the
right are in :mod:`leaklab.attacks.adapted`.

Sources: Sun et al. (2021, arXiv:2012.06043), Soteria; Scheliga, Mäder and Seeland (2022,
arXiv:2108.04725), PRECODE; Zhu et al. (2019, arXiv:1906.08935), noise. Broken by Balunovic et al.
(2022, arXiv:2111.04706); Scheliga et al. (2022, arXiv:2208.04767), PRECODE by its own authors.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.functional import softplus

from leaklab.runtime import isolated_rng
from leaklab.updates import LocalTraining, Update


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of one spread on every entry of the mean gradient, which nothing bounds.

    Without clipping a record may move the gradient by any amount, so no epsilon follows from
    ``std``, whatever it is. Raises ``ValueError`` for a spread that is not above 0.
    """

    std: float

    def __post_init__(self):
        if not self.std > 0:
            raise ValueError(f"std: {self.std} given, expected a number above 0")

    @property
    def noise_std(self) -> float:
        """The spread, under the name by which attacks with a prior ask for it."""
        return self.std

    def defend(self, update: Update, training: LocalTraining, *,
               generator: torch.Generator) -> Update:
        """The update with noise on the gradient that it holds; buffers stay as they are."""
        rate = training.learning_rate * training.local_steps
        after = dict(update.after)
        for name, moved in update.delta.items():
            if moved.is_floating_point():
                noise = torch.randn(moved.shape, generator=generator, device=generator.device)
                after[name] = update.after[name] - rate * self.std * noise.to(moved)
        return replace(update, after=after)


@dataclass(frozen=True)
class Soteria:
    r"""Withhold the gradient of the features of one layer that say most of the input.

    Of each feature :math:`r_i` that enters linear layer ``layer`` the ratio
    :math:`|r_i| / \lVert \partial r_i / \partial x \rVert` is taken, summed over the records; the
    columns of the layer's weight gradient with the largest ratios, a ``share`` of them, are set to
    0. All other gradients are sent as they are, which is where it breaks.

    Features that are 0 throughout have no gradient to withhold and come last. Raises
    ``ValueError`` for a share outside (0, 1).
    """

    layer: str
    share: float

    def __post_init__(self):
        if not 0 < self.share < 1:
            raise ValueError(f"share: {self.share} given, expected a number between 0 and 1")

    def withheld(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Which features, (features,) bool, are withheld of records ``inputs``, (n, ...).

        Raises ``ValueError`` where ``layer`` is no linear layer of ``model``.
        """
        features_of = _features(model, self.layer)
        ratios = torch.stack([_ratios(features_of, record[None]) for record in inputs]).sum(0)
        out = torch.zeros(len(ratios), dtype=torch.bool, device=ratios.device)
        out[ratios.topk(round(self.share * len(ratios))).indices] = True
        return out

    def defend(self, update: Update, model: nn.Module, inputs: Tensor) -> Update:
        """The update of training ``model`` on ``inputs``, without the columns withheld."""
        name = f"{self.layer}.weight"
        hidden = self.withheld(model, inputs)
        after = torch.where(hidden, update.before[name], update.after[name])
        return replace(update, after={**update.after, name: after})


def _features(model: nn.Module, layer: str):
    """A function from a record to what enters ``layer``, flat, at the model's own weights."""
    net = copy.deepcopy(model).eval()
    module = dict(net.named_modules()).get(layer)
    if not isinstance(module, nn.Linear):
        raise ValueError(f"layer: {layer!r} given, which is {module}, expected the name of a "
                         "linear layer")
    kept: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    state = {name: weight.detach() for name, weight in net.state_dict().items()}

    def features(record: Tensor) -> Tensor:
        kept.clear()
        functional_call(net, state, (record,))
        return kept[0].flatten()

    return features


def _ratios(features_of, record: Tensor, chunk: int = 64) -> Tensor:
    """Size of each feature over the length of its slope; (features,), 0 where it has no slope."""
    features, pull = vjp(features_of, record)
    axes = torch.eye(len(features)).to(features)
    lengths = vmap(lambda axis: pull(axis)[0].square().sum(), chunk_size=chunk)(axes).sqrt()
    return torch.where(lengths > 0, features.abs() / lengths.clamp_min(1e-30),
                       torch.zeros_like(features))


class Bottleneck(nn.Module):
    """PRECODE's module: features to a mean and a spread, a draw between, and back to features.

    Draws from torch's global state, as dropout does, in training mode; the mean in evaluation mode.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.encode = nn.Linear(width, 2 * size)
        self.decode = nn.Linear(size, width)

    def forward(self, features: Tensor) -> Tensor:
        """Shapes: (n, width) to (n, width)."""
        mean, spread = self.encode(features).chunk(2, dim=1)
        drawn = mean + softplus(spread - 5) * torch.randn_like(mean) if self.training else mean
        return self.decode(drawn)


def precode(
    model: nn.Sequential, *, size: int, generator: torch.Generator
) -> nn.Sequential:
    """``model`` with a variational bottleneck of ``size`` before its last layer; a new model.

    The published loss has a small term that keeps the draws near a standard normal distribution;
    it is left out here, as the loss of a hospital is its own, and weakens no attack. Train it in
    the mode ``"train"``: in evaluation mode nothing is drawn. Raises ``ValueError`` unless the
    last layer is linear, or for a size below 1.
    """
    last = model[-1]
    if not isinstance(last, nn.Linear) or size < 1:
        raise ValueError(f"model, size: one that ends in {last}, {size} given, expected a linear "
                         "last layer and 1 or more")
    with isolated_rng(generator):
        inserted = Bottleneck(last.in_features, size)
    return nn.Sequential(*copy.deepcopy(list(model[:-1])), inserted, copy.deepcopy(last))
