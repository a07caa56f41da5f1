"""Write constraints.txt from the packages in the running environment, and environment.yml from it.

`make lock` runs it in .venv. To move a version: change pyproject.toml if need be, install the new
version into .venv, run `make lock`, then `make test`.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.11"


def direct_requirements(pyproject: dict) -> list[Requirement]:
    """What pyproject.toml asks for by name, extras included, without the package itself."""
    project = pyproject["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    found = {r.name: r for r in map(Requirement, lines) if r.name != project["name"]}
    return [found[name] for name in sorted(found, key=str.lower)]


def pins(constraints: str) -> dict[str, str]:
    """Version by canonical name, from the text of constraints.txt."""
    pairs = (line.split("==") for line in constraints.splitlines()
             if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def constraints_text(freeze: str, own: str) -> str:
    """`pip freeze` without the package itself, editable lines and build labels such as +cpu."""
    lines = [line.partition("+")[0] for line in freeze.splitlines() if "==" in line]
    kept = [line for line in lines if canonicalize_name(line.split("==")[0]) != own]
    return "\n".join(sorted(kept, key=str.lower)) + "\n"


def environment_text(requirements: list[Requirement], versions: dict[str, str]) -> str:
    """environment.yml: the direct requirements at their pinned versions, the rest constrained."""
    lines = [f"      - {r.name}=={versions[canonicalize_name(r.name)]}" for r in requirements]
    return "\n".join([
        "# Written by `make lock` from pyproject.toml and constraints.txt.",
        "name: leaklab",
        "channels:",
        "  - conda-forge",
        "dependencies:",
        f"  - python={PYTHON}",
        "  - make",
        "  - pip",
        "  - pip:",
        "      - --constraint constraints.txt",
        *lines,
        "      - --editable .",
        "",
    ])


def main() -> None:
    """Write both files."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    freeze = subprocess.run([sys.executable, "-m", "pip", "freeze"], text=True, check=True,
                            capture_output=True).stdout
    constraints = constraints_text(freeze, pyproject["project"]["name"])
    (ROOT / "constraints.txt").write_text(constraints)
    environment = environment_text(direct_requirements(pyproject), pins(constraints))
    (ROOT / "environment.yml").write_text(environment)


if __name__ == "__main__":
    main()
