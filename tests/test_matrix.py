"""The matrix takes every cell from the record, forgets nothing, and says what nobody measured."""

import copy
import csv
import io
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import law  # noqa: E402
import matrix  # noqa: E402
import matrix_cells  # noqa: E402
import matrix_picture  # noqa: E402

from leaklab.assess import grid  # noqa: E402
from leaklab.evidence import Evidence  # noqa: E402

DATA = yaml.safe_load((ROOT / "book/matrix.yml").read_text(encoding="utf-8"))
STUDIES = grid.recorded()
ROWS = matrix_cells.rows(STUDIES, DATA)
MADE = list(csv.DictReader(io.StringIO(matrix_cells.as_csv(ROWS, DATA))))


def item(name, value=0.5, *, view="server", defence=None, baseline=0.1, unit="share of x",
         **setting) -> Evidence:
    return Evidence(name, f"says {name}", value, unit, (value - 0.1, value + 0.1), "95 % t",
                    baseline, "chance", (value,), (0,), "REAL, with a comma", "0", "fast", "0",
                    setting=setting, view=view, defence=defence, privacy_unit="record")


SMALL = {**DATA, "attacks": {
    "images (5)": {"study": "05", "measure": "_found", "besides": "control", "question": "link"},
    "later (99)": {"study": "99", "measure": "_x", "question": "record"}}}
ITEMS = (item("a_found", 0.6), item("b_found", 0.95), item("control_found", 0.99),
         item("c_found", 0.3, defence="noise 0.1", noise=0.1),
         item("weak_found", 0.1, defence="noise 0.1", noise=0.1),
         item("d_found", 0.25, defence="noise 0.5", noise=0.5),
         item("e_found", 0.2, view="public"))
TINY = {"05": {i.name: i for i in ITEMS}}


# --- The mapping ------------------------------------------------------------------------------


def test_every_row_of_the_grid_is_in_the_matrix_and_defined_only_there():
    """One source: what a row of lab 18 counts, the matrix counts, and nowhere is it said twice."""
    assert set(grid.ATTACKS) <= set(DATA["attacks"])
    for name, row in DATA["attacks"].items():
        assert (name in grid.ATTACKS) != ("study" in row), f"{name}: defined twice, or nowhere"
    wanted = matrix_cells.attacks(DATA)
    assert {name: wanted[name] for name in grid.ATTACKS} == grid.ATTACKS


def test_the_mapping_is_complete():
    for row in DATA["attacks"].values():
        assert set(row) == {"question"} or {"study", "measure", "question"} <= set(row) <= {
            "study", "measure", "besides", "question"}
        assert row["question"] in DATA["questions"]
    for question in DATA["questions"].values():
        assert (ROOT / f"book/law/{question['page']}.md").exists()
        assert [law.provision(p) for p in question["law"]]
        assert len(question["asks"]) < 50  # as wide as the picture
    for column in DATA["observers"].values():
        assert (ROOT / f"book/law/{column['page']}.md").exists()
        assert len(column["short"]) <= 8  # as wide as a cell of the picture
    assert all(rule["because"] for rule in DATA["aside"])
    assert {q["criterion"] for q in DATA["questions"].values()} == {
        "record isolation", "record isolation; inference in the draft", "linkage", "inference",
        "none"}


def test_columns_are_those_of_the_grid():
    assert {name: tuple(c["views"]) for name, c in DATA["observers"].items()} == {
        name: tuple(views) for name, views in grid.OBSERVERS.items()}


def test_no_recorded_evidence_with_a_view_is_forgotten():
    assert matrix_cells.forgotten(STUDIES, DATA) == []


@pytest.mark.parametrize("spoilt", [
    {"attacks": {k: v for k, v in DATA["attacks"].items() if k != "diagnoses (12)"}},
    {"aside": DATA["aside"][1:]}])
def test_what_a_mapping_forgets_is_noticed(spoilt):
    assert matrix_cells.forgotten(STUDIES, {**DATA, **spoilt})


def test_every_rule_that_sets_aside_is_needed():
    idle = [rule["because"] for rule in DATA["aside"]
            if not matrix_cells.forgotten(
                STUDIES, {**DATA, "aside": [other for other in DATA["aside"] if other != rule]})]
    awaited = {row.study for row in matrix_cells.attacks(DATA).values()} - set(STUDIES)
    assert idle == [] or awaited  # a study that is not recorded yet may need it


