"""Intervals for shares counted in clusters: several patients behind each trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def share_interval(
    shares: Sequence[float], size: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Korn and Graubard's interval for the mean of ``shares``, each of a cluster of ``size``.

    Clopper and Pearson's, with the number of independent patients that the spread between
    clusters leaves (Korn and Graubard, Survey Methodology 24, 1998): patients of one trial share a
    model and stand or fall together. Where all patients agree, the spread says nothing, and each
    cluster counts once.

    Raises ``ValueError`` for fewer than two shares, one outside [0, 1], or a ``size`` below 1.
    """
    array = np.asarray(shares, dtype=float)
    if array.size < 2 or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"shares: {list(shares)} given, expected two or more from 0 to 1")
    if size < 1:
        raise ValueError(f"size: {size} given, expected 1 or more")
    clusters, share, variance = array.size, array.mean(), array.var(ddof=1) / array.size
    number = float(clusters)
    if 0 < share < 1:
        most = clusters * size
        slack = stats.t.ppf((1 + level) / 2, [most - 1, clusters - 1])
        apart = share * (1 - share) / variance if variance else np.inf
        number = min(apart * (slack[0] / slack[1]) ** 2, most)
    hits, tail = share * number, (1 - level) / 2
    low = stats.beta.ppf(tail, hits, number - hits + 1) if share > 0 else 0.0
    high = stats.beta.isf(tail, hits + 1, number - hits) if share < 1 else 1.0
    return float(min(low, share)), float(max(high, share))
