"""The stored outputs hold on another processor, whose part this one can play.

``ATEN_CPU_CAPABILITY=default`` keeps PyTorch from the vector instructions of this processor, so
sums and convolutions run in another order and differ in their last digits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import require_data

ROOT = Path(__file__).resolve().parent.parent
LABS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OTHER = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}


def run(*command: object, env: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=env,
                          capture_output=True, text=True)


@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
def test_a_lab_prints_the_same_on_another_processor(lab):
    require_data(lab)
    done = run("-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", lab, env=OTHER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_other_processor_rounds_otherwise():
    """Else the test above would compare this processor with itself."""
    ask = ("import torch; torch.manual_seed(0); torch.set_num_threads(1);"
           "x = torch.randn(64, 784) @ torch.randn(784, 128);"
           "print(torch.backends.cpu.get_cpu_capability(), x.sum(dtype=torch.double).item())")
    here, there = (run("-c", ask, env=env).stdout.split() for env in (dict(os.environ), OTHER))
    if here[0] in ("DEFAULT", "NO AVX"):
        pytest.skip("this processor has no vector instructions that PyTorch could do without")
    assert there[0] == "DEFAULT" and there[1] != here[1]
