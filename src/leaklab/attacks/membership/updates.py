r"""Membership from one update: does it point the way this record's gradient does?

An update of plain SGD is a mean of the gradients of the hospital's records, so a record that took
part has left its own gradient :math:`g` in it, once over :math:`n`. Three statistics look for it:

:func:`update_cosine`
    The angle between the two. Nasr et al. (2019, arXiv:1812.00910) showed that gradients give
    members away, and Li et al. ("Effective passive membership inference attacks in federated
    learning against overparameterized models", ICLR 2023) use the cosine.
:func:`glir`
    The likelihood-ratio test of Leemann et al. (2023, arXiv:2306.07273), for gradients that are
    Gaussian with a mean and covariance known from public records.
:func:`whitened`
    The matched filter for a record in a mean of records, which Azize and Basu (2024,
    arXiv:2402.10065) derive as the covariance attack; here this package's own variant, with
    second moments in place of the covariance, ridged so that few public records suffice.

Threat model: a passive observer of a ``View`` with two ends, who knows the model, holds the record
it asks about with its label, and for the last two holds public records of the same kind, none of
them among those it asks about.

Where it fails: many local steps, as each gradient is then taken somewhere else; large hospitals,
as the record's share is :math:`1/n`; records whose gradient is small because the model already
fits them; momentum and Adam, which send no sum of gradients; noise.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import ncx2
from torch import Tensor, nn
from torch.nn.functional import normalize

from leaklab.attacks.observed import mean_gradient
from leaklab.gradients import record_gradients
from leaklab.updates import View

__all__ = ["flat_update", "record_gradients", "update_cosine", "whitened"]

LOG_P_FLOOR = -200.0
"""Smaller log p-values are set to this one, as the authors of GLiR do: beyond it, ties."""


def flat_update(model: nn.Module, view: View) -> Tensor:
    """The mean gradient behind ``view``, shape (p,), its columns as in :func:`record_gradients`.

    Raises ``ValueError`` as :func:`leaklab.attacks.observed.mean_gradient` does.
    """
    return torch.cat([tensor.flatten() for tensor in mean_gradient(model, view).values()])


def update_cosine(gradients: Tensor, update: Tensor) -> Tensor:
    """Cosine of each record's gradient and the update; float64, higher for members.

    Shapes: gradients (n, p); update (p,), giving (n,), or (C, p), giving (C, n). A gradient or an
    update of zero has cosine 0. Raises ``ValueError`` for another number of columns.
    """
    records, sent = _matched(gradients, update)
    return (normalize(sent, dim=-1) @ normalize(records, dim=-1).mT).double()


def whitened(
    gradients: Tensor, update: Tensor, public_gradients: Tensor, *, ridge: float = 0.1,
    noise: float = 0.0,
) -> Tensor:
    r"""Matched filter for each record's gradient in the update; float64, higher for members.

    .. math:: s(g) = \frac{g^\top A^{-1} u}{\sqrt{g^\top A^{-1} g}}, \qquad
              A = \tfrac1m \sum_{j=1}^m g_j g_j^\top + \lambda I

    over m public gradients :math:`g_j`. Directions in which any record pulls count for little, and
    those that are this record's own for much: of Gaussian gradients with second moments A, no
    other linear statistic finds a known one better. :math:`\lambda` is ``ridge`` times the mean of
    the m eigenvalues that the sum can have, plus ``noise``: n times the variance of the noise that
    a defence put on each entry of the mean of n gradients. By Woodbury's identity only a system of
    m equations is solved, so p may be large.

    Shapes: gradients (n, p), public_gradients (m, p); update (p,), giving (n,), or (C, p), giving
    (C, n). Published for means of records, with the mean taken out of gradient and update, as the
    covariance attack (Azize and Basu, 2024, arXiv:2402.10065); second moments, which treat the mean
    as one more common direction, the ridge and the division are ours. Raises ``ValueError`` for
    other columns, no public gradients, or a ridge that is not above 0.
    """
    records, sent = _matched(gradients, update)
    inner = _inner_products(records, sent, public_gradients, ridge, noise)
    return inner[0] / inner[1].clamp(min=torch.finfo(torch.float64).tiny).sqrt()


def whitened_length(
    gradients: Tensor, public_gradients: Tensor, *, ridge: float = 0.1, noise: float = 0.0
) -> Tensor:
    r"""How loud a record is for :func:`whitened`, :math:`\sqrt{g^\top A^{-1} g}`; float64, (n,).

    A member raises its own score by this over n. A record that the model has come to fit is quiet,
    member or not. Shapes and errors as for :func:`whitened`.
    """
    records, none = _matched(gradients, gradients[:0])
    return _inner_products(records, none, public_gradients, ridge, noise)[1].sqrt()


def glir(
    gradients: Tensor, update: Tensor, public_gradients: Tensor, *, records: int,
    components: int | None = None, noise: float = 0.0,
) -> Tensor:
    r"""Minus the log p-value of the gradient likelihood-ratio attack; higher for members.

    For a record that did not take part, the mean m of n Gaussian gradients has covariance
    :math:`\Sigma/n`, and with :math:`K = (g-\mu)^\top\Sigma^{-1}(g-\mu)`

    .. math:: S = n\,(m-g)^\top\Sigma^{-1}(m-g) \sim \chi'^2_d(nK).

    A member draws m towards itself, so that S is small: the p-value is the distribution function
    at S. Add up the logarithms over rounds. :math:`\mu` and :math:`\Sigma` are those of the public
    gradients along their ``components`` leading axes, where the sample covariance can be inverted
    (by default as many as half of the public records, and no more than parameters); d is their
    number. ``records`` is n; ``noise`` as in :func:`whitened`.

    Shapes: gradients (n, p), public_gradients (m, p); update (p,), giving (n,), or (C, p), giving
    (C, n), a mean gradient (:func:`flat_update`). The authors' code puts n - 1 for the first n,
    for which the p-values of non-members are not uniform. Log p-values end at -200, as theirs do.

    Source: Leemann et al. (2023, arXiv:2306.07273). Raises ``ValueError`` for other columns, fewer
    than four public gradients, or components that these cannot resolve.
    """
    own, sent = (rows.double() for rows in _matched(gradients, update))
    known, _ = _matched(public_gradients.double(), update)
    if len(known) < 4:
        raise ValueError(f"public_gradients: {len(known)} rows given, expected at least 4")
    most = min(len(known) - 1, known.shape[1])
    d = min(len(known) // 2, most) if components is None else components
    if not 1 <= d <= most:
        raise ValueError(f"components: {d} given, expected 1 to {most}, as the public gradients "
                         "span no more")
    mean = known.mean(0)
    _, singular, axes = torch.linalg.svd((known - mean) / (len(known) - 1) ** 0.5,
                                         full_matrices=False)
    if not singular[d - 1] > singular[0] * len(known) * torch.finfo(singular.dtype).eps:
        raise ValueError(f"components: {d} given, but the public gradients vary along fewer axes")
    scale = (singular[:d].square() + noise).sqrt()
    points, middle = ((rows - mean) @ axes[:d].mT / scale for rows in (own, sent))
    statistic = records * (middle[..., None, :] - points).square().sum(-1)
    log_p = ncx2.logcdf(statistic.cpu().numpy(), d, records * points.square().sum(1).cpu().numpy())
    return -torch.from_numpy(np.maximum(np.nan_to_num(log_p, neginf=LOG_P_FLOOR), LOG_P_FLOOR)
                             ).to(own.device)


def _inner_products(
    records: Tensor, sent: Tensor, public: Tensor, ridge: float, noise: float
) -> tuple[Tensor, Tensor]:
    """``sent`` with every record, (..., n), and every record with itself, (n,), through A^-1."""
    if not ridge > 0:
        raise ValueError(f"ridge: {ridge} given, expected a number above 0")
    known, _ = _matched(public.to(records), records)
    gram = (known @ known.mT).double()
    least = ridge * gram.trace() / len(known) ** 2 + noise
    gram.diagonal().add_(len(known) * least)
    across = (known @ records.mT).double()
    explained = torch.cholesky_solve(across, torch.linalg.cholesky(gram))
    towards = (sent @ records.mT).double() - (sent @ known.mT).double() @ explained
    length = records.double().square().sum(1) - (across * explained).sum(0)
    return towards / least, length.clamp(min=0) / least


def _matched(gradients: Tensor, update: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype. Raises ``ValueError`` unless both have the same, last, dimension p."""
    if gradients.ndim != 2 or update.ndim not in (1, 2) or gradients.shape[1] != update.shape[-1]:
        raise ValueError(f"gradients, update: shapes {tuple(gradients.shape)} and "
                         f"{tuple(update.shape)} given, expected (n, p) and (p,) or (C, p)")
    if not len(gradients):
        raise ValueError("gradients: no rows given, expected at least one")
    return gradients, update.to(gradients)
