"""Attack by observer by defence, from what the studies recorded; nothing here is typed in.

A study records many settings. A cell holds those that measured this attack for this observer under
this defence: the setting that went best for the attacker, and in how many the whole 95 % interval
lies above the guess that needed no update. Where nobody measured, the cell is empty, and says so.

Only shares and AUCs are taken, so that cells can be compared: each is shown as the part of the way
from the guess, 0, to certainty, 1. Where a study recorded the difference from a guess, that is
shown as it is; certainty then lies below 1. The best of many settings is a worst case for the
patient, and no average; it says what an attacker may hope for, if the setting is his. It was picked
for being the best, and nothing corrects its interval for that, nor the count of settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from leaklab import evidence
from leaklab import recorded as package
from leaklab.evidence import Evidence

OBSERVERS = {
    "public": ("public",),
    "client": ("client",),
    "secure sum": ("server behind secure aggregation", "sum"),
    "server": ("server", "eavesdropper without TLS"),
    "active server, secure sum": ("active server behind secure aggregation",),
    "active server": ("active server",),
}
"""Columns of the grid, from who sees least: the views that studies recorded under each."""


@dataclass(frozen=True)
class Attack:
    """A row of the grid: which recorded items speak of it.

    study
        The stem of the study that recorded them.
    measure
        A regular expression that the end of an item's name matches: which score is taken.
    besides
        A regular expression for names that are left out, controls for instance.
    """

    study: str
    measure: str
    besides: str = r"(?!)"


ATTACKS = {
    "records by algebra (3)": Attack("03_exact_leakage", "_records|_exact", "control"),
    "images by search (5)": Attack("05_limits_of_inversion", "_identified"),
    "images with a prior (6)": Attack("06_diffusion_prior", "_identified",
                                      "unseen|candidates|^release"),
    "images by a false model (7)": Attack(
        "07_malicious_server", "_exact",  # an honest model, and the update that the sum hides
        "plain|honest|^inconsistency.*_(update|sum)_"),
    "notes (8)": Attack("08_clinical_notes", "^fields_.*"),
    "images in a case (9)": Attack("09_radiology_case_study", "_identified", "control"),
    "membership, released (10)": Attack("10_membership", "_tpr_1", "permuted|blind|untrained"),
    "membership, rounds (11)": Attack("11_membership_across_rounds", r"_tpr(_\d+)?",
                                      r"permuted|blind|^privacy_0\.0"),  # clipped, without noise
    "diagnoses (12)": Attack("12_hidden_attributes", "^patient_.*_gain", "strangers"),
    "a hospital's make-up (12)": Attack("12_hidden_attributes", "^hospital_.*_excess"),
    "genotypes (13)": Attack("13_genotypes", "_exact", "other_exact"),
    "genotypes never sent (14)": Attack(
        "14_imputation_and_relatives", "_accuracy",
        "^noise|known|_phased_"),  # noise on what was sent; nobody tells an update's phase
    "relatives (14)": Attack("14_relatives", "_first", "^search_self"),  # the patient himself
    "allele frequencies (15)": Attack(
        "15_allele_frequencies", "(ratio|Homer|known|queries)_named|^noise.*_(ratio|weights)_auc",
        r"^noise_\d+_0\.0"),  # noise of 0
    "genotypes under noise (15)": Attack("15_three_cliffs", "^cliffs.*_exact"),
    "membership behind noise (16)": Attack("16_differential_privacy", "^members.*_tpr"),
    "patients behind noise (16)": Attack("16_differential_privacy",
                                         "^picked.*_(likeliest|nearest)"),
    "sums (17)": Attack("17_secure_aggregation", "_exact", "fixed_set"),
    "sums, membership (17)": Attack("17_secure_aggregation", "^membership.*_auc", "control"),
    "one image by search (18)": Attack("18_layered_defences", "^image_.*_identified", "naive"),
    "one image among candidates (18)": Attack("18_layered_defences", "^image_.*_named"),
    "one record matched (18)": Attack("18_layered_defences", "^table_.*_identified", "naive"),
    "one record among candidates (18)": Attack("18_layered_defences",
                                               "^(table|gaussian)_.*named"),
}
"""Rows of the grid. ``besides`` leaves out controls, oracles, and attackers who do not know the
defence. The book's matrix takes these rows from here and adds some that only law asks for."""


SAME = {"clip to, noise multiplier": "clipping and noise", "eight bits": "quantised",
        "half precision": "quantised", "largest tenth": "top-k"}
"""Families that studies recorded under other words."""


