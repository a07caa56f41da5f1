"""The lab among the other files: its links, its citations, its place in the contents.

A rule answers with sentences that say what was expected; none means it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from nbformat import NotebookNode

from lab_reading import code, text

Complaints = list[str]

LINK = re.compile(r"\]\(([^()\s]*(?:\([^()]*\)[^()\s]*)*)\)|(?:href|src)=\"([^\"]*)\"")
# Both read lower case; what ends a sentence or a link is no part of the identifier.
ARXIV = re.compile(r"(?:arxiv\.org/(?:abs|pdf)/|10\.48550/arxiv\.|\barxiv:? ?)"
                   r"(\d{4}\.\d{4,5}|[a-z.-]+/\d{7})")
DOI = re.compile(r"\b10\.(?!48550/)\d{4,9}/(?:[^\s()<>\[\]\"'`|]|\([^\s()]*\))+(?<![.,;:*])")


def links(notebook: NotebookNode) -> list[str]:
    return [a or b for a, b in LINK.findall(text(notebook))]


def relative_links_resolve(notebook: NotebookNode, root: Path) -> Complaints:
    targets = [t.partition("#")[0] for t in links(notebook) if not re.match(r"\w+:|#|//", t)]
    return [f"link {t!r}: no such file" for t in targets
            if not (root / "notebooks" / t).resolve().is_file()]


def cited_papers_are_in_the_bibliography(notebook: NotebookNode, root: Path) -> Complaints:
    bibliography = (root / "book/references.bib").read_text(encoding="utf-8").lower()
    known = set(re.findall(r"\b(?:doi|eprint) *= *[{\"]([^}\"]+)[}\"]", bibliography))
    written = f"{text(notebook)}\n{code(notebook)}".lower()
    cited = {*ARXIV.findall(written), *DOI.findall(written)}
    return [f"{paper}: cited, but not in book/references.bib" for paper in sorted(cited - known)]


REPOSITORY_RULES = (relative_links_resolve, cited_papers_are_in_the_bibliography)


def contents_list_every_lab(root: Path) -> Complaints:
    """``_toc.yml`` and the folder name the same labs."""
    def files(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from filter(None, [node.get("file")])
            node = list(node.values())
        for child in node if isinstance(node, list) else []:
            yield from files(child)

    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    listed = {Path(f).stem for f in files(contents) if f.startswith("notebooks/")}
    there = {path.stem for path in (root / "notebooks").glob("*.ipynb")}
    return [f"notebooks/{name}.ipynb and _toc.yml: only one of them knows this lab"
            for name in sorted(listed ^ there)]
