"""Every lab keeps the form of a lab; every rule of that form rejects a lab which breaks it."""

from __future__ import annotations

import functools
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lab_code import CODE_RULES
from lab_links import REPOSITORY_RULES, contents_list_every_lab
from lab_rules import FORM_RULES

ROOT = Path(__file__).resolve().parent.parent
LABS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RULES = (*FORM_RULES, *CODE_RULES)

read = functools.cache(functools.partial(nbformat.read, as_version=4))


@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_lab_has_the_form(lab, rule):
    assert rule(read(lab)) == []


@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", REPOSITORY_RULES, ids=lambda rule: rule.__name__)
def test_lab_fits_among_the_other_files(lab, rule):
    assert rule(read(lab), ROOT) == []


def test_contents_and_labs_agree():
    assert contents_list_every_lab(ROOT) == []


# --- A lab that keeps every rule, and one that breaks it for each ------------------------------

OPENING = """\
# Lab 7: average five models

Five hospitals train one model without moving a record.

**You will be able to**

- say what a round is
- average models by hand
- count what was sent

**You need** arithmetic. Study time 40 min; run time 20-40 s; downloads 5 MB.

**A GPU** is used where there is one; none is needed."""

EXERCISE = '''\
def double(x):
    """Twice."""
    ...  # your code


checks.double(double)'''

LEVEL = "\n\nLevel: easy, 5 minutes. Why: it doubles."

HINT = "<details>\n<summary>Hint</summary>\n\nAdd it to itself.\n\n</details>\n\n"

SOLUTION = "<details>\n<summary>Solution</summary>\n\n```python\n# Limits\n```\n\n</details>"

CONTROL = "assert score(control) < guess"

ENDING = ("\n\n## Try it yourself\n\n## What we learnt\n\n## Limits\n\n## Further reading\n\n"
          "- [McMahan et al. (2017)](https://arxiv.org/abs/1602.05629)\n"
          "- [a paper](https://doi.org/10.1000/(x)1)\n- [the idea](../book/01_x.md#top)")


