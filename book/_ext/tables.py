"""Parts of the book that are made from the code, never typed.

``{leaklab-datasets}`` lists the files of ``leaklab.data.registry``; ``{leaklab-chapters}`` shows
the map of chapters.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from leaklab.data import registry

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import chapter_map  # noqa: E402


def source(place: str) -> str:
    """Where a file comes from, as Markdown: a package by its name, an address by its host."""
    host = urlsplit(place).netloc
    return f"[{host}]({place})" if host else f"`{place.removeprefix('PyPI: ')}` (PyPI)"


def datasets() -> str:
    """The registry as a Markdown table."""
    rows = [f"| {row['holds']} (`{row['file']}`) | {row['size']} | {row['licence']} | "
            f"{source(row['source'])} | {row['verified']} |" for row in registry.table_rows()]
    return "\n".join(["| Data (file) | Size | Licence | Comes from | Opened and checked |",
                      "|---|---|---|---|---|", *rows])


class Datasets(SphinxDirective):
    """The files that leaklab can fetch."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(registry.__file__)
        return self.parse_text_to_nodes(datasets())


class Chapters(SphinxDirective):
    """The map of chapters, with its text alternative."""

    def run(self) -> list[nodes.Node]:
        for name in ("book/chapters.yml", "_toc.yml"):
            self.env.note_dependency(str(ROOT / name))
        return [nodes.image(uri="/book/_assets/chapter_map.svg", width="420px", align="center",
                            alt=chapter_map.summary(chapter_map.read_plan()),
                            classes=["dark-light"])]


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("leaklab-datasets", Datasets)
    app.add_directive("leaklab-chapters", Chapters)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
