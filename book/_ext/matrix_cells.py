"""Cells of the matrix: attack by observer by defence, from the recorded evidence.

The mapping is ``book/matrix.yml``, the grid is that of :mod:`leaklab.assess.grid`.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path

import law
import yaml

from leaklab.assess import grid
from leaklab.evidence import Evidence

FILE = Path(__file__).resolve().parents[1] / "matrix.yml"
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
    """The rows: those of the grid as they stand there, and those that ``data`` defines itself."""
    return {name: grid.Attack(row["study"], row["measure"], row.get("besides", r"(?!)"))
            if "study" in row else grid.ATTACKS[name] for name, row in data["attacks"].items()}


def rows(studies: dict[str, dict[str, Evidence]], data: dict | None = None) -> list[Row]:
    """Every cell: each attack whose study was recorded, by defence and observer.

    Defences are those that any attack met. What nobody measured is there, with ``cell`` ``None``.
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
    met = {studies[attack.study][name].defence for attack in wanted.values()
           for name in named(attack, studies)}
    return sorted({grid.family(defence) for defence in met} - {None})


def named(attack: grid.Attack, studies: dict[str, dict[str, Evidence]]) -> list[str]:
    """The names of its study that ``attack`` speaks of."""
    return [name for name in studies.get(attack.study, ())
            if re.search(f"(?:{attack.measure})$", name) and not re.search(attack.besides, name)]


def undefended(cells: list[Row]) -> dict[str, dict[str, Row]]:
    """By attack and observer, the attacks that were measured without any defence."""
    plain: dict[str, dict[str, Row]] = {}
    for row in cells:
        if row.defence == NONE:
            plain.setdefault(row.attack, {})[row.observer] = row
    return {attack: seen for attack, seen in plain.items()
            if any(row.cell for row in seen.values())}


def ends(cell: grid.Cell) -> tuple[Evidence, Evidence]:
    """The best attack where the defence held least, and the best where it held most.

    A defence holds as well as it does against the best of the attacks that met it at the same
    strength; a weak attack that fails says nothing for it.
    """
    best: dict[tuple, Evidence] = {}
    for item in cell.items:
        key = (item.defence, strength(item))
        if key not in best or item.lead > best[key].lead:
            best[key] = item
    lead = attrgetter("lead")
    return max(best.values(), key=lead), min(best.values(), key=lead)


def strength(item: Evidence) -> str:
    """How strong the defence was, by what the study says of its epsilon, noise or parameter."""
    for name, form in (("epsilon", "ε = {:.3g}: "), ("noise_multiplier", "noise {:.3g}: "),
                       ("noise", "noise {:.3g}: ")):
        if isinstance(item.setting.get(name), (int, float)):
            return form.format(item.setting[name])
    if item.defence in grid.SAME:
        return f"{item.defence}: "
    found = re.search(r"\(([^)]+)\)|(noise) multiplier ([\d.e-]+)", item.defence or "")
    return f"{found[1] or f'{found[2]} {found[3]}'}: " if found else ""


def forgotten(studies: dict[str, dict[str, Evidence]], data: dict | None = None) -> list[str]:
    """Scored evidence with a view that is in no row and not set aside with a reason."""
    data = data or load()
    taken = {(attack.study, name) for attack in attacks(data).values()
             for name in named(attack, studies)}
    aside = [rule["names"] for rule in data["aside"]]
    return [f"{study}:{name}" for study, items in studies.items() for name, item in items.items()
            if scored(item) and (study, name) not in taken
            and not any(re.search(rule, name) for rule in aside)]


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
