"""UCI heart disease: one table from four real hospitals, and how its gaps are filled.

Cleveland, Budapest (Hungarian Institute of Cardiology), Zurich and Basel, Long Beach (V.A.);
Janosi, Steinbrunn, Pfisterer and Detrano 1989, doi:10.24432/C52P4X, CC BY 4.0. The ten clinical
columns are those that all four hospitals recorded for most patients; the label is any narrowing
of a coronary artery by more than half (``num > 0``).
"""

from __future__ import annotations

import hashlib

import numpy as np

from leaklab.data import scaling
from leaklab.data.dataset import Dataset
from leaklab.data.download import fetch
from leaklab.data.registry import FILES

__all__ = ["load"]

SITES = ("cleveland", "hungarian", "switzerland", "va")
FEATURES = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak")
RESOLUTION = (1, 1, 1, 1, 1, 1, 1, 1, 1, 0.1)
"""The step in which each column is written; see :data:`leaklab.data.diabetes.RESOLUTION`."""
NEVER_ZERO = ("trestbps", "chol")  # nobody has no blood pressure; Switzerland wrote 0 for no value


def load() -> Dataset:
    """The raw table: inputs float32 (patients, 10), one patient a row, ``NaN`` where missing.

    ``?``, ``-9``, and a cholesterol or resting blood pressure of 0 are codes for missing. Rows
    are kept: dropping them would delete Switzerland, where no cholesterol was recorded at all.
    Chest pain (``cp``) and resting ECG (``restecg``) stay the numbers the hospitals wrote. Fill
    the gaps with :func:`impute_and_scale`; a few patients agree in every column, which
    ``hospitals.drop_duplicates`` removes. ``sha256`` is of the four files joined in the order of
    :data:`SITES`. Raises ``DataUnavailable`` where a file cannot be had.
    """
    paths = [fetch(f"processed.{site}.data") for site in SITES]
    tables = [
        np.genfromtxt(path, delimiter=",", missing_values="?", filling_values=np.nan)
        for path in paths
    ]
    rows = np.concatenate(tables)
    inputs, severity = rows[:, : len(FEATURES)], rows[:, -1]
    inputs[inputs == -9] = np.nan
    for name in NEVER_ZERO:
        column = inputs[:, FEATURES.index(name)]
        column[column == 0] = np.nan
    file = FILES[paths[0].name]
    return Dataset(
        name="UCI heart disease",
        inputs=inputs.astype(np.float32),
        targets=(severity > 0).astype(np.int64),
        patients=np.array([f"{site}-{row:03d}" for site, table in zip(SITES, tables, strict=True)
                           for row in range(len(table))]),
        sites=np.repeat(SITES, [len(table) for table in tables]),
        tag="REAL",
        licence=file.licence,
        citation=file.citation,
        sha256=hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest(),
        class_names=("no disease", "heart disease"),
        feature_names=FEATURES,
    )


def impute_and_scale(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """Fill gaps by the training mean, scale to unit variance, and say where the gaps were.

    Every statistic comes from ``train`` alone, so nothing of a test set leaks into it. Means are
    used rather than medians because a federation can compute them, and the standard deviations,
    from three sums each hospital shares: values, squares and counts of what it observed. A filled
    entry is 0 after scaling. Each column with a gap in ``train`` gets a column of 0 and 1 at the
    end, named ``"<feature> missing"``: whether a hospital measures a thing is information too.

    Works on any table (n, d) with ``NaN`` for missing; returns ``(train, *others)``. To keep the
    statistics, for instance to go back, use :mod:`leaklab.data.scaling`. Raises ``ValueError`` for
    inputs that are no table, for tables that do not have the same columns, and for a column that
    ``train`` never observed.
    """
    columns = train.feature_names
    for number, part in enumerate((train, *others)):
        if part.inputs.ndim != 2 or part.inputs.shape[1] != len(columns):
            raise ValueError(f"table {number}: inputs of shape {part.inputs.shape} given, "
                             f"expected (n, {len(columns)}), one column a feature name")
        if part.feature_names != columns:
            raise ValueError(f"table {number}: columns {part.feature_names} given, "
                             f"expected those of train, {columns}")
    by = scaling.fit(train)
    return tuple(scaling.scale(part, by) for part in (train, *others))
