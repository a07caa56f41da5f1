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
certificate are this package's own.

Where it fails, and says so: a fixed set of hospitals, or two that always come and go together;
updates that change more from round to round than the rounds average out; noise of differential
privacy, fresh each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leaklab.defences.vectors import flat_change, moved_by
from leaklab.updates import Recovered, View

SURE = 0.99  # expected cosine with the true update, from which an answer is claimed
DETERMINED = 1e-8


@dataclass(frozen=True)
class Disaggregated:
    """``hospitals``: whose updates the rows of ``recovered.guess`` are; ``sizes``: their numbers
    of records, (hospitals,)."""

    hospitals: tuple[str, ...]
    sizes: Tensor
    recovered: Recovered


def disaggregate(views: Sequence[View], totals: Sequence[int], *,
                 trend: bool = False) -> Disaggregated:
    """The mean update of each hospital over the rounds behind ``views``.

    ``totals``: number of records behind each view. ``trend``: let updates also change evenly from
    round to round, which takes twice as many rounds.

    The guess has shape (hospitals, entries), tensors in the order of names, float64; rows that
    the rounds do not determine are those of least norm. ``score``: the cosine with the truth that
    the spread of the sums about the fit leads one to expect, 0 where a row is not determined or no
    round is to spare; a rough guide where it is low. ``certificate``: it is :data:`SURE` or more.

    Raises ``ValueError`` for no views, views that are no sums, or totals that do not match.
    """
    if not views or any(view.artefact != "sum" for view in views):
        kinds = sorted({view.artefact for view in views})
        raise ValueError(f"views: {kinds or 'none'} given, expected sums of one or more rounds")
    if len(totals) != len(views):
        raise ValueError(f"totals: {len(totals)} given, expected {len(views)}, one a view")
    hospitals = tuple(sorted({name for view in views for name in view.contributors}))
    sizes = torch.tensor([float(total) for total in totals], dtype=torch.float64)
    means = torch.stack([flat_change(view.before, view.after) for view in views]).cpu()
    sums = means * sizes[:, None]
    took_part = torch.tensor([[float(name in view.contributors) for name in hospitals]
                              for view in views], dtype=torch.float64)
    design = took_part
    if trend:
        time = torch.linspace(-1, 1, len(views), dtype=torch.float64)[:, None]
        design = torch.cat([took_part, time * took_part], 1)
    inverse = torch.linalg.pinv(design)
    fitted, number = inverse @ sums, len(hospitals)
    records = (torch.linalg.pinv(took_part) @ sizes).clamp_min(1e-9)
    score = _expected_cosine(design, inverse, fitted, sums)[:number]
    return Disaggregated(hospitals, records, Recovered(
        fitted[:number] / records[:, None], score=score, certificate=score >= SURE))


def single_views(found: Disaggregated, like: View) -> tuple[View, ...]:
    """The updates found, as if each hospital had sent its own from ``like.before``."""
    views = []
    for name, size, row in zip(found.hospitals, found.sizes, found.recovered.guess, strict=True):
        views.append(View(like.observer, "update", like.before, moved_by(like.before, row), (name,),
                          (max(1, round(float(size))),), like.knowledge))
    return tuple(views)


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
