"""One hash over everything that can change what a lab prints.

A lab is run again only if its key changed. The key covers the cells, the modules of leaklab that
they import (and what those import in turn), the data files, the recorded evidence and the pinned
versions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import runpy
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from labs import Lab

REGISTRY = "leaklab.data.registry"
"""Enters a key row by row: a file added for one lab is no reason to run the others."""


def lab_key(lab: Lab, root: Path) -> str:
    """SHA-256, in hexadecimal, of everything that ``lab`` depends on.

    Raises ``ValueError`` that names the lab where its front matter names data or evidence that
    does not exist, or a code cell is not Python.
    """
    digest = hashlib.sha256()
    cells = [[c.id, c.cell_type, c.source, c.metadata] for c in lab.cells]
    digest.update(json.dumps(cells, sort_keys=True).encode())
    digest.update(json.dumps(_data_hashes(lab, root)).encode())
    recorded = [root / f"src/leaklab/recorded/{study}.json" for study in lab.evidence]
    for path in [*sorted(_library_files(lab, root)), *recorded, root / "constraints.txt"]:
        if not path.is_file():
            raise ValueError(f"{lab.text.name}: {path.relative_to(root)} is missing; "
                             "record it with: make evidence")
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def library_modules(code: str, src: Path) -> set[str]:
    """Names of the leaklab modules that ``code`` imports, directly or through others."""
    found: set[str] = set()
    queue = [name for name in imported(code, package="") if name.split(".")[0] == "leaklab"]
    while queue:
        name = queue.pop()
        path = module_path(name, src)
        if name in found or path is None:
            continue
        found.add(name)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        queue += [*imported(path.read_text(encoding="utf-8"), package), name.rpartition(".")[0]]
    return found


def _library_files(lab: Lab, root: Path) -> set[Path]:
    """The modules' files, and the style sheets and templates that lie beside them."""
    src = root / "src"
    paths = {module_path(name, src) for name in library_modules(_code(lab), src) - {REGISTRY}}
    beside = {file for path in paths for file in path.parent.iterdir()
              if file.is_file() and file.suffix not in (".py", ".pyc")}
    return paths | beside


def _code(lab: Lab) -> str:
    """All code cells as one Python text; magics become the calls they stand for."""
    plain = TransformerManager().transform_cell
    code = "\n".join(plain(cell.source) for cell in lab.cells if cell.cell_type == "code")
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise ValueError(f"{lab.text.name}: a code cell is not Python: {error.msg}: "
                         f"{(error.text or '').strip()}") from None
    return code


@functools.cache
def imported(code: str, package: str) -> frozenset[str]:
    """Every dotted name that ``code``, inside ``package``, may mean by an import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def module_path(name: str, src: Path) -> Path | None:
    """The file of module ``name`` below ``src``, or ``None`` where there is none."""
    stem = src.joinpath(*name.split(".")) if name else src / "?"
    return next(filter(Path.is_file, (stem.with_suffix(".py"), stem / "__init__.py")), None)


def _data_hashes(lab: Lab, root: Path) -> dict[str, str]:
    if not lab.data:
        return {}
    files = runpy.run_path(str(root / "src/leaklab/data/registry.py"))["FILES"]
    unknown = sorted(set(lab.data) - set(files))
    if unknown:
        raise ValueError(f"{lab.text.name}: front matter leaklab.data: {unknown} given, expected "
                         f"names of the registry: {sorted(files)}")
    return {name: files[name].sha256 or files[name].md5 for name in lab.data}
