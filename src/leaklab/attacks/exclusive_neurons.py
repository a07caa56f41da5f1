r"""Records out of a hidden ReLU layer before a head of two classes, by what single neurons add.

Between the layer and the loss stands only a head with two outputs. Then the slope of record i at
neuron k is :math:`c_i u_k` where the neuron is on and zero where it is off: :math:`u_k`, the
difference of the head's two weights, is known, and :math:`c_i = (p_i - y_i) / n`. So row k of the
layer's gradient over :math:`u_k` is the sum of :math:`c_i [h_i, 1]` over just the records that
switch neuron k on. Where one record alone switches a neuron on, its row is that record; where two
neurons differ by one record, the difference of their rows is.

Such a guess is tried without the truth: taken out of every row of a neuron that it switches on, it
must leave a matrix of one rank less. Then the rest is peeled in the same way. At the end least
squares over all neurons gives all records at once, and a check: their patterns are those assumed
and determine them, they give every row within its noise, and each :math:`c_i` is that of a label.

Threat model: a passive observer of an update, or of a sum in which every record weighs the same;
one step of plain SGD, learning rate and number of records known. Labels are not needed: they are
found.

Source: a form of the attack of Pan et al. (2022, arXiv:2010.13356), for one layer before two
classes: exclusive neurons hold single records, linear equations give the batch. It deviates in
three places. Where no neuron is exclusive it takes differences of rows, as Fowl et al. (2022,
arXiv:2110.13057) do between neighbouring bins; it tries a guess by rank, as low as Dimitrov et al.
(2024, arXiv:2403.03945) show it to be; and it refuses what the noise does not bear out.

Where it fails, and says so: several local steps; more classes; another activation; records that no
neuron, and no difference of two, singles out; two records with the same neurons on, which merge;
noise beyond rounding.

Where it fails in silence: a number of records named too low. Mostly that is refused; but records
that share neurons and logit give the gradient of their mean, which then passes for one record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from leaklab.attacks.layers import DenseGradient, dense_gradient, running_order
from leaklab.attacks.observed import plain_sgd
from leaklab.updates import Recovered, View

__all__ = ["exclusive_neurons"]

TIGHT = 8.0  # equal means: apart by less than so many standard deviations of the noise
EXPLAINED = 4.0  # what records leave of a neuron's row, in units of its noise
MIXED = 3.0  # noise in a mean of hospitals, also with one's own part out, over that of one update
SHARP = 0.02  # the noise may move a record, or what its label is told by, by this share, no more
AT_ONCE = 1024  # guesses whose rank is looked at together
ARITHMETIC = 8  # units in the last place by which a client's own forward and backward pass differ


@dataclass(frozen=True)
class _Rows:
    """Rows of the gradient over the head's weights, in coordinates of the span of the records.

    rows (neurons, rank), noise (neurons,): standard deviation of each entry; weights (neurons,
    rank): the layer's; slopes (neurons,): what a neuron's output adds to the difference of the
    logits; bias: that difference with all neurons off; last (rank,): the input that is always
    one; eps: of the client's arithmetic.
    """

    rows: Tensor
    noise: Tensor
    weights: Tensor
    slopes: Tensor
    bias: Tensor
    last: Tensor
    eps: float

    def on(self, sums: Tensor) -> Tensor:
        """Which neurons the records behind ``sums`` (n, rank) switch on, (n, neurons)."""
        return self.reach(sums) > 0

    def reach(self, sums: Tensor) -> Tensor:
        """What those records make of the neurons before ReLU, (n, neurons)."""
        return (sums / (sums @ self.last)[:, None]) @ self.weights.T


def exclusive_neurons(
    model: nn.Module, view: View, *, batch_size: int, layer: str | None = None
) -> Recovered | None:
    """The records behind ``view`` as they enter linear layer ``layer``, (batch_size, features).

    In no particular order. ``layer`` defaults to the first linear layer that runs. What is
    answered explains the whole gradient of the layer within its noise, with the ``labels`` found:
    ``score`` is 1. ``certificate``: True for a record that the noise can neither move nor feign,
    by more than a fiftieth, if ``batch_size`` is right. ``None`` where nothing explains the
    gradient.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does, and for a
    ``batch_size`` below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} given, expected 1 or more")
    seen = dense_gradient(model, view, layer)
    head = _two_class_head(model, seen.name)
    if head is None or plain_sgd(view).local_steps > 1:
        return None
    basis = _span(seen, batch_size)
    if basis is None:
        return None
    if view.artefact != "update":
        seen = replace(seen, noise=MIXED * seen.noise)
    rows = _rows(seen, basis, *(view.before[f"{head}.{part}"].double()
                                for part in ("weight", "bias")))
    sums = _peel(rows, batch_size)
    if sums is None:
        return None
    sums = _all_at_once(rows, sums)
    proven = _proof(rows, sums)
    if proven is None:
        return None
    records = (sums / (sums @ rows.last)[:, None]) @ basis[:, :-1]
    labels, certain = proven
    return Recovered(records.to(seen.like), labels, torch.ones_like(records[:, 0]).to(seen.like),
                     certain)


def _two_class_head(model: nn.Module, layer: str) -> str | None:
    """The head's name, where the model ends in ``layer``, a ReLU and a head of two classes."""
    ran = running_order(model)[-3:]
    names, kinds = [name for name, _ in ran], [type(module) for _, module in ran]
    if kinds != [nn.Linear, nn.ReLU, nn.Linear] or names[0] != layer:
        return None
    head = ran[-1][1]
    return names[-1] if head.out_features == 2 and head.bias is not None else None


