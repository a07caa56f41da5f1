r"""A hidden Markov chain along a chromosome: smoothing it, and filling in the SNPs between.

A state is the haplotype that is copied. Between two sites the copying goes on with probability
:math:`1-\rho`, or starts again at one of the :math:`K` haplotypes, each as likely as the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

SHORTEST = 1e-7
"""Least distance between two SNPs in centimorgans, so that a chain never gets stuck."""


def switching(centimorgans: np.ndarray, haplotypes: int, effective_size: float) -> np.ndarray:
    r""":math:`\rho = 1-\exp(-4 N_e d/K)` before each site, d in morgans; 1 before the first.

    Source: Li and Stephens (2003), with :math:`N_e` the effective population size. Raises
    ``ValueError`` for an ``effective_size`` that is not above 0.
    """
    if not effective_size > 0:
        raise ValueError(f"effective_size: {effective_size} given, expected a number above 0")
    morgans = np.maximum(np.diff(centimorgans), SHORTEST) / 100
    return np.concatenate([[1.0], -np.expm1(-4 * effective_size * morgans / haplotypes)])


def smooth(
    sites: int, start: Tensor,
    forward: Callable[[Tensor, int], Tensor], backward: Callable[[Tensor, int], Tensor],
) -> Iterator[tuple[int, Tensor]]:
    """The chain's posterior at each site, from the last to the first, up to a factor.

    ``forward(alpha, j)`` takes the filter to site j, whose reading it includes; ``backward(beta,
    j)`` takes what lies behind from site j to the one before. Of the filters only every square
    root of ``sites``-th is kept and the rest are worked out again: a third more work, far less
    memory.
    """
    every = max(1, math.isqrt(sites))
    kept, alpha = {}, start
    for site in range(sites):
        alpha = forward(alpha, site)
        if site % every == 0:
            kept[site] = alpha
    beta = torch.ones_like(start)
    for first in reversed(range(0, sites, every)):
        block = [kept.pop(first)]
        for site in range(first + 1, min(first + every, sites)):
            block.append(forward(block[-1], site))
        while block:
            site = first + len(block) - 1
            yield site, block.pop() * beta
            beta = backward(beta, site)


class Filled:
    """Copies of the alternate allele at all SNPs, written as the chain passes by.

    Between two observed SNPs the posterior over haplotypes is interpolated on the genetic map, as
    in Browning, Zhou and Browning (2018, doi:10.1016/j.ajhg.2018.07.015); beyond the outermost it
    stays. ``panel`` (B, K, M) holds alleles, ``known`` (B, K, J) those at the observed SNPs, and
    ``copies`` (B, N, M) is the answer.
    """

    def __init__(self, panel: Tensor, victims: int, observed: np.ndarray, centimorgans: np.ndarray):
        self.panel, self.observed, self.centimorgans = panel, observed, centimorgans
        self.known = panel[..., torch.as_tensor(observed, device=panel.device)]
        self.copies = panel.new_zeros(len(panel), victims, panel.shape[-1], dtype=torch.float32)
        self.later: Tensor | None = None

    def write(self, site: int, posterior: Tensor) -> None:
        """SNPs from observed ``site`` to the next, by the posterior (B, N, K) over haplotypes."""
        last = site == len(self.observed) - 1
        begin = self.observed[site] if site else 0
        end = self.panel.shape[-1] if last else self.observed[site + 1]
        alleles = self.panel[..., begin:end].float()
        here = posterior @ alleles
        if not last:
            span = self.centimorgans[[self.observed[site], self.observed[site + 1]]]
            share = (self.centimorgans[begin:end] - span[0]) / max(span[1] - span[0], SHORTEST)
            weight = torch.as_tensor(share.clip(0, 1), dtype=here.dtype, device=here.device)
            here = torch.lerp(here, self.later @ alleles, weight)
        self.copies[..., begin:end] = here
        self.later = posterior
