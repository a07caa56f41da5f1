"""What a view says of a layer that takes dosages: its gradient in dosages, and the space they span.

A layer may take dosages as they are or standardised, column by column. The gradient by the one
follows from that by the other, so the rest of the attack knows dosages only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from leaklab.attacks.layers import dense_gradient, running_order
from leaklab.updates import LocalTraining, View

CLIFF = 12.0  # last singular value of the records over the first of the noise
SHORTEST = 8  # a plateau of fewer values is none
MIXED = 3.0  # noise in a mean of hospitals over that of one update

Encoding = tuple[Tensor, Tensor]
"""Mean and scale of each input column, (snps,): the layer takes ``(dosage - mean) / scale``."""


@dataclass(frozen=True)
class Reading:
    """The gradient of a layer whose inputs are dosages, with the bias as a last column; float64.

    left, sizes, basis
        Its singular vectors and values, those of the records: (neurons, rank), (rank,),
        (rank, snps + 1). Row k of their product is the sum of :math:`d_{ik} [x_i, 1]` over the
        records i.
    noise
        Standard deviation of what else stands in an entry, on average.
    weights
        Of the layer for dosages, (states, neurons, snps + 1): before training; after several
        steps also after.
    slopes
        What a neuron adds to the difference of the two logits, (neurons,), where a ReLU and a
        head for two classes follow; else ``None``.
    patterns
        Whether a neuron that the model switches off for a record hears nothing of it.
    like
        One entry in the view's own dtype and on its device, for answers.
    """

    left: Tensor
    sizes: Tensor
    basis: Tensor
    noise: float
    weights: Tensor
    slopes: Tensor | None
    patterns: bool
    like: Tensor

    @property
    def neurons(self) -> Tensor:
        """The rows in coordinates of the basis, (neurons, rank)."""
        return self.left * self.sizes

    @property
    def rank(self) -> int:
        return len(self.sizes)


def read(model: nn.Module, view: View, encoding: Encoding | None = None,
         batch_size: int | None = None) -> Reading:
    """The gradient of the first dense layer in dosages, and the space that its records span.

    The rank is ``batch_size``, or what stands out of the noise of the update where that is less:
    a record that occurs twice counts once. Unknown, it is found: singular values of the records end
    where a plateau begins, that of rounding or of something coarser.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does, for an ``encoding``
    that does not fit, and where the records are more than the rows that tell them apart, or as many
    and their number is not known.
    """
    seen = dense_gradient(model, _as_plain(view))
    snps = seen.gradient.shape[1] - 1
    mean, scale = checked_encoding(encoding, snps, seen.gradient)
    noise = seen.noise * (1.0 if view.artefact == "update" else MIXED)
    right, triangle = torch.linalg.qr(seen.gradient.T)  # keeps all digits, unlike the Gram matrix
    left, sizes, turn = torch.linalg.svd(triangle.T, full_matrices=False)
    live = int((seen.gradient.norm(dim=1) > noise.norm(dim=1)).sum())
    rank = _rank(sizes, noise, min(live, snps + 1), _records(view, batch_size))
    rest = sizes[rank:].square().sum() / max(1, (len(noise) - rank) * (snps + 1 - rank))
    unit = (scale.square() + mean.square()).mean().sqrt()  # of noise, from inputs to dosages
    heard = left[:, :rank] * sizes[:rank]
    left, sizes, basis = _in_dosages(heard, (right @ turn.T).T[:rank], mean, scale)
    slopes, patterns = _after(model, view, seen.name)
    return Reading(left, sizes, basis,
                   float(torch.maximum(rest, noise.square().mean()).sqrt() * unit),
                   _for_dosages(view, seen.name, mean, scale), slopes, patterns, seen.like)


def _in_dosages(heard: Tensor, basis: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    """Singular vectors and values of ``heard @ basis``, its columns turned into dosages."""
    basis = torch.cat([basis[:, :-1] * scale + basis[:, -1:] * mean, basis[:, -1:]], 1)
    right, triangle = torch.linalg.qr(basis.T)
    left, sizes, turn = torch.linalg.svd(heard @ triangle.T, full_matrices=False)
    return left, sizes, turn @ right.T


def _as_plain(view: View) -> View:
    """The view with its training taken for plain SGD.

    Momentum and a proximal term only add multiples of gradients, and so stay in the space of the
    records. Adam does not; what is read from it holds nothing, and nothing gets certified.
    """
    training = view.knowledge.training
    if training is None or view.before is None:
        return view
    plain = LocalTraining(training.learning_rate, training.local_steps, training.batch_size)
    return replace(view, knowledge=replace(view.knowledge, training=plain))


def checked_encoding(encoding: Encoding | None, snps: int, like: Tensor) -> Encoding:
    """Mean and scale (snps,) in the dtype of ``like``; raises ``ValueError`` if they do not fit."""
    if encoding is None:
        return torch.zeros(snps).to(like), torch.ones(snps).to(like)
    mean, scale = (torch.as_tensor(part).to(like) for part in encoding)
    if mean.shape != (snps,) or scale.shape != (snps,):
        raise ValueError(f"encoding: {tuple(mean.shape)} and {tuple(scale.shape)} given, expected "
                         f"mean and scale of each of {snps} columns")
    if not (scale.isfinite() & mean.isfinite() & (scale != 0)).all():
        raise ValueError("encoding: a column without spread given, expected scales other than 0")
    return mean, scale


def _for_dosages(view: View, layer: str, mean: Tensor, scale: Tensor) -> Tensor:
    """The layer's weights for dosages in each state that is known and was trained on, or nearly."""
    several = view.knowledge.training.local_steps > 1
    prefix = f"{layer}." if layer else ""
    ends = []
    for state in (view.before, view.after)[:1 + several]:
        weights = state[f"{prefix}weight"].double() / scale
        bias = state[f"{prefix}bias"].double() - weights @ mean
        ends.append(torch.cat([weights, bias[:, None]], 1))
    return torch.stack(ends)


