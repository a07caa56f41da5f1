"""pyproject.toml, constraints.txt, environment.yml and what is installed agree."""

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import lock  # noqa: E402

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = lock.direct_requirements(PYPROJECT)
PINS = lock.pins((ROOT / "constraints.txt").read_text())
# Colab brings these; asking for an exact version would replace what it has.
PREINSTALLED = {"torch", "numpy", "matplotlib", "scipy", "scikit-learn", "pillow", "requests"}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_each_pin_satisfies_its_requirement_and_is_installed(requirement):
    pinned = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)
    installed = importlib.metadata.version(requirement.name).partition("+")[0]
    assert installed == pinned, f"{requirement.name} {installed} installed, {pinned} pinned"


def test_environment_yml_is_what_lock_writes_and_parses_to_the_pins():
    text = (ROOT / "environment.yml").read_text()
    assert text == lock.environment_text(REQUIREMENTS, PINS), "run `make lock`"
    listed = yaml.safe_load(text)["dependencies"][-1]["pip"]
    packages = [Requirement(line) for line in listed if not line.startswith("--")]
    assert {canonicalize_name(p.name): str(p.specifier) for p in packages} == {
        canonicalize_name(r.name): f"=={PINS[canonicalize_name(r.name)]}" for r in REQUIREMENTS
    }


def test_the_tested_torch_is_the_one_the_course_names():
    assert PINS["torch"] == "2.13.0"


def test_what_colab_preinstalls_is_asked_for_by_floor_only():
    asked = {r.name: r for r in map(Requirement, PYPROJECT["project"]["dependencies"])}
    for name in PREINSTALLED:
        assert all(s.operator == ">=" for s in asked[name].specifier), asked[name]


def test_a_pin_below_its_floor_is_noticed():
    (torch,) = [r for r in REQUIREMENTS if r.name == "torch"]
    assert not torch.specifier.contains("1.13.0")


def test_constraints_drop_build_labels_and_the_package_itself():
    freeze = "-e git+x#egg=leaklab\nleaklab==0.1.0\ntorch==2.13.0+cpu\nAttrs==1.0\n"
    assert lock.constraints_text(freeze, "leaklab") == "Attrs==1.0\ntorch==2.13.0\n"
