r"""What theory allows: limits that hold for every attack, whatever its prior and its budget.

One question lies behind all of them: how well can the best test tell what is released with a
record from what is released without it? For the Gaussian mechanism on a gradient clipped to C,
noise of standard deviation :math:`\sigma C` and T releases, that is telling
:math:`N(0, 1)` from :math:`N(\mu, 1)` with :math:`\mu = \sqrt T/\sigma`.

* :mod:`leaklab.bounds.membership`: was the record there?
* :mod:`leaklab.bounds.reconstruction`: what was the record? The same curve, read at the chance of
  the best guess. Bounds on errors of unbiased attackers are there too.
* :mod:`leaklab.bounds.subsampled`: the curve where batches are drawn by chance (needs the package
  ``dp-accounting``).

All are about one record, and adding or removing it: several records of one patient, or exchanging
one record for another, need their own :math:`\mu` (twice as large for an exchange).
"""

from leaklab.bounds.membership import (
    auc_ceiling,
    epsilon_of,
    gaussian_mu,
    ranking_ceiling,
    tpr_ceiling,
    tpr_ceiling_from_dp,
)
from leaklab.bounds.reconstruction import (
    reconstruction_robustness,
    unbiased_error,
)
from leaklab.bounds.subsampled import Profile, subsampled_gaussian

__all__ = [
    "Profile", "auc_ceiling", "epsilon_of", "gaussian_mu", "ranking_ceiling",
    "reconstruction_robustness", "subsampled_gaussian", "tpr_ceiling", "tpr_ceiling_from_dp",
    "unbiased_error",
]
