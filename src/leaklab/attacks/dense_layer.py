r"""What a dense layer gives away by arithmetic: one record exactly, or the features of a batch.

The gradient of the loss with respect to a linear layer's weights is the outer product of
:math:`D = \partial L / \partial Z` with what went in. For one record, each row of it is the record
times the bias gradient of that row: divide, and there it is (:func:`single_record`). For the last
layer of a classifier D is what the model answers minus the labels, and the answer depends on the
features sought: an equation to solve (:func:`last_layer_features`). Whole batches through a first
layer with ReLU are in :mod:`leaklab.attacks.spear`.

Threat model: a passive observer of a ``View`` of one hospital's single step of plain SGD, learning
rate known; for the features of a batch also the labels, in any order.

Sources: Phong et al. (2018, doi:10.1109/TIFS.2017.2787987) for the ratio; Geiping et al. (2020,
arXiv:2003.14053, Proposition 3.1) for any layer in the network. Solving for the features of a batch
combines published parts, the outer product above and labels read off before it, and is this
package's own.

Where it fails: a layer without bias; more than one record, for the ratio; for the features of a
batch as many records as classes, a label that occurs three times, several local steps.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import least_squares
from torch import Tensor, nn
from torch.nn.functional import one_hot

from leaklab.attacks.layers import DenseGradient, dense_gradient, dense_layers
from leaklab.attacks.spear.proof import RESOLVED, labels_behind, slopes_of
from leaklab.runtime import generator
from leaklab.updates import Recovered, View

__all__ = ["last_layer_features", "single_record"]

SURE = 8.0  # standard deviations of the noise that an entry may be off
MOST_ROUNDS = 200
SETTLED = 1e-13  # change of a logit at which the fixed point is reached
STARTS = 8
MOST_UNKNOWNS = 400  # logits that are solved for at once
MOVED = 0.01


def single_record(model: nn.Module, view: View, *, layer: str | None = None) -> Recovered:
    r"""The one record behind ``view``, as it enters linear layer ``layer``; shape (1, features).

    :math:`x = G_k / g_k`, with G the weight gradient, g the bias gradient, and k the row of the
    largest :math:`|g_k|`. ``layer`` defaults to the first linear layer that runs.

    ``certificate``: all rows give the same ratio within the noise of the gradient, which is small
    enough to tell an input of 0 from one of 0.1; and the model run on the record with some label
    gives the very gradient; ``labels`` is that label. The last point matters: the two rows of a
    last layer for two classes always give the same ratio, of a batch a mixture. Where it cannot be
    tried (several local steps; dropout; a layer that neither takes the model's input nor gives its
    output), more than two rows that are not zero must agree, and the view must say that there was
    one record: of two classes, records that switch on the same neurons agree as well. Those that
    also share a label and nearly the model's answer pass for their mean even where it is tried.
    ``score`` is minus the largest deviation, in standard deviations of the noise.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does.
    """
    seen = dense_gradient(model, view, layer)
    k = int(seen.gradient[:, -1].abs().argmax())
    pivot = seen.gradient[k, -1]
    if pivot == 0:
        return Recovered(seen.gradient[k:k + 1, :-1].to(seen.like),
                         score=torch.full((1,), -torch.inf).to(seen.like),
                         certificate=torch.zeros(1, dtype=torch.bool, device=seen.like.device))
    record = seen.gradient[k] / pivot
    share = seen.gradient[:, -1:] / pivot
    # How far noise may carry an entry from its multiple of row k: its own, that of row k, and
    # that of the two bias entries.
    spread = (seen.noise.square() + (share * seen.noise[k]).square()
              + (record * seen.noise[:, -1:]).square()
              + (record * share * seen.noise[k, -1]).square()).sqrt()
    worst = ((seen.gradient - share * seen.gradient[k]).abs() / spread)[:, :-1].max()
    slopes = replace(slopes_of(seen, record[None]), spread=spread[k].max()[None] / pivot.abs())
    tried, labels = labels_behind(model, view, seen, record[None, :-1], slopes)
    live = (seen.gradient[:, -1].abs() > SURE * seen.noise[:, -1]).sum()
    complete = labels is not None if tried else bool(live > 2) and _of_one_record(view)
    # of a record that the model already fits little but noise is left, which agrees with anything
    resolved = SURE * seen.noise[k].max() < RESOLVED * pivot.abs()
    certain = bool(worst < SURE) and bool(resolved) and complete
    return Recovered(record[None, :-1].to(seen.like), labels, -worst[None].to(seen.like),
                     torch.tensor([certain], device=seen.like.device))


def _of_one_record(view: View) -> bool:
    """Whether the view itself says that a single record is behind it."""
    training = view.knowledge.training
    drawn = training.batch_size == 1 and training.local_steps == 1 and len(view.contributors) == 1
    return view.weights == (1,) or drawn


def last_layer_features(
    model: nn.Module, view: View, labels: Tensor | None = None
) -> Recovered:
    r"""What entered the last linear layer, one row a record in the order of ``labels``.

    With W, b the layer, P the probabilities of the B records, Y their labels, H the features
    sought and :math:`A = (P - Y)/B`, the gradients are :math:`G = A^\top H` and
    :math:`g = A^\top 1`. From :math:`P = \mathrm{softmax}(b)` on, H is solved for by least squares
    and :math:`P \leftarrow \mathrm{softmax}(H W^\top + b)` in turn. Where that does not settle on
    an answer, the logits Z are sought that solve
    :math:`A(Z)^\top (Z - b) = G W^\top,\ A(Z)^\top 1 = g`, from several starts.

    Exact where one full-batch step was taken on fewer records than classes: rows of A sum to
    zero, so as many as classes are dependent. Distinct labels and small weights, as before
    training, let the first way settle. Of a label that occurs twice, only the difference between
    the two answers parts the records: it takes the second way, the two come in either order, and
    the noise is multiplied by a thousand; three are beyond float32. ``labels`` default to those
    of ``view.knowledge``; the guess has shape (B, features).

    ``certificate``, all records or none: H and P give both gradients within their noise, and noise
    of that size moves no record by more than a hundredth. ``score``, one a record: minus
    the share by which it did move.

    Raises ``ValueError`` for labels that are unknown or no classes of the layer, and as
    :func:`leaklab.attacks.layers.dense_gradient` does.
    """
    seen = dense_gradient(model, view, dense_layers(model)[-1])
    labels = _checked(view.knowledge.labels if labels is None else labels, len(seen.gradient))
    truth = one_hot(labels.to(seen.gradient.device), len(seen.gradient)).to(seen.gradient)
    draw = generator("starts of last_layer_features")
    logits = _settle(seen, truth)
    solvable = len(truth) < truth.shape[1] and truth.numel() <= MOST_UNKNOWNS
    if solvable and not _explains(seen, truth, logits):
        starts = (0.1 * torch.randn(truth.shape, generator=draw).to(truth) for _ in range(STARTS))
        tried = (_solve(seen, truth, seen.weights[:, -1] + start) for start in starts)
        logits = next((found for found in tried if _explains(seen, truth, found)), logits)
    features, moved = _features(seen, truth, logits), torch.ones_like(truth[:, 0])
    if certain := _explains(seen, truth, logits):
        shaken = torch.randn(seen.noise.shape, generator=draw).to(truth) * seen.noise
        again = replace(seen, gradient=seen.gradient + shaken)
        solved = _settle(again, truth, logits)
        if not _explains(again, truth, solved):
            solved = _solve(again, truth, logits)
        moved = (_features(again, truth, solved) - features).norm(dim=1) / features.norm(dim=1)
        certain = bool((moved < MOVED).all())
    return Recovered(features.to(seen.like), labels, -moved.to(seen.like),
                     torch.full((len(truth),), certain, device=seen.like.device))


def feature_target(
    model: nn.Module, view: View, labels: Tensor | None = None
) -> tuple[str, Tensor] | None:
    """The last linear layer and what entered it, (B, features), where that is certain.

    For gradient matching, which the pair draws to the right features; ``None`` otherwise.
    Raises ``ValueError`` as :func:`last_layer_features` does.
    """
    found = last_layer_features(model, view, labels)
    return (dense_layers(model)[-1], found.guess) if found.certificate.all() else None


def _checked(labels: Tensor | None, classes: int) -> Tensor:
    if labels is None or len(labels) == 0:
        raise ValueError("labels: unknown, expected one a record (leaklab.attacks.labels may "
                         "read them off the update)")
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels: from {int(labels.min())} to {int(labels.max())} given, "
                         f"expected 0 to {classes - 1}")
    return labels


def _slopes(truth: Tensor, logits: Tensor) -> Tensor:
    """A, the gradient of the mean loss by the logits; shape (records, classes)."""
    return (torch.softmax(logits, 1) - truth) / len(truth)


def _features(seen: DenseGradient, truth: Tensor, logits: Tensor) -> Tensor:
    return torch.linalg.pinv(_slopes(truth, logits).T, rtol=1e-9) @ seen.gradient[:, :-1]


def _settle(seen: DenseGradient, truth: Tensor, logits: Tensor | None = None) -> Tensor:
    """Logits where features from probabilities and probabilities from features agree."""
    weights, bias = seen.weights[:, :-1], seen.weights[:, -1]
    logits = bias.expand_as(truth) if logits is None else logits
    for _ in range(MOST_ROUNDS):
        before, logits = logits, _features(seen, truth, logits) @ weights.T + bias
        if (logits - before).abs().max() < SETTLED or not logits.isfinite().all():
            break
    return logits


def _solve(seen: DenseGradient, truth: Tensor, start: Tensor) -> Tensor:
    """Logits that solve the two equations of :func:`last_layer_features`, by least squares."""
    bias, sums = seen.weights[:, -1], seen.gradient[:, -1]
    products = seen.gradient[:, :-1] @ seen.weights[:, :-1].T
    scale = products.abs().max().clamp_min(1e-30)

    def at(flat) -> Tensor:
        return torch.from_numpy(flat).to(truth).reshape(truth.shape)

    def residual(flat):
        logits = at(flat)
        slopes = _slopes(truth, logits)
        return torch.cat([(slopes.T @ (logits - bias) - products).flatten() / scale,
                          len(truth) * (slopes.sum(0) - sums)]).cpu().numpy()

    def jacobian(flat):
        logits = at(flat)
        chances, unit = torch.softmax(logits, 1), torch.eye(truth.shape[1]).to(truth)
        turn = chances[:, :, None] * (unit - chances[:, None, :]) / len(truth)  # of A, (i, c, l)
        moved = (torch.einsum("ic,kl->ckil", _slopes(truth, logits), unit)
                 + torch.einsum("icl,ik->ckil", turn, logits - bias)) / scale
        return torch.cat([moved.reshape(-1, truth.numel()), len(truth) * turn.transpose(0, 1)
                          .reshape(-1, truth.numel())]).cpu().numpy()

    found = least_squares(residual, start.flatten().cpu().numpy(), jac=jacobian,
                          ftol=1e-15, xtol=1e-15, gtol=1e-15, max_nfev=MOST_ROUNDS)
    return at(found.x)


def _explains(seen: DenseGradient, truth: Tensor, logits: Tensor) -> bool:
    """Whether the features behind ``logits`` lead to them and to both gradients."""
    slopes = _slopes(truth, logits)
    if not slopes.isfinite().all() or torch.linalg.matrix_rank(slopes, rtol=1e-9) < len(truth):
        return False
    features = _features(seen, truth, logits)
    implied = _slopes(truth, features @ seen.weights[:, :-1].T + seen.weights[:, -1])
    inputs = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    # The client's own probabilities are rounded, which the inputs multiply.
    own = 8 * torch.finfo(seen.like.dtype).eps * (slopes.abs().T @ inputs.norm(dim=1))
    left = (seen.gradient - implied.T @ inputs).norm(dim=1)
    sums = (seen.gradient[:, -1] - implied.sum(0)).abs()
    return bool((left < 2 * seen.noise.norm(dim=1) + own).all()
                and (sums < SURE * seen.noise[:, -1] + own).all())
