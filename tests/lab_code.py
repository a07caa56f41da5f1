"""What the code of a lab must hold: settings, evidence, a control, exercises, figures.

A rule answers with sentences that name the cell and say what was expected; none means it holds.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from lab_reading import code, numbered, parse, sections, trees

Complaints = list[str]

def settings_stand_in_one_cell(notebook: NotebookNode) -> Complaints:
    """Names in capitals are settings; one cell sets them all, but for the knobs at the end."""
    knobs = [k for k, cell in numbered(notebook, "markdown") if "# Try it yourself" in cell.source]
    cells = {number: names for number, tree in trees(notebook)
             if (names := _settings(tree)) and number < min(knobs, default=number + 1)}
    if len(cells) == 1 and "SEED" in next(iter(cells.values())):
        return []
    return [f"settings in cells {cells}, expected one cell that sets SEED and all others"]


def _settings(tree: ast.Module) -> list[str]:
    targets = [target for node in tree.body if isinstance(node, ast.Assign)
               for target in node.targets]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if len(name) > 1 and name.isupper()]


def threat_model_before_the_first_attack(notebook: NotebookNode) -> Complaints:
    first = min(_attacking_cells(notebook), default=None)
    box = min((k for k, cell in numbered(notebook, "markdown") if "Threat model" in cell.source),
              default=None)
    if first is None or (box is not None and box < first):
        return []
    return [f"cell {first} attacks, expected a 'Threat model' box before it"]


def _attacking_cells(notebook: NotebookNode) -> Iterator[int]:
    """Cells that use, not only import, something from leaklab.attacks."""
    names: set[str] = set()
    for number, tree in trees(notebook):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names |= {a.asname or a.name for a in node.names if
                          f"{node.module}.{a.name}.".startswith("leaklab.attacks.")}
            elif isinstance(node, ast.Import):
                names |= {a.asname or a.name for a in node.names
                          if f"{a.name}.".startswith("leaklab.attacks.")}
        used = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, (ast.Name, ast.Attribute))}
        if used & names:
            yield number


def evidence_is_checked(notebook: NotebookNode) -> Complaints:
    calls = list(_calls(notebook, "evidence.check"))
    found = [f"cell {number}: evidence.check(...) without seed=" for number, call in calls
             if "seed" not in [keyword.arg for keyword in call.keywords]]
    return found if calls else ["no evidence.check(...), expected the live slice to be compared"]


def evidence_is_what_the_front_matter_names(notebook: NotebookNode) -> Complaints:
    loaded = {ast.unparse(call.args[0]) if call.args else "nothing"
              for _, call in _calls(notebook, "evidence.load")}
    named = {repr(name) for name in notebook.metadata.get("leaklab", {}).get("evidence", [])}
    return [f"evidence {name}: only one of evidence.load(...) and the front matter names it"
            for name in sorted(loaded ^ named)]


def data_sources_are_named(notebook: NotebookNode) -> Complaints:
    """Whoever reads the lab must know what was measured: nothing passes "auto" as ``source``."""
    nodes = [(number, node) for number, tree in trees(notebook) for node in ast.walk(tree)]
    automatic = {"'auto'"}
    for _, node in nodes:
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in automatic:
            automatic |= set(map(ast.unparse, node.targets))
    return [f"cell {number}: source={ast.unparse(node.value)}, expected 'real', 'hybrid' or "
            "'synthetic'" for number, node in nodes
            if isinstance(node, ast.keyword) and node.arg == "source"
            and ast.unparse(node.value) in automatic]


def a_control_fails_as_asserted(notebook: NotebookNode) -> Complaints:
    cells = [cell for title, cells in sections(notebook).items() if "Make it fail" in title
             for cell in cells if cell.cell_type == "code"]
    asserted = any(isinstance(node, ast.Assert) for cell in cells
                   for node in ast.walk(parse(cell.source)))
    return [] if asserted else ["no assert in a section 'Make it fail', expected a control"]


def _calls(notebook: NotebookNode, name: str) -> Iterator[tuple[int, ast.Call]]:
    """The calls of ``name``, with the number of their cell."""
    for number, tree in trees(notebook):
        yield from ((number, node) for node in ast.walk(tree)
                    if isinstance(node, ast.Call) and ast.unparse(node.func) == name)


def exercises_are_complete(notebook: NotebookNode) -> Complaints:
    """Two to four, each with an unsolved stub, the check of that name and a folded solution."""
    exercises = {title: cells for title, cells in sections(notebook).items()
                 if title.startswith("Exercise")}
    found = []
    if not 2 <= len(exercises) <= 4:
        found.append(f"{len(exercises)} exercises, expected 2 to 4")
    for title, cells in exercises.items():
        source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        stubs = [n.name for n in ast.walk(parse(source)) if _is_stub(n)]
        if not stubs:
            found.append(f"{title!r}: no stub, expected a function whose body is ...")
        found += [f"{title!r}: no call checks.{name}({name})" for name in stubs
                  if f"checks.{name}({name})" not in source]
        if not any("<summary>Solution</summary>" in cell.source for cell in cells):
            found.append(f"{title!r}: no folded solution")
    return found


def exercises_say_how_hard_they_are_and_give_a_hint(notebook: NotebookNode) -> Complaints:
    """Each begins "Level: easy, 5 minutes. Why: it ..." and has a folded hint of a sentence."""
    found = []
    for title, cells in sections(notebook).items():
        if not title.startswith("Exercise"):
            continue
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        if not re.search(r"^Level: (easy|medium|hard), \d+ minutes\. Why: \S", prose, re.MULTILINE):
            found.append(f"{title!r}: expected 'Level: easy, 5 minutes. Why: ...', with easy, "
                         "medium or hard")
        hint = re.search(r"<summary>Hint</summary>(.*?)</details>", prose, re.DOTALL)
        if not hint or len(hint[1].split()) < 4:
            found.append(f"{title!r}: no folded hint of at least four words")
    return found


def solutions_use_what_the_lab_has(notebook: NotebookNode) -> Complaints:
    """A folded solution, pasted over its stub, finds every name: imported, set, or its own."""
    known = {*dir(builtins), *(name for _, tree in trees(notebook) for name in _bound(tree))}
    found = []
    for number, cell in numbered(notebook, "markdown"):
        for source in re.findall(r"^```python\n(.*?)^```", cell.source, re.DOTALL | re.MULTILINE):
            tree = ast.parse(source)
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            found += [f"cell {number}: the lab has no {name!r} for this solution"
                      for name in sorted(used - known - set(_bound(tree)))]
    return found


def _bound(tree: ast.AST) -> Iterator[str]:
    """Names that code gives a value: imports, assignments, arguments, functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _is_stub(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return [ast.unparse(statement) for statement in body] == ["..."]


def random_numbers_are_seeded(notebook: NotebookNode) -> Complaints:
    return [] if re.search(r"\bseed_all\(", code(notebook)) else ["no call of seed_all(...)"]


def figures_have_a_size(notebook: NotebookNode) -> Complaints:
    return [f"cell {number}: {ast.unparse(call.func)} without figsize"
            for number, tree in trees(notebook) for call in ast.walk(tree)
            if isinstance(call, ast.Call)
            and ast.unparse(call.func) in ("plt.subplots", "plt.figure", "plt.subplot_mosaic")
            and "figsize" not in [keyword.arg for keyword in call.keywords]]


def no_show_and_no_semicolon(notebook: NotebookNode) -> Complaints:
    return [f"cell {number}: {line.strip()!r}, expected neither plt.show() nor a closing semicolon"
            for number, cell in numbered(notebook, "code") for line in cell.source.splitlines()
            if "plt.show(" in line or line.rstrip().endswith(";")]


CODE_RULES = (
    settings_stand_in_one_cell, threat_model_before_the_first_attack, evidence_is_checked,
    evidence_is_what_the_front_matter_names, data_sources_are_named, a_control_fails_as_asserted,
    exercises_are_complete, exercises_say_how_hard_they_are_and_give_a_hint,
    solutions_use_what_the_lab_has, random_numbers_are_seeded, figures_have_a_size,
    no_show_and_no_semicolon,
)
