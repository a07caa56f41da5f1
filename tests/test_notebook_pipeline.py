"""From lab text to notebook: generated, run, repeatable, checked, and safe to interrupt."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

import lab_key
import labs
import notebooks

ROOT = Path(__file__).resolve().parent.parent

FRONT = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
leaklab:
  data: []
  evidence: []
---

"""

TINY = FRONT + """\
# Tiny

Some words.

```{code-cell}
from leaklab.factor import scaled

print("result:", scaled(3))
```

```{code-cell}
---
mystnb:
  image:
    alt: A line.
---
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(1, 1))
_ = ax.plot([0, 1])
```

<!-- solution: double -->
"""

PLAIN = FRONT + "# Plain\n\n```{code-cell}\nprint('plain')\n```\n"

LIBRARY = {
    "__init__.py": "",
    "base.py": "FACTOR = 2\n",
    "factor.py": "from .base import FACTOR\n\n\ndef scaled(x):\n    return FACTOR * x\n",
    "unrelated.py": "X = 1\n",
    "data/__init__.py": "",
    "data/registry.py": "from types import SimpleNamespace as Row\n\n"
                        "FILES = {'a.csv': Row(sha256='aa'), 'b.csv': Row(sha256='bb'),\n"
                        "         'c.npz': Row(sha256='', md5='cc')}\n",
    "teaching/__init__.py": "",
    "teaching/course.mplstyle": "figure.dpi: 50\n",
    "teaching/solutions/__init__.py": 'def double(x):\n    """Twice."""\n    return 2 * x\n',
    "recorded/01_tiny.json": "{}",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def edit(path: Path, old: str, new: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small repository with two labs, generated once."""
    root = tmp_path_factory.mktemp("repository")
    write(root / "src/leaklab", LIBRARY)
    write(root, {"_config.yml": 'repository: {url: ""}\n', "constraints.txt": "a==1\n",
                 "notebooks/text/01_tiny.md": TINY, "notebooks/text/02_plain.md": PLAIN})
    assert notebooks.main([], root) == 0
    return root


@pytest.fixture
def repository(built, tmp_path):
    """A copy of it to change."""
    return shutil.copytree(built, tmp_path / "copy")


def stored(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "notebooks").iterdir()
            if path.is_file()}


def tiny(root: Path) -> labs.Lab:
    return labs.read_lab(root / "notebooks/text/01_tiny.md", root)


def key(root: Path) -> str:
    return lab_key.lab_key(tiny(root), root)


# --- Generate and run --------------------------------------------------------------------------


def test_a_notebook_holds_setup_outputs_and_solutions(built):
    content = stored(built)["01_tiny.ipynb"]
    assert content.endswith(b"}\n")
    notebook = nbformat.reads(content, as_version=4)
    nbformat.validate(notebook)
    title, setup, result, figure, solution = notebook.cells
    assert title.source.startswith("# Tiny")
    assert setup.metadata.tags == ["setup", "remove-cell"] and setup.outputs == []
    assert result.outputs[0].text == "result: 6\n"
    assert "image/png" in figure.outputs[0].data
    assert [c.execution_count for c in (setup, result, figure)] == [1, 2, 3]
    assert solution.source.startswith("<details>\n<summary>Solution</summary>\n\n```python\ndef")
    assert "version" not in json.dumps(notebook.metadata)


def test_a_second_run_and_a_forced_run_give_the_same_bytes(built, repository, capsys):
    before = stored(repository)
    assert notebooks.main([], repository) == 0
    assert capsys.readouterr().out.count("up to date") == 2
    assert notebooks.main(["--force"], repository) == 0
    assert "running" in capsys.readouterr().out
    assert stored(repository) == before == stored(built)


def test_a_change_in_the_library_runs_the_labs_that_use_it(repository, capsys):
    edit(repository / "src/leaklab/base.py", "2", "5")
    assert notebooks.main([], repository) == 0
    printed = capsys.readouterr().out
    assert "01_tiny: running" in printed and "02_plain: up to date" in printed
    assert b"result: 15" in stored(repository)["01_tiny.ipynb"]


def test_new_words_keep_the_outputs_and_new_code_does_not(repository, capsys):
    edit(repository / "notebooks/text/01_tiny.md", "Some words.", "Other words.")
    edit(repository / "notebooks/text/02_plain.md", "print('plain')", "print('plainer')")
    before = stored(repository)["01_tiny.ipynb"]
    assert notebooks.main([], repository) == 0
    printed = capsys.readouterr().out
    assert "01_tiny: new words, same outputs" in printed and "02_plain: running" in printed
    after = stored(repository)["01_tiny.ipynb"]
    assert notebooks.main(["--check"], repository) == 0
    assert notebooks.main(["--force", "01"], repository) == 0
    assert before != after == stored(repository)["01_tiny.ipynb"], "a run gives the same bytes"


@pytest.mark.parametrize("change", [
    lambda root: edit(root / "src/leaklab/base.py", "2", "5"),
    lambda root: edit(root / "notebooks/text/01_tiny.md", "alt: A line.", "alt: Two lines."),
    lambda root: edit(root / "notebooks/01_tiny.ipynb", "Some words.", "Forged words."),
])
def test_outputs_are_kept_only_where_a_run_would_give_them_again(repository, change):
    edit(repository / "notebooks/text/01_tiny.md", "# Tiny", "# Tiny and new")
    change(repository)
    lab = tiny(repository)
    kept = notebooks.with_kept_outputs(lab, lab_key.lab_key(lab, repository), repository)
    assert kept is None


def test_a_failing_lab_keeps_its_notebook_and_the_others_finish(repository, capsys):
    edit(repository / "notebooks/text/01_tiny.md", "scaled(3))", "scaled(undefined))")
    edit(repository / "notebooks/text/02_plain.md", "print('plain')", "print('plainer')")
    before = stored(repository)["01_tiny.ipynb"]
    assert notebooks.main([], repository) == 1
    said = capsys.readouterr().err
    assert "notebooks/text/01_tiny.md: cell 3: NameError: name 'undefined'" in said
    assert stored(repository)["01_tiny.ipynb"] == before
    assert b"plainer" in stored(repository)["02_plain.ipynb"]


@pytest.mark.parametrize(("line", "complaint"), [
    ("import warnings; warnings.warn('odd')", "cell 3 wrote to stderr"),
    ("object()", "cell 3 shows a memory address"),
])
def test_output_that_no_other_run_repeats_is_refused(repository, capsys, line, complaint):
    edit(repository / "notebooks/text/02_plain.md", "print('plain')", line)
    before = stored(repository)
    assert notebooks.main(["02"], repository) == 1
    assert complaint in capsys.readouterr().err
    assert stored(repository) == before


CALL = ("import pathlib, sys, notebooks\n"
        "status = notebooks.main(sys.argv[2:], pathlib.Path(sys.argv[1]))\n")
TOOLS = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # a killed child that nobody waited for is a zombie
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_an_interrupt_leaves_the_old_notebook_and_no_kernel(repository, tmp_path):
    marker = tmp_path / "kernel"
    edit(repository / "notebooks/text/02_plain.md", "print('plain')",
         f"import os, pathlib, time\npathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\n"
         "time.sleep(100)")
    before = stored(repository)
    call = [sys.executable, "-c", CALL + "sys.exit(status)", repository]
    process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=TOOLS)
    waited = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < waited:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, "interrupted" in said) == (130, True), said
    assert stored(repository) == before
    assert not alive(int(marker.read_text()))


# --- Check -------------------------------------------------------------------------------------


def test_check_accepts_what_was_generated(built, capsys):
    assert notebooks.main(["--check"], built) == 0
    assert "2 labs in step" in capsys.readouterr().out


def test_check_names_the_notebook_whose_inputs_changed(repository, capsys):
    edit(repository / "src/leaklab/base.py", "2", "5")
    assert notebooks.main(["--check"], repository) == 1
    assert capsys.readouterr().out == ("notebooks/01_tiny.ipynb: inputs changed since it was run; "
                                       "run `make notebooks NB=01`\n")


@pytest.mark.parametrize(("old", "new"), [
    ("Some words.", "Some other words."),
    ("scaled(3)", "scaled(4)"),
    ("alt: A line.", "alt: Another line."),
    ("data: []", "data: [a.csv]"),
    ("# Tiny\n", "# Tiny\n\n+++\n"),
])
def test_check_names_the_notebook_of_an_edited_text(repository, capsys, old, new):
    edit(repository / "notebooks/text/01_tiny.md", old, new)
    assert notebooks.main(["--check"], repository) == 1
    said = capsys.readouterr().out
    assert "notebooks/01_tiny.ipynb: " in said and "02_plain" not in said


def change(notebook: dict, what: str) -> None:
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if what == "source":
        code[1]["source"][-1] += "  # edited here"
    elif what == "not run":
        code[1]["execution_count"] = None
    elif what == "id":
        code[1]["id"] = "other"
    elif what == "kernel":
        notebook["metadata"]["kernelspec"]["name"] = "mine"
    else:
        notebook["cells"].pop()


@pytest.mark.parametrize("what", ["source", "not run", "id", "kernel", "last cell gone"])
def test_check_names_a_notebook_edited_by_hand_and_a_run_mends_it(repository, capsys, what):
    path = repository / "notebooks/01_tiny.ipynb"
    notebook = json.loads(path.read_text())
    change(notebook, what)
    path.write_text(json.dumps(notebook))
    assert notebooks.main(["--check"], repository) == 1
    assert "notebooks/01_tiny.ipynb: " in capsys.readouterr().out
    assert notebooks.out_of_step(tiny(repository), key(repository))


def test_check_names_missing_broken_and_orphaned_notebooks(repository, capsys):
    folder = repository / "notebooks"
    (folder / "01_tiny.ipynb").unlink()
    edit(folder / "02_plain.ipynb", "{", "")
    (folder / "03_orphan.ipynb").write_text("{}")
    assert notebooks.main(["--check"], repository) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"notebooks/{name}.ipynb" for name in ("01_tiny", "02_plain", "03_orphan")]


def test_check_runs_nothing_and_loads_no_torch(built):
    loaded = "print([m for m in ('torch', 'nbclient', 'leaklab') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", CALL + loaded, built, "--check"], env=TOOLS,
                          capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_lab_is_a_wrong_call(built, capsys):
    assert notebooks.main(["07"], built) == 2
    assert "no lab 07 among: 01_tiny, 02_plain" in capsys.readouterr().out


def test_a_starter_of_a_project_is_made_beside_the_labs_in_a_folder_of_its_own(
    repository, capsys
):
    write(repository, {"notebooks/projects/text/p1_tiny.md": PLAIN})
    assert notebooks.main(["--check"], repository) == 1
    assert capsys.readouterr().out == ("notebooks/projects/p1_tiny.ipynb: missing or not readable; "
                                       "run `make notebooks NB=p1`\n")
    assert notebooks.main(["p1"], repository) == notebooks.main(["--check"], repository) == 0
    (repository / "notebooks/projects/p2_orphan.ipynb").write_text("{}")
    capsys.readouterr()
    assert notebooks.main(["--check"], repository) == 1
    assert capsys.readouterr().out == (
        "notebooks/projects/p2_orphan.ipynb: has no text notebooks/projects/text/p2_orphan.md\n")


# --- From text to cells ------------------------------------------------------------------------


def test_badge_and_setup_name_the_address_where_it_is_known(repository):
    write(repository, {"_config.yml": "repository: {url: https://github.com/a/b/, branch: v1}\n"
                                      "html: {baseurl: https://a.example/b/}\n"})
    _, badge, setup, *_ = tiny(repository).cells
    assert ("https://colab.research.google.com/github/a/b/blob/v1/notebooks/01_tiny.ipynb"
            in badge.source)
    assert "https://a.example/b/notebooks/01_tiny.html" in badge.source
    assert badge.metadata.tags == ["remove-cell"]
    assert "'leaklab @ git+https://github.com/a/b@v1'" in setup.source


def test_the_badge_of_a_starter_names_its_folder_and_leads_to_the_page_of_projects(repository):
    write(repository, {"_config.yml": "repository: {url: https://github.com/a/b/, branch: v1}\n"
                                      "html: {baseurl: https://a.example/b/}\n",
                       "notebooks/projects/text/p1_tiny.md": PLAIN})
    lab = labs.read_lab(repository / "notebooks/projects/text/p1_tiny.md", repository)
    assert lab.notebook == repository / "notebooks/projects/p1_tiny.ipynb"
    assert "/a/b/blob/v1/notebooks/projects/p1_tiny.ipynb)" in lab.cells[1].source
    assert "(https://a.example/b/book/projects.html)" in lab.cells[1].source


def test_the_setup_cell_is_short_and_the_same_in_all_labs_but_for_their_extras(repository):
    one, two = (labs.read_lab(text, repository).cells[1] for text in
                sorted((repository / "notebooks/text").iterdir()))
    assert one == two
    edit(repository / "notebooks/text/01_tiny.md", "evidence: []",
         "evidence: []\n  extras: [flower]")
    with_flower = tiny(repository).cells[1]
    assert with_flower.source == labs.setup_cell(labs.Address("", "", ""), ["flower"]).source
    for cell in (one, with_flower):
        assert len(cell.source.splitlines()) <= 20
        assert max(map(len, cell.source.splitlines())) <= 100


def test_the_setup_cell_asks_for_extras_at_the_published_address():
    cell = labs.setup_cell(labs.Address("https://github.com/a/b", "v1", ""), ["flower"])
    assert "'leaklab[flower] @ git+https://github.com/a/b@v1'" in cell.source
    wheel = "https://github.com/a/b/releases/download/v1/leaklab-1-py3-none-any.whl"
    cell = labs.setup_cell(labs.Address("https://github.com/a/b", "x", "", wheel), ["flower"])
    assert f"'leaklab[flower] @ {wheel}'" in cell.source and "git+" not in cell.source


FIRST = "# Tiny\n\n**You need** nothing.\n\nMore.\n\n"


@pytest.mark.parametrize(("code", "full", "said"), [
    ("1", "", "**A GPU** changes nothing: this lab computes on the processor."),
    ("pick_device()", "", "**A GPU** is used where there is one; none is needed."),
    ("pick_device(), runtime.scale(fast=1, full=2)", "  full: it is twice as wide\n",
     "**A GPU** is used where there is one; none is needed. With `LEAKLAB_SCALE=full` it is twice "
     "as wide."),
])
def test_a_lab_says_what_a_gpu_changes(repository, code, full, said):
    front = FRONT.replace("  evidence: []\n", f"  evidence: []\n{full}")
    write(repository, {"notebooks/text/01_tiny.md":
                       f"{front}{FIRST}```{{code-cell}}\n{code}\n```\n"})
    assert tiny(repository).cells[0].source == FIRST.replace(
        "nothing.", f"nothing.\n\n{said}").strip()


@pytest.mark.parametrize(("code", "full"), [
    ("runtime.scale(fast=1, full=2)", ""), ("1", "  full: it is wider\n"),
    ("runtime.scale(fast=1, full=2)", "  full: 2\n")])
def test_a_larger_size_is_said_where_there_is_one_and_only_there(repository, code, full):
    front = FRONT.replace("  evidence: []\n", f"  evidence: []\n{full}")
    write(repository, {"notebooks/text/01_tiny.md":
                       f"{front}{FIRST}```{{code-cell}}\n{code}\n```\n"})
    with pytest.raises(ValueError, match=r"leaklab\.full"):
        tiny(repository)


def test_ids_come_from_the_content_and_survive_an_insertion(repository):
    before = [cell.id for cell in tiny(repository).cells]
    more = "```{code-cell}\nprint('twice')\n```\n\n"
    edit(repository / "notebooks/text/01_tiny.md", "<!-- sol", 2 * more + "<!-- sol")
    after = [cell.id for cell in tiny(repository).cells]
    assert [i for i in after if i in before] == before
    assert len(set(after)) == len(after) == len(before) + 2


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ("solution: double", "solution: triple", "solution 'triple' given"),
    ("  data: []\n", "", "leaklab.data: None given"),
    ("evidence: []", "evidence: 01", "leaklab.evidence: 1 given"),
    ("  data: []\n  evidence: []", "- a", "leaklab.data: None given"),
    ("evidence: []", "evidence: []\n  extras: [x]",
     "leaklab.extras: ['x'] given, expected names among "
     "['assess', 'defences', 'dicom', 'flower', 'homomorphic']"),
    ("data: []", "data: [a.csv", "line 6, column"),
    ("alt: A line.", "alt: [A line.", "Code cell 2 at line"),
    ("# Tiny\n\nSome words.\n", "", "expected to begin with Markdown"),
])
def test_a_text_that_cannot_be_read_is_named(repository, capsys, old, new, complaint):
    edit(repository / "notebooks/text/01_tiny.md", old, new)
    before = stored(repository)
    assert notebooks.main([], repository) == notebooks.main(["--check"], repository) == 1
    said = capsys.readouterr()
    assert "01_tiny.md: " in said.err and complaint in said.err and complaint in said.out
    assert stored(repository) == before


# --- What a lab's results depend on ------------------------------------------------------------


@pytest.mark.parametrize("path", ["src/leaklab/__init__.py", "src/leaklab/base.py",
                                  "src/leaklab/factor.py", "constraints.txt",
                                  "notebooks/text/01_tiny.md"])
def test_the_key_changes_with_what_the_lab_uses(repository, path):
    before = key(repository)
    with (repository / path).open("a") as file:
        file.write("\n# more\n")
    assert key(repository) != before


@pytest.mark.parametrize("path", ["src/leaklab/unrelated.py", "src/leaklab/data/registry.py",
                                  "src/leaklab/recorded/01_tiny.json",
                                  "notebooks/text/02_plain.md"])
def test_the_key_ignores_the_rest(repository, path):
    before = key(repository)
    with (repository / path).open("a") as file:
        file.write("\n# more\n")
    assert key(repository) == before


def test_the_key_covers_the_named_data_and_evidence_only(repository):
    edit(repository / "notebooks/text/01_tiny.md", "data: []\n  evidence: []",
         "data: [a.csv]\n  evidence: [01_tiny]")
    before, registry = key(repository), repository / "src/leaklab/data/registry.py"
    edit(registry, "'bb'", "'cc'")
    assert key(repository) == before
    edit(registry, "'aa'", "'dd'")
    assert key(repository) != before
    before = key(repository)
    write(repository, {"src/leaklab/recorded/01_tiny.json": '{"new": 1}'})
    assert key(repository) != before


def test_the_key_covers_data_known_by_their_md5_alone(repository):
    edit(repository / "notebooks/text/01_tiny.md", "data: []", "data: [c.npz]")
    before = key(repository)
    edit(repository / "src/leaklab/data/registry.py", "'cc'", "'dd'")
    assert key(repository) != before


@pytest.mark.parametrize(("new", "complaint"), [
    ("data: [c.csv]", r"leaklab.data: \['c.csv'\] given, expected names of the registry"),
    ("data: []\n  evidence: [09_gone]", "09_gone.json is missing"),
])
def test_data_or_evidence_that_does_not_exist_is_named(repository, new, complaint):
    text = repository / "notebooks/text/01_tiny.md"
    edit(text, "data: []\n  evidence: []", new if "evidence" in new else f"{new}\n  evidence: []")
    with pytest.raises(ValueError, match=f"01_tiny.md: .*{complaint}"):
        key(repository)


@pytest.mark.parametrize(("code", "expected"), [
    ("import leaklab.factor as f", {"leaklab", "leaklab.factor", "leaklab.base"}),
    ("from leaklab import factor", {"leaklab", "leaklab.factor", "leaklab.base"}),
    ("def f():\n    from leaklab.teaching.solutions import double",
     {"leaklab", "leaklab.teaching", "leaklab.teaching.solutions"}),
    ("import json, matplotlib.pyplot", set()),
])
def test_imports_are_followed(built, code, expected):
    assert lab_key.library_modules(code, built / "src") == expected


def test_files_beside_a_module_count_and_magics_are_no_obstacle(repository):
    edit(repository / "notebooks/text/01_tiny.md", "import matplotlib.pyplot",
         "%precision 3\nimport leaklab.teaching\nimport matplotlib.pyplot")
    before = key(repository)
    edit(repository / "src/leaklab/teaching/course.mplstyle", "50", "60")
    assert key(repository) != before


# --- What strict nbval sees --------------------------------------------------------------------


def run_nbval(root: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in ("LEAKLAB_DATA", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "-q", "-rsf", "-p", "no:cacheprovider",
         "--rootdir", root, "-c", "/dev/null", *options, "notebooks"],
        cwd=root, capture_output=True, text=True, env={**clean, **environment})


def test_a_changed_number_turns_nbval_red_and_a_changed_figure_does_not(repository):
    path = repository / "notebooks/01_tiny.ipynb"
    (repository / "notebooks/02_plain.ipynb").unlink()
    picture = nbformat.read(path, 4).cells[3].outputs[0].data["image/png"]
    edit(path, picture[:80], picture[80:160])
    edit(path, "result: 6", "result: 7")
    done = run_nbval(repository, PYTHONPATH=str(repository / "src"))
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    assert "FAILED notebooks/01_tiny.ipynb::Cell 1" in done.stdout


def test_missing_data_skip_a_lab_with_the_reason_and_fail_where_they_were_promised(repository):
    path = repository / "notebooks/01_tiny.ipynb"
    edit(path, '"data": []', '"data": ["lung.csv"]')
    (repository / "notebooks/02_plain.ipynb").unlink()
    here = {"PYTHONPATH": str(ROOT), "LEAKLAB_OFFLINE": "1",
            "LEAKLAB_CACHE": str(repository / "cache")}
    skipped = run_nbval(repository, "-p", "conftest", **here)
    assert "3 skipped" in skipped.stdout and "lung.csv" in skipped.stdout, skipped.stdout
    reason, = (line for line in skipped.stdout.splitlines() if line.startswith("SKIPPED"))
    assert "lung.csv" in reason and "not tried, LEAKLAB_OFFLINE=1" in reason, skipped.stdout
    failed = run_nbval(repository, "-p", "conftest", **here, LEAKLAB_DATA=str(repository / "no"))
    assert "3 errors" in failed.stdout and "LEAKLAB_DATA is set, but" in failed.stdout


def test_what_the_terminal_has_set_does_not_reach_a_kernel(repository, monkeypatch):
    edit(repository / "notebooks/text/02_plain.md", "print('plain')",
         "import os\nfor name in ('LEAKLAB_DEVICE', 'LEAKLAB_SCALE', 'LEAKLAB_CACHE'):\n"
         "    print(name, os.environ[name])")
    set_here = {"LEAKLAB_DEVICE": "cuda:7", "LEAKLAB_SCALE": "full", "LEAKLAB_CACHE": "cache"}
    for name, value in set_here.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(repository)
    assert notebooks.main(["02"], repository) == 0
    printed = nbformat.read(repository / "notebooks/02_plain.ipynb", 4).cells[2].outputs[0].text
    assert printed == (f"LEAKLAB_DEVICE cpu\nLEAKLAB_SCALE fast\n"
                       f"LEAKLAB_CACHE {repository / 'cache'}\n")
    (repository / "notebooks/01_tiny.ipynb").unlink()
    done = run_nbval(repository, "-p", "conftest", PYTHONPATH=str(ROOT), **set_here)
    assert "2 passed" in done.stdout, done.stdout
