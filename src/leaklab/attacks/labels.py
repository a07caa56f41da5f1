r"""What an update says about the labels it was trained on: arithmetic on the last layer's bias.

The gradient of cross-entropy with respect to the bias of class c is :math:`\bar p_c - \bar y_c`:
the mean probability it gives to c, minus the share of c. Who knows the first reads off the second.
For one record the sign is enough (:func:`sign_rule`); for a batch the shares are whole numbers of
records (:func:`label_counts`). A model with one output and binary cross-entropy is one with the
logits (0, z): classes 0 and 1.

After some steps the returned model itself has learnt how common each class is, and asking it is
the plainer attack: :func:`asked_shares`. Once it tells classes apart, both ways depend on the
classes among the auxiliary images.

Threat model: a passive observer of a ``View``. Arithmetic needs two states, the learning rate and
the number of local steps. Both need images of the same kind, here called auxiliary, unlabelled.

Sources: Zhao et al. (2020, arXiv:2001.02610), iDLG, for one record; Wainakh et al. (2022,
doi:10.2478/popets-2022-0043) for batches; Dimitrov et al. (2022, arXiv:2206.12395) for taking the
parameters between the received and the returned model over several local steps.

Where it fails: a last layer without bias; momentum or Adam, which scale the steps; many steps, over
which :math:`\bar p` does not move evenly; a trained model, whose :math:`\bar p` depends on which
classes the images show, so that the attacker's mix stands in for the secret one; a sum, which tells
the shares of all contributors together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leaklab.attacks.layers import running_order
from leaklab.attacks.observed import mean_gradient, plain_sgd, rounding
from leaklab.models import predict
from leaklab.updates import Recovered, State, View

__all__ = ["class_shares", "label_counts", "sign_rule"]


def class_shares(
    model: nn.Module, view: View, *, auxiliary: Tensor, bias: str | None = None
) -> Recovered:
    r"""The share of each class among the records behind ``view``.

    One step moves the last bias by :math:`-\eta(\bar p - \bar y)`. Over :math:`E` steps
    :math:`\bar p` is taken to move evenly from :math:`\bar p_0` of the model received to
    :math:`\bar p_E` of the model returned. The steps are taken before each move, so their mean is
    :math:`\bar p_0 + \frac{E-1}{2E}(\bar p_E - \bar p_0)`, for one step :math:`\bar p_0`.
    Both are estimated on ``auxiliary``, shape (n, ...). The guess has shape (num_classes,), sums
    to one and is not clipped: a share below 0 tells of an estimate gone wrong. ``bias`` names the
    bias of the last layer, for a model of which :func:`last_bias` cannot tell.

    Raises ``ValueError`` where the view has no state before, the training is unknown or not plain
    SGD, or the model does not end in a linear layer with a bias.
    """
    training = plain_sgd(view)
    bias = bias or last_bias(model)
    steps = training.local_steps
    first, last = (mean_prediction(model, state, auxiliary) for state in (view.before, view.after))
    said = first + (steps - 1) / (2 * steps) * (last - first)
    moved = _both_classes(view.after[bias] - view.before[bias])
    return Recovered(guess=said + moved / (training.learning_rate * steps))


def asked_shares(model: nn.Module, view: View, *, auxiliary: Tensor) -> Recovered:
    """What the model after training says of ``auxiliary`` images on average, as a guess of shares.

    Works for every view and every optimiser. The guess has shape (num_classes,).
    """
    return Recovered(guess=mean_prediction(model, view.after, auxiliary))


def mean_prediction(model: nn.Module, state: State, inputs: Tensor) -> Tensor:
    """The mean probability that the model gives to each class; shape (num_classes,)."""
    return torch.softmax(_logits(predict(model, state, inputs).reshape(len(inputs), -1)), 1).mean(0)


def _logits(z: Tensor) -> Tensor:
    """(..., classes) as it is; the one logit of a binary model, (..., 1), as (0, z)."""
    return z if z.shape[-1] > 1 else torch.cat([torch.zeros_like(z), z], -1)


def _both_classes(gradient: Tensor) -> Tensor:
    """The gradient of a last bias, (classes,), where a single one pulls at the class 0 by -g."""
    return gradient if len(gradient) > 1 else torch.cat([-gradient, gradient])


def sign_rule(model: nn.Module, view: View, *, bias: str | None = None) -> Recovered:
    """The label of the one record behind ``view``: the class whose bias gradient is negative.

    For one record the gradient is p - y: above 0 for every class but its own. The guess has shape
    (1,); ``score`` is minus that entry, the probability that the model did not give to the class.
    ``certificate``: exactly one entry is negative and the entries sum to zero, both beyond the
    rounding. Batches may look the same, so it holds for whoever knows that there was one record.
    ``bias`` as in :func:`class_shares`.

    Raises ``ValueError`` as :func:`leaklab.attacks.observed.mean_gradient` and
    :func:`last_bias` do.
    """
    bias = bias or last_bias(model)
    gradient = _both_classes(mean_gradient(model, view)[bias])
    noise = rounding(model, view)[bias].expand_as(gradient)
    label = gradient.argmin()[None]
    noise = noise + torch.finfo(gradient.dtype).eps
    certain = ((gradient < -noise).sum() == 1) & (gradient.sum().abs() <= noise.sum())
    return Recovered(label, label, -gradient[label], certain[None])


def label_counts(
    model: nn.Module, view: View, *, batch_size: int, auxiliary: Tensor | None = None,
    bias: str | None = None,
) -> Recovered:
    r"""How many of the ``batch_size`` records behind ``view`` belong to each class.

    :math:`n_c = B(\bar p_c - g_c)` with g the bias gradient, made whole by
    :func:`largest_remainder`. :math:`\bar p` is what the model says of ``auxiliary`` images,
    shape (n, ...); without any, :math:`\mathrm{softmax}(b)` of the last bias, which is near for a
    model that has not been trained and wrong for any other. ``batch_size`` is the number of records
    over all local steps. ``bias`` as in :func:`class_shares`.

    The guess has shape (num_classes,): integers, none below 0, that sum to ``batch_size``.
    ``score`` (one entry) is minus the largest change that rounding made: near -0.5, a count hung
    by a hair.

    Raises ``ValueError`` as :func:`class_shares` does, and for a ``batch_size`` below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} given, expected 1 or more")
    if auxiliary is None:
        bias = bias or last_bias(model)
        gradient = _both_classes(mean_gradient(model, view)[bias])
        shares = torch.softmax(_logits(view.before[bias]), 0) - gradient
    else:
        shares = class_shares(model, view, auxiliary=auxiliary, bias=bias).guess
    counts = largest_remainder(shares, batch_size)
    changed = (counts - shares * batch_size).abs().max()
    return Recovered(counts, score=-changed[None])


