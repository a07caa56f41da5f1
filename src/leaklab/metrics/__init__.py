"""How results are scored, and how sure we are of them.

Intervals are two-sided. Every figure of the course carries one; which one is right depends on
what was repeated, so each function says what it assumes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats
from torch import Tensor

__all__ = ["accuracy", "mean_interval", "proportion_interval"]


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Share of rows whose largest logit is that of the target class.

    Shapes: logits (n, num_classes), targets (n,). Raises ``ValueError`` for no rows.
    """
    if len(targets) == 0:
        raise ValueError("targets: 0 rows given, expected at least one")
    return float((logits.argmax(1) == targets).double().mean())


def majority_rate(targets: Tensor, reference: Tensor | None = None) -> float:
    """Accuracy on ``targets`` of always answering the commonest class of ``reference``.

    The baseline that needs no model. ``reference`` is the training set; it defaults to
    ``targets`` themselves.
    """
    commonest = (targets if reference is None else reference).mode().values
    return float((targets == commonest).double().mean())


def mean_interval(
    values: Sequence[float], *, test_to_train: float = 0.0, level: float = 0.95
) -> tuple[float, float]:
    r"""Student-t interval for the mean over repeated random splits of one set of patients.

    Splits share patients, so plain :math:`s/\sqrt J` is too small. With ``test_to_train`` the
    ratio of test to training patients, the variance of the mean is
    :math:`(1/J + n_{test}/n_{train})\, s^2`: the corrected resampled t-interval of Nadeau and
    Bengio (2003, doi:10.1023/A:1024068626366). 0 is right for independent repeats.

    Raises ``ValueError`` for fewer than two values.
    """
    mean, sd, j, quantile = _t_parts(values, level)
    half = quantile * sd * math.sqrt(1 / j + test_to_train)
    return mean - half, mean + half


def prediction_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    r"""Where one further run falls: :math:`\bar v \pm t\, s\sqrt{1 + 1/J}`, for normal values.

    Raises ``ValueError`` for fewer than two values.
    """
    mean, sd, j, quantile = _t_parts(values, level)
    half = quantile * sd * math.sqrt(1 + 1 / j)
    return mean - half, mean + half


def proportion_interval(
    successes: int, trials: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Clopper and Pearson's (1934, doi:10.1093/biomet/26.4.404) exact interval for a proportion.

    Assumes independent trials. Raises ``ValueError`` unless ``0 <= successes <= trials`` and
    ``trials > 0``.
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(
            f"successes, trials: {successes}, {trials} given, expected 0 <= successes <= trials > 0"
        )
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = stats.beta.isf(tail, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


def _t_parts(values: Sequence[float], level: float) -> tuple[float, float, int, float]:
    array = np.asarray(values, dtype=float)
    if array.size < 2:
        raise ValueError(f"values: {array.size} given, expected at least two runs")
    quantile = stats.t.ppf((1 + level) / 2, array.size - 1)
    return float(array.mean()), float(array.std(ddof=1)), array.size, float(quantile)
