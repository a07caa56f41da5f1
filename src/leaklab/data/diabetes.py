"""The diabetes table of scikit-learn in real units: 442 patients, ten measurements each.

Published with least angle regression by Efron, Hastie, Johnstone and Tibshirani (2004,
doi:10.1214/009053604000000067). Who collected it, where and when, they do not say, nor which of
the two codes stands for which sex. scikit-learn carries the file; nothing is downloaded.
"""

from __future__ import annotations

import hashlib

import numpy as np
from sklearn.datasets import load_diabetes

from leaklab.data.dataset import Dataset

__all__ = ["load"]

FEATURES = ("age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu")
UNITS = ("years", "code 1 or 2", "kg/m2", "mm Hg", "mg/dl", "mg/dl", "mg/dl", "tc : hdl",
         "log of mg/dl", "mg/dl")
"""Of body mass index, mean blood pressure, total, low-density and high-density cholesterol, their
ratio, triglycerides and blood sugar. The source gives years alone: the others are the units in
which such values are usual, and ``exp(ltg)`` is a whole number for every patient."""
RESOLUTION = (1, 1, 0.1, 0.01, 1, 0.1, 0.5, 0.01, 0.0001, 1)
"""The step in which each column is written. A record is known exactly once every value is known
to within half of it: rounding then gives what stands in the file."""


def load() -> Dataset:
    """Inputs float32 (442, 10) in the units of :data:`UNITS`, one patient a row, nothing missing.

    The label is disease progression within a year above the median of all patients, so that each
    class has 221. ``sha256`` is of the measurements and the progressions as scikit-learn returns
    them, little-endian float64, one after the other.
    """
    table = load_diabetes(scaled=False)
    written = [np.ascontiguousarray(part, "<f8").tobytes() for part in (table.data, table.target)]
    return Dataset(
        name="diabetes of Efron et al.",
        inputs=table.data.astype(np.float32),
        targets=(table.target > np.median(table.target)).astype(np.int64),
        patients=np.array([f"diabetes-{row:03d}" for row in range(len(table.data))]),
        sites=np.full(len(table.data), "not stated"),
        tag="REAL",
        licence="no licence stated, carried by scikit-learn",
        citation="Efron, Hastie, Johnstone and Tibshirani 2004, Annals of Statistics 32:407-499, "
                 "doi:10.1214/009053604000000067",
        sha256=hashlib.sha256(b"".join(written)).hexdigest(),
        class_names=("slower progression", "faster progression"),
        feature_names=FEATURES,
    )
