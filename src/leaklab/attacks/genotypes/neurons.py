r"""Candidates that single neurons give, or two of them.

Where only one record of the batch switches neuron k on, its row is a multiple of that record
(:func:`alone`). Before a head for two classes with slopes u, row k over :math:`u_k` is the sum of
:math:`c_i [x_i, 1]` over the records that switch it on, with the same :math:`c_i` at each neuron;
where the records of two neurons differ by one, the difference is that record (:func:`differences`).

Sources: Phong et al. (2018, doi:10.1109/TIFS.2017.2787987) for the ratio; Pan et al. (2022,
arXiv:2010.13356) for neurons with exclusive records; Fowl et al. (2022, arXiv:2110.13057) for
differences, there of neurons built for it by a malicious server. That honest neurons, of which all
pairs are tried, give some as well is an adaptation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.attacks.genotypes.reading import Reading

LOOKED_AT = 24  # SNPs on which a difference is tried before all are
ROUGH = 0.3  # how far it may be off there
RESOLVED = 8.0  # a last entry must stand so many times above its noise


def alone(seen: Reading) -> Tensor:
    """Coordinates (n, rank) of each row that stands out of the noise."""
    last = seen.neurons @ seen.basis[:, -1]
    return seen.neurons[last.abs() > RESOLVED * seen.noise]


def differences(seen: Reading) -> Tensor:
    """Coordinates (n, rank) of those differences of two neurons that look whole at a few SNPs.

    None where the slopes of the head are not known; see :class:`Reading`.
    """
    if seen.slopes is None:
        return seen.sizes.new_zeros(0, seen.rank)
    heard = seen.slopes.abs() > 1e-3 * seen.slopes.abs().max()
    scaled = seen.neurons[heard] / seen.slopes[heard, None]
    noise = seen.noise / seen.slopes[heard].abs()
    snps = seen.basis.shape[1] - 1
    loudest = (seen.sizes[:, None] * seen.basis[:, :-1]).square().sum(0).topk(min(LOOKED_AT, snps))
    columns = torch.cat([loudest.indices, loudest.indices.new_tensor([snps])])
    few = scaled @ seen.basis[:, columns]
    i, j = torch.triu_indices(len(few), len(few), 1, device=few.device)
    apart = few[i] - few[j]
    resolved = apart[:, -1].abs() > RESOLVED * noise[i].hypot(noise[j])
    ratio = apart[:, :-1] / apart[:, -1:]
    rough = (ratio - ratio.round().clamp(0, 2)).abs().amax(1) < ROUGH
    keep = (resolved & rough).nonzero()[:, 0]
    keep = keep[apart[keep, -1].abs().argsort(descending=True)]
    keep = keep[_first(ratio[keep].round())]
    return scaled[i[keep]] - scaled[j[keep]]


def _first(rows: Tensor) -> Tensor:
    """Where each distinct row of ``rows`` (n, columns) comes first."""
    _, group = torch.unique(rows, dim=0, return_inverse=True)
    order = torch.arange(len(rows), device=rows.device)
    return torch.full((int(group.max()) + 1 if len(rows) else 0,), len(rows),
                      device=rows.device).scatter_reduce(0, group, order, "amin")
