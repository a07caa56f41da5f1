"""The matrix: attack by observer by defence by what law asks, from the recorded evidence.

``{leaklab-matrix}`` draws it, ``{leaklab-matrix-table}`` writes it out, with ``:defences:`` what
was measured under a defence, ``{leaklab-questions}`` and ``{leaklab-observers}`` say what rows and
columns mean in law, and the role ``{leaklab-csv}`` leads to ``matrix.csv``, which is written
beside the built page. No number is typed: the mapping is ``book/matrix.yml``, the cells are those
of :mod:`leaklab.assess.grid`.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import ClassVar

import matrix_picture
import measured
from docutils import nodes
from docutils.parsers.rst import directives
from matrix_cells import FILE, NONE, UNMEASURED, Row, as_csv, ends, load, rows, strength, undefended
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from leaklab.assess import grid
from leaklab.evidence import Evidence

PAGE = "book/matrix"
CSV = "matrix.csv"


def table(cells: list[Row], data: dict | None = None) -> str:
    """What is measured without a defence, as Markdown: attacks by observers, by question."""
    data = data or load()
    plain = undefended(cells)
    columns = list(data["observers"])
    lines = [f"| Attack | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for key, question in data["questions"].items():
        mine = [name for name in plain if data["attacks"][name]["question"] == key]
        if mine:
            lines.append(f"| *{question['asks']}* |" + " |" * len(columns))
        for name in mine:
            lines.append(f"| {_led(name, plain[name][columns[0]].study)} | " + " | ".join(
                _printed(plain[name][column].cell) for column in columns) + " |")
    return "\n".join(lines)


def defended(cells: list[Row]) -> str:
    """What is measured under a defence, as Markdown: where it held least, and where most."""
    lines = ["| Defence | Attack, observer | Where it held least | Where it held most | "
             "Above the guess |", "|---|---|---|---|---|"]
    before = ""
    for row in cells:
        if row.defence != NONE and row.cell:
            strengths = {(item.defence, strength(item)) for item in row.cell.items}
            least, most = ends(row.cell)
            other = ("one strength was tried" if len(strengths) == 1 else "the same"
                     if most is least else strength(most) + _estimate(most))
            defence = "" if row.defence == before else row.defence  # once for each
            before = row.defence
            lines.append(f"| {defence} | {_led(row.attack, row.study)}; {row.observer} | "
                         f"{strength(least)}{_estimate(least)} | {other} | "
                         f"{row.cell.above} of {row.cell.settings} |")
    return "\n".join(lines)


def _printed(cell: grid.Cell | None) -> str:
    if cell is None:
        return f"*{UNMEASURED}*"
    return f"{_estimate(cell.best)}; above it in {cell.above} of {cell.settings}"


def _estimate(item: Evidence) -> str:
    """The estimate beside its guess; a difference has the guess inside."""
    if item.unit == "AUC" and item.baseline == 0:
        low, high = item.interval
        return f"AUC higher by {item.value:.2f} ({low:.2f} to {high:.2f})".replace("-", "−")
    if item.unit.startswith("difference"):
        return f"{measured.estimate(item)} above the guess"
    guess = measured.with_unit(measured.number(item.baseline, item.unit), item.unit)
    return f"{measured.estimate(item)}; guess {guess}"


def _led(attack: str, study: str) -> str:
    """The attack with its lab as a link, in place of the chapter's number."""
    return f"{attack.rpartition(' (')[0]}, {measured.lab(study)}"


def questions(data: dict | None = None) -> str:
    """What the rows mean in law, as Markdown."""
    data = data or load()
    lines = ["| Law asks | Criterion of the draft | Provisions | Page |", "|---|---|---|---|"]
    for question in data["questions"].values():
        provisions = ", ".join(f"{{law}}`{provision}`" for provision in question["law"])
        lines.append(f"| {question['asks']} | {question['criterion']} | {provisions} | "
                     f"[]({'law/' + question['page']}.md) |")
    return "\n".join(lines)


def observers(data: dict | None = None) -> str:
    """Who the columns are to the law, as Markdown."""
    data = data or load()
    lines = ["| Observer | In the picture | To the law | Page |", "|---|---|---|---|"]
    return "\n".join(lines + [
        f"| {name} | {column['short']} | {column['law']} | []({'law/' + column['page']}.md) |"
        for name, column in data["observers"].items()])


class Directive(SphinxDirective):
    """A part of the matrix; the page is read again when the mapping or a record changes."""

    def cells(self) -> list[Row]:
        for path in (FILE, *sorted(measured.RECORDED.glob("*.json"))):
            self.env.note_dependency(str(path))
        return rows(grid.recorded())


class Picture(Directive):
    """The picture, for a phone's width."""

    def run(self) -> list[nodes.Node]:
        def address(study: str) -> str | None:
            page = re.search(r"\(/(.+)\.ipynb\)", measured.lab(study))
            return page and self.env.app.builder.get_relative_uri(self.env.docname, page[1])

        cells = self.cells()
        return [nodes.raw("", matrix_picture.draw(cells, load(), address), format="html"),
                nodes.paragraph("", matrix_picture.summary(cells))]


class Table(Directive):
    """The matrix in words and numbers."""

    option_spec: ClassVar = {"defences": directives.flag}

    def run(self) -> list[nodes.Node]:
        cells = self.cells()
        return self.parse_text_to_nodes(
            defended(cells) if "defences" in self.options else table(cells))


class Questions(Directive):
    """What rows mean in law."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(FILE))
        return self.parse_text_to_nodes(questions())


class Observers(Directive):
    """What columns mean in law."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(FILE))
        return self.parse_text_to_nodes(observers())


class Download(SphinxRole):
    """A link to the CSV, which lies beside the page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        link = f'<a href="{CSV}" download>{escape(self.text)}</a>'
        return [nodes.raw("", link, format="html")], []


def write_csv(app: Sphinx, exception: Exception | None) -> None:
    """Put the CSV beside the page."""
    target = Path(app.outdir, f"{PAGE}.html").with_name(CSV)
    shown = target.parent.is_dir() and FILE.is_file()  # a book may have no matrix
    if exception is None and app.builder.format == "html" and shown:
        target.write_text(as_csv(rows(grid.recorded())), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("leaklab-matrix", Picture)
    app.add_directive("leaklab-matrix-table", Table)
    app.add_directive("leaklab-questions", Questions)
    app.add_directive("leaklab-observers", Observers)
    app.add_role("leaklab-csv", Download())
    app.connect("build-finished", write_csv)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