def largest_remainder(shares: Tensor, total: int) -> Tensor:
    """The non-negative integers, (num_classes,), that sum to ``total`` and are nearest to
    ``shares * total``.

    Hamilton's rule where shares are non-negative and sum to one: whole parts first, the rest to
    the largest remainders, equal ones to the lower class. Elsewhere the shares are first moved to
    the nearest point that is so (Euclidean projection onto the simplex).

    Raises ``ValueError`` for shares that are not finite, none at all, or a negative ``total``.
    """
    if shares.numel() == 0 or not shares.isfinite().all() or total < 0:
        raise ValueError(f"shares, total: {shares.tolist()}, {total} given, expected finite "
                         "shares, at least one, and a total of 0 or more")
    exact = _onto_simplex(shares.double()) * total
    counts = (exact + 1e-9).floor()
    rest = total - int(counts.sum())
    order = (exact - counts).argsort(descending=True, stable=True)
    counts[order[:rest]] += 1
    return counts.long()


def _onto_simplex(point: Tensor) -> Tensor:
    """The nearest point with entries >= 0 that sum to one (Duchi et al., 2008)."""
    ranked = point.sort(descending=True).values
    excess = (ranked.cumsum(0) - 1) / torch.arange(1, len(point) + 1).to(point)
    return (point - excess[(ranked > excess).nonzero()[-1]]).clamp_min(0)


def last_bias(model: nn.Module) -> str:
    """The name of the bias of the layer that runs last.

    Raises ``ValueError`` unless that layer is linear and has one, or as
    :func:`leaklab.attacks.layers.running_order` does.
    """
    name, layer = running_order(model)[-1]
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise ValueError(f"model: ends in {layer}, expected a linear layer with a bias")
    return f"{name}.bias" if name else "bias"
