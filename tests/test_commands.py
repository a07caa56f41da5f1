"""The commands of the Makefile and of continuous integration do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed here")


def make(*arguments: str) -> str:
    return subprocess.run(["make", "-s", *arguments], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout


def test_help_lists_every_command():
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines()
                 if line.startswith(".PHONY:"))
    listed = [line.split()[1] for line in make("help").splitlines()]
    assert sorted(listed) == sorted(phony.split()[1:])


def test_the_tests_say_why_they_skip():
    assert "-q -ra" in make("-n", "test")
    assert "-q -ra -m deployment tests" in make("-n", "test-deployment")
    assert "-q -ra -m 'not deployment' tests/test_colab.py" in make("-n", "colab-check")


def test_the_newest_versions_go_into_an_environment_of_their_own_and_none_is_held_back():
    said = make("-n", "newest-check")
    assert "constraints.txt" not in said and ".venv/" not in said
    assert said.index("pip install") < said.index("tools/newest.py") < said.index("pytest")


def test_publishing_needs_a_repository():
    done = subprocess.run(["make", "-s", "-o", ".venv/.installed", "publish"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode != 0 and "make publish REPOSITORY=https://" in done.stdout


def test_jupyter_is_started_without_the_thread_limit_and_not_with_an_empty_one():
    assert "env -u OMP_NUM_THREADS" in make("-n", "lab", "NB=01")


@pytest.mark.parametrize(("number", "opened"), [
    ("01", "notebooks/01_federated_averaging.ipynb"),
    ("p1", "notebooks/projects/p1_foundations.ipynb"),
    ("1", None), ("99", None), ("", None),
])
def test_one_lab_is_opened_by_its_whole_number(number, opened):
    said = make("-n", "lab", f"NB={number}").splitlines()[-1]
    assert said.endswith(f"jupyter lab {opened or ''}")


# --- Continuous integration, with programs of the same names that only say what they would do ---

COLOURED = "\x1b[32m12 passed\x1b[0m in 3.45s"


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "repository/.ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", tmp_path / "repository/.ci/run")
    (tmp_path / "bin").mkdir()
    for program in ("bash", "cat", "dirname", "env", "grep", "mktemp", "rm", "tail", "tee"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program))
    return tmp_path


def ci(checkout: Path, test: str = "echo '3 passed in 1.00s'", deployment: str = "true",
       there: tuple[str, ...] = ("chromium", "nginx")) -> subprocess.CompletedProcess:
    """Run ``.ci/run`` where ``make test`` and ``make test-deployment`` do what is given."""
    make = (f"case $1 in test) {test};; test-deployment) {deployment};; "
            "*) echo book;; esac")
    programs = {"make": make, "apt-get": 'echo "apt-get $*" >&2', **dict.fromkeys(there, "true")}
    for name, body in programs.items():
        path = checkout / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)
    (checkout / "tmp").mkdir(exist_ok=True)
    env = {"PATH": str(checkout / "bin"), "TMPDIR": str(checkout / "tmp")}
    done = subprocess.run([checkout / "repository/.ci/run"], env=env, capture_output=True,
                          text=True)
    assert os.listdir(checkout / "tmp") == [], "the log is left behind"
    return done


@pytest.mark.parametrize(("test", "deployment", "green"), [
    ("echo '3 passed in 1.00s'", "echo '2 passed in 9.00s'", True),
    ("echo '3 passed in 1.00s'; exit 2", "true", False),
    ("echo '3 passed in 1.00s'", "echo '1 failed in 9.00s'; exit 2", False),
])
def test_ci_ends_with_the_closing_line_of_make_test(checkout, test, deployment, green):
    done = ci(checkout, test, deployment)
    assert done.stdout.splitlines()[-1] == "3 passed in 1.00s"
    assert (done.returncode == 0) == green


@pytest.mark.parametrize("line", [
    "== 1 failed, 3 passed, 2 deselected, 1 warning in 75.32s (0:01:15) ==",
    "2 deselected in 0.10s",
])
def test_ci_knows_each_closing_line(checkout, line):
    done = ci(checkout, f"echo 'noise in 3s'; echo '{line}'; echo more")
    assert done.stdout.splitlines()[-1] == line


@pytest.mark.parametrize("printed", ["", COLOURED])
def test_ci_is_green_where_the_closing_line_is_missing_or_coloured(checkout, printed):
    done = ci(checkout, f"echo '{printed}'")
    assert done.returncode == 0
    assert "no closing line" in done.stdout.splitlines()[-1]


def test_ci_asks_pytest_for_no_colours(checkout):
    assert ci(checkout, 'echo "$PY_COLORS passed in 1.00s"').stdout.endswith("0 passed in 1.00s\n")


def test_ci_installs_what_is_missing_and_only_that(checkout):
    assert "apt-get" not in ci(checkout).stderr
    (checkout / "bin/nginx").unlink()
    said = ci(checkout, there=("chromium",)).stderr
    assert "apt-get install -y -qq nginx" in said and "chromium" not in said
