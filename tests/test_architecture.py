"""The house stands on its floors: lower modules never import higher ones, and stay small."""

import ast
import re
from pathlib import Path

import pytest

from lab_key import imported, library_modules, module_path

SOURCE = Path(__file__).parents[1] / "src" / "leaklab"
# From the ground up; a module may import its own floor and those below.
FLOORS = (
    ("leaklab.runtime", "leaklab.updates"),
    ("leaklab.data",),
    ("leaklab.models", "leaklab.gradients", "leaklab.transformer", "leaklab.metrics",
     "leaklab.prior"),
    ("leaklab.defences",),
    ("leaklab.federation", "leaklab.schedule", "leaklab.stack", "leaklab.federations"),
    ("leaklab.flower", "leaklab.attacks", "leaklab.bounds"),
    ("leaklab.evidence", "leaklab.plots", "leaklab.recorded"),
    ("leaklab.assess",),
    ("leaklab.teaching",),
)
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module: str) -> int:
    for level, rooms in enumerate(FLOORS):
        if any(module == room or module.startswith(room + ".") for room in rooms):
            return level
    raise AssertionError(f"{module} stands on no floor: add it to FLOORS")


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).parent.parts)


def upward_imports(module: str, source: str, package: str) -> list[str]:
    level = floor_of(module)
    return [f"{module} imports {name}" for name in sorted(imported(source, package))
            if name.startswith("leaklab.") and floor_of(name) > level]


def needs_flower(path: Path) -> bool:
    names = imported(path.read_text(encoding="utf-8"), package_of(path))
    return any(name.partition(".")[0] == "flwr" for name in names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_a_higher_floor(path):
    if name_of(path) != "leaklab":
        source = path.read_text(encoding="utf-8")
        assert upward_imports(name_of(path), source, package_of(path)) == []


@pytest.mark.parametrize(("module", "source", "package"), [
    ("leaklab.updates", "from leaklab.federation import Hospital", "leaklab"),
    ("leaklab.updates", "from .evidence import Evidence", "leaklab"),
    ("leaklab.updates", "from . import evidence", "leaklab"),
    ("leaklab.data.heart", "from leaklab import plots", "leaklab.data"),
    ("leaklab.data.heart", "from .. import plots", "leaklab.data"),
    ("leaklab.data", "from ..plots import image_grid", "leaklab.data"),
])
def test_an_upward_import_is_found(module, source, package):
    assert upward_imports(module, source, package)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_flower_is_imported_behind_its_package_only(path):
    assert not needs_flower(path) or name_of(path).startswith("leaklab.flower.")


def test_a_capture_can_be_replayed_without_flower():
    needed = library_modules("from leaklab.flower import capture", SOURCE.parent)
    assert {"leaklab.flower", "leaklab.flower.capture"} <= needed
    assert [name for name in needed if needs_flower(module_path(name, SOURCE.parent))] == []


def test_a_need_for_flower_is_found():
    assert needs_flower(SOURCE / "flower/app.py")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_stay_small_enough_to_read(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 320, "over 320 lines: is one thing in it?"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.end_lineno - node.body[0].lineno + 1
            docstring = ast.get_docstring(node)
            body -= len(docstring.splitlines()) if docstring else 0
            assert body <= 45, f"{node.name} has {body} lines"


@pytest.mark.parametrize("package", ["", "assess", "attacks", "data", "defences"])
def test_a_package_tells_whoever_opens_it_what_is_in_it(package):
    folder = SOURCE / package
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")} | {
        path.stem for path in folder.glob("*.py")} - {"__init__"}
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert rooms - set(re.findall(r"\w+", said)) == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_and_public_function_says_what_it_does(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no module docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
