r"""Three statistics that compare a genotype with a cohort's frequencies and a reference's.

All ask whether a person :math:`x` lies nearer to the cohort's frequencies :math:`p` than to the
reference's :math:`f`, SNP by SNP, and add up. A member has pulled :math:`p` towards itself, by its
share :math:`1/n` of the cohort; over many SNPs that shows.

:func:`homer`
    The distance of Homer et al. (2008, doi:10.1371/journal.pgen.1000167), which led the NIH and the
    Wellcome Trust to close their aggregate data.
:func:`likelihood_ratio`
    The test of Sankararaman et al. (2009, doi:10.1038/ng.436), and of Visscher and Hill (2009,
    doi:10.1371/journal.pgen.1000628): the most powerful one where SNPs are unlinked, the reference
    is the population and nothing was added to the frequencies.
:func:`inner_product`
    The linear test of Dwork et al. (2015, doi:10.1109/FOCS.2015.46), here with a weight for each
    SNP; it needs no logarithm, so it also works on frequencies that noise has put below 0.

Threat model: that of the package. Shapes: dosages (n, m), frequencies (m,); a score is float64,
(n,), higher for likelier members.

Where they fail: few SNPs or large cohorts; linked SNPs, which repeat one another, so that many are
worth few; a reference of another ancestry, against which everyone of the cohort's ancestry looks
like a member (Braun et al., 2009, doi:10.1371/journal.pgen.1000668; Sampson and Zhao, 2009,
doi:10.2202/1544-6115.1469); relatives of members, who are taken for members; thresholds set on the
reference's own people, who are likely non-members by construction.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-3
"""Frequencies are kept this far from 0 and 1: one copy among 500 people."""


def homer(dosages: Tensor, cohort: Tensor, reference: Tensor) -> Tensor:
    r"""Homer's T: the mean of :math:`|x/2 - f| - |x/2 - p|` over SNPs, over its standard error.

    Two copies of a rare allele count no more than one, and a rare allele no more than a common one.
    Standard normal for a non-member only if cohort and reference are alike in ancestry and size:
    do not take its tail for a p-value. Raises ``ValueError`` as :func:`likelihood_ratio` does, and
    for fewer than two SNPs or a person all of whose distances are equal. Shapes: dosages (n, m),
    frequencies (m,), result (n,), float64. Source: Homer et al. (2008,
    doi:10.1371/journal.pgen.1000167).
    """
    x, p, f = checked(dosages, cohort, reference)
    nearer = (x / 2 - f).abs() - (x / 2 - p).abs()
    if nearer.shape[1] < 2 or (nearer.std(1) == 0).any():
        raise ValueError(f"dosages: {nearer.shape[1]} SNPs given, expected two or more whose "
                         "distances differ")
    return nearer.mean(1) / nearer.std(1) * nearer.shape[1] ** 0.5


def likelihood_ratio(
    dosages: Tensor, cohort: Tensor, reference: Tensor, *, floor: float = FLOOR
) -> Tensor:
    r"""Log-likelihood ratio of having been drawn from the cohort or from the reference.

    .. math:: \Lambda(x) = \sum_j x_j \ln \frac{p_j}{f_j}
              + (2 - x_j) \ln \frac{1 - p_j}{1 - f_j}

    Frequencies are clipped to ``floor`` and 1 - ``floor``. An allele that nobody in the cohort has
    thus counts against its carrier, heavily but not without limit: one wrong genotype must not rule
    a member out. An allele that is missing in cohort and reference says nothing.

    Raises ``ValueError`` for other shapes, dosages outside 0 to 2, frequencies outside 0 to 1, NaN,
    or a ``floor`` outside (0, 0.5). Source: Sankararaman et al. (2009, doi:10.1038/ng.436).
    """
    if not 0 < floor < 0.5:
        raise ValueError(f"floor: {floor} given, expected a number between 0 and 0.5")
    x, p, f = checked(dosages, cohort, reference)
    p, f = p.clamp(floor, 1 - floor), f.clamp(floor, 1 - floor)
    carried, other = (p / f).log(), ((1 - p) / (1 - f)).log()
    return x @ (carried - other) + 2 * other.sum()


def inner_product(
    dosages: Tensor, cohort: Tensor, reference: Tensor, *, people: tuple[int, int] | None = None,
    noise: Tensor | float = 0.0, floor: float = FLOOR,
) -> Tensor:
    r"""Correlate the person's deviation with the cohort's, SNP by SNP.

    .. math:: s(x) = \sum_j w_j (x_j - 2 f_j)(p_j - f_j)

    Without ``people`` the weight is :math:`1/(f_j(1 - f_j))` and the score the likelihood ratio to
    first order, up to a constant. ``noise`` is the standard deviation of what was added to each
    cohort frequency, a number or (m,). With it the sizes of cohort and reference, ``people``
    = (n, r), give each SNP its best weight
    :math:`\left[f_j(1 - f_j)(1/n + 1/r) + 2 \tau_j^2\right]^{-1}`.
    Cohort frequencies may then lie outside 0 to 1; they are not clipped.

    Raises ``ValueError`` as :func:`likelihood_ratio` does, for negative noise or noise without
    ``people``. Source: Dwork et al. (2015, doi:10.1109/FOCS.2015.46).
    """
    noise = torch.as_tensor(noise, dtype=torch.float64, device=dosages.device)
    if (noise < 0).any() or (people is None and noise.any()) or (people and min(people) < 1):
        raise ValueError(f"noise, people: {noise.tolist()}, {people} given, expected noise of 0 or "
                         "more and, where there is any, the sizes of cohort and reference")
    x, _, f = checked(dosages, reference, reference)
    if cohort.shape != f.shape or not cohort.isfinite().all():
        raise ValueError(f"cohort: shape {tuple(cohort.shape)} given, expected finite {f.shape}")
    spread = f.clamp(floor, 1 - floor)
    spread = spread * (1 - spread)
    if people is not None:
        spread = spread * (1 / people[0] + 1 / people[1]) + 2 * noise**2
    return (x - 2 * f) @ ((cohort.to(f) - f) / spread)


def checked(dosages: Tensor, cohort: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All three in float64 on the device of ``dosages``, or ``ValueError`` that says what is off.

    Shapes (n, m), (m,), (m,); dosages from 0 to 2, frequencies from 0 to 1.
    """
    if dosages.ndim != 2 or not cohort.shape == reference.shape == dosages.shape[1:]:
        raise ValueError(f"dosages, cohort, reference: shapes {tuple(dosages.shape)}, "
                         f"{tuple(cohort.shape)}, {tuple(reference.shape)} given, "
                         "expected (n, m), (m,), (m,)")
    x, p, f = (tensor.to(dosages.device, torch.float64) for tensor in (dosages, cohort, reference))
    for name, values, most in (("dosages", x, 2), ("cohort", p, 1), ("reference", f, 1)):
        outside = int((~((values >= 0) & (values <= most))).sum())  # NaN too
        if outside:
            raise ValueError(f"{name}: {outside} values outside 0 to {most} given, expected none")
    return x, p, f
