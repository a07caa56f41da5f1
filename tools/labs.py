"""From the text of a lab to the cells of its notebook, before anything runs.

A lab is a MyST notebook text (``notebooks/text/NN_slug.md``, read by jupytext), and so is the
starter of a project (``notebooks/projects/text/pN_slug.md``). The notebook lies one folder above
its text. Four things are added to what its author wrote: what a GPU changes, a badge (where the
repository's address is known), the setup cell, and the folded solutions of its exercises.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jupytext
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python",
            "pygments_lexer": "ipython3"}

MODULES = {"assess": "pydantic", "defences": "opacus", "dicom": "pydicom", "flower": "flwr",
           "homomorphic": "tenseal"}
"""The extras of leaklab that a lab may ask for, and the module by which each is recognised."""

NEEDS = re.compile(r"^\*\*You need\*\*.*$", re.MULTILINE)
GPU_USED = "**A GPU** is used where there is one; none is needed."
GPU_UNUSED = "**A GPU** changes nothing: this lab computes on the processor."
SOLUTION = re.compile(r"^<!-- solution: (\w+) -->$", re.MULTILINE)

SETUP = '''\
# Setup: installs leaklab where it is missing, for example on Colab; elsewhere it does nothing.
import glob, importlib.metadata, importlib.util, os, pathlib, subprocess, sys, tempfile

if not all(map(importlib.util.find_spec, {modules!r})):
    # the newest upload; one whose name ends in " (1).whl" is left, since pip refuses it
    wheels = sorted(glob.glob("leaklab-*-none-any.whl"), key=os.path.getmtime)
    source = f"{{wheels[-1]}}{extras}" if wheels else {fallback!r}
    if not source:
        raise RuntimeError(
            "leaklab{extras} is not installed here. On a computer that has the course, run "
            "`python -m build --wheel` in its folder. Upload the file it makes, "
            "dist/leaklab-*.whl, under its own name, to the folder of this notebook (on Colab: "
            "the folder icon on the left, then the upload icon) and run this cell again.")
    # pip must stop rather than replace one of these: the notebook may have loaded it already
    kept = ("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib")
    found = [n for n in kept if any(importlib.metadata.distributions(name=n))]
    pins = pathlib.Path(tempfile.gettempdir(), "leaklab-constraints.txt")
    pins.write_text("\\n".join(f"{{n}}=={{importlib.metadata.version(n)}}" for n in found))
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-c", pins, source], check=True)
    importlib.invalidate_caches()'''


@dataclass(frozen=True)
class Address:
    """Where the course is published; each part is ``""`` while it is not known."""

    repository: str
    branch: str
    book: str
    wheel: str = ""


@dataclass(frozen=True)
class Lab:
    """A lab as written: its files, the cells to run and what its results depend on."""

    text: Path
    notebook: Path
    cells: tuple[NotebookNode, ...]
    data: tuple[str, ...]
    evidence: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.text.stem


def read_address(root: Path) -> Address:
    """The published addresses that ``_config.yml`` names."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8")) or {}
    repository, html = config.get("repository") or {}, config.get("html") or {}
    return Address(
        (repository.get("url") or "").rstrip("/"),
        repository.get("branch") or "main",
        (html.get("baseurl") or "").rstrip("/"),
        repository.get("wheel") or "",
    )


def read_lab(text: Path, root: Path) -> Lab:
    """Read one lab and add what a GPU changes, badge, setup cell and solutions.

    Raises ``ValueError`` that names the file for a text that cannot be parsed or does not start
    with Markdown, front matter without the lists ``leaklab: {data, evidence}``, with an unknown
    one of ``leaklab: {extras}`` or at odds with the code about a larger size, or an unknown
    solution.
    """
    try:
        written = jupytext.read(text, fmt="md:myst")
    except Exception as error:  # jupytext passes on whatever its parsers raise
        raise ValueError(f"{text.name}: {error}") from error
    first, *rest = written.cells or [None]
    if first is None or first.cell_type != "markdown":
        raise ValueError(f"{text.name}: expected to begin with Markdown: the title")
    first = _with_gpu(first, written, text)
    address = read_address(root)
    notebook = text.parents[1] / f"{text.stem}.ipynb"
    added = [*_badge(notebook.relative_to(root), address),
             setup_cell(address, _extras(written, text))]
    solutions = root / "src/leaklab/teaching/solutions"
    cells = [_with_solutions(cell, solutions, text.name) for cell in (first, *added, *rest)]
    return Lab(text, notebook, tuple(_with_ids(cells)), _names(written, text, "data"),
               _names(written, text, "evidence"))


