r"""Li and Stephens' model: the victim copies the panel, now from one haplotype, now from another.

For a phased victim the filter at site j over the haplotypes k is

.. math:: \alpha_j(k) = e_j(k)\,\bigl[(1-\rho_j)\,\alpha_{j-1}(k) + \rho_j/K\bigr],

with :math:`e_j(k)` the likelihood of the reading if haplotype k is copied. An unphased victim
copies an ordered pair; its transition needs row sums alone, for the matrix is symmetric.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from leaklab.attacks.imputation import readings
from leaklab.attacks.imputation.chain import Filled, smooth, switching
from leaklab.attacks.imputation.references import closest
from leaklab.runtime import progress


def haploid(
    haplotypes: np.ndarray, observed: np.ndarray, alleles: np.ndarray, centimorgans: np.ndarray, *,
    error: float = 1e-3, effective_size: float = 1e4, device: str | torch.device = "cpu",
) -> np.ndarray:
    """The chance of an alternate allele at every SNP of phased victims, float32 (T, M).

    Shapes: haplotypes (K, M) of 0 and 1, the public panel; observed (J,) growing indices of the
    SNPs that are known; alleles (T, J) of 0 and 1, -1 (``NaN`` in floats) where a call is missing;
    centimorgans (M,), the genetic map of one chromosome. A person is two rows. Known alleles are
    kept as they are. ``error`` is the chance that a copied allele differs, ``effective_size`` the
    population's.

    Raises ``ValueError`` that names the argument for shapes that do not fit, alleles other than
    0 and 1, or an unsorted map. Source: Li and Stephens (2003).
    """
    panel, observed, centimorgans = readings.checked_panel(haplotypes, observed, centimorgans)
    alleles = np.asarray(alleles)
    readings.check_readings(alleles, observed, "alleles")
    likelihoods = readings.of_calls(alleles, 1, "alleles") @ readings.flips(1, error).T
    rho = switching(centimorgans[observed], len(panel), effective_size)
    weights = torch.as_tensor(likelihoods, dtype=torch.float32, device=device)
    filled = Filled(torch.as_tensor(panel, device=device)[None], len(alleles), observed,
                    centimorgans)
    for site, posterior in _one_copy(filled.known[0].T, weights, rho):
        filled.write(site, (posterior / posterior.sum(1, keepdim=True))[None])
    copies = filled.copies[0].cpu().numpy()
    copies[:, observed] = np.where(readings.missing(alleles), copies[:, observed], alleles)
    return copies


def diploid(
    haplotypes: np.ndarray, observed: np.ndarray, genotypes: np.ndarray, centimorgans: np.ndarray,
    **settings: object,
) -> np.ndarray:
    """Dosages of unphased victims at every SNP, float32 (T, M): the first of :func:`decode`.

    Shapes: haplotypes (K, M), observed (J,), genotypes (T, J) of 0, 1, 2, or -1 where missing,
    centimorgans (M,). ``settings`` and errors as there.
    """
    return decode(haplotypes, observed, genotypes, centimorgans, **settings)[0]


def decode(
    haplotypes: np.ndarray, observed: np.ndarray, genotypes: np.ndarray, centimorgans: np.ndarray,
    *, noise: float | np.ndarray | None = None, error: float = 1e-3, effective_size: float = 1e4,
    references: int = 160, windows: int = 12, batch: int | None = None,
    device: str | torch.device = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Dosages (T, M) at every SNP and genotype probabilities (T, J, 3) at the observed ones.

    Arguments as for :func:`haploid`, but ``genotypes`` (T, J) are 0, 1, 2, or -1 (``NaN`` in
    floats) where missing. With ``noise`` they are dosages to which Gaussian noise of that standard
    deviation was added, in copies: a number, or an array that broadcasts to (T, J). Exact genotypes
    are kept as they are, noisy and missing ones replaced by the posterior mean.

    Each victim is a mosaic of the ``references`` haplotypes that fit best
    (:func:`leaklab.attacks.imputation.references.closest`, in so many ``windows``): the chain has
    their square of states. ``batch`` victims are worked on at once, by default 8 on a CPU and 64
    on a GPU. Raises ``ValueError`` as :func:`haploid` does. Source: Li and Stephens (2003);
    Marchini et al. (2007) for pairs of haplotypes.
    """
    panel, observed, centimorgans = readings.checked_panel(haplotypes, observed, centimorgans)
    genotypes = np.asarray(genotypes)
    readings.check_readings(genotypes, observed, "genotypes")
    given = (readings.of_calls(genotypes, 2, "genotypes") if noise is None
             else readings.of_noisy_dosages(genotypes, noise))
    table = readings.flips(2, error)
    likelihoods = given @ table.T
    chosen = closest(panel[:, observed], likelihoods, references, windows)
    rho = switching(centimorgans[observed], chosen.shape[1], effective_size)
    batch = batch or (8 if torch.device(device).type == "cpu" else 64)
    dosages = np.empty((len(genotypes), panel.shape[1]), dtype=np.float32)
    sums = torch.empty(4, *genotypes.shape)
    for first in progress(range(0, len(genotypes), batch), "copying two haplotypes"):
        part = slice(first, first + batch)
        filled = Filled(torch.as_tensor(panel[chosen[part]], device=device), 1, observed,
                        centimorgans)
        weights = torch.as_tensor(likelihoods[part], dtype=torch.float32, device=device)
        for site, posterior, copies in _two_copies(filled.known, weights, rho):
            filled.write(site, posterior[:, None])
            sums[:, part, site] = copies.T
        dosages[part] = 2 * filled.copies[:, 0].cpu().numpy()
    # what was read, given what the mosaic has there: P(g|s) P(reading|g) / P(reading|s)
    copied = np.stack((sums[0], sums[1] + sums[2], sums[3]), axis=-1)
    probabilities = np.einsum("tjs,sg,tjg->tjg", copied / likelihoods, table, given)
    probabilities /= probabilities.sum(-1, keepdims=True)
    kept = ~readings.missing(genotypes) & (noise is None)
    mean = probabilities @ np.arange(3.0)
    dosages[:, observed] = np.where(kept, genotypes, mean)
    return dosages, probabilities


