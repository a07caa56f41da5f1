"""What the stored outputs stand for, whatever the terminal that runs a lab has set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FIXED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
         "LEAKLAB_PROGRESS": "0", "LEAKLAB_SCALE": "fast", "LEAKLAB_DEVICE": "cpu"}
FOLDERS = ("LEAKLAB_DATA", "LEAKLAB_CACHE")


def lab_environment(given: Mapping[str, str]) -> dict[str, str]:
    """``given`` with what is fixed for labs, and its folders absolute: a kernel runs elsewhere."""
    folders = {name: str(Path(given[name]).expanduser().absolute())
               for name in FOLDERS if given.get(name)}
    return {**given, **FIXED, **folders}
