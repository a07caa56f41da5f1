"""A fork is published without a change to its files, and a dead link stops it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml

import book as book_tool
import lab_key
import labs
import links
import notebooks
import publish

ROOT = Path(__file__).resolve().parents[1]
FORK = "https://github.com/Example/fork"
VERSION = publish.version_of(ROOT)
TAG = f"v{VERSION}"
WHEEL = f"{FORK}/releases/download/{TAG}/leaklab-{VERSION}-py3-none-any.whl"
IDENTITY = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")
LABS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
PAGE = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
leaklab: {data: [], evidence: []}
---

# Tiny

```{code-cell}
1 + 1
```
"""


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    """A repository with all labs and a book of two pages, one of them a lab."""
    root = tmp_path_factory.mktemp("fork")
    quiet = shutil.ignore_patterns("__pycache__", "*.egg-info", ".ipynb_checkpoints")
    for folder in ("src", "tools", "notebooks", "book/_ext", "book/_assets"):
        shutil.copytree(ROOT / folder, root / folder, ignore=quiet)
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "_config.yml",
                 ".gitignore"):
        shutil.copy(ROOT / name, root)
    files = {"_toc.yml": "format: jb-book\nroot: book/index\n"
                         "chapters:\n- file: notebooks/21_tiny\n",
             "book/index.md": "# A page\n\nA sentence.\n", "book/references.bib": "",
             "notebooks/text/21_tiny.md": PAGE, ".github/workflows/pages.yml": "on: push\n"}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    lab = labs.read_lab(root / "notebooks/text/21_tiny.md", root)
    notebook = labs.to_notebook(lab, lab_key.lab_key(lab, root))
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = number
    nbformat.write(notebook, lab.notebook)
    for arguments in (["init", "-q"], ["add", "-A"], [*IDENTITY, "commit", "-qm", "All"]):
        publish.git(root, *arguments)
    return root


@pytest.fixture(scope="module")
def published(fork):
    """What the command makes of it; the pages of most labs stand in the small book empty."""
    def build(copy: Path, real=book_tool.build):
        first = real(copy)
        pages = [f"notebooks/{name}" for name in LABS]
        pages += [page.relative_to(ROOT).with_suffix("") for page in (ROOT / "book").rglob("*.md")]
        for page in (copy / f"_build/html/{page}.html" for page in pages):
            page.parent.mkdir(parents=True, exist_ok=True)
            page.touch()
        return first

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book_tool, "build", build)
        assert publish.main(["--repository", FORK, "--tag", TAG], fork) == 0
    return fork / "_build/published"


@pytest.fixture
def given(published):
    """What links of it may lead to."""
    copy = published / "copy"
    address = labs.read_address(copy)
    return links.Published(address, links.files_of(copy, address.branch),
                           links.pages_of(published / "html"))


# --- What is published -------------------------------------------------------------------------


def test_publishing_changes_no_file_of_the_fork(fork, published):
    assert publish.git(fork, "status", "--porcelain") == ""
    assert {path.name for path in published.iterdir()} == {"copy", "dist", "html", "labs.bundle"}
    assert [path.name for path in (published / "dist").iterdir()] == [WHEEL.rpartition("/")[2]]


@pytest.mark.parametrize("name", LABS)
def test_every_lab_has_a_badge_and_installs_the_released_wheel(published, fork, name):
    notebook = nbformat.read(published / f"copy/notebooks/{name}.ipynb", as_version=4)
    before = nbformat.read(fork / f"notebooks/{name}.ipynb", as_version=4)
    first, badge, setup, *rest = notebook.cells
    assert (f"https://colab.research.google.com/github/Example/fork/blob/colab-{TAG}/notebooks/"
            f"{name}.ipynb") in badge.source
    assert f"(https://example.github.io/fork/notebooks/{name}.html)" in badge.source
    assert WHEEL in setup.source
    now, then = [[cell for cell in cells if cell.cell_type == "code"]
                 for cells in (rest, before.cells[2:])]
    assert now == then, "outputs are kept"
    page = f"https://example.github.io/fork/book/{name}.html"
    assert page in first.source and "](../book/" not in "".join(c.source for c in notebook.cells)


