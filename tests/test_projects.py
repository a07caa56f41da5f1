"""The starters of the projects: form, run unsolved and solved, and the page that leads to them."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import lab_code
import lab_rules
from lab_links import links
from lab_reading import numbered, sections, text
from leaklab.teaching import checks, solutions

ROOT = Path(__file__).resolve().parents[1]
STARTERS = sorted((ROOT / "notebooks/projects").glob("*.ipynb"))
PAGE = (ROOT / "book/projects.md").read_text(encoding="utf-8")
OF_LABS = (
    lab_rules.code_cells_of_at_most_20_lines, lab_rules.at_most_150_lines_of_code,
    lab_rules.at_most_one_megabyte, lab_rules.markdown_that_colab_renders,
    lab_rules.executed_in_order, lab_rules.no_errors_and_no_stderr, lab_rules.no_local_paths,
    lab_rules.kernel_is_python3, lab_rules.ids_are_unique, lab_code.no_show_and_no_semicolon,
)
ENDING = ("## Run the experiment|## Draft the numbers", "## Before you report")
TODO = "    ...  # your code\n"

read = functools.cache(functools.partial(nbformat.read, as_version=4))
starters = pytest.mark.parametrize("path", STARTERS, ids=lambda path: path.stem)


def stubs(notebook: NotebookNode) -> list[str]:
    """The functions that a starter leaves to fill in."""
    return [node.name for _, cell in numbered(notebook, "code") if TODO in cell.source
            for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]


def complaints(notebook: NotebookNode) -> list[str]:
    """What a starter lacks beside the form that it shares with labs."""
    written = text(notebook)
    found = [] if re.match(r"# Project: [a-z]", written) else ["no title '# Project: ...'"]
    found += [f"no heading {heading!r}" for heading in ENDING if not re.search(heading, written)]
    parts = {title: cells for title, cells in sections(notebook).items() if "Fill in" in title}
    if not 2 <= len(parts) <= 4 or len(parts) != len(stubs(notebook)):
        found.append(f"{len(parts)} parts and {len(stubs(notebook))} stubs, expected 2 to 4 each")
    for title, cells in parts.items():
        source = "\n".join(cell.source for cell in cells)
        found += [f"{title}: no call checks.{name}({name})" for name in stubs(new_notebook(
            cells=[c for c in cells if c.cell_type == "code"])) if f"checks.{name}({name})"
            not in source]
        if not re.search(r"<summary>Hint</summary>\s+\S+ \S+ \S+ \S+", source):
            found.append(f"{title}: no folded hint")
    if "<summary>Solution" in written:
        found.append("shows a solution, expected none: the work is marked")
    return found


def run(notebook: NotebookNode, solved: bool) -> str:
    """What the cells print in one process, the parts filled in or left as they are."""
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for _, cell in numbered(notebook, "code"):
            source = cell.source
            if solved and TODO in source:
                name, = stubs(new_notebook(cells=[cell]))
                names[name] = getattr(solutions, name)
                source = f"checks.{name}({name})"
            exec(compile(source, "starter", "exec"), names)
    return printed.getvalue()


@starters
@pytest.mark.parametrize("rule", OF_LABS, ids=lambda rule: rule.__name__)
def test_a_starter_has_the_form_of_a_lab_where_it_can(path, rule):
    assert rule(read(path)) == []


@starters
def test_a_starter_has_parts_to_fill_in_each_with_a_check_and_a_hint(path):
    assert complaints(read(path)) == []


@starters
def test_links_of_a_starter_lead_to_files_of_the_course(path):
    for link in links(read(path)):
        if "://" not in link:
            assert (path.parent / link.partition("#")[0]).resolve().is_file(), link


@starters
def test_an_unsolved_starter_says_of_each_part_that_it_was_not_attempted(path):
    printed = "".join(o.get("text", "") for c in read(path).cells for o in c.get("outputs", []))
    for name in stubs(read(path)):
        assert f"Exercise {name}: not attempted yet" in printed


@starters
def test_a_solved_starter_runs_to_its_end_with_every_part_in_use(path):
    printed = run(read(path), solved=True)
    assert printed.count(": passed") == len(stubs(read(path)))
    experiment = printed.rpartition(": passed\n")[2]
    assert re.search(r"\d", experiment) and "None" not in experiment
    for name in stubs(read(path)):
        calls = sum(f"{name}(" in c.source and f"def {name}" not in c.source
                    for _, c in numbered(read(path), "code"))
        assert calls >= 1, f"{name} is filled in and never used"


def test_the_page_has_one_starter_for_each_part_and_no_starter_is_left_out():
    led_to = re.findall(r"\{download\}`(.+?) <\.\./notebooks/projects/(.+?)>`", PAGE)
    assert [a for a, b in led_to if a == b] == [path.name for path in STARTERS]
    projects = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(projects) == len(led_to) == 6


def test_every_exercise_and_every_part_stands_in_one_notebook_only():
    labs = sorted((ROOT / "notebooks").glob("*.ipynb"))
    named = [name for path in (*labs, *STARTERS) for name in stubs(read(path))]
    assert sorted(named) == sorted(n for n, f in vars(solutions).items() if callable(f))
    assert set(named) <= set(checks.__all__)


def good_starter() -> NotebookNode:
    cells = [new_markdown_cell("# Project: double\n\nWhat is twice a number?")]
    for name in ("double", "treble"):
        stub = f'def {name}(x):\n    """More."""\n{TODO}\n\nchecks.{name}({name})'
        hint = "<details>\n<summary>Hint</summary>\n\nAdd it to itself.\n\n</details>"
        cells += [new_markdown_cell(f"## Fill in: {name}"), new_code_cell(stub),
                  new_markdown_cell(hint)]
    return new_notebook(cells=[*cells, new_markdown_cell(
        "## Run the experiment\n\nThis is the skeleton.\n\n## Before you report\n\n- Check.")])


def test_a_good_starter_passes():
    assert complaints(good_starter()) == []


@pytest.mark.parametrize(("old", "new"), [
    ("# Project: double", "# Double"), ("## Run the experiment", "## Run"),
    ("## Before you report", "## End"), ("## Fill in: treble", "## Treble"),
    (TODO, "    return 2 * x\n"), ("checks.treble(treble)", ""), ("Add it to itself.", "Easy."),
    ("<summary>Hint</summary>", "<summary>Solution</summary>"),
])
def test_a_bad_starter_is_told_what_it_lacks(old, new):
    starter = good_starter()
    assert any(old in cell.source for cell in starter.cells)
    for cell in starter.cells:
        cell.source = cell.source.replace(old, new)
    assert complaints(starter) != []
