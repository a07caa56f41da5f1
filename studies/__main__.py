"""Run studies and record their evidence: ``python -m studies [NN_slug ...]``.

A study is a module ``studies/NN_slug.py`` with three functions:

    trials() -> list of settings, each a dict of plain values
    run(setting) -> dict of measured numbers for one trial
    summarise(results) -> list of Evidence, from (setting, numbers) pairs in the order of trials()

Finished trials are kept under ``studies/.trials``, keyed by their setting and by the source code
they ran on, so an interrupted study goes on where it stopped. What stands in a study below the line
``# --- From trials to evidence`` only describes trials: changing it runs none again.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDIES = sorted(path.stem for path in (ROOT / "studies").glob("[0-9][0-9]_*.py"))
NOT_MEASURING = "# --- From trials to evidence"
NOT_MEASURING_MODULES = {"leaklab.evidence", "leaklab.plots", "leaklab.data.registry"}

sys.path.insert(0, str(ROOT / "tools"))
from lab_key import library_modules, module_path  # noqa: E402
from leaklab.data.registry import FILES  # noqa: E402


def main() -> None:
    """Run the studies named on the command line, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m studies", description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="*", help=f"one of: {', '.join(STUDIES)} (default: all)")
    names = parser.parse_args().name or STUDIES
    unknown = sorted(set(names) - set(STUDIES))
    if unknown:
        parser.error(f"unknown study {', '.join(unknown)}; there are: {', '.join(STUDIES)}")
    for name in names:
        print(f"{name} -> {run_study(name)}")


def run_study(name: str) -> Path:
    """Run what is missing of the study ``name``, then record its evidence; return the file."""
    from leaklab import evidence
    from leaklab.runtime import progress

    study = importlib.import_module(f"studies.{name}")
    settings = study.trials()
    folder = ROOT / "studies" / ".trials" / name
    folder.mkdir(parents=True, exist_ok=True)
    files = {json.dumps(s, sort_keys=True): folder / f"{_key(name, s)}.json" for s in settings}
    missing = [s for s in settings if not files[json.dumps(s, sort_keys=True)].exists()]
    pool = ProcessPoolExecutor(os.cpu_count())
    try:
        jobs = [pool.submit(_run_trial, name, s, files[json.dumps(s, sort_keys=True)])
                for s in missing]
        for job in progress(as_completed(jobs), name, total=len(jobs)):
            job.result()
    finally:  # on an error or Ctrl-C, start no other trial; those that run are kept
        pool.shutdown(cancel_futures=True)
    results = [(s, json.loads(files[json.dumps(s, sort_keys=True)].read_text())) for s in settings]
    return evidence.record(name, study.summarise(results))


def _run_trial(name: str, setting: dict, target: Path) -> None:
    import torch

    torch.set_num_threads(1)
    numbers = importlib.import_module(f"studies.{name}").run(setting)
    part = target.with_suffix(".part")
    part.write_text(json.dumps(numbers))
    os.replace(part, target)


def _key(name: str, setting: dict) -> str:
    digest = hashlib.sha256(json.dumps(setting, sort_keys=True).encode() + _source_hash(name))
    return digest.hexdigest()[:24]


@functools.cache
def _source_hash(name: str) -> bytes:
    measuring, _, _ = (ROOT / f"studies/{name}.py").read_text().partition(NOT_MEASURING)
    digest = hashlib.sha256(measuring.encode() + (ROOT / "constraints.txt").read_bytes())
    hashes = sorted((row.name, row.sha256, row.md5) for row in FILES.values())
    digest.update(repr(hashes).encode())
    for module in sorted(library_modules(measuring, ROOT / "src") - NOT_MEASURING_MODULES):
        digest.update(module_path(module, ROOT / "src").read_bytes())
    return digest.digest()


if __name__ == "__main__":
    sys.exit(main())
