"""What a record must hold: values and intervals that follow from the runs beside them."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from leaklab.evidence import Evidence
from leaklab.metrics import mean_interval, proportion_interval
from leaklab.metrics.clustered import share_interval

KINDS = {
    "95 % t over trials": lambda i: mean_interval(i.runs),
    "95 % t over trials, cut to 0 and 1": lambda i: tuple(np.clip(mean_interval(i.runs), 0, 1)),
    "95 % t over trials, cut to -1 and 1": lambda i: tuple(np.clip(mean_interval(i.runs), -1, 1)),
    "95 % Clopper-Pearson over trials":
        lambda i: proportion_interval(round(sum(i.runs)), len(i.runs)),
    "95 % Clopper-Pearson over models": lambda i: proportion_interval(i.successes, i.trials),
    "95 % Korn-Graubard over trials of 4": lambda i: share_interval(i.runs, 4),
    "95 % Korn-Graubard over trials of 1": lambda i: share_interval(i.runs, 1),
    "95 % Clopper-Pearson over releases": lambda i: proportion_interval(i.successes, i.trials),
    "95 % corrected resampled t over splits":
        lambda i: mean_interval(i.runs, test_to_train=0.3 / 0.7),
    "smallest and largest trial": lambda i: (min(i.runs), max(i.runs)),
}


def require_it_follows_from_runs(items: Iterable[Evidence], seeds: Sequence[int]) -> None:
    """Fail for a value that is not the mean of its runs, or an interval of another kind."""
    items = list(items)
    assert items, "nothing recorded"
    for item in items:
        assert item.value == pytest.approx(float(np.mean(item.runs)), rel=1e-4, abs=2e-5), item.name
        expected = KINDS[item.interval_kind](item)
        assert item.interval == pytest.approx(expected, rel=1e-4, abs=5e-5), item.name
        assert item.seeds == seeds
