"""The matrix: attack by observer by defence by what law asks, from the recorded evidence.

``{leaklab-matrix}`` draws it, ``{leaklab-matrix-table}`` writes it out, with ``:defences:`` what
was measured under a defence, ``{leaklab-questions}`` and ``{leaklab-observers}`` say what rows and
columns mean in law, and the role ``{leaklab-csv}`` leads to ``matrix.csv``, which is written
beside the built page. No number is typed: the mapping is ``book/matrix.yml``, the cells are those
of :mod:`leaklab.assess.grid`.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import ClassVar

import law
import matrix_picture
import measured
import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from leaklab.assess import grid
from leaklab.evidence import Evidence

FILE = Path(__file__).resolve().parents[1] / "matrix.yml"
PAGE = "book/matrix"
CSV = "matrix.csv"
NONE, UNMEASURED = "none", "not measured"
HEAD = ("attack", "study", "question", "criterion", "provisions", "observer", "defence", "measured",
        "settings", "settings_above_guess", "advantage", "name", "statement", "value", "low",
        "high", "interval_kind", "unit", "trials", "clusters", "guess", "guess_by", "view",
        "privacy_unit", "data", "scale")


@dataclass(frozen=True)
class Row:
    """One cell of the matrix, measured or not."""

    attack: str
    study: str
    question: str
    observer: str
    defence: str
    cell: grid.Cell | None


@cache
def load(path: Path = FILE) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def attacks(data: dict) -> dict[str, grid.Attack]:
    return {name: grid.Attack(row["study"], row["measure"], row.get("besides", r"(?!)"))
            for name, row in data["attacks"].items()}


def rows(studies: dict[str, dict[str, Evidence]], data: dict | None = None) -> list[Row]:
    """Every cell: each attack whose study was recorded, by defence and observer.

    Under no defence every observer has a cell, under a defence every observer of each attack that
    met any defence; what nobody measured is there with ``cell`` ``None``.
    """
    data = data or load()
    wanted = attacks(data)
    views = {name: tuple(column["views"]) for name, column in data["observers"].items()}
    families = (None, *_families(studies, wanted))
    tables = {family: grid.grid(studies, defence=family, attacks=wanted, observers=views)
              for family in families}
    return [Row(attack, wanted[attack].study, data["attacks"][attack]["question"], observer,
                family or NONE, tables[family][attack].get(observer))
            for family in families for attack in tables[None] for observer in views]


def _families(studies: dict, wanted: dict[str, grid.Attack]) -> list[str]:
    """The families of defences that any row met, sorted."""
    met = {item.defence for attack in wanted.values()
           for item in studies.get(attack.study, {}).values()
           if re.search(f"(?:{attack.measure})$", item.name)}
    return sorted({grid.family(defence) for defence in met} - {None})


def forgotten(studies: dict[str, dict[str, Evidence]], data: dict | None = None) -> list[str]:
    """Scored evidence with a view that is in no row and not set aside with a reason."""
    data = data or load()
    wanted = attacks(data)
    aside = [rule["names"] for rule in data["aside"]]
    left = []
    for study, items in studies.items():
        taken = {name for attack in wanted.values() if attack.study == study
                 for name in items if re.search(f"(?:{attack.measure})$", name)
                 and not re.search(attack.besides, name)}
        left += [f"{study}:{name}" for name, item in items.items()
                 if scored(item) and name not in taken
                 and not any(re.search(rule, name) for rule in aside)]
    return left


def scored(item: Evidence) -> bool:
    """Whether ``item`` says how often somebody who sees something does better than a guess."""
    return (item.view is not None and item.baseline is not None
            and (item.unit == "AUC" or item.unit.startswith(("share", "difference"))))


def as_csv(cells: list[Row], data: dict | None = None) -> str:
    """The matrix as CSV, a line for each cell, measured or not."""
    data = data or load()
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(HEAD)
    for row in cells:
        question = data["questions"][row.question]
        provisions = "; ".join(law.provision(p).printed for p in question["law"])
        write.writerow([row.attack, row.study, question["asks"], question["criterion"], provisions,
                        row.observer, row.defence, *_measured(row.cell)])
    return out.getvalue()


def _measured(cell: grid.Cell | None) -> list[object]:
    if cell is None:
        return [UNMEASURED] + [""] * (len(HEAD) - 8)
    item = cell.best
    return ["yes", cell.settings, cell.above, f"{cell.advantage:.3f}", item.name, item.statement,
            item.value, *item.interval, item.interval_kind, item.unit, item.trials, item.clusters,
            item.baseline, item.baseline_kind, item.view, item.privacy_unit, item.data, item.scale]


def undefended(cells: list[Row]) -> dict[str, dict[str, Row]]:
    """By attack and observer, the attacks that were measured without any defence."""
    plain: dict[str, dict[str, Row]] = {}
    for row in cells:
        if row.defence == NONE:
            plain.setdefault(row.attack, {})[row.observer] = row
    return {attack: seen for attack, seen in plain.items()
            if any(row.cell for row in seen.values())}


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
    for row in cells:
        if row.defence != NONE and row.cell:
            ends = [f"{_strength(item)}{_estimate(item)}"
                    for item in (row.cell.best, row.cell.least)]
            defence = row.defence.removesuffix(", multiplier")
            lines.append(f"| {defence} | {_led(row.attack, row.study)}; {row.observer} | "
                         f"{ends[0]} | {ends[1] if row.cell.settings > 1 else '–'} | "
                         f"{row.cell.above} of {row.cell.settings} |")
    return "\n".join(lines)


def _strength(item: Evidence) -> str:
    """How strong the defence was, as far as the study names it by epsilon or by its noise."""
    for name, form in (("epsilon", "ε = {:.3g}: "), ("noise_multiplier", "noise {:g}: "),
                       ("noise", "noise {:g}: ")):
        if isinstance(item.setting.get(name), (int, float)):
            return form.format(item.setting[name])
    return ""


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
    if exception is None and app.builder.format == "html" and target.parent.is_dir():
        target.write_text(as_csv(rows(grid.recorded())), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("leaklab-matrix", Picture)
    app.add_directive("leaklab-matrix-table", Table)
    app.add_directive("leaklab-questions", Questions)
    app.add_directive("leaklab-observers", Observers)
    app.add_role("leaklab-csv", Download())
    app.connect("build-finished", write_csv)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