def test_starters_lead_to_the_published_book_and_the_texts_of_the_fork_stay(published, fork):
    for starter in sorted((published / "copy/notebooks/projects").glob("*.ipynb")):
        cells = nbformat.read(starter, as_version=4).cells
        words = "".join(cell.source for cell in cells)
        assert "](../" not in words
        assert "https://example.github.io/fork/book/projects.html#" in words
        assert WHEEL in words
    assert "](../../book/projects.md#" in next(
        (fork / "notebooks/projects/text").glob("p1*.md")).read_text()


def test_the_published_labs_are_in_step_with_their_texts(published):
    copy = published / "copy"
    assert notebooks.check(publish.texts(copy), copy) == []


def test_the_bundle_brings_the_labs_and_no_workflow_into_the_repository(fork, published, tmp_path):
    shutil.copytree(fork / ".git", tmp_path / ".git")
    reference = f"refs/tags/colab-{TAG}"
    publish.git(tmp_path, "fetch", "-q", published / "labs.bundle", f"{reference}:{reference}")
    files = links.files_of(tmp_path, reference)
    assert f"notebooks/{LABS[0]}.ipynb" in files and "src/leaklab/__init__.py" in files
    assert not [file for file in files if file.startswith((".github", "dist", "_build"))]
    assert WHEEL in publish.git(tmp_path, "show", f"{reference}:notebooks/{LABS[0]}.ipynb")


def test_a_commit_published_again_is_the_same_commit(fork, published, tmp_path):
    copy = tmp_path / "copy"
    publish.export(fork, copy)
    publish.write_address(copy, labs.read_address(published / "copy"))
    publish.lead_to_the_book(copy, labs.read_address(copy).book)
    publish.readdress(copy)
    publish.commit(copy, "again", like=fork)
    assert publish.git(copy, "rev-parse", "again") == publish.git(
        published / "copy", "rev-parse", f"colab-{TAG}")


def test_the_page_of_a_lab_has_a_launch_button_and_the_book_its_address(published):
    page = (published / "html/notebooks/21_tiny.html").read_text(encoding="utf-8")
    assert (f"https://colab.research.google.com/github/Example/fork/blob/colab-{TAG}/notebooks/"
            "21_tiny.ipynb") in page
    assert FORK in page
    assert 'href="https://example.github.io/fork/book/index.html"' in (
        published / "html/404.html").read_text(encoding="utf-8")


# --- What stops it -----------------------------------------------------------------------------


@pytest.mark.parametrize(("repository", "tag", "complaint"), [
    ("https://gitlab.com/a/b", TAG, "expected https://github.com/OWNER/NAME"),
    ("http://github.com/a/b", TAG, "expected https://github.com/OWNER/NAME"),
    ("https://github.com/a", TAG, "expected https://github.com/OWNER/NAME"),
    ("https://github.com/a/b/tree/main", TAG, "expected https://github.com/OWNER/NAME"),
    (FORK, "v99.0.0", f"expected 'v{VERSION}'"),
])
def test_a_wrong_address_or_tag_is_named(fork, capsys, repository, tag, complaint):
    assert publish.main(["--repository", repository, "--tag", tag], fork) == 1
    assert complaint in capsys.readouterr().err


def test_a_notebook_that_was_not_run_again_is_not_published(published, tmp_path):
    copy = shutil.copytree(published / "copy", tmp_path / "copy")
    text = copy / "notebooks/text/21_tiny.md"
    text.write_text(text.read_text().replace("1 + 1", "1 + 2"))
    with pytest.raises(ValueError, match=r"21_tiny\.ipynb: not in step"):
        publish.readdress(copy)


def test_the_citation_names_the_version_of_the_package():
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == VERSION


@pytest.mark.parametrize(("name", "address"), [
    ("Example/fork", "https://example.github.io/fork"),
    ("Example/example.github.io", "https://example.github.io"),
])
def test_pages_serves_a_repository_at_its_owner(name, address):
    assert publish.pages_address(name) == address