def _span(seen: DenseGradient, rank: int) -> Tensor | None:
    """A basis (rank, features + 1) of the gradient's rows; ``None`` if their rank is another."""
    if rank >= min(seen.gradient.shape):
        return None
    _, sizes, right = torch.linalg.svd(seen.gradient, full_matrices=False)
    return right[:rank] if int((sizes > seen.reach).sum()) == rank else None


def _rows(seen: DenseGradient, basis: Tensor, weight: Tensor, bias: Tensor) -> _Rows:
    slopes = weight[1] - weight[0]
    size = slopes.abs().clamp_min(torch.finfo(slopes.dtype).tiny ** 0.5)
    # a slope is a difference of two products: where they cancel, their rounding stays
    eps = torch.finfo(seen.like.dtype).eps
    own = 2 * eps * weight.abs().sum(0) / size * seen.gradient.square().mean(1).sqrt()
    noise = (seen.noise.square().mean(1) + own.square()).sqrt() / size
    rows = seen.gradient @ basis.T / torch.where(slopes < 0, -size, size)[:, None]
    return _Rows(rows, noise, seen.weights @ basis.T, slopes, bias[1] - bias[0], basis[:, -1],
                 eps)


def _peel(rows: _Rows, number: int) -> Tensor | None:
    """Sums :math:`c_i [h_i, 1]`, (number, rank), one record after the other."""
    found: list[Tensor] = []
    for rank in range(number, 0, -1):
        guesses, noise = _guesses(rows)
        gap, blur = _labels(rows, guesses, noise, number)
        fits = (gap.amin(1) < TIGHT * blur).nonzero()[:, 0]
        fits = fits[_rank_left(rows, guesses[fits], noise[fits], rank) < TIGHT]
        if not len(fits):
            return None
        best = fits[noise[fits].argmin()]
        found.append(guesses[best])
        on = rows.on(guesses[best][None])[0].to(guesses)
        rows = replace(rows, rows=rows.rows - on[:, None] * guesses[best],
                       noise=(rows.noise.square() + on * noise[best].square()).sqrt())
    return torch.stack(found)


def _guesses(rows: _Rows) -> tuple[Tensor, Tensor]:
    """Distinct rows and their differences both ways, (n, rank), and the noise of each, (n,)."""
    order = rows.noise.argsort()
    value, noise = rows.rows[order], rows.noise[order]
    gap = torch.cdist(value, value, compute_mode="donot_use_mm_for_euclid_dist")
    width = TIGHT * value.shape[1] ** 0.5
    same = gap < width * (noise[:, None].square() + noise.square()).sqrt()
    first = ~same.tril(-1).any(1) & (value.norm(dim=1) > width * noise)
    value, noise = value[first], noise[first]
    i, j = torch.triu_indices(len(value), len(value), 1, device=value.device)
    apart, blur = value[i] - value[j], (noise[i].square() + noise[j].square()).sqrt()
    return torch.cat([value, apart, -apart]), torch.cat([noise, blur, blur])


def _rank_left(rows: _Rows, guesses: Tensor, noise: Tensor, rank: int) -> Tensor:
    """How far each guess, taken out, leaves the rows from one rank less; units of the noise."""
    left = []
    for guess, blur in zip(guesses.split(AT_ONCE), noise.split(AT_ONCE), strict=True):
        on = rows.on(guess).to(guess)
        scale = (rows.noise.square() + on * blur[:, None].square()).sqrt()
        rest = ((rows.rows - on[..., None] * guess[:, None]) / scale[..., None]).nan_to_num()
        left.append(torch.linalg.svdvals(rest)[:, rank - 1] / len(rows.rows) ** 0.5)
    return torch.cat(left)


def _all_at_once(rows: _Rows, sums: Tensor) -> Tensor:
    """The sums again, by least squares over all neurons, with the patterns they have."""
    weight = 1 / rows.noise[:, None]
    for _ in range(2):
        on = rows.on(sums).T.to(sums)
        sums = torch.linalg.pinv(on * weight) @ (rows.rows * weight)
    return sums


def _labels(rows: _Rows, sums: Tensor, noise: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """How far each :math:`c_i` is from what each label makes it, (n, 2), and its noise, (n,).

    ``noise`` (n,) is that of each coordinate of ``sums`` (n, rank).
    """
    reach, last = rows.reach(sums), sums @ rows.last
    logits = torch.relu(reach) @ rows.slopes + rows.bias
    expected = (torch.sigmoid(logits)[:, None] - torch.arange(2).to(logits)) / number
    steep = (((reach > 0) * rows.slopes) @ rows.weights).norm(dim=1) / 4  # of sigmoid at most
    own = ARITHMETIC * rows.eps / number
    return ((last[:, None] - expected).abs(),
            noise * (rows.last.norm() + steep / (number * last.abs())) + own)


def _proof(rows: _Rows, sums: Tensor) -> tuple[Tensor, Tensor] | None:
    """Labels (n,) with which ``sums`` are those of records, and whether that is certain (n,).

    ``None`` where there are no such labels; not certain where the noise leaves too much open.
    """
    number, on = len(sums), rows.on(sums).T.to(sums)
    if not sums.isfinite().all() or torch.linalg.matrix_rank(on) < number:
        return None
    left = (rows.rows - on @ sums).norm(dim=1)
    noise = torch.linalg.pinv(on / rows.noise[:, None]).norm(dim=1)
    gap, blur = _labels(rows, sums, noise, number)
    if (left > EXPLAINED * rows.noise * number**0.5).any() or (gap.amin(1) > TIGHT * blur).any():
        return None
    sharp = TIGHT * noise * number**0.5 < SHARP * sums.norm(dim=1)
    return gap.argmin(1), sharp & (TIGHT * blur < SHARP * (sums @ rows.last).abs())
