r"""Attacks made for a defence that they know: what was sent is used, what was spoilt is left out.

* :func:`where_sent`: a search that compares only entries that arrived, for pruned and withheld
  gradients (Balunovic et al., 2022, arXiv:2111.04706, on Soteria).
* :func:`rows_together`: one record from all rows of a dense layer at once, for noisy, coarse or
  pruned gradients. Every row is the same record times a number of its own.

Two attacks of chapter 6 need no change. With :func:`where_sent` and a spread for what is left of
rounding, :func:`leaklab.attacks.guided_means.posterior_mean` reads pruned, coarse and noisy updates
through what it knows of such images. And :func:`leaklab.attacks.diffusion_prior.candidate_scores`,
told the defence, asks which of the records that it holds would have been sent just so: a
deterministic defence answers that, however little it sends.

Threat model: a passive observer of a ``View`` of one step of plain SGD, who knows how the hospital
trains and which defence it uses with which parameters.

Where they fail: :func:`rows_together` on several records, and where noise outweighs the rows;
:func:`where_sent` where so little was sent that other images fit it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from leaklab.attacks.layers import dense_gradient
from leaklab.attacks.observed import mean_gradient
from leaklab.updates import Recovered, View

ROUNDS = 50  # of alternating least squares; held-out records settled within 20


@dataclass(frozen=True)
class WhereSent:
    """Stands in for a defence: entries that did not arrive count for nothing."""

    sent: Mapping[str, Tensor]

    def surrogate(self, gradient: dict[str, Tensor]) -> dict[str, Tensor]:
        """``gradient`` with 0 in every entry that did not arrive."""
        return {name: tensor * self.sent[name] for name, tensor in gradient.items()}


def where_sent(model: nn.Module, view: View) -> View:
    """``view`` for an attacker who compares gradients only where something arrived.

    For searches (:mod:`leaklab.attacks.gradient_matching`): an entry of exactly 0 was pruned or
    withheld, or says little. Raises ``ValueError`` as
    :func:`leaklab.attacks.observed.mean_gradient` does.
    """
    sent = {name: (tensor != 0).to(tensor) for name, tensor in mean_gradient(model, view).items()}
    return replace(view, knowledge=replace(view.knowledge, defence=WhereSent(sent)))


def rows_together(model: nn.Module, view: View, *, layer: str | None = None) -> Recovered:
    r"""The one record behind ``view``, as it enters linear layer ``layer``; shape (1, features).

    .. math:: \min_{s, x} \sum_{kj\ \text{sent}} (G_{kj} - s_k\,x_j)^2, \qquad x_{d+1} = 1

    with the bias gradient as the last column of G. Where every entry was sent it is the first
    right singular vector: under equal Gaussian noise the likeliest record, where the ratio of one
    row, :func:`leaklab.attacks.dense_layer.single_record`, keeps all noise of that row. Otherwise
    least squares for s and for x in turn; a feature that no row sent is 0. ``score`` is minus the
    share of G that the fit leaves.

    Raises ``ValueError`` as :func:`leaklab.attacks.layers.dense_gradient` does.
    """
    seen = dense_gradient(model, view, layer)
    gradient, rows = seen.gradient, seen.gradient.any(1)
    if not bool(rows.any()):
        return Recovered(gradient[:1, :-1].to(seen.like), score=-torch.ones(1).to(seen.like))
    some = gradient[rows]
    sent = (some != 0).to(some)
    record, size = torch.linalg.svd(some, full_matrices=False).Vh[0], some.square().sum()
    for _ in range(0 if bool(sent.all()) else ROUNDS):
        slopes = _least(some, sent, record)
        record = _least(some.T, sent.T, slopes)
        record = record / record.norm().clamp_min(1e-30)
    left = ((some - _least(some, sent, record)[:, None] * record) * sent).square().sum() / size
    bias = record[-1]
    guess = record[:-1] / bias if bias.abs() > 1e-12 else torch.zeros_like(record[:-1])
    return Recovered(guess[None].to(seen.like), score=-left[None].to(seen.like))


def _least(rows: Tensor, sent: Tensor, by: Tensor) -> Tensor:
    """For each of ``rows`` the factor of ``by`` that fits what was ``sent`` of it best."""
    return (rows * sent) @ by / (sent @ by.square()).clamp_min(1e-30)
