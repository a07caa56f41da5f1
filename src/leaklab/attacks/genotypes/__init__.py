r"""Genotypes out of an update of a model that takes them, exactly, and knowing it.

A genotype is a vector of dosages: how many copies of an allele, 0, 1 or 2, at each SNP. Whatever
algebra finds a record, rounding makes it exact, and entries near whole numbers tell the attacker
that it is one (:mod:`leaklab.attacks.genotypes.certificate`). Three ways to candidates stand side
by side: single neurons, differences of two (:mod:`leaklab.attacks.genotypes.neurons`), and
independent component analysis of the space that the records span
(:mod:`leaklab.attacks.genotypes.unmixing`).

Threat model: a passive observer of an update, or of a sum behind secure aggregation, who knows the
model, the list of SNPs and how they are encoded, and allele frequencies of the population. SGD,
also with momentum, over any number of steps. Labels are not needed.

Sources: Phong et al. (2018, doi:10.1109/TIFS.2017.2787987); Pan et al. (2022, arXiv:2010.13356);
Kariyappa et al. (2023, arXiv:2209.05578). Nasirigerdeh et al. (2021, doi:10.1145/3404835.3462996)
used that genotypes are whole numbers against federated association studies. Not in these papers are
the certificate, rounding with a step back to the space, and the order of rounds, in which those
who are certain are set aside.

Where it fails: more records than the layer is wide, which it refuses; Adam, whose steps leave the
space of the records; too few SNPs for the batch (ten to twenty a record are needed, for 128 more);
relatives, of whom fewer are found, and none certified where the layer is narrow; dosages that are
not whole, as after imputation. Updates of which most entries were left out give no genotype whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from leaklab.attacks.dense_layer import single_record
from leaklab.attacks.genotypes.certificate import (
    CHANCE,
    WHOLE,
    bits,
    exchangeable,
    heard,
    integral,
    nearest,
    related,
    values,
)
from leaklab.attacks.genotypes.neurons import alone, differences
from leaklab.attacks.genotypes.reading import Encoding, Reading, checked_encoding, read
from leaklab.attacks.genotypes.unmixing import attract, unmix, whiten, whole
from leaklab.updates import Recovered, View

__all__ = ["recover", "single"]

METHODS = ("alone", "differences", "unmixing")
ROUNDS = 8  # of unmixing, each beside what was certified before
PATIENCE = 2  # rounds in a row that may find nobody
MOSTLY = 0.8  # share of the entries of a candidate that are near 0, 1 or 2
NEW = 1e-6  # of its length: what a row adds to the space of those before


def single(model: nn.Module, view: View, *, encoding: Encoding | None = None) -> Recovered:
    """The genotype of the one patient behind ``view``, (1, snps) int64: a ratio, rounded.

    Any first dense layer will do, that of a logistic regression too. ``encoding``, mean and scale
    of each column, defaults to dosages as they are. ``certificate``: every entry of the ratio is
    within a quarter of 0, 1 or 2, and luck cannot explain it. A batch taken for one patient gives a
    mixture, which fails that. ``score``: minus the largest distance from a dosage.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does, and for an encoding
    that does not fit.
    """
    found = single_record(model, view)
    mean, scale = checked_encoding(encoding, found.guess.shape[1], found.guess.double())
    ratio = found.guess.double() * scale + mean
    dosages = ratio.round().clamp(0, 2).nan_to_num()
    off = (ratio - dosages).abs().amax(1)
    certain = (off < WHOLE) & (bits(dosages) > CHANCE)
    return Recovered(dosages.long(), score=-off.to(found.guess), certificate=certain)


def recover(
    model: nn.Module, view: View, *, frequencies: Tensor, generator: torch.Generator,
    encoding: Encoding | None = None, batch_size: int | None = None,
    methods: Sequence[str] = METHODS, rounds: int = ROUNDS,
) -> Recovered:
    """The genotypes behind ``view``, (records, snps) int64, those that are certain first.

    ``frequencies`` (snps,) are of the allele counted. ``encoding``, mean and scale of each column,
    defaults to dosages as they are. ``batch_size`` defaults to what the view says, else to what the
    singular values of the gradient show. Records that are copies of one another come once.

    ``certificate``: the row is a genotype of the batch, under the assumptions of
    :mod:`leaklab.attacks.genotypes.certificate`. ``score``: minus the largest distance of an entry
    from a dosage. Without ``"unmixing"`` among the ``methods`` only certain rows are answered.

    Raises ``ValueError`` for arguments that do not fit, and as
    :func:`leaklab.attacks.genotypes.reading.read` does: above all for more records than the layer
    is wide, or as many if their number is not known.
    """
    unknown = sorted(set(methods) - set(METHODS))
    if unknown or not methods:
        raise ValueError(f"methods: {unknown or 'none'} given, expected some of {METHODS}")
    if rounds < 1:
        raise ValueError(f"rounds: {rounds} given, expected 1 or more")
    seen = read(model, view, encoding, batch_size)
    frequencies = _frequencies(frequencies, seen)
    known = seen.basis.new_zeros(0, seen.rank)
    for name, candidates in (("alone", alone), ("differences", differences)):
        if name in methods:
            known = _certain(seen, known, candidates(seen))
    left = known[:0]
    if "unmixing" in methods:
        white = whiten(seen, frequencies)
        idle = 0
        for number in range(rounds):
            rough = unmix(white, known, generator, weighted=number % 2 == 1)
            left = whole(seen, attract(seen, rough))
            before, known = len(known), _certain(seen, known, left)
            idle = idle + 1 if len(known) == before else 0
            if len(known) == seen.rank or idle == PATIENCE:
                break
        left = left[:0] if len(known) == seen.rank else left[~_same(seen, left, known)]
    return _answer(seen, known, left)


def _certain(seen: Reading, known: Tensor, candidates: Tensor) -> Tensor:
    """``known`` (n, rank) and those of the ``candidates`` that are certain and add to them."""
    tried = len(candidates)
    fine = whole(seen, candidates[_promising(seen, candidates)])
    fine = fine[integral(seen, fine, tried=tried)]
    fine = fine[~heard(seen, nearest(values(seen, fine)))[0]]
    for row in fine:
        left = row - row @ torch.linalg.pinv(known) @ known if len(known) else row
        if left.norm() > NEW * row.norm():
            known = torch.cat([known, row[None]])
    return known


def _same(seen: Reading, rows: Tensor, known: Tensor) -> Tensor:
    """Which candidates ``rows`` (n, rank) round to one that is ``known``."""
    if not len(known):
        return torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    a, b = (nearest(values(seen, some).nan_to_num()) for some in (rows, known))
    return torch.stack([(b == one).all(1).any() for one in a])


def _promising(seen: Reading, candidates: Tensor) -> Tensor:
    """Which candidates are mostly near whole numbers, (n,): others need not be drawn to them."""
    rows = values(seen, candidates).nan_to_num(nan=0.5)
    return ((rows - nearest(rows)).abs() < WHOLE).double().mean(1) > MOSTLY


def _answer(seen: Reading, known: Tensor, left: Tensor) -> Recovered:
    """Rows ``known`` and ``left``, of which the first are certain but where others may be as good.

    That is so of relatives whom no neuron can be asked about.
    """
    rows = values(seen, torch.cat([known, left])).nan_to_num()
    dosages = nearest(rows)
    sure = dosages[:len(known)]
    certain = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    doubtful = exchangeable(sure[:, :-1]) | related(sure[:, :-1])
    certain[:len(known)] = heard(seen, sure)[1] | ~doubtful
    return Recovered(dosages[:, :-1].long(), score=-(rows - dosages).abs().amax(1).to(seen.like),
                     certificate=certain)


def _frequencies(frequencies: Tensor, seen: Reading) -> Tensor:
    snps = seen.basis.shape[1] - 1
    frequencies = torch.as_tensor(frequencies).to(seen.basis)
    if frequencies.shape != (snps,) or not ((frequencies >= 0) & (frequencies <= 1)).all():
        raise ValueError(f"frequencies: shape {tuple(frequencies.shape)} given, expected {snps} "
                         "numbers from 0 to 1")
    return frequencies
