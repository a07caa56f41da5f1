"""How a benchmark's result is kept: with the machine and the day, as indented JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch


def record(file: Path, result: Mapping) -> None:
    """Write ``result``, and where and when it was measured, to ``file``."""
    machine = (f"{platform.machine()}, {os.cpu_count()} cores, one thread used, "
               f"torch {torch.__version__}")
    whole = {**result, "machine": machine, "date": datetime.date.today().isoformat()}
    file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
