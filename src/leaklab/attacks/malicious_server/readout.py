r"""Which of the answers read off a dense layer are single records: a certificate without the truth.

Each candidate comes with the slope that the layer's bias saw, :math:`\sum_i s_i / B` over the
records that were mixed into it. The attacker runs its model on the candidate, with each label it
might have, and gets the slope s that such a record would have. Of one record the ratio of the two
is the number of records B behind the view, and the same for all candidates. Of a mixture it is as
a rule another: near B/2 for two records of like slopes. Where slopes have opposite signs, the
mixture lies beyond both records, mostly out of the range of pixels.

This reads no record that was not read without it: it is how an assessment tells what the attacker
would know for sure. Checking an answer by running the model on it is how Dimitrov et al. (2024,
arXiv:2403.03945) know that theirs is right; the ratio is this package's own form of it.

That is one equation, and a mixture may meet it by chance; study 7 counts in how many trials a claim
was no record. Where many records share a bin few of those read are certain.

Where it fails: several local steps, dropout, or BatchNorm in training mode, where slopes cannot be
simulated for one record; means over hospitals that are not weighted by their records. Then nothing
is certified.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leaklab.attacks.layers import DenseGradient
from leaklab.attacks.spear.proof import simulated_slopes
from leaklab.runtime import progress
from leaklab.updates import Recovered, View

SURE = 8.0  # standard deviations of the noise
SHARP = 1e-3  # error of a pixel, at which an image counts as exact: 60 dB
SLACK = 2e-5  # relative error of a simulated slope beside the noise
AT_ONCE = 128  # candidates on which the model is run together
FEWEST = 3  # candidates that have to agree on B where the view does not tell it


@dataclass(frozen=True)
class Candidates:
    """Mixtures of records, each of one record if all goes well.

    records
        Shape (n, features), float64.
    slopes
        What the bias saw of each, (n,).
    neurons
        At which neuron of the layer the slope is that of the record, (n,).
    error
        Largest error of a feature that noise may cause, in standard deviations of one, (n,).
    doubt
        Standard deviation of each slope's noise, relative, (n,).
    """

    records: Tensor
    slopes: Tensor
    neurons: Tensor
    error: Tensor
    doubt: Tensor


def candidates(weight: Tensor, bias: Tensor, noise: Tensor, neurons: Tensor) -> Candidates:
    """The quotients of ``weight`` (n, features) by ``bias`` (n,) where ``bias`` is no noise.

    ``noise``: standard deviations, (n, features + 1), the bias last.
    """
    loud = bias.abs() > SURE * noise[:, -1]
    weight, bias, noise = weight[loud], bias[loud], noise[loud]
    records = weight / bias[:, None]
    doubt = noise[:, -1] / bias.abs()
    error = (noise[:, :-1].amax(1) / bias.abs()).hypot(doubt * records.abs().amax(1))
    return Candidates(records, bias, neurons[loud], error, doubt)


def certified(
    model: nn.Module, view: View, seen: DenseGradient, found: Candidates,
    pixels: tuple[float, float],
) -> Recovered:
    """The candidates as an answer; guess (n, features), sharpest first.

    ``certificate``: all pixels lie in range, noise moves none by :data:`SHARP`, and with some
    label the simulated slope stands to the observed one as the number of records behind the view.
    ``labels`` are those of the best ratio. ``score`` is minus the relative error of that ratio.
    """
    none = torch.zeros(len(found.records), dtype=torch.bool, device=seen.like.device)
    answer = Recovered(found.records.to(seen.like), score=-found.error.to(seen.like),
                       certificate=none)
    if len(none) == 0:
        return answer
    low, high = pixels
    parts = [simulated_slopes(model, view, seen, part)
             for part in progress(found.records.split(AT_ONCE), "certificate")]
    if any(part is None for part in parts):
        return answer
    simulated = torch.cat(parts)
    rows = torch.arange(len(none), device=none.device)
    ratios = simulated[rows, :, found.neurons] / found.slopes[:, None]
    slack = SLACK + SURE * found.doubt
    inside = ((found.records > low - SHARP) & (found.records < high + SHARP)).all(1)
    sharp = inside & (SURE * found.error < SHARP) & (slack < SHARP)
    size = _records_behind(view, ratios, slack, sharp)
    if size is None:
        return answer
    off, labels = (ratios / size - 1).abs().min(1)
    order = (off / slack).argsort()
    return Recovered(answer.guess[order], labels[order], -off[order].to(seen.like),
                     (sharp & (off < slack))[order])


def _records_behind(view: View, ratios: Tensor, slack: Tensor, sharp: Tensor) -> int | None:
    """The number of records: as the view says, or on which most candidates agree."""
    if view.weights is not None:
        return sum(view.weights)
    tried = ratios[sharp].flatten()
    tried = tried[tried > 0.5]
    if len(tried) < FEWEST:
        return None
    slack = slack[sharp].median()
    agree = ((tried[:, None] / tried - 1).abs() < 2 * slack).sum(1)
    size = round(float(tried[agree.argmax()]))
    return size if agree.max() >= FEWEST else None


def distinct(answer: Recovered) -> Recovered:
    """``answer`` with one guess, the best, of those that are the same to :data:`SHARP`."""
    flat = answer.guess.double().flatten(1)
    near = torch.cdist(flat, flat) < SHARP * flat.shape[1] ** 0.5
    first = ~near.tril(-1).any(1)
    parts = (answer.guess, answer.labels, answer.score, answer.certificate)
    return Recovered(*(None if part is None else part[first] for part in parts))
