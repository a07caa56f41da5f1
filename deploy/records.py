"""Synthetic records for a class: ``python deploy/records.py 20 folder`` writes 20 hospitals' files.

Procedural lung nodules, drawn by a program: nobody's. Each file is what one SuperNode is started
with (``data-path``); hospitals have names of their own and differ in size and in scanner.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from leaklab.data import hospitals, radiology
from leaklab.federation import Hospital
from leaklab.flower.app import save_hospital

RECORDS = 120  # for each hospital, on average
SIZES = 2.0  # Dirichlet concentration of the hospitals' sizes


def write_records(number: int, folder: Path, seed: int = 0) -> list[Path]:
    """Write ``number`` files ``hospital_01.npz`` and so on; return their paths.

    Raises ``ValueError`` for fewer than one, ``FileExistsError`` for a file that is there.
    """
    if number < 1:
        raise ValueError(f"number: {number} given, expected 1 or more")
    data = radiology.load("nodule", source="synthetic", n=RECORDS * number, seed=seed)
    parts = hospitals.quantity_skew(data, number, SIZES, np.random.default_rng(seed))
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"hospital_{k:02d}.npz" for k in range(1, number + 1)]
    if there := [path.name for path in paths if path.exists()]:
        raise FileExistsError(f"folder: {folder} holds {there}, expected none of them")
    for path, part in zip(paths, parts.values(), strict=True):
        save_hospital(Hospital.of(path.stem.replace("_", " "), part), path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("number", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    print(*write_records(options.number, options.folder), sep="\n")


if __name__ == "__main__":
    main()