@dataclass(frozen=True)
class Cell:
    """What was measured of one attack, observer and defence: the recorded ``items``, all settings.

    best
        The item that lies farthest from its guess.
    above, settings
        In how many settings the interval lies above the guess, of how many.
    """

    items: tuple[Evidence, ...]

    @property
    def best(self) -> Evidence:
        return max(self.items, key=lambda item: item.lead)

    @property
    def above(self) -> int:
        return sum(item.interval[0] > item.baseline for item in self.items)

    @property
    def settings(self) -> int:
        return len(self.items)

    @property
    def advantage(self) -> float:
        """How far the best item leads from its guess, 0, to certainty, 1; never below 0."""
        return max(0.0, self.best.lead)


Grid = dict[str, dict[str, Cell]]
"""Rows by attack, in them cells by observer; what is not there was not measured."""


def recorded(folder=None) -> dict[str, dict[str, Evidence]]:
    """All evidence that was recorded, by study and name.

    From the package, or from ``folder``.
    """
    files = (folder or resources.files(package)).iterdir()
    stems = sorted(file.name.removesuffix(".json") for file in files
                   if file.name.endswith(".json") and file.name[0] != ".")
    return {stem: evidence.load(stem, folder) for stem in stems}


def grid(
    studies: Mapping[str, Mapping[str, Evidence]], *, defence: str | None = None,
    attacks: Mapping[str, Attack] = ATTACKS, observers: Mapping[str, Iterable[str]] = OBSERVERS,
) -> Grid:
    """Rows by attack, cells by observer, of items recorded without defence, or under ``defence``.

    ``defence`` is compared with :func:`family` of what the study recorded. Every attack of the
    ``studies`` given has a row, if only an empty one.
    """
    table: Grid = {}
    for row, attack in attacks.items():
        if attack.study not in studies:
            continue
        items = [item for item in studies[attack.study].values()
                 if _speaks(item, attack) and family(item.defence) == defence]
        table[row] = {}
        for column, views in observers.items():
            seen = [item for item in items if set(_views(item)) & set(views)]
            if seen:
                table[row][column] = Cell(tuple(seen))
    return table


def by_defence(studies: Mapping[str, Mapping[str, Evidence]], observer: str) -> Grid:
    """Rows by attack, cells by family of defence, for one of :data:`OBSERVERS`.

    Before the families stands ``None``, no defence. Rows in which no defence was measured are left
    out.
    """
    tables = {family: grid(studies, defence=family)
              for family in (None, *defences(studies, observer))}
    rows = {row: {family: table[row][observer] for family, table in tables.items()
                  if observer in table[row]} for row in tables[None]}
    return {row: cells for row, cells in rows.items() if set(cells) - {None}}


def entries(
    table: Grid, observers: Iterable[str | None] = tuple(OBSERVERS)
) -> dict[str, list[tuple[float, str, bool] | None]]:
    """The grid as :func:`leaklab.plots.layers.advantage_map` draws it: advantage, and how often.

    One cell for each of ``observers``, or of the families of defences in :func:`by_defence`. Under
    the advantage of the best setting stand the settings above the guess, of all. Rows without any
    cell are left out: their attack was measured under other defences only.
    """
    return {row: [(cell.advantage, f"{cell.advantage:.2f}\n{cell.above} of {cell.settings}",
                   cell.above > 0) if (cell := cells.get(observer)) else None
                  for observer in observers] for row, cells in table.items() if cells}


def defences(
    studies: Mapping[str, Mapping[str, Evidence]], observer: str | None = None
) -> tuple[str, ...]:
    """The families of defences under which anything in the grid was measured, sorted.

    By any observer, or by one of :data:`OBSERVERS`.
    """
    views = set(OBSERVERS[observer]) if observer else set().union(*OBSERVERS.values())
    found = {family(item.defence) for attack in ATTACKS.values()
             for item in studies.get(attack.study, {}).values()
             if _speaks(item, attack) and views & set(_views(item))}
    return tuple(sorted(found - {None}))


def family(defence: str | None) -> str | None:
    """A defence without its numbers: ``"clip to 1, noise multiplier 0.1"`` and 0.3 are one.

    What stands in brackets is a parameter too, and so is how much a compression keeps. ``None``
    stays: no defence. Secure aggregation by itself is none here either: it is the view of a column.
    """
    if defence is None or defence == "secure aggregation":
        return None
    plain = re.sub(r"\([^)]*\)|[-+]?\d[\d.e]*%?", "", defence)
    plain = re.sub(r"\s+", " ", re.sub(r"\s+,", ",", plain)).strip(" ,")
    return SAME.get(plain, plain.removesuffix(", multiplier"))


def _speaks(item: Evidence, attack: Attack) -> bool:
    scored = item.unit == "AUC" or item.unit.startswith(("share", "difference of share"))
    return (scored and item.view is not None and item.baseline is not None
            and re.search(f"(?:{attack.measure})$", item.name) is not None
            and re.search(attack.besides, item.name) is None)


def _views(item: Evidence) -> list[str]:
    return [view.strip() for view in item.view.split(";")]