def _one_copy(panel: Tensor, weights: Tensor, rho: np.ndarray):
    """Posteriors (T, K) up to a factor, last site first; panel (J, K), weights (T, J, 2)."""
    size = panel.shape[1]
    kinds = torch.stack((1 - panel, panel), dim=1).float()  # (J, 2, K)

    def reading(site: int) -> Tensor:
        return weights[:, site] @ kinds[site]

    def forward(alpha: Tensor, site: int) -> Tensor:
        moved = alpha.mul(1 - rho[site]).add_(rho[site] / size).mul_(reading(site))
        return moved.div_(moved.sum(1, keepdim=True))

    def backward(beta: Tensor, site: int) -> Tensor:
        read = beta * reading(site)
        mean = read.mean(1, keepdim=True)
        return read.mul_((1 - rho[site]) / mean).add_(rho[site])

    start = weights.new_full((len(weights), size), 1 / size)
    return smooth(len(panel), start, forward, backward)


def _two_copies(panel: Tensor, weights: Tensor, rho: np.ndarray):
    """Site, posterior (B, K) of one copied haplotype, and (B, 4) of the alleles 00, 01, 10, 11.

    Shapes: panel (B, K, J), weights (B, J, 3). Last site first. Transition and reading are both of
    rank two beside the matrix itself: (1 - rho)^2 A + c 1' + 1 c', and alleles' table alleles.
    """
    size, sites = panel.shape[1:]
    alleles = panel.permute(2, 0, 1).float()  # (J, B, K)
    kinds = torch.stack((1 - alleles, alleles), dim=-1)  # (J, B, K, 2)
    table = weights[..., [0, 1, 1, 2]].unflatten(-1, (2, 2)).transpose(0, 1)  # (J, B, 2, 2)
    left, right = kinds @ table, kinds.mT.contiguous()

    def read(matrix: Tensor, site: int) -> Tensor:
        return torch.bmm(left[site], right[site]).mul_(matrix)

    def move(matrix: Tensor, site: int) -> Tensor:
        """The transition, and back to a sum of 1."""
        stay, jump = 1 - rho[site], rho[site] / size
        rows = matrix.sum(-1, keepdim=True)
        total = rows.sum(1, keepdim=True)
        share = rows.mul_(stay * jump / total).add_(jump**2 / 2)
        return torch.mul(matrix, stay**2 / total).add_(share).add_(share.mT)

    def forward(alpha: Tensor, site: int) -> Tensor:
        return read(move(alpha, site), site)

    def backward(beta: Tensor, site: int) -> Tensor:
        return move(read(beta, site), site)

    start = weights.new_full((len(panel), size, size), 1 / size**2)
    for site, both in smooth(sites, start, forward, backward):
        pairs = both @ kinds[site]  # (B, K, 2): the other haplotype carries the allele or not
        sums = (kinds[site].mT @ pairs).flatten(1)  # (B, 4): 00, 01, 10, 11
        sums /= sums.sum(1, keepdim=True)
        marginal = pairs.sum(-1)
        yield site, marginal / marginal.sum(-1, keepdim=True), sums
