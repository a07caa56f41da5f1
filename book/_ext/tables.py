"""Parts of the book that are made from the code, never typed.

``{leaklab-datasets}`` lists the files of ``leaklab.data.registry``; ``{leaklab-chapters}`` shows
the map of chapters, and ``{leaklab-ready}`` leads to those that are ready.
"""

from __future__ import annotations

import re
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
    """Where a file comes from, as Markdown: a package by its name, an address by its host.

    The link leads to the record or the folder that holds the file: a link to the file itself would
    start a download.
    """
    host = urlsplit(place).netloc
    if place.startswith("packed from"):
        return place
    if not host:
        return f"`{place.removeprefix('PyPI: ')}` (PyPI)"
    record = re.match(r"https://zenodo\.org/records/\d+", place)
    return f"[{host}]({record[0] if record else place.rpartition('/')[0] + '/'})"


def ready(plan: list[chapter_map.Part]) -> str:
    """Links to the pages and labs of all ready chapters, as a paragraph of Markdown."""
    chapters = [chapter for part in plan for chapter in part.chapters]
    links = [f"[chapter {c.number}, {c.title[0].lower()}{c.title[1:]}](/book/{c.slug}.md), with "
             f"[lab {c.number}](/notebooks/{c.slug}.ipynb)" for c in chapters if c.ready]
    listed = "; ".join(links) or "none yet"
    if len(links) == len(chapters):
        return f"**All chapters, each with its lab:** {listed}."
    return f"**Ready now ({len(links)} of {len(chapters)} chapters):** {listed}."


def times(text: str) -> str:
    """``text`` with a sign of multiplication for each ``x`` between two numbers."""
    return re.sub(r"(?<=\d) x (?=\d)", " × ", text)


def datasets() -> str:
    """The registry as a Markdown table."""
    rows = [f"| {times(row['holds'])} (`{row['file']}`) | {row['size']} | {row['licence']} | "
            f"{source(row['source'])} | {row['verified']} |" for row in registry.table_rows()]
    return "\n".join(["| Data (file) | Size | Licence | Comes from | Opened and checked |",
                      "|---|---|---|---|---|", *rows])


class Datasets(SphinxDirective):
    """The files that leaklab can fetch."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(registry.__file__)
        return self.parse_text_to_nodes(datasets())


class Chapters(SphinxDirective):
    """The map of chapters, inside the page, so that it follows the theme and has links."""

    def run(self) -> list[nodes.Node]:
        def address(chapter: chapter_map.Chapter) -> str:
            return self.env.app.builder.get_relative_uri(self.env.docname, f"book/{chapter.slug}")

        drawn = chapter_map.draw(read_plan(self), address)
        return [nodes.raw("", drawn, format="html")]


class Ready(SphinxDirective):
    """The chapters that can be read and run today."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(ready(read_plan(self)))


def read_plan(directive: SphinxDirective) -> list[chapter_map.Part]:
    """The plan of chapters; the page of ``directive`` is read again whenever it changes."""
    for name in ("book/chapters.yml", "_toc.yml"):
        directive.env.note_dependency(str(ROOT / name))
    return chapter_map.read_plan()


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("leaklab-datasets", Datasets)
    app.add_directive("leaklab-chapters", Chapters)
    app.add_directive("leaklab-ready", Ready)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