def test_evidence_that_says_how_well_and_not_how_often_is_no_matter_of_the_matrix():
    assert matrix_cells.scored(item("a")) and matrix_cells.scored(item("a", unit="AUC"))
    for other in (item("a", unit="dB"), item("a", view=None), item("a", baseline=None)):
        assert not matrix_cells.scored(other)


# --- The cells --------------------------------------------------------------------------------


def test_a_cell_is_what_the_study_recorded():
    found = {(r.attack, r.observer, r.defence): r.cell for r in matrix_cells.rows(TINY, SMALL)}
    plain = found["images (5)", "server", "none"]
    assert (plain.best.name, plain.above, plain.settings) == ("b_found", 2, 2)  # no control
    noisy = found["images (5)", "server", "noise"]
    assert [end.name for end in matrix_cells.ends(noisy)] == ["c_found", "d_found"]
    assert noisy.above == 2
    assert found["images (5)", "public", "none"].best.name == "e_found"
    assert found["images (5)", "client", "none"] is None  # nobody measured, and no neighbour's
    assert not any(attack == "later (99)" for attack, *_ in found)


def test_every_cell_of_the_book_is_recorded_or_empty():
    assert len({(r.attack, r.observer, r.defence) for r in ROWS}) == len(ROWS)
    for row in ROWS:
        if row.cell:
            assert all(item == STUDIES[row.study][item.name] for item in row.cell.items)
    assert any(row.cell is None for row in ROWS)


def test_no_control_is_a_cell():
    names = [item.name for r in ROWS if r.cell for item in r.cell.items]
    assert not [n for n in names if re.search("control|permuted|shuffled|strangers|blind", n)]


def test_the_csv_has_a_line_for_each_cell_and_says_what_was_not_measured():
    assert len(MADE) == len(ROWS)
    for made, row in zip(MADE, ROWS, strict=True):
        assert made["attack"] == row.attack and made["observer"] == row.observer
        if row.cell:
            assert made["measured"] == "yes" and float(made["value"]) == row.cell.best.value
            assert float(made["low"]) == row.cell.best.interval[0]
            assert made["statement"] == row.cell.best.statement
        else:
            assert made["measured"] == "not measured" and made["value"] == ""
    assert set(MADE[0]) == set(matrix_cells.HEAD)


def test_the_csv_survives_commas():
    rows = matrix_cells.rows(TINY, SMALL)
    made = list(csv.DictReader(io.StringIO(matrix_cells.as_csv(rows, SMALL))))
    assert {line["data"] for line in made if line["measured"] == "yes"} == {"REAL, with a comma"}


def test_the_tables_hold_the_cells():
    cells = matrix_cells.rows(TINY, SMALL)
    table = matrix.table(cells, SMALL)
    assert "95.0 % (85.0 to 105.0); guess 10.0 %; above it in 2 of 2" in table
    assert table.count("*not measured*") == 4 and "*Is one person's record read?*" not in table
    assert matrix.defended(cells).splitlines()[2] == (
        "| noise | images, [lab 5](/notebooks/05_limits_of_inversion.ipynb); server | "
        "noise 0.1: 30.0 % (20.0 to 40.0); guess 10.0 % | "
        "noise 0.5: 25.0 % (15.0 to 35.0); guess 10.0 % | 2 of 3 |")


def test_a_weak_attack_that_fails_says_nothing_for_a_defence():
    cell = grid.Cell(tuple(i for i in ITEMS if i.defence))
    assert [end.name for end in matrix_cells.ends(cell)] == ["c_found", "d_found"]  # not weak_found


def test_one_strength_and_equal_ones_are_told_apart():
    def said(*items):
        row = matrix_cells.Row("images (5)", "05", "link", "server", "noise", grid.Cell(items))
        return matrix.defended([row]).splitlines()[2].split(" | ")[3]

    assert said(ITEMS[3], ITEMS[4]) == "one strength was tried"
    assert said(ITEMS[3], item("e_found", 0.3, defence="noise 0.5", noise=0.5)) == "the same"


@pytest.mark.parametrize(("given", "said"), [
    (item("a", defence="half precision"), "half precision: "),
    (item("a", defence="top-k (1 %)"), "1 %: "), (item("a", defence="sign"), ""),
    (item("a", defence="noise", noise_multiplier=0.01), "noise 0.01: "),
    (item("a", defence="clip to 1, noise multiplier 0.003"), "noise 0.003: "),
    (item("a", defence="noise", epsilon=1.352), "ε = 1.35: "), (item("a"), "")])
