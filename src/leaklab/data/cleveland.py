"""The Cleveland patients of UCI heart disease with every column that was recorded there.

:mod:`leaklab.data.heart` keeps the ten columns that four hospitals share. Cleveland recorded three
more for nearly everybody, the number of vessels seen in fluoroscopy and the thallium scan among
them. Janosi, Steinbrunn, Pfisterer and Detrano 1989, doi:10.24432/C52P4X, CC BY 4.0.
"""

from __future__ import annotations

import numpy as np

from leaklab.data.dataset import Dataset
from leaklab.data.download import fetch
from leaklab.data.heart import FEATURES
from leaklab.data.registry import FILES

FILE = "processed.cleveland.data"
CATEGORIES = {"cp": (1, 2, 3, 4), "restecg": (0, 1, 2), "slope": (1, 2, 3), "thal": (3, 6, 7)}
"""Columns whose numbers are names: the kind of chest pain, the resting ECG, the slope of the ST
segment, the thallium scan."""


def load() -> Dataset:
    """The 297 of 303 patients whose row has no gap; inputs float32 (297, 22), unscaled.

    Nine columns are numbers as written; each of the :data:`CATEGORIES` becomes a column of 0 and 1
    for each of its values, such as ``"thal 7"``. Patients are named as in
    :func:`leaklab.data.heart.load`, ``sha256`` is of the one file. Scale with
    :func:`leaklab.data.heart.impute_and_scale`. Raises ``DataUnavailable`` where the file cannot
    be had.
    """
    rows = np.genfromtxt(fetch(FILE), delimiter=",", missing_values="?", filling_values=np.nan)
    table = dict(zip((*FEATURES, "slope", "ca", "thal"), rows.T, strict=False))
    columns = {name: column for name, column in table.items() if name not in CATEGORIES}
    columns |= {f"{name} {value}": table[name] == value
                for name, values in CATEGORIES.items() for value in values}
    everybody = Dataset(
        name="UCI heart disease, Cleveland",
        inputs=np.stack([*columns.values()], axis=1).astype(np.float32),
        targets=(rows[:, -1] > 0).astype(np.int64),
        patients=np.array([f"cleveland-{row:03d}" for row in range(len(rows))]),
        sites=np.full(len(rows), "cleveland"),
        tag="REAL",
        licence=FILES[FILE].licence,
        citation=FILES[FILE].citation,
        sha256=FILES[FILE].sha256,
        class_names=("no disease", "heart disease"),
        feature_names=tuple(columns),
    )
    return everybody.take(~np.isnan(rows).any(axis=1))
