"""Put the columns of a table on one scale, and take them back to their units.

Whoever trains needs the first, whoever reads a record out of an update the second. Both need no
more than the column means and standard deviations, which a federation hands to all its members.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leaklab.data.dataset import Dataset

__all__ = ["fit", "scale"]


@dataclass(frozen=True)
class Scaling:
    """Statistics of a table's columns, each an array of shape (d,).

    mean, deviation
        Of the values observed, in the column's unit.
    gaps
        Whether the column lacks a value somewhere.
    """

    mean: np.ndarray
    deviation: np.ndarray
    gaps: np.ndarray


def fit(table: Dataset) -> Scaling:
    """The statistics of ``table``, inputs (n, d) with ``NaN`` for missing.

    A federation can compute them from three sums each hospital shares: values, squares and counts
    of what it observed. Raises ``ValueError`` for inputs that are no table and for a column that
    holds no value.
    """
    values = _values(table, len(table.feature_names))
    observed = ~np.isnan(values)
    count = observed.sum(axis=0)
    if unseen := [n for n, seen in zip(table.feature_names, count, strict=True) if not seen]:
        raise ValueError(f"train: columns {unseen} hold no value, expected at least one each")
    mean = np.where(observed, values, 0).sum(axis=0) / count
    square = np.where(observed, values**2, 0).sum(axis=0) / count
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    # of a constant column only the rounding of two equal sums is left: not to be blown up
    deviation[deviation <= 1e-6 * np.sqrt(square)] = 1
    return Scaling(mean, deviation, count < len(table))


def scale(table: Dataset, by: Scaling) -> Dataset:
    """``table`` with columns of mean 0 and deviation 1, and without gaps; inputs float32.

    A missing value becomes 0. Each column with a gap in the table that was fitted gets a column of
    0 and 1 at the end, named ``"<feature> missing"``. Raises ``ValueError`` for inputs that are
    not (n, d).
    """
    scaled = (_values(table, len(by.mean)) - by.mean) / by.deviation
    missing = np.isnan(scaled)
    joined = np.hstack([np.where(missing, 0, scaled), missing[:, by.gaps]])
    flags = tuple(f"{name} missing" for name in np.array(table.feature_names)[by.gaps])
    return replace(table, inputs=joined.astype(np.float32),
                   feature_names=table.feature_names + flags)


def unscale(rows: np.ndarray, by: Scaling) -> np.ndarray:
    """Scaled ``rows``, shape (n, d + flags), in the units of the table: float64 (n, d).

    ``NaN`` where the flag of the column says missing, that is, lies above 0.5. Raises
    ``ValueError`` for rows of another width.
    """
    rows, width = np.asarray(rows, np.float64), len(by.mean) + int(by.gaps.sum())
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"rows: shape {rows.shape} given, expected (n, {width})")
    values = rows[:, :len(by.mean)] * by.deviation + by.mean
    values[:, by.gaps] = np.where(rows[:, len(by.mean):] > 0.5, np.nan, values[:, by.gaps])
    return values


def _values(table: Dataset, width: int) -> np.ndarray:
    if table.inputs.ndim != 2 or table.inputs.shape[1] != width:
        raise ValueError(f"table: inputs of shape {table.inputs.shape} given, "
                         f"expected (n, {width})")
    return table.inputs.astype(np.float64)
