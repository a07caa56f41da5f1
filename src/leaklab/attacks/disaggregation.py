r"""Sums over changing sets of hospitals, taken apart: what each of them sent.

Secure aggregation opens one sum a round. If a different set of hospitals takes part each time, and
their updates stay alike, the sums are linear equations in them: with :math:`P_{rk}` 1 where
hospital k took part in round r, and :math:`n_k` records behind update :math:`\Delta_k`,

.. math:: S_r = \sum_k P_{rk}\, n_k \Delta_k, \qquad N_r = \sum_k P_{rk}\, n_k.

Least squares over the rounds give every :math:`n_k \Delta_k` that P determines, and :math:`n_k`.

Threat model: a passive server behind secure aggregation, which knows who took part, since it
carries the messages, and the number of records behind each sum. An active one sends the same model
again and again, so that full-batch updates do not change at all.

Source: Lam et al. (2021, arXiv:2106.06089), who also find out who took part, from counts of
participation, by integer programming; here that is known. The trend, the numbers of records and the
certificate are this package's own. What drifts slowly fits better than it is right: on seeds that
no study reports, claims from an expected cosine of 0.99 were sometimes false.

Where it fails, and says so: a fixed set of hospitals, or two that always come and go together;
updates that change more from round to round than the rounds average out; noise of differential
privacy, fresh each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leaklab.defences.vectors import moved_by
from leaklab.updates import UNKNOWN, Knowledge, Observer, Recovered, State, View

if TYPE_CHECKING:  # the attack needs no cryptography, only what the protocol opens
    from leaklab.defences.secure_aggregation import Opened

__all__ = ["disaggregate"]

SURE = 0.9999  # expected cosine from which an answer is claimed: the updates hardly changed
DETERMINED = 1e-8


@dataclass(frozen=True)
class Disaggregated:
    """``hospitals``: whose updates the rows of ``recovered.guess`` are; ``sizes``: their numbers
    of records, (hospitals,)."""

    hospitals: tuple[str, ...]
    sizes: Tensor
    recovered: Recovered


def disaggregate(rounds: Sequence[Opened], *, trend: bool = False) -> Disaggregated:
    """The mean update of each hospital over ``rounds``.

    ``trend``: let updates also change evenly from round to round, which takes twice as many rounds.

    The guess has shape (hospitals, entries), tensors in the order of names, float64; rows that
    the rounds do not determine are those of least norm. ``score``: the cosine with the truth that
    the spread of the sums about the fit leads one to expect, 0 where a row is not determined or no
    round is to spare; a rough guide where it is low. ``certificate``: it is :data:`SURE` or more.

    Raises ``ValueError`` for no rounds, or rounds of models of different sizes.
    """
    if len({len(opened.mean) for opened in rounds}) != 1:
        raise ValueError(f"rounds: {len(rounds)} with {sorted({len(r.mean) for r in rounds})} "
                         "entries given, expected one or more, all of the same model")
    hospitals = tuple(sorted({name for opened in rounds for name in opened.contributors}))
    sizes = torch.tensor([opened.num_examples for opened in rounds]).double()
    sums = torch.stack([opened.mean for opened in rounds]) * sizes[:, None]
    took_part = torch.tensor([[name in opened.contributors for name in hospitals]
                              for opened in rounds]).double()
    design = took_part
    if trend:
        time = torch.linspace(-1, 1, len(rounds), dtype=torch.float64)[:, None]
        design = torch.cat([took_part, time * took_part], 1)
    inverse = torch.linalg.pinv(design)
    fitted, number = inverse @ sums, len(hospitals)
    records = (torch.linalg.pinv(took_part) @ sizes).clamp_min(1e-9)
    score = _expected_cosine(design, inverse, fitted, sums)[:number]
    return Disaggregated(hospitals, records, Recovered(
        fitted[:number] / records[:, None], score=score, certificate=score >= SURE))


def single_views(found: Disaggregated, before: State, observer: Observer,
                 knowledge: Knowledge = UNKNOWN) -> tuple[View, ...]:
    """The updates found, as if each hospital had sent its own from ``before``."""
    return tuple(
        View(observer, "update", before, moved_by(before, row), (name,),
             (max(1, round(float(size))),), knowledge)
        for name, size, row in zip(found.hospitals, found.sizes, found.recovered.guess,
                                   strict=True))


def _expected_cosine(design: Tensor, inverse: Tensor, fitted: Tensor, sums: Tensor) -> Tensor:
    """Per row of ``fitted``: its length over that with the noise the residuals show."""
    determined = ((inverse @ design - torch.eye(design.shape[1]).to(design)).abs().amax(1)
                  < DETERMINED)
    spare = len(design) - int(torch.linalg.matrix_rank(design))
    if spare == 0:
        return torch.zeros(len(fitted), dtype=torch.float64)
    spread = (sums - design @ fitted).square().sum() / spare
    noise, size = inverse.square().sum(1) * spread, fitted.square().sum(1)
    signal = (size - noise).clamp_min(0)  # the noise is in the length, too
    return torch.where(determined, (signal / size.clamp_min(1e-300)).sqrt(), 0.0)
