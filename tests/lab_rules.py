"""The form of a lab, one small function a rule: ``rule(notebook) -> complaints``.

A rule answers with sentences that name the cell and say what was expected; none means it holds.
"""

from __future__ import annotations

import re
from itertools import dropwhile
from statistics import median

import nbformat
from nbformat import NotebookNode

from lab_reading import code, headings, numbered, outputs, words

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


def says_what_a_gpu_changes(notebook: NotebookNode) -> Complaints:
    """In one paragraph of cell 1, which the code bears out."""
    first = notebook.cells[0].source if notebook.cells else ""
    said = re.findall(r"^\*\*A GPU\*\* (.*)$", first, re.MULTILINE)
    if len(said) != 1:
        return [f"cell 1: {len(said)} paragraphs on what a GPU changes, expected one"]
    wanted = {"is used where there is one": "pick_device(" in code(notebook),
              "changes nothing": "pick_device(" not in code(notebook),
              "With `LEAKLAB_SCALE=full` ": "runtime.scale(" in code(notebook)}
    return [f"cell 1: on a GPU, {words!r} is {'missing' if true else 'said'}, and the code says "
            "otherwise" for words, true in wanted.items() if (words in said[0]) != true]


def closing(notebook: NotebookNode) -> Complaints:
    """The exercises, then the four closing sections, in order, each once, nothing between."""
    found = headings(notebook)
    first = next((k for k, h in enumerate(found) if h.startswith("Exercise")), len(found))
    rest = list(dropwhile(lambda h: h.startswith("Exercise"), found[first:]))
    if tuple(rest) == ENDING == tuple(h for h in found if h in ENDING):
        return []
    return [f"headings after the exercises: {rest}, expected {list(ENDING)}, each once in the lab"]


def only_the_title_carries_a_number(notebook: NotebookNode) -> Complaints:
    """The title names the lab, as in "Lab 3: read a record"; the book numbers nothing in it."""
    title, *others = headings(notebook) or [""]
    numbers = r"\d|(Exercise|Part|Section|Step|Chapter|Lab)s? \d"
    found = [f"heading {h!r}: expected no number" for h in others if re.match(numbers, h)]
    if not re.match(r"Lab [1-9]\d?: [a-z]", title):
        found.append(f"title {title!r}, expected one like 'Lab 3: read a record'")
    return found


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


FORM_RULES = (
    at_most_45_cells, code_cells_of_at_most_20_lines, median_code_cell_of_at_most_6_lines,
    at_most_150_lines_of_code, prose_of_900_to_1800_words, at_most_one_megabyte,
    opening, says_what_a_gpu_changes, closing, only_the_title_carries_a_number,
    markdown_that_colab_renders, figures_have_alt_text,
    executed_in_order, no_errors_and_no_stderr, no_local_paths, kernel_is_python3, ids_are_unique,
)
