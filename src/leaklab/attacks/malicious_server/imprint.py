r"""Robbing the Fed: a layer that sorts a batch by one measurement, one record to a bin.

All rows of a dense layer measure the same of a record, its brightness :math:`h(x) = w^\top x`, and
differ in their threshold: neuron k is on where :math:`h(x) > t_k`. What lies behind the layer
listens to all of them alike, so record i has one slope :math:`s_i` for every neuron that it
switches on, and neighbours differ by the records of one bin:

.. math:: G_k - G_{k+1} = \sum_{t_k < h(x_i) \le t_{k+1}} s_i x_i / B.

Of a bin with one record the quotient by the same difference of bias gradients is that record. With
K bins of equal probability a record is alone with chance :math:`(1 - 1/K)^{B-1}`
(:func:`single_hits`). A sum over hospitals is only a larger B.

Threat model: an active server, which sees one update or, behind secure aggregation, the sum. It
has public images for the quantiles, and knows the learning rate.

Source: Fowl et al. (2022, arXiv:2110.13057). The certificate, a check of the answers, is that of
:mod:`leaklab.attacks.malicious_server.readout`.

Where it fails: records of equal brightness; many more records than bins; several local steps, after
which the layer is no longer the one that was sent; differential privacy. A hospital sees it: the
rows are equal (:mod:`leaklab.defences.detectors`).
"""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import torch
from scipy.special import betaln
from torch import Tensor, nn

from leaklab.attacks.layers import dense_gradient
from leaklab.attacks.malicious_server.readout import candidates, certified, distinct
from leaklab.updates import Recovered, View

__all__ = ["imprinted", "read_bins"]

LAYER = "imprint.bins"
GAIN = 1e-3  # of the rows: the gradient does not depend on it, the rounding of the bias does


class Imprint(nn.Module):
    """``x + back(relu(bins(x)))``: what follows still gets its image, a shade brighter.

    ``back`` adds up all bins into one number a record, so that each neuron has the same slope.
    Input and output (n, *shape); flattened input is accepted too.
    """

    def __init__(self, rows: Tensor, thresholds: Tensor, shape: tuple[int, ...]):
        super().__init__()
        bins, features = rows.shape
        self.shape = shape
        self.bins = nn.utils.skip_init(nn.Linear, features, bins)
        self.back = nn.utils.skip_init(nn.Linear, bins, 1, bias=False)
        self.to(rows)
        with torch.no_grad():
            self.bins.weight.copy_(GAIN * rows)
            self.bins.bias.copy_(-GAIN * thresholds)
            self.back.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """The images, each brighter by the sum of its bins."""
        flat = x.flatten(1)
        return (flat + self.back(torch.relu(self.bins(flat)))).unflatten(1, self.shape)


def brightness_bins(public: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Rows (bins, features), all the mean over features, and thresholds (bins,), ascending.

    ``public`` (n, ...), not negative: quantiles of its brightness, so that bins are about equally
    likely; the first threshold is 0, to miss no image. Raises ``ValueError`` for fewer than two
    bins or images.
    """
    if bins < 2:
        raise ValueError(f"bins: {bins} given, expected 2 or more")
    if len(public) < 2:
        raise ValueError(f"public: {len(public)} images given, expected 2 or more")
    flat = public.flatten(1)
    steps = torch.arange(bins).to(flat) / bins
    thresholds = torch.quantile(flat.mean(1), steps)
    thresholds[0] = 0
    return torch.full((bins, flat.shape[1]), 1 / flat.shape[1]).to(flat), thresholds


def imprinted(model: nn.Module, public: Tensor, bins: int) -> nn.Sequential:
    """``model`` (a copy) behind an imprint layer with ``bins`` bins; input as ``public``.

    Raises ``ValueError`` as :func:`brightness_bins` does.
    """
    rows, thresholds = brightness_bins(public, bins)
    front = Imprint(rows, thresholds, tuple(public.shape[1:]))
    return nn.Sequential(OrderedDict(imprint=front, model=copy.deepcopy(model)))


def read_bins(model: nn.Module, view: View, *,
              pixels: tuple[float, float] = (0.0, 1.0)) -> Recovered:
    """One image for each bin that is not empty; guess ``(found, *shape)``, surest first.

    The bias of a row, divided by its length, says where its threshold stands among the others.
    ``certificate``: the image is one record, see
    :func:`leaklab.attacks.malicious_server.readout.certified`; ``labels`` are then those behind it.
    ``score`` is the agreement on which that rests. Closed form: no search, nothing to bound.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does.
    """
    seen = dense_gradient(model, view, LAYER)
    order = (-seen.weights[:, -1] / seen.weights[:, :-1].norm(dim=1)).argsort()
    gradient, noise = seen.gradient[order], seen.noise[order]
    gradient[:-1] -= gradient[1:].clone()  # the last bin has no upper end
    noise[:-1] = noise[:-1].hypot(noise[1:].clone())
    found = distinct(certified(model, view, seen, candidates(
        gradient[:, :-1], gradient[:, -1], noise, order), pixels))
    shape = model.get_submodule(LAYER.partition(".")[0]).shape
    return Recovered(found.guess.unflatten(1, shape), found.labels, found.score, found.certificate)


def single_hits(bins: int, records: int, public: int | None = None) -> float:
    r"""Chance that a record of a batch of ``records`` is alone in its bin.

    Of equally likely bins :math:`(1 - 1/K)^{B-1}`. Quantiles of ``public`` images make bins whose
    probability varies as Beta(n/K, n + 1 - n/K), which costs some hits: the mean over that.
    """
    if public is None:
        return (1 - 1 / bins) ** (records - 1)
    a = public / bins
    b = public + 1 - a
    return float(bins * np.exp(betaln(a + 1, b + records - 1) - betaln(a, b)))


def alone(thresholds: Tensor, values: Tensor) -> Tensor:
    """Which of ``values`` (n,) share their bin with none; the oracle, which knows the records."""
    place = torch.searchsorted(thresholds, values)  # on where value > threshold
    counts = torch.bincount(place, minlength=len(thresholds) + 1)
    return (counts[place] == 1) & (place > 0)
