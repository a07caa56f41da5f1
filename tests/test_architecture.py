"""The house stands on its floors: lower modules never import higher ones, and stay small."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "leaklab"
# From the ground up; a module may import its own floor and those below.
FLOORS = (
    ("leaklab.runtime", "leaklab.updates"),
    ("leaklab.data",),
    ("leaklab.models", "leaklab.metrics"),
    ("leaklab.defences",),
    ("leaklab.federation",),
    ("leaklab.flower", "leaklab.attacks", "leaklab.bounds"),
    ("leaklab.evidence", "leaklab.plots"),
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


def imports_of(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("leaklab.")}


def upward_imports(module: str, source: str) -> list[str]:
    level = floor_of(module)
    return [f"{module} imports {name}" for name in sorted(imports_of(ast.parse(source)))
            if floor_of(name) > level]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_a_higher_floor(path):
    if name_of(path) != "leaklab":
        assert upward_imports(name_of(path), path.read_text(encoding="utf-8")) == []


def test_an_upward_import_is_found():
    assert upward_imports("leaklab.updates", "from leaklab.federation import Hospital")
    assert upward_imports("leaklab.data.heart", "from leaklab import plots")


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


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_and_public_function_says_what_it_does(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no module docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
