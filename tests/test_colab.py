"""Labs in a bare environment, as on Colab: only the setup cell brings leaklab there.

`make test` runs two of them, `make colab-check` all.

The environment holds a kernel and what the wheel's requirements need, but neither leaklab nor the
packages of its extras; no repository lies beside the notebook. It takes a minute to install, so it
is kept in pytest's cache and renewed when the requirements change. The packages of the extras lie
in it as wheels, and pip asks no index.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from pathlib import Path

import nbformat
import pytest
from conftest import require_data
from nbclient import NotebookClient
from packaging.requirements import Requirement

import browser
from labs import MODULES, Address, setup_cell

ROOT = Path(__file__).resolve().parent.parent
LABS = [path for folder in ("notebooks", "notebooks/projects")  # labs, and starters of projects
        for path in sorted((ROOT / folder).glob("*.ipynb"))]
DAILY = ("01_federated_averaging", "16_differential_privacy")  # without extras, and with
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MPLBACKEND", "IPYTHONDIR")
NOWHERE = Address("", "", "")
BARE = {k: v for k, v in os.environ.items() if k not in FOREIGN} | {"COLAB_RELEASE_TAG": "test"}


def call(*command: object, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True,
                          **{"env": BARE, **options})
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
def required(wheel):
    """What the wheel requires in any case, under ``""``, and for each extra of the labs."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = message_from_string(archive.read(metadata).decode()).get_all("Requires-Dist")

    def asked(extra):
        return [r for r in map(Requirement, lines)
                if r.marker is None or r.marker.evaluate({"extra": extra})]

    always = asked("")
    return {"": always, **{e: [r for r in asked(e) if r not in always] for e in MODULES}}


@pytest.fixture(scope="module")
def of_extras(required):
    """The packages that a setup cell must bring, at the tested versions."""
    return [f"{r.name}{r.specifier}" for extra in MODULES for r in required[extra]]


@pytest.fixture(scope="module")
def python(required, of_extras, pytestconfig):
    """The interpreter of the bare environment, with a ``google.colab`` to find."""
    wanted = [*map(str, required[""]), *of_extras, "ipykernel"]
    constraints = ROOT / "constraints.txt"
    state = f"{sys.version}{wanted}".encode() + constraints.read_bytes()
    folder = pytestconfig.cache.mkdir("colab") / hashlib.sha256(state).hexdigest()[:12]
    interpreter, complete = folder / "bin/python", folder / ".complete"
    if not complete.exists():
        shutil.rmtree(folder.parent)
        call(sys.executable, "-m", "venv", folder)
        call(interpreter, "-m", "pip", "install", "-q", "--no-compile", *wanted,
             "-c", constraints)
        call(interpreter, "-m", "pip", "download", "-q", "--no-deps", *of_extras,
             "-c", constraints, "-d", folder / "wheels")
        colab = site_packages(interpreter) / "google/colab"
        colab.mkdir(parents=True)
        (colab / "__init__.py").touch()
        complete.touch()
    return interpreter


@pytest.fixture(autouse=True)
def without_leaklab(python, required):
    names = ["leaklab", *(r.name for extra in MODULES for r in required[extra])]
    call(python, "-m", "pip", "uninstall", "-q", "-y", *names)
    for name in ("leaklab", *MODULES.values()):
        assert not [p for p in site_packages(python).glob(f"*{name}*")
                    if not p.name.startswith("pydantic_core")]


@pytest.fixture
def colab(python):
    """The variables of a kernel there: pip finds the packages of the extras, and no others."""
    return {**BARE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(python.parents[1] / "wheels")}


def site_packages(python: Path) -> Path:
    return Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
                .stdout.strip())


def installed(python: Path, package: str) -> dict[str, tuple[int, int]]:
    """What a reinstallation of ``package`` would touch."""
    folder = site_packages(python)
    files = [folder / package / "__init__.py", *folder.glob(f"{package}-*.dist-info/*")]
    assert len(files) > 2
    return {str(f): (f.stat().st_mtime_ns, f.stat().st_ino) for f in files if f.is_file()}


def run_setup(python: Path, folder: Path, env: dict[str, str], *extras: str,
              address: Address = NOWHERE):
    """Run the setup cell of a lab that asks for ``extras``, in ``folder``."""
    cell = setup_cell(address, extras)
    return subprocess.run([python, "-c", cell.source], cwd=folder, env=env, capture_output=True,
                          text=True)


def there(python: Path, *modules: str) -> bool:
    found = f"import importlib.util as u; print(all(map(u.find_spec, {modules})))"
    return call(python, "-c", found).stdout == "True\n"