def test_the_strength_of_a_defence_is_named(given, said):
    assert matrix_cells.strength(given) == said


def test_a_difference_is_not_set_against_a_guess_again():
    assert matrix._estimate(item("a_excess", 0.2, baseline=0.0, unit="AUC")) == (
        "AUC higher by 0.20 (0.10 to 0.30)")
    assert "guess" not in matrix._estimate(item("a", unit="difference in share")).replace(
        "above the guess", "")


def test_an_attack_that_was_only_tried_under_a_defence_stands_in_the_second_table():
    only = {"05": {"c_found": ITEMS[3]}}
    cells = matrix_cells.rows(only, SMALL)
    assert matrix_cells.undefended(cells) == {} and "| noise | images" in matrix.defended(cells)


# --- The picture ------------------------------------------------------------------------------


def test_the_picture_holds_each_cell_and_fits_a_phone():
    drawn = matrix_picture.draw(ROWS, DATA, lambda study: f"{study}.html")
    root = ET.fromstring(drawn)
    assert int(root.get("width")) <= 360 and "cells" in root.get("aria-label")
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(rect.get("x")) + float(rect.get("width")) <= 360 - matrix_picture.MARGIN + 0.2
    plain = [row for seen in matrix_cells.undefended(ROWS).values() for row in seen.values()]
    assert drawn.count('class="empty"') == sum(row.cell is None for row in plain)
    shown = sum(row.cell is not None for row in plain)
    assert drawn.count('class="lead"') == drawn.count('class="often"') == shown > 20
    sizes = [int(size) for size in re.findall(r"(\d+)px", drawn)]
    assert min(sizes) >= 11
    assert '03_exact_leakage.html"' in drawn


def test_a_cell_in_which_nothing_was_shown_has_a_heavy_border():
    weak = {"05": {"a_found": item("a_found", 0.12)}}
    drawn = matrix_picture.draw(matrix_cells.rows(weak, SMALL), SMALL)
    assert drawn.count('class="unshown"') == 1 and 'class="shown"' not in drawn
    assert "0/1" in drawn


@pytest.mark.parametrize(("lead", "shade"), [(0.0, 0), (0.01, 1), (0.5, 2), (0.51, 3), (1.0, 4)])
def test_darker_is_more(lead, shade):
    assert matrix_picture.shade(lead) == matrix_picture.SHADES[shade]


def contrast(colour: str) -> float:
    """Contrast of the dark text on ``colour``, as WCAG defines it."""
    def light(hexadecimal):
        parts = [int(hexadecimal[k:k + 2], 16) / 255 for k in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4
                            for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (light(colour) + 0.05) / (light("#1b1b1b") + 0.05)


@pytest.mark.parametrize("colour", matrix_picture.SHADES)
def test_text_is_legible_on_every_shade(colour):
    assert contrast(colour) > 4.5


def test_the_page_has_its_parts_and_types_no_number():
    page = (ROOT / "book/matrix.md").read_text(encoding="utf-8")
    for part in ("{leaklab-matrix}", "{leaklab-matrix-table}", ":defences:", "{leaklab-questions}",
                 "{leaklab-observers}", "{leaklab-csv}", "not measured"):
        assert part in page
    assert re.findall(r"\d\s?%|\d\.\d", re.sub(r"\{law\}`[^`]+`", "", page)) == []
    assert "book/matrix\n" in (ROOT / "_toc.yml").read_text()


def test_the_csv_is_written_beside_the_page(tmp_path):
    class App:
        outdir, builder = tmp_path, type("Builder", (), {"format": "html"})

    matrix.write_csv(App, None)
    assert not (tmp_path / "book").exists()  # no page, no file
    (tmp_path / "book").mkdir()
    matrix.write_csv(App, ValueError())
    assert not (tmp_path / "book/matrix.csv").exists()
    matrix.write_csv(App, None)
    assert (tmp_path / "book/matrix.csv").read_text() == matrix_cells.as_csv(ROWS, DATA)


def test_a_mapping_is_not_changed_by_use():
    before = copy.deepcopy(DATA)
    matrix_cells.rows(STUDIES, DATA)
    assert before == DATA
