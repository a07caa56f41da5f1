"""Peers that the benchmarks run against, each in a virtual environment of its own.

A peer's packages are installed there. torch and numpy are not: the environment sees those of the
project behind its own packages, so that both sides run the same build and nothing is downloaded
twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / ".bench"


def python_of(peer: str, *requirements: str) -> Path:
    """The interpreter of the environment ``.bench/<peer>``, which is made where it is missing.

    Ends the program with what pip said where the packages cannot be installed.
    """
    folder = BENCH / peer
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join(requirements)
    if ready.exists() and ready.read_text() == wanted:
        return python
    print(f"Making the environment of {peer} in {folder} ...", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=paths))
    (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    same_torch = f"torch=={torch.__version__.partition('+')[0]}"
    pip = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements,
         same_torch], capture_output=True, text=True)
    if pip.returncode:
        sys.exit(f"{peer}: {', '.join(requirements)} cannot be installed, so there is nothing to "
                 f"compare with.\n{pip.stderr.strip()}")
    ready.write_text(wanted)
    return python


class Worker:
    """A module run by another interpreter, which answers one line of JSON after the other.

    It sees leaklab and this folder. Use as a context: at its end the process is waited for.
    """

    def __init__(self, python: Path, module: str):
        path = os.pathsep.join(map(str, (ROOT / "src", ROOT / "benchmarks")))
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", module], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait()

    def ask(self, request: dict) -> dict:
        """What the module answers; raises ``RuntimeError`` where it ended instead."""
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer ended over {request}; see its message above")
        return json.loads(answer)