def to_notebook(lab: Lab, key: str) -> NotebookNode:
    """The notebook to run: cells, fixed metadata, and the key of everything it depends on."""
    sources = {"data": list(lab.data), "evidence": list(lab.evidence), "key": key}
    return new_notebook(
        cells=[NotebookNode(cell) for cell in lab.cells],
        metadata={"kernelspec": KERNEL, "language_info": LANGUAGE, "leaklab": sources},
    )


def _names(
    written: NotebookNode, text: Path, field: str, default: object = None
) -> tuple[str, ...]:
    ours = written.metadata.get("leaklab")
    given = ours.get(field, default) if isinstance(ours, dict) else default
    if not (isinstance(given, list) and all(isinstance(name, str) for name in given)):
        raise ValueError(f"{text.name}: front matter leaklab.{field}: {given!r} given, expected a "
                         "list of names (it may be empty)")
    return tuple(given)


def _extras(written: NotebookNode, text: Path) -> tuple[str, ...]:
    extras = _names(written, text, "extras", default=[])
    if unknown := sorted(set(extras) - set(MODULES)):
        raise ValueError(f"{text.name}: front matter leaklab.extras: {unknown} given, expected "
                         f"names among {sorted(MODULES)}")
    return extras


def _with_gpu(first: NotebookNode, written: NotebookNode, text: Path) -> NotebookNode:
    """The first cell, with a paragraph after "You need" on what a GPU changes in this lab."""
    code = "\n".join(cell.source for cell in written.cells if cell.cell_type == "code")
    ours = written.metadata.get("leaklab")
    larger = ours.get("full", "") if isinstance(ours, dict) else ""
    if not isinstance(larger, str) or bool(larger) != ("runtime.scale(" in code):
        raise ValueError(f"{text.name}: front matter leaklab.full: {larger!r} given, expected what "
                         "is larger at LEAKLAB_SCALE=full where the code calls runtime.scale, and "
                         "nothing where it does not")
    said = GPU_USED if "pick_device(" in code else GPU_UNUSED
    said += f" With `LEAKLAB_SCALE=full` {larger}." if larger else ""
    source = NEEDS.sub(lambda needs: f"{needs[0]}\n\n{said}", first.source, count=1)
    return new_markdown_cell(source, metadata=first.metadata)


def _badge(notebook: Path, address: Address) -> list[NotebookNode]:
    """One cell with links to open the notebook elsewhere; none while the address is not known.

    A lab is a page of the book; a starter, which lies a folder deeper, is led to from one.
    """
    if not address.repository:
        return []
    path = address.repository.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{path}/blob/{address.branch}"
    badge = ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
             f"({colab}/{notebook.as_posix()})")
    page = notebook if notebook.parent.name == "notebooks" else Path("book/projects")
    if address.book:
        badge += f" · [Read in the book]({address.book}/{page.with_suffix('.html').as_posix()})"
    return [new_markdown_cell(badge, metadata={"tags": ["remove-cell"]})]


def setup_cell(address: Address, extras: Sequence[str] = ()) -> NotebookNode:
    """The first code cell: installs leaklab with ``extras``.

    An uploaded wheel goes before the released one, and that before the repository.
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    place = address.wheel or (
        address.repository and f"git+{address.repository}@{address.branch}")
    fallback = place and f"leaklab{wanted} @ {place}"
    modules = ["leaklab", *(MODULES[extra] for extra in extras)]
    source = SETUP.format(modules=modules, extras=wanted, fallback=fallback)
    return new_code_cell(source, metadata={"tags": ["setup", "remove-cell"]})


def _with_solutions(cell: NotebookNode, solutions: Path, lab: str) -> NotebookNode:
    """Replace each line ``<!-- solution: name -->`` by the folded source of that function."""
    if cell.cell_type != "markdown":
        return cell

    def fold(match: re.Match) -> str:
        source = function_source(solutions, match[1])
        if source is None:
            raise ValueError(f"{lab}: solution {match[1]!r} given, expected a function of "
                             f"{solutions.name}")
        return (f"<details>\n<summary>Solution</summary>\n\n```python\n{source}\n```\n\n"
                "</details>")

    return new_markdown_cell(SOLUTION.sub(fold, cell.source), metadata=cell.metadata)


def function_source(package: Path, name: str) -> str | None:
    """The source of function ``name`` in the package's modules, read without running them."""
    for module in sorted(package.glob("*.py")):
        code = module.read_text(encoding="utf-8")
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return ast.get_source_segment(code, node)
    return None


def _with_ids(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Ids from the content, so that a new cell leaves the ids of the others alone."""
    seen: Counter[str] = Counter()
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return cells