COLAB = f"https://colab.research.google.com/github/Example/fork/blob/colab-{TAG}/notebooks"
ALIVE = [
    f"{COLAB}/{LABS[0]}.ipynb", f"{COLAB}/{LABS[0]}.ipynb#scrollTo=x", WHEEL, FORK, f"{FORK}/",
    f"{FORK}/issues/new?title=Issue%20on%20page", f"{FORK}/blob/colab-{TAG}/README.md#cite-it",
    f"{FORK}/tree/colab-{TAG}/notebooks/text", f"{FORK}/tree/colab-{TAG}",
    f"https://github.com/example/Fork/raw/colab-{TAG}/LICENSE",
    f"https://raw.githubusercontent.com/Example/fork/colab-{TAG}/book/index.md",
    f"git+{FORK}@colab-{TAG}", "https://github.com/Example/fork2/blob/x/y", "https://a.example/x",
    "https://example.github.io/fork/notebooks/21_tiny.html", "https://example.github.io/fork/",
]
DEAD = [
    (f"{COLAB}/01_gone.ipynb", "no such file"),
    (f"{COLAB}/{LABS[0]}.ipynb".replace(f"colab-{TAG}", "main"), f"the reference colab-{TAG}"),
    (f"{COLAB}/{LABS[0]}.ipynb".replace("Example", "Other"), "another repository"),
    (f"{COLAB}/text/{LABS[0]}.md", "Colab opens notebooks as"),
    (f"{COLAB}/{LABS[0].upper()}.ipynb", f"but notebooks/{LABS[0]}.ipynb"),
    (WHEEL.replace(f"leaklab-{VERSION}", "leaklab-99.0.0"), "the release holds only"),
    (WHEEL.replace(f"/{TAG}/", "/v99.0.0/"), "the release holds only"),
    (f"{FORK}/blob/colab-{TAG}/Readme.md", "but README.md"),
    (f"{FORK}/blob/colab-{TAG}/notebooks", "no such file"),
    (f"{FORK}/blob/colab-{TAG}0/README.md", "the reference"),
    (f"{FORK}/tree/colab-{TAG}/gone", "no such file"),
    (f"{FORK}/wiki", "no known kind of page"),
    (f"{FORK}@main", "the reference"),
    ("https://raw.githubusercontent.com/Example/fork/main/README.md", "the reference"),
    ("https://example.github.io/fork/notebooks/gone.html", "no such page"),
]


@pytest.mark.parametrize("address", ALIVE)
def test_a_link_that_leads_somewhere_passes(given, address):
    assert links.reason(address.removeprefix("git+"), given) is None


@pytest.mark.parametrize(("address", "why"), DEAD)
def test_a_dead_link_is_told_from_others(given, address, why):
    assert why in links.reason(address, given)


@pytest.mark.parametrize("place", ["html/book/index.html", "copy/notebooks/21_tiny.ipynb",
                                   "html/_sources/notebooks/21_tiny.ipynb"])
def test_a_planted_dead_link_is_found_wherever_it_stands(published, given, tmp_path, place):
    copy = tmp_path / "published"
    for part in ("html", "copy/notebooks"):
        shutil.copytree(published / part, copy / part)
    assert links.check(copy / "html", copy / "copy/notebooks", given) == []
    dead = DEAD[0][0]
    path = copy / place
    if path.suffix == ".html":
        path.write_text(path.read_text() + f'<a href="{dead}?a=1&amp;b=2">open</a>')
        dead += "?a=1&b=2"
    else:
        notebook = json.loads(path.read_text())
        notebook["cells"][0]["source"] = [f"[![Open]({ALIVE[0]})]({dead})"]
        path.write_text(json.dumps(notebook))
    name = place.removeprefix("html/").removeprefix("copy/")
    assert links.check(copy / "html", copy / "copy/notebooks", given) == [
        f"{name}: {dead}: colab-{TAG} has no such file"]


def test_an_empty_build_and_an_unknown_reference_are_no_success(given, published, tmp_path):
    with pytest.raises(ValueError, match="expected a folder with pages"):
        links.check(tmp_path, tmp_path, given)
    with pytest.raises(ValueError, match="expected one that git knows"):
        links.files_of(published / "copy", "colab-v99")


def test_the_address_survives_the_settings_file(tmp_path):
    (tmp_path / "_config.yml").write_text("title: A\nrepository: {url: ''}\nhtml: {favicon: a}\n")
    address = publish.address_of(f"{FORK}/", TAG, VERSION, "https://course.example/")
    publish.write_address(tmp_path, address)
    assert labs.read_address(tmp_path) == address
    assert address.book == "https://course.example" and address.wheel == WHEEL
    assert yaml.safe_load((tmp_path / "_config.yml").read_text())["html"]["favicon"] == "a"
