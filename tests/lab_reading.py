"""Read a lab as its students do: prose, headings, code, outputs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode


def numbered(notebook: NotebookNode, kind: str) -> Iterator[tuple[int, NotebookNode]]:
    """Cells of one kind with their number, as a reader counts; without what was generated."""
    for number, cell in enumerate(notebook.cells, start=1):
        tags = cell.metadata.get("tags", [])
        generated = "setup" in tags or (kind == "markdown" and "remove-cell" in tags)
        if cell.cell_type == kind and not generated:
            yield number, cell


def code(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for _, cell in numbered(notebook, "code"))


def text(notebook: NotebookNode) -> str:
    """The Markdown without fenced code, so that a ``#`` in code is no heading."""
    written = "\n\n".join(cell.source for _, cell in numbered(notebook, "markdown"))
    return without_fences(written)


def without_fences(markdown: str) -> str:
    return re.sub(r"^(```+|~~~+).*?^\1$", "", markdown, flags=re.MULTILINE | re.DOTALL)


def headings(notebook: NotebookNode) -> list[str]:
    return re.findall(r"^#{1,6} +(.*?) *$", text(notebook), flags=re.MULTILINE)


def words(notebook: NotebookNode) -> int:
    """Words of prose: no code, formulas, HTML tags, link targets, or generated paragraph."""
    prose = re.sub(r"^\*\*A GPU\*\*.*$", "", text(notebook), flags=re.MULTILINE)
    prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$|<[^>]*>|\]\([^)]*\)|`[^`]*`", " ", prose,
                   flags=re.DOTALL)
    return len(re.findall(r"[^\W_][\w'’-]*", prose))


def sections(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """Heading -> the cells below it, a Markdown cell cut at its headings."""
    found: dict[str, list[NotebookNode]] = {}
    title = ""
    for cell in notebook.cells:
        parts = [cell]
        if cell.cell_type == "markdown":
            parts = [NotebookNode(cell_type="markdown", source=part) for part in
                     re.split(r"^(?=#+ )", without_fences(cell.source), flags=re.MULTILINE)]
        for part in parts:
            if part.cell_type == "markdown" and part.source.startswith("#"):
                title = part.source.splitlines()[0].strip("# ")
            found.setdefault(title, []).append(part)
    return found


def parse(source: str) -> ast.Module:
    """Python without the lines that only IPython understands."""
    return ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))


def trees(notebook: NotebookNode) -> Iterator[tuple[int, ast.Module]]:
    for number, cell in numbered(notebook, "code"):
        yield number, parse(cell.source)


def outputs(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            yield number, output