def good_lab() -> nbformat.NotebookNode:
    picture = new_output("display_data", {"image/png": "AA==", "text/plain": "<Figure>"})
    alt = {"mystnb": {"image": {"alt": "A line that rises from zero to one within five rounds."}}}
    lab = new_notebook(cells=[
        new_markdown_cell(OPENING),
        new_code_cell("\n".join(["setup()"] * 25), metadata={"tags": ["setup"]}),
        new_code_cell("from leaklab.attacks import labels\nSEED = 1\nseed_all(SEED)\n"
                      "pick_device()\nRECORDED = evidence.load('01_x')"),
        new_markdown_cell("## Average\n\n" + "word " * 900 + "\n\n> **Threat model.** A server."),
        new_code_cell("fig, ax = plt.subplots(figsize=(6, 3))", metadata=alt, outputs=[picture]),
        new_code_cell("labels.count(view)\nload('nodule', source='hybrid')\n"
                      "evidence.check(0.8, RECORDED['a'], seed=SEED)",
                      outputs=[new_output("stream", text="agrees\n")]),
        new_markdown_cell("## Make it fail on purpose"), new_code_cell(CONTROL),
        new_markdown_cell("## Exercise: double" + LEVEL), new_code_cell(EXERCISE),
        new_markdown_cell(HINT + SOLUTION + "\n\n## Exercise: double again" + LEVEL),
        new_code_cell(EXERCISE), new_markdown_cell(HINT + SOLUTION + ENDING),
    ], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"},
                 "leaklab": {"data": [], "evidence": ["01_x"]}})
    code = [cell for cell in lab.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
    for number, cell in enumerate(lab.cells):
        cell.id = f"cell-{number}"
    return lab


def replaced(old: str, new: str):
    """A change of the lab's text, in Markdown and code alike."""
    def change(lab):
        assert any(old in cell.source for cell in lab.cells), f"{old!r} is not in the good lab"
        for cell in lab.cells:
            cell.source = cell.source.replace(old, new)
    return change


def output(kind: str, **content):
    return lambda lab: lab.cells[4].outputs.append(new_output(kind, **content))


def source(text: str):
    return lambda lab: lab.cells[5].update(source=text)


BAD = {
    "at_most_45_cells": [lambda lab: lab.cells.extend(new_markdown_cell("x") for _ in range(40))],
    "code_cells_of_at_most_20_lines": [source("x = 1\n" * 21)],
    "median_code_cell_of_at_most_6_lines": [
        lambda lab: [c.update(source="x = 1\n" * 7) for c in lab.cells if c.cell_type == "code"]],
    "at_most_150_lines_of_code": [
        lambda lab: lab.cells.extend(new_code_cell("x = 1\n" * 20) for _ in range(8))],
    "prose_of_900_to_1800_words": [replaced("word " * 900, "`word` " * 900),
                                   replaced("word " * 900, "word " * 1801)],
    "at_most_one_megabyte": [output("stream", text="x" * 1_000_000)],
    "opening": [
        replaced("# Lab 7: average", "Lab 7: average"),
        replaced("record.", "record. None at all."),
        replaced("\n- average models by hand", ""),
        replaced("40 min", "long"), replaced("20-40 s", "37 s"), replaced("5 MB", "some"),
    ],
    "says_what_a_gpu_changes": [
        replaced("**A GPU**", "A GPU"), replaced("pick_device()", "1"),
        replaced("is used where there is one", "changes nothing"),
        replaced("pick_device()", "pick_device(), runtime.scale(fast=1, full=2)"),
        replaced("is needed.", "is needed. With `LEAKLAB_SCALE=full` it is larger.")],
    "closing": [replaced("## Limits", "## Limitations"), replaced("## What we learnt", ""),
                replaced("## Try it yourself", "## Try it yourself\n\n## Exercise: one more"),
                replaced("## Try it yourself", "## Another thought\n\n## Try it yourself"),
                replaced("## Limits", "## Another thought\n\n## Limits"),
                replaced("## Limits", "## Limits\n\n## Limits"),
                replaced("## Average", "## Limits\n\n## Average")],
    "settings_stand_in_one_cell": [replaced("SEED = 1", "seed = 1"), source("ROUNDS = 2")],
    "threat_model_before_the_first_attack": [
        replaced("Threat model", "Note"), replaced("SEED = 1", "SEED = labels.count")],
    "evidence_is_checked": [replaced("evidence.check", "print"),
                            replaced("evidence.check", "# evidence.check"),
                            replaced(", seed=SEED", "")],
    "evidence_is_what_the_front_matter_names": [
        replaced("'01_x'", "'02_y'"), replaced("evidence.load", "print"),
        replaced("evidence.load('01_x')", "evidence.load('01_x'), evidence.load('02_y')")],
    "data_sources_are_named": [
        replaced("'hybrid'", "'auto'"),
        lambda lab: lab.cells[5].update(source="WAY = 'auto'\nload('nodule', source=WAY)")],
    "a_control_fails_as_asserted": [
        replaced("Make it fail", "Go on"), replaced("assert ", "# assert "),
        lambda lab: lab.cells.insert(6, lab.cells.pop(7))],
    "exercises_are_complete": [
        replaced("## Exercise: double again", "## Another"), replaced("    ...", "    return 2"),
        replaced("checks.double(double)", ""), replaced("<summary>Solution", "<summary>Hint")],
    "exercises_say_how_hard_they_are_and_give_a_hint": [
        replaced("Level: easy", "Level: fun"), replaced(", 5 minutes", ""), replaced("Why: ", ""),
        replaced("<summary>Hint", "<summary>More"), replaced("Add it to itself.", "Easy.")],
    "solutions_use_what_the_lab_has": [replaced("```python\n", "```python\nmath.sqrt(2)\n")],
    "only_the_title_carries_a_number": [replaced("## Average", "## 1. Average"),
                                        replaced("# Lab 7: average", "# Average"),
                                  replaced("## Exercise: double", "## Exercise 1: double")],
    "random_numbers_are_seeded": [replaced("seed_all", "print")],
    "figures_have_a_size": [replaced("figsize=(6, 3)", "2")],
    "no_show_and_no_semicolon": [source("plt.show()"), source("ax.plot(x);")],
    "markdown_that_colab_renders": [
        replaced("## Average", s) for s in ("```{note}\n```", ":::{note}", "{cite}`a`", "% gone",
                                            "(label)=")],
    "figures_have_alt_text": [lambda lab: lab.cells[4].metadata["mystnb"]["image"].update(alt="x"),
                              lambda lab: lab.cells[4].metadata.clear()],
    "executed_in_order": [lambda lab: lab.cells[2].update(execution_count=None),
                          lambda lab: lab.cells[2].update(execution_count=7)],
    "no_errors_and_no_stderr": [output("error", ename="E", evalue="v", traceback=[]),
                                output("stream", name="stderr", text="warning")],
    "no_local_paths": [output("stream", text=f"{Path('/', 'home', 'me', 'x.py')}: line 3"),
                       output("execute_result", data={"text/html": "<a href='C:\\Users\\x'>"})],
    "kernel_is_python3": [lambda lab: lab.metadata.kernelspec.update(name="mine"),
                          lambda lab: lab.metadata.clear()],
    "ids_are_unique": [lambda lab: lab.cells[3].update(id="cell-0")],
    "relative_links_resolve": [replaced("01_x.md", "01_gone.md"),
                               replaced("## Limits", '## Limits\n\n<img src="gone.png">')],
    "cited_papers_are_in_the_bibliography": [replaced("1602.05629", "1602.00000v2"),
                                             replaced("(x)1", "(x)2"),
                                             *(replaced("## Limits", f"## Limits\n\n{cited}") for
                                               cited in ("As in arXiv:9999.99999.",
                                                         "See arXiv hep-th/9901001v2.",
                                                         "See doi:10.9999/none.",
                                                         "<https://arxiv.org/abs/9999.99999>")),
                                             source("x = 1  # arXiv:9999.99999")],
}

ALL_RULES = {rule.__name__: rule for rule in (*RULES, *REPOSITORY_RULES)}


@pytest.fixture
def root(tmp_path):
    """A repository with one lab, its page and two references."""
    (tmp_path / "book").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book/01_x.md").write_text("# Idea\n")
    (tmp_path / "book/references.bib").write_text(
        "@article{a, eprint = {1602.05629}}\n@article{b,\n  DOI = {10.1000/(X)1},\n}\n")
    (tmp_path / "notebooks/01_x.ipynb").write_text("{}")
    (tmp_path / "_toc.yml").write_text(
        "root: book/index\nparts:\n  - chapters:\n    - file: book/01_x\n"
        "      sections:\n      - file: notebooks/01_x\n")
    return tmp_path


def complaints(name: str, lab: nbformat.NotebookNode, root: Path) -> list[str]:
    rule = ALL_RULES[name]
    return rule(lab, root) if rule in REPOSITORY_RULES else rule(lab)


@pytest.mark.parametrize("name", ALL_RULES)
def test_rule_accepts_a_good_lab(name, root):
    assert complaints(name, good_lab(), root) == []


@pytest.mark.parametrize(("name", "change"), [
    pytest.param(name, change, id=f"{name}-{i}")
    for name in BAD for i, change in enumerate(BAD[name])])
def test_rule_rejects_a_bad_lab(name, change, root):
    lab = good_lab()
    change(lab)
    assert complaints(name, lab, root) != []


def test_every_rule_has_a_bad_lab():
    assert set(BAD) == set(ALL_RULES)


def test_an_embedded_picture_is_not_searched_for_paths():
    lab = good_lab()
    folder = "/".join(["", "tmp", ""])
    html = f'<img src="data:image/png;base64,AA{folder}AA==">'
    output("display_data", data={"text/html": html, "image/png": f"AA{folder}"})(lab)
    assert complaints("no_local_paths", lab, ROOT) == []


def test_contents_and_labs_are_compared_both_ways(root):
    assert contents_list_every_lab(root) == []
    (root / "notebooks/02_y.ipynb").write_text("{}")
    (root / "notebooks/01_x.ipynb").unlink()
    missing, unlisted = contents_list_every_lab(root)
    assert "01_x" in missing and "02_y" in unlisted
