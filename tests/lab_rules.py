"""The form of a lab, one small function a rule: ``rule(notebook) -> complaints``.

A rule answers with sentences that name the cell and say what was expected; none means it holds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from statistics import median

import nbformat
from nbformat import NotebookNode

from lab_reading import (
    code,
    headings,
    numbered,
    outputs,
    trees,
    without_fences,
    words,
)

Complaints = list[str]

ENDING = ("Try it yourself", "What we learnt", "Limits", "Further reading")
LOCAL_FOLDERS = ("home", "Users", "root", "tmp", "private", "wo" + "rk")  # of any author's machine


# --- Size -----------------------------------------------------------------------------------


def at_most_45_cells(notebook: NotebookNode) -> Complaints:
    n = len(notebook.cells)
    return [f"{n} cells, expected at most 45"] if n > 45 else []


def code_cells_of_at_most_20_lines(notebook: NotebookNode) -> Complaints:
    lengths = [(number, len(cell.source.splitlines())) for number, cell in
               numbered(notebook, "code")]
    return [f"cell {k}: {n} lines of code, expected at most 20" for k, n in lengths if n > 20]


def median_code_cell_of_at_most_6_lines(notebook: NotebookNode) -> Complaints:
    middle = median([len(c.source.splitlines()) for _, c in numbered(notebook, "code")] or [0])
    return [f"median code cell of {middle} lines, expected at most 6"] if middle > 6 else []


def at_most_150_lines_of_code(notebook: NotebookNode) -> Complaints:
    n = sum(bool(line.strip()) for line in code(notebook).splitlines())
    return [f"{n} lines of code, expected at most 150"] if n > 150 else []


def prose_of_900_to_1800_words(notebook: NotebookNode) -> Complaints:
    n = words(notebook)
    return [] if 900 <= n <= 1800 else [f"{n} words of prose, expected 900 to 1800"]


def at_most_one_megabyte(notebook: NotebookNode) -> Complaints:
    n = len(nbformat.writes(notebook).encode())
    return [f"{n} bytes, expected at most 1,000,000"] if n > 1_000_000 else []


# --- Order ----------------------------------------------------------------------------------


def opening(notebook: NotebookNode) -> Complaints:
    """Title, a claim of one sentence, what you will be able to do, what you need: in cell 1."""
    first = notebook.cells[0].source if notebook.cells else ""
    parts = re.match(r"# [^\n]+\n+(?P<claim>[^\n#*-].*?)\n\n+(?:#+ |\*\*)You will be able to"
                     r".*?\n(?P<goals>.*?)(?:#+ |\*\*)You need(?P<needs>.*)", first, re.DOTALL)
    if not parts:
        return ["cell 1: expected, in this order, a title, a claim, "
                "'You will be able to' and 'You need'"]
    found = []
    sentences = re.findall(r"[.!?](?:\s|$)", parts["claim"])
    if len(sentences) != 1 or "\n\n" in parts["claim"]:
        found.append(f"cell 1: a claim of {len(sentences)} sentences, expected one")
    goals = len(re.findall(r"^[-*] ", parts["goals"], re.MULTILINE))
    if not 3 <= goals <= 5:
        found.append(f"cell 1: {goals} bullets under 'You will be able to', expected 3 to 5")
    wanted = {"study time in minutes": r"study time\D*\d+[^\n]*min",
              "run time as a band, such as 20-40 s":
                  r"\brun(?:s| time)\b[^.\n\d]*?(\d+ ?[-–] ?\d+|under (a|\d+)) ?(s|min)",
              "size of the download": r"download\w*[^.\n]*(\d ?(kB|MB|GB)|nothing|none)"}
    return found + [f"cell 1: 'You need' lacks the {what}" for what, pattern in wanted.items()
                    if not re.search(pattern, parts["needs"], re.IGNORECASE)]


def closing(notebook: NotebookNode) -> Complaints:
    """The exercises, then the four closing sections, in order, each once, nothing between."""
    found = headings(notebook)
    rest = [h for h in found if not h.startswith("Exercise")]
    if tuple(rest[-4:]) != ENDING:
        return [f"closing sections {rest[-4:]}, expected {list(ENDING)}"]
    if "Try it yourself" in found and any(
            h.startswith("Exercise") for h in found[found.index("Try it yourself"):]):
        return ["an exercise after 'Try it yourself', expected all before it"]
    return []


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
    checked = re.search(r"\bevidence\.check\(", code(notebook))
    return [] if checked else ["no evidence.check(...), expected the live slice to be compared"]


def exercises_are_complete(notebook: NotebookNode) -> Complaints:
    """Two to four, each with an unsolved stub, the check of that name and a folded solution."""
    sections = _exercises(notebook)
    found = []
    if not 2 <= len(sections) <= 4:
        found.append(f"{len(sections)} exercises, expected 2 to 4")
    for title, cells in sections.items():
        source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        stubs = [n.name for n in ast.walk(ast.parse(source)) if _is_stub(n)]
        if not stubs:
            found.append(f"{title!r}: no stub, expected a function whose body is ...")
        found += [f"{title!r}: no call checks.{name}({name})" for name in stubs
                  if f"checks.{name}({name})" not in source]
        if not any("<summary>Solution</summary>" in cell.source for cell in cells):
            found.append(f"{title!r}: no folded solution")
    return found


def _exercises(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """Title -> cells, a Markdown cell cut at its headings."""
    sections: dict[str, list[NotebookNode]] = {}
    current = ""
    for cell in notebook.cells:
        parts = [cell]
        if cell.cell_type == "markdown":
            parts = [NotebookNode(cell_type="markdown", source=part) for part in
                     re.split(r"^(?=#+ )", without_fences(cell.source), flags=re.MULTILINE)]
        for part in parts:
            if cell.cell_type == "markdown" and part.source.startswith("#"):
                current = part.source.splitlines()[0].lstrip("# ")
            if current.startswith("Exercise"):
                sections.setdefault(current, []).append(part)
    return sections


def _is_stub(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return [ast.unparse(statement) for statement in body] == ["..."]


def headings_carry_no_numbers(notebook: NotebookNode) -> Complaints:
    numbers = r"\d|(Exercise|Part|Section|Step|Chapter|Lab)s? \d"
    return [f"heading {h!r}: the book numbers headings itself" for h in headings(notebook)
            if re.match(numbers, h)]


# --- Code -----------------------------------------------------------------------------------


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


# --- Markdown -------------------------------------------------------------------------------


def markdown_that_colab_renders(notebook: NotebookNode) -> Complaints:
    """No MyST: Colab and GitHub would show its source."""
    myst = re.compile(r"^ *(?:```+|~~~+)\{.*|^ *:::.*|\{[a-zA-Z][\w:+-]*\}`.*|^%(?: .*)?$"
                      r"|^\([\w-]+\)=$", re.MULTILINE)
    return [f"cell {number}: {match[0].strip()!r} is MyST, which Colab does not render"
            for number, cell in numbered(notebook, "markdown")
            for match in myst.finditer(cell.source)]


def figures_have_alt_text(notebook: NotebookNode) -> Complaints:
    found = []
    for number, cell in numbered(notebook, "code"):
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        drawn = any("image/png" in output.get("data", {}) for output in cell.outputs)
        if drawn and len(alt) < 40:
            found.append(f"cell {number}: alt text of {len(alt)} characters in "
                         "mystnb.image.alt, expected a sentence of at least 40")
    return found


# --- Stored outputs -------------------------------------------------------------------------


def executed_in_order(notebook: NotebookNode) -> Complaints:
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    right = list(range(1, len(counts) + 1))
    return [] if counts == right else [f"execution counts {counts}, expected 1 to {len(counts)}"]


def no_errors_and_no_stderr(notebook: NotebookNode) -> Complaints:
    return [f"cell {number}: stored output {output.get('name') or output.output_type}"
            for number, output in outputs(notebook)
            if output.output_type == "error" or output.get("name") == "stderr"]


def no_local_paths(notebook: NotebookNode) -> Complaints:
    """In text only, and not in embedded pictures, whose letters may spell anything."""
    local = re.compile(rf"/(?:{'|'.join(LOCAL_FOLDERS)})/[^\s\"']*|\b[A-Z]:\\\\?[\w.]+\\")
    found = []
    for number, output in outputs(notebook):
        shown = [output.get("text", ""), *output.get("traceback", []),
                 *(str(v) for k, v in output.get("data", {}).items() if k.startswith("text/"))]
        plain = re.sub(r"data:[\w/+-]+;base64,[\w+/=]+", "", "\n".join(shown))
        found += [f"cell {number}: local path {m[0]!r}" for m in local.finditer(plain)]
    return found


def kernel_is_python3(notebook: NotebookNode) -> Complaints:
    name = notebook.metadata.get("kernelspec", {}).get("name")
    return [] if name == "python3" else [f"kernelspec {name!r}, expected 'python3'"]


def ids_are_unique(notebook: NotebookNode) -> Complaints:
    ids = [cell.get("id") for cell in notebook.cells]
    twice = sorted({str(i) for i in ids if ids.count(i) > 1})
    return [f"cell ids {twice} occur more than once"] if twice else []


RULES = (
    at_most_45_cells, code_cells_of_at_most_20_lines, median_code_cell_of_at_most_6_lines,
    at_most_150_lines_of_code, prose_of_900_to_1800_words, at_most_one_megabyte,
    opening, closing, settings_stand_in_one_cell, threat_model_before_the_first_attack,
    evidence_is_checked, exercises_are_complete, headings_carry_no_numbers,
    random_numbers_are_seeded, figures_have_a_size, no_show_and_no_semicolon,
    markdown_that_colab_renders, figures_have_alt_text,
    executed_in_order, no_errors_and_no_stderr, no_local_paths, kernel_is_python3, ids_are_unique,
)