def _records(view: View, batch_size: int | None) -> int | None:
    """How many records are behind the view, where that is known."""
    if batch_size is not None:
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} given, expected 1 or more")
        return batch_size
    if view.weights is None:
        return None
    training = view.knowledge.training
    drawn = (training.batch_size or max(view.weights)) * training.local_steps
    return sum(min(drawn, weight) for weight in view.weights)


def _rank(sizes: Tensor, noise: Tensor, most: int, records: int | None) -> int:
    """How many singular values are of records."""
    floor = 2 * (noise.norm(dim=1).max() + noise.norm(dim=0).max())
    above = int((sizes > floor).sum())
    if above == 0:
        raise ValueError("view: nothing but noise in the first dense layer, expected a gradient")
    if records is not None and records > most:
        raise ValueError(f"batch_size: {records} records given, expected at most {most}, the rows "
                         "of the layer that tell them apart")
    if records is not None:
        return min(records, above)
    if above < most:
        return above
    if (rank := _plateau(sizes[:most])) is not None:
        return rank
    raise ValueError(f"view: {most} directions and no plateau in their singular values; expected "
                     "fewer records than rows of the layer, or batch_size")


def _plateau(sizes: Tensor) -> int | None:
    """Where the singular values fall off a cliff, to a plateau of noise; ``None`` if nowhere."""
    falls = (sizes[:-1] / sizes[1:])[:-SHORTEST]
    if not len(falls):
        return None
    highest = int(falls.argmax())
    return highest + 1 if falls[highest] > CLIFF else None


def _after(model: nn.Module, view: View, layer: str) -> tuple[Tensor | None, bool]:
    """The head's slopes and whether patterns can be tried; see :class:`Reading`."""
    ran = running_order(model)
    at = next(k for k, (name, _) in enumerate(ran) if name == layer)
    relu = len(ran) > at + 1 and type(ran[at + 1][1]) is nn.ReLU
    direct = all(isinstance(module, nn.Flatten | nn.Identity) for _, module in ran[:at])
    patterns = relu and direct
    head = ran[at + 2] if relu and len(ran) == at + 3 else ("", None)
    if not isinstance(head[1], nn.Linear) or head[1].out_features > 2:
        return None, patterns
    weight = view.before[f"{head[0]}.weight"].double()
    return (weight[0] if len(weight) == 1 else weight[1] - weight[0]), patterns
