r"""A whole batch out of one dense layer with ReLU, exactly: low rank and sparsity (SPEAR).

The gradient of a linear layer is :math:`D^\top X`, with X the records (batch, features) and
:math:`D = \partial L / \partial Z` (batch, neurons): a matrix of rank ``batch`` whose rows span
what the records span. ReLU sets an entry of D to zero wherever a record leaves a neuron off. So
among all ways to factorise the gradient, the true one has a sparse D, and only the true one fits
the weights: record i switches neuron k on exactly where :math:`D_{ik} \ne 0`.

How it is found (:mod:`leaklab.attacks.spear.search`). A direction orthogonal to rows of the
gradient in all of which record i is off singles out column i of D; ``batch - 1`` such rows give
it. Rows are drawn at random, with more weight for neurons near the edge between on and off. A
direction is kept if its zeros are those of a half-space: if some point in the span of the records
is off there and on elsewhere. Then records and on-off patterns are mended in turn. At last, least
squares with the zeros held fixed bring the records as close as the noise allows, and the proof of
success needs no truth (:mod:`leaklab.attacks.spear.proof`).

Threat model: a passive observer of the update of one hospital, or of a sum; plain SGD, learning
rate and steps known, the model as it was sent out. Labels and the number of records are not needed.

Sources: Dimitrov et al. (2024, arXiv:2403.03945) for low rank, sparsity and the score. The
half-space test, the weights of the draws, the mending, and the certificate are this package's own.

Where it fails, and says so: activations without zeros (sigmoid, GELU); more than about a dozen
records, fewer where they look alike; as many records as features or neurons; noise beyond
rounding; local steps in which neurons switch. Of equal records it finds one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leaklab.attacks.layers import DenseGradient, dense_gradient
from leaklab.attacks.spear.proof import agreement, fits, labels_behind, polish, slopes_of
from leaklab.attacks.spear.search import points, search, span_of
from leaklab.updates import Recovered, View

__all__ = ["batch"]

MOST_RECORDS = 24  # one draw in 2 ** 23 would hit: out of reach of any budget


def batch(
    model: nn.Module, view: View, *, generator: torch.Generator, batch_size: int | None = None,
    layer: str | None = None, draws: int = 2**18,
) -> Recovered:
    """The records behind ``view``, as they enter linear layer ``layer``.

    ``layer`` defaults to the first linear layer that runs; a ReLU must follow. ``batch_size``
    is the number of distinct records where the attacker knows it; where it is given and is not
    the rank of the gradient, the attack refuses. ``draws`` bounds the search.

    The guess has shape (batch, features), in no particular order. ``score``: per record, the
    share of neurons it switches on where its column of D is above the noise, and off where it is
    not. ``certificate``: True for all records or none. True means that

    * no neuron contradicts the records; there are more zeros than the algebra forces; the noise
      is too small to feign them, or to move an input by a fiftieth of the record's root mean
      square; records and D give the observed gradient within its rounding;
    * no record is missing or merged with another: the model, run on the records with some
      ``labels``, has the very D. Records that switch on exactly the same neurons merge into one
      that is none of them, which only this point finds out. Where it cannot be tried (several
      local steps; dropout; a layer that the model's input does not enter), ``batch_size`` must be
      given.

    ``labels`` are those found in the second point. Where the attack refuses, the score is 0 and
    the guess is only the ratios of single rows.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does, and for a
    ``batch_size`` or ``draws`` below 1.
    """
    for name, given in (("batch_size", batch_size), ("draws", draws)):
        if given is not None and given < 1:
            raise ValueError(f"{name}: {given} given, expected 1 or more")
    seen = dense_gradient(model, view, layer)
    rank = int((torch.linalg.svdvals(seen.gradient) > seen.reach).sum())
    neurons, columns = seen.gradient.shape
    readable = 1 <= rank <= min(MOST_RECORDS, neurons - 1, columns - 1)
    if not readable or batch_size not in (None, rank):
        return _refuse(seen, batch_size or rank)
    span = span_of(seen, rank)
    best = _refuse(seen, rank)
    for directions in search(span, generator, draws):
        records = points(span, directions) @ span.basis
        if not records.isfinite().all():  # bias gradients that cancel: no last input is one
            continue
        records = polish(seen, records)
        slopes = slopes_of(seen, records)
        if fits(seen, records, slopes):
            tried, labels = labels_behind(model, view, seen, records[:, :-1], slopes)
            certain = labels is not None if tried else batch_size is not None
            return _answer(seen, records, agreement(slopes), certain, labels)
        answer = _answer(seen, records, agreement(slopes), False)
        best = max(best, answer, key=lambda given: float(given.score.min()))
    return best


def _answer(
    seen: DenseGradient, records: Tensor, score: Tensor, certain: bool,
    labels: Tensor | None = None,
) -> Recovered:
    like = seen.like
    certificate = torch.full((len(records),), certain, device=like.device)
    return Recovered(records[:, :-1].to(like), labels, score.to(like), certificate)


def _refuse(seen: DenseGradient, size: int) -> Recovered:
    """Ratios of the rows with the largest bias gradient, and no certificate."""
    size = max(1, min(size, len(seen.gradient)))
    rows = seen.gradient[seen.gradient[:, -1].abs().topk(size).indices]
    ratios = (rows / rows[:, -1:]).nan_to_num(0.0, 0.0, 0.0)
    return _answer(seen, ratios, ratios.new_zeros(size), False)
