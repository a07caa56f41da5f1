"""NCCTG lung cancer: survival of patients with advanced lung cancer at real institutions.

A trial of the North Central Cancer Treatment Group; Loprinzi et al. 1994, Journal of Clinical
Oncology 12:601-607, doi:10.1200/JCO.1994.12.3.601. The table travels inside the ``lifelines``
wheel. Most institutions hold a handful of patients: small cohorts are what a federation is for.
"""

from __future__ import annotations

import csv

import numpy as np

from leaklab.data.dataset import Dataset
from leaklab.data.download import fetch
from leaklab.data.registry import FILES

FILE = "lung.csv"
FEATURES = ("age", "sex", "ph.ecog", "ph.karno", "pat.karno", "meal.cal", "wt.loss")
HORIZON = 365  # days
DIED = 1  # lifelines codes status as 1 = died, 0 = censored


def load() -> Dataset:
    """Did the patient die within a year? inputs float32 (patients, 7), ``NaN`` where missing.

    ``sites`` is the institution code. Left out, because they have no site or no label: one patient
    without an institution, and 42 who were last seen alive within the year. Fill the gaps with
    ``heart.impute_and_scale``. Raises ``DataUnavailable`` where the file cannot be had.
    """
    path = fetch(FILE)
    with open(path, newline="", encoding="utf-8") as stream:
        patients = list(enumerate(csv.DictReader(stream)))
    kept = [(number, row) for number, row in patients if row["inst"] and _label(row) is not None]
    file = FILES[FILE]
    return Dataset(
        name="NCCTG lung cancer",
        inputs=np.array([[float(row[name] or "nan") for name in FEATURES] for _, row in kept],
                        dtype=np.float32),
        targets=np.array([_label(row) for _, row in kept], dtype=np.int64),
        patients=np.array([f"ncctg-{number:03d}" for number, _ in kept]),
        sites=np.array([f"institution {int(float(row['inst'])):02d}" for _, row in kept]),
        tag="REAL",
        licence=file.licence,
        citation=file.citation,
        sha256=file.sha256,
        class_names=("alive at one year", "died within a year"),
        feature_names=FEATURES,
    )


def _label(row: dict[str, str]) -> int | None:
    """1 died within the year, 0 was seen alive after it, ``None`` was lost before it ended."""
    if int(row["time"]) > HORIZON:
        return 0
    return 1 if int(row["status"]) == DIED else None