def write_wheel(path: Path, version: str, *requirements: str) -> None:
    """An empty package ``leaklab``."""
    info = f"leaklab-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", "Name: leaklab", f"Version: {version}",
             *(f"Requires-Dist: {requirement}" for requirement in requirements), ""]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines))
        archive.writestr(f"{info}/WHEEL", (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"))
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize("lab", [
    pytest.param(lab, id=lab.stem, marks=[pytest.mark.colab] if lab.stem not in DAILY else [])
    for lab in LABS])
def test_a_lab_runs_where_only_its_setup_cell_installs_leaklab(
    python, colab, wheel, lab, tmp_path, monkeypatch
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
    client.execute(env=colab)
    assert call(python, "-c", "import leaklab; print(leaklab.__file__)", cwd=here).stdout.strip() \
        == str(site_packages(python) / "leaklab/__init__.py")
    assert installed(python, "torch") == before
    assert [path.name for path in here.iterdir()] == [wheel.name], "the lab left files behind"


def test_setup_without_a_wheel_says_what_to_do(python, colab, tmp_path):
    done = run_setup(python, tmp_path, colab)
    assert done.returncode == 1
    assert "RuntimeError: leaklab is not installed here" in done.stderr
    assert "python -m build --wheel" in done.stderr and "upload" in done.stderr.lower()


@pytest.mark.parametrize(("extra", "module"), MODULES.items())
def test_setup_adds_the_extra_that_a_lab_asks_for(python, colab, wheel, tmp_path, extra, module):
    shutil.copy(wheel, tmp_path)
    assert run_setup(python, tmp_path, colab).returncode == 0
    assert there(python, "leaklab") and not there(python, module)
    done = run_setup(python, tmp_path, colab, extra)
    assert done.returncode == 0, done.stderr
    assert there(python, "leaklab", module)
    (tmp_path / wheel.name).unlink()
    assert run_setup(python, tmp_path, colab, extra).returncode == 0, "not needed again"


@contextmanager
def release(wheel: Path, folder: Path) -> Iterator[str]:
    """Inside, the address of ``wheel`` at a server that plays the downloads of a release."""
    below = folder / "example/fork/releases/download/v1"
    below.mkdir(parents=True)
    shutil.copy(wheel, below)
    with browser.served(folder) as base:
        yield f"{base}example/fork/releases/download/v1/{wheel.name}"


def test_setup_installs_the_wheel_of_the_release_with_the_extras(python, colab, wheel, tmp_path):
    here = tmp_path / "content"
    here.mkdir()
    with release(wheel, tmp_path / "server") as address:
        fork = Address("https://github.com/example/fork", "colab-v1", "", address)
        done = run_setup(python, here, colab, "assess", address=fork)
    assert done.returncode == 0, done.stderr
    assert there(python, "leaklab", MODULES["assess"]) and not there(python, MODULES["flower"])
    assert list(here.iterdir()) == []


def test_setup_fails_where_the_release_lacks_the_wheel_and_an_upload_goes_first(
    python, colab, wheel, tmp_path
):
    with release(wheel, tmp_path / "server") as address:
        gone = Address("https://github.com/example/fork", "colab-v1", "",
                       address.replace("v1", "v2"))
        assert run_setup(python, tmp_path, colab, address=gone).returncode == 1
        assert not there(python, "leaklab")
        shutil.copy(wheel, tmp_path)
        assert run_setup(python, tmp_path, colab, address=gone).returncode == 0


@pytest.mark.parametrize(("uploads", "expected"), [
    (["9.8-py3-none-any", "9.9-py3-none-any"], "9.9"),
    (["9.9-py3-none-any", "9.8-py3-none-any"], "9.8"),
    (["9.8-py3-none-any", "9.8-py3-none-any (1)"], "9.8"),
])
def test_setup_takes_the_newest_upload_whose_name_pip_accepts(
    python, colab, tmp_path, uploads, expected
):
    for hour, name in enumerate(uploads):
        path = tmp_path / f"leaklab-{name}.whl"
        write_wheel(path, name.partition("-")[0])
        os.utime(path, (3600 * hour, 3600 * hour))
    done = run_setup(python, tmp_path, colab)
    assert done.returncode == 0, done.stderr
    assert (site_packages(python) / f"leaklab-{expected}.dist-info").is_dir()


@pytest.mark.parametrize("package", ["torch", "numpy"])
def test_setup_fails_rather_than_replace_what_is_installed(python, colab, tmp_path, package):
    before = installed(python, package)
    version = call(python, "-c", f"import importlib.metadata as m; print(m.version('{package}'))")
    write_wheel(tmp_path / "leaklab-9.9-py3-none-any.whl", "9.9",
                f"{package}!={version.stdout.strip()}")
    done = run_setup(python, tmp_path, colab)
    assert done.returncode == 1 and "conflicting dependencies" in done.stderr, done.stderr
    assert installed(python, package) == before
