"""The grid: what it takes from the evidence, what it leaves out, and that empty stays empty."""

import re

import pytest

from leaklab import evidence
from leaklab.assess.grid import (
    ATTACKS,
    OBSERVERS,
    Attack,
    by_defence,
    defences,
    entries,
    family,
    grid,
    recorded,
)
from leaklab.evidence import Evidence


def item(name, value, *, view="server", defence=None, baseline=0.2, low=None, unit="share of x",
         ) -> Evidence:
    interval = (value - 0.1 if low is None else low, value + 0.1)
    return Evidence(name, "s", value, unit, interval, "t", baseline, "chance", (value,), (0,),
                    "REAL", "0", "fast", "0", view=view, defence=defence, privacy_unit="record")


ROWS = {"images": Attack("05", "_identified", "control"), "other": Attack("99", "_auc")}
STUDY = {e.name: e for e in (
    item("a_identified", 0.6), item("b_identified", 0.9), item("c_identified", 0.25),
    item("control_identified", 1.0), item("a_uplift", 30.0, unit="dB"), item("a_seen", 1.0),
    item("d_identified", 0.7, view="client; eavesdropper without TLS"),
    item("e_identified", 0.3, view=None), item("f_identified", 0.5, baseline=None),
    item("g_identified", 0.4, defence="top-k (1 %)"),
    item("h_identified", 0.8, defence="top-k (10 %)"),
)}


def test_a_cell_holds_the_best_setting_and_how_many_lie_above_the_guess():
    cell = grid({"05": STUDY}, attacks=ROWS)["images"]["server"]
    # a, b, c, and d, which an eavesdropper on a plain line saw: the same artefact
    assert cell.best.name == "b_identified" and (cell.above, cell.settings) == (3, 4)
    assert cell.advantage == pytest.approx((0.9 - 0.2) / 0.8)


def test_what_nobody_measured_is_empty_and_never_a_neighbours_value():
    table = grid({"05": STUDY}, attacks=ROWS)
    assert set(table) == {"images"} and set(table["images"]) == {"server", "client"}
    assert grid({"05": {}, "99": STUDY}, attacks=ROWS) == {"images": {}, "other": {}}


def test_the_picture_holds_every_cell_and_says_what_was_not_measured():
    drawn = entries(grid({"05": STUDY, "99": {}}, attacks=ROWS), ("server", "public"))
    assert set(drawn) == {"images"}, "nothing was measured of the other attack"
    lead, text, shown = drawn["images"][0]
    assert lead == pytest.approx(0.875) and text.endswith("\n3 of 4") and shown
    assert drawn["images"][1] is None


def test_a_defence_is_found_whatever_its_parameters():
    assert defences({"05": STUDY}) == ()  # no attack of the course reads a study "05"
    table = grid({"05": STUDY}, attacks=ROWS, defence="top-k")
    assert table["images"]["server"].best.name == "h_identified"
    assert table["images"]["server"].settings == 2
    assert grid({"05": STUDY}, attacks=ROWS, defence="sign")["images"] == {}


@pytest.mark.parametrize(("given", "expected"), [
    (None, None), ("secure aggregation", None),
    ("secure aggregation, masks bound to the model",
     "secure aggregation, masks bound to the model"), ("top-k (1 %)", "top-k"), ("sign", "sign"),
    ("clip to 1, noise multiplier 0.003", "clipping and noise"),
    ("clip to 1, noise multiplier 1e-2", "clipping and noise"),
    ("noise without clipping (0.1)", "noise without clipping"), ("quantised (8 bits)", "quantised"),
    ("eight bits", "quantised"), ("largest tenth", "top-k"),  # chapter 13's names of the same
    ("half precision", "quantised"), ("Gaussian noise, multiplier 0.5", "Gaussian noise")])
def test_families(given, expected):
    assert family(given) == expected


def test_an_advantage_runs_from_the_guess_to_certainty():
    assert item("x", 0.2).lead == 0 and item("x", 1.0).lead == 1
    assert item("x", 0.75, baseline=0.5, unit="AUC").lead == pytest.approx(0.5)
    assert item("x", 1.0, baseline=1.0).lead == 0


def test_a_worse_attack_than_the_guess_has_no_advantage():
    cell = grid({"05": {"a_identified": item("a_identified", 0.1)}}, attacks=ROWS)
    assert cell["images"]["server"].advantage == 0 and cell["images"]["server"].above == 0


# --- The grid of the course --------------------------------------------------------------------


def test_every_attack_finds_its_study_and_every_cell_its_evidence():
    studies = recorded()
    by_defence = {family: grid(studies, defence=family) for family in (None, *defences(studies))}
    for row, attack in ATTACKS.items():
        cells = [cell for table in by_defence.values() for cell in table.get(row, {}).values()]
        assert attack.study not in studies or cells, f"{row} reads nothing of {attack.study}"
        for cell in cells:
            assert cell.best == studies[attack.study][cell.best.name]
            assert 0 <= cell.above <= cell.settings and 0 <= cell.advantage <= 1
    assert set(by_defence[None]["images by search (5)"]) == {"server"}


def test_no_control_and_no_attacker_who_is_not_told_counts_as_an_attack():
    """What the studies record for comparison says nothing of a patient."""
    studies = recorded()
    tables = [grid(studies, defence=family) for family in (None, *defences(studies))]
    names = {row: {item.name for table in tables for cell in table[row].values()
                   for item in cell.items} for row in ATTACKS}
    wrong = ("control|permuted|blind|strangers|untrained|left_out_auc|unrelated|honest|^plain|naive"
             "|^noise_(side|array)|^inconsistency_.*_(update|sum)_|other_exact|fixed_set")
    for row, found in names.items():
        assert found and not [name for name in found if re.search(wrong, name)], row


def test_compression_of_chapters_13_and_18_stands_in_one_column():
    table = by_defence(recorded(), "server")
    for row in ("genotypes (13)", "one record among candidates (18)"):
        assert {"quantised", "top-k"} <= set(table[row])


def test_by_defence_holds_what_the_grids_of_the_defences_hold():
    studies = recorded()
    table = by_defence(studies, "server")
    assert "images with a prior (6)" in table and "notes (8)" not in table
    assert {name for cells in table.values() for name in cells} - {None} == set(
        defences(studies, "server")) < set(defences(studies))
    tables = {defence: grid(studies, defence=defence) for defence in (None, *defences(studies))}
    for row, cells in table.items():
        for defence, cell in cells.items():
            assert cell == tables[defence][row]["server"]


def test_no_view_that_an_attack_was_measured_from_is_lost_without_a_reason():
    """Observers beside the columns: one that starts late, and hospitals that check models."""
    listed = {view for views in OBSERVERS.values() for view in views}
    views = {part.strip() for study in recorded().values() for entry in study.values()
             if entry.view for part in entry.view.split(";")}
    assert views - listed <= {"hospital", "server that starts late"}


def test_recorded_reads_a_folder(tmp_path):
    evidence.record("05", [item("a_identified", 0.5)], tmp_path)
    assert recorded(tmp_path)["05"]["a_identified"].value == 0.5
