"""The first lab in a bare environment, as on Colab: only its setup cell brings leaklab there.

The environment holds what the wheel requires and a kernel, not leaklab; no repository lies beside
the notebook. It takes a minute to install, so it is kept in pytest's cache and renewed when the
requirements change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import nbformat
import pytest
from conftest import require_data
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MPLBACKEND", "IPYTHONDIR")
BARE = {k: v for k, v in os.environ.items() if k not in FOREIGN} | {"COLAB_RELEASE_TAG": "test"}


def call(*command: object, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=BARE, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src", copy / "src",
                    ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", copy)
    return next((copy / "dist").glob("leaklab-*.whl"))


@pytest.fixture(scope="module")
def python(wheel, pytestconfig):
    """The interpreter of the bare environment, with a ``google.colab`` to find."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        required = message_from_string(archive.read(metadata).decode()).get_all("Requires-Dist")
    wanted = [r for r in required if "extra ==" not in r] + ["ipykernel"]
    constraints = ROOT / "constraints.txt"
    state = f"{sys.version}{wanted}".encode() + constraints.read_bytes()
    folder = pytestconfig.cache.mkdir("colab") / hashlib.sha256(state).hexdigest()[:12]
    interpreter, complete = folder / "bin/python", folder / ".complete"
    if not complete.exists():
        shutil.rmtree(folder.parent)
        call(sys.executable, "-m", "venv", folder)
        call(interpreter, "-m", "pip", "install", "-q", "--no-compile", *wanted,
             "-c", constraints)
        colab = site_packages(interpreter) / "google/colab"
        colab.mkdir(parents=True)
        (colab / "__init__.py").touch()
        complete.touch()
    return interpreter


@pytest.fixture(autouse=True)
def without_leaklab(python):
    call(python, "-m", "pip", "uninstall", "-q", "-y", "leaklab")
    assert not list(site_packages(python).glob("*leaklab*"))


def site_packages(python: Path) -> Path:
    return Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
                .stdout.strip())


def installed(python: Path, package: str) -> dict[str, tuple[int, int]]:
    """What a reinstallation of ``package`` would touch."""
    folder = site_packages(python)
    files = [folder / package / "__init__.py", *folder.glob(f"{package}-*.dist-info/*")]
    assert len(files) > 2
    return {str(f): (f.stat().st_mtime_ns, f.stat().st_ino) for f in files if f.is_file()}


@pytest.fixture(scope="module")
def lab():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks, "no notebooks/*.ipynb; run: make notebooks"
    return notebooks[0]


def setup_cell(lab: Path) -> str:
    cells = nbformat.read(lab, as_version=4).cells
    return next(c.source for c in cells if "setup" in c.metadata.get("tags", []))


def test_the_first_lab_runs_where_only_its_setup_cell_installs_leaklab(
    python, wheel, lab, tmp_path, monkeypatch
):
    require_data(lab)
    here = tmp_path / "content"
    here.mkdir()
    shutil.copy(wheel, here)
    kernel = tmp_path / "jupyter/kernels/colab/kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    before = installed(python, "torch")
    notebook = nbformat.read(lab, as_version=4)
    client = NotebookClient(notebook, kernel_name="colab", timeout=300,
                            resources={"metadata": {"path": str(here)}})
    client.execute(env=BARE)
    assert call(python, "-c", "import leaklab; print(leaklab.__file__)", cwd=here).stdout.strip() \
        == str(site_packages(python) / "leaklab/__init__.py")
    assert installed(python, "torch") == before
    assert [path.name for path in here.iterdir()] == [wheel.name], "the lab left files behind"


def test_setup_without_a_wheel_says_what_to_do(python, lab, tmp_path):
    done = subprocess.run([python, "-c", setup_cell(lab)], cwd=tmp_path, env=BARE,
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "RuntimeError: leaklab is not installed here" in done.stderr
    assert "python -m build --wheel" in done.stderr and "upload" in done.stderr.lower()


@pytest.mark.parametrize("package", ["torch", "numpy"])
def test_setup_fails_rather_than_replace_what_is_installed(python, lab, tmp_path, package):
    before = installed(python, package)
    version = call(python, "-c", f"import importlib.metadata as m; print(m.version('{package}'))")
    info = "leaklab-9.9.dist-info"
    with zipfile.ZipFile(tmp_path / "leaklab-9.9-py3-none-any.whl", "w") as wants_another:
        wants_another.writestr(f"{info}/METADATA", (
            "Metadata-Version: 2.1\nName: leaklab\nVersion: 9.9\n"
            f"Requires-Dist: {package}!={version.stdout.strip()}\n"))
        wants_another.writestr(f"{info}/WHEEL", (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"))
        wants_another.writestr(f"{info}/RECORD", "")
    done = subprocess.run([python, "-c", setup_cell(lab)], cwd=tmp_path, env=BARE,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "conflicting dependencies" in done.stderr, done.stderr
    assert installed(python, package) == before
