"""The links of a published build into its own repository lead to files that are there.

A build of the book and its notebooks name the repository in badges, launch buttons, buttons of the
theme, setup cells and raw links. Each such address must lead to a file of the published reference
(``git ls-tree``), to the wheel of the release, to a page of the book, or to a page that every
repository has. GitHub is asked nothing, so that a dead link is found before it is published.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from labs import Address

GITHUB = "https://github.com/"
COLAB = "https://colab.research.google.com/github/"
RAW = "https://raw.githubusercontent.com/"
ADDRESS = re.compile(r"https?://[^\s\"'<>()\[\]\\`]+")
OF_EVERY_REPOSITORY = ("", "issues", "issues/new", "releases", "releases/latest")


@dataclass(frozen=True)
class Published:
    """What a build may lead to: its address, and the names of files below each part of it."""

    address: Address
    files: frozenset[str]
    pages: frozenset[str]

    @property
    def name(self) -> str:
        """Owner and name of the repository."""
        return self.address.repository.removeprefix(GITHUB)


def files_of(repository: Path, reference: str) -> frozenset[str]:
    """The paths of all files of ``reference`` in the git ``repository``.

    Raises ``ValueError`` where git does not know the reference.
    """
    asked = ("git", "ls-tree", "-r", "-z", "--name-only", "--full-tree", reference)
    listed = subprocess.run(asked, cwd=repository, capture_output=True, text=True)
    if listed.returncode:
        raise ValueError(f"reference: {reference!r} given, expected one that git knows: "
                         f"{listed.stderr.strip()}")
    return frozenset(filter(None, listed.stdout.split("\0")))


def pages_of(book: Path) -> frozenset[str]:
    """The paths of all files of the built ``book``."""
    return frozenset(p.relative_to(book).as_posix() for p in book.rglob("*") if p.is_file())


def check(book: Path, notebooks: Path, published: Published) -> list[str]:
    """Findings, one an address: the file that holds it, the address, and why it is dead.

    ``book`` holds the built HTML and the notebooks that readers download from it, ``notebooks``
    those that Colab opens. Raises ``ValueError`` where neither holds any.
    """
    texts = [*sorted(book.rglob("*.html")), *sorted(book.rglob("*.ipynb")),
             *sorted(notebooks.rglob("*.ipynb"))]
    if not texts:
        raise ValueError(f"book: {book} given, expected a folder with pages")
    findings = []
    for path in texts:
        place = path.relative_to(book if path.is_relative_to(book) else notebooks.parent)
        dead = {a: why for a in addresses(path) if (why := reason(a, published))}
        findings += [f"{place}: {address}: {why}" for address, why in sorted(dead.items())]
    return findings


def addresses(path: Path) -> Iterator[str]:
    """Every absolute address in a page, or in the cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    else:
        text = html.unescape(text)
    for found in ADDRESS.finditer(text):
        yield found[0].rstrip(".,;:")


def reason(address: str, published: Published) -> str | None:
    """Why ``address`` is dead, or ``None`` where it leads somewhere or to another repository."""
    at = published.address
    plain = unquote(address.partition("#")[0].partition("?")[0])
    if plain.startswith(COLAB):
        return _on_colab(plain.removeprefix(COLAB), published)
    for start in (GITHUB, RAW):
        rest = _below(plain.removesuffix(".git"), start + published.name)
        if rest is not None:
            return _raw(rest, published) if start == RAW else _on_github(rest, published)
    rest = _below(plain, at.book) if at.book else None
    if rest is None:
        return None
    pages = {rest, f"{rest}/index.html".lstrip("/")}
    return None if pages & published.pages else "the book has no such page"


def _below(address: str, start: str) -> str | None:
    """What follows ``start``, whose letters count in either case, as host and owner do."""
    if address.lower() == start.lower():
        return ""
    inside = address.lower().startswith((f"{start}/".lower(), f"{start}@".lower()))
    return address[len(start):].removeprefix("/").rstrip("/") if inside else None


def _on_colab(rest: str, published: Published) -> str | None:
    inside = _below(rest, published.name)
    if inside is None:
        return f"opens another repository than {published.name}"
    if not inside.startswith("blob/") or not inside.endswith(".ipynb"):
        return "Colab opens notebooks as OWNER/NAME/blob/REFERENCE/PATH.ipynb"
    return _raw(inside.removeprefix("blob/"), published)


def _on_github(rest: str, published: Published) -> str | None:
    at = published.address
    if rest.startswith("@"):
        return None if rest[1:] == at.branch else f"expected the reference {at.branch}"
    if rest in OF_EVERY_REPOSITORY:
        return None
    if rest.startswith("releases/download/"):
        there = f"{at.repository}/{rest}" == at.wheel
        return None if there else f"the release holds only {at.wheel or 'nothing'}"
    kind, _, inside = rest.partition("/")
    if kind == "tree":
        return _raw(inside, published, folder=True)
    return _raw(inside, published) if kind in ("blob", "raw", "edit") else "no known kind of page"


def _raw(rest: str, published: Published, *, folder: bool = False) -> str | None:
    """Why REFERENCE/PATH is dead; letters count as they are written."""
    branch = published.address.branch
    if rest != branch and not rest.startswith(f"{branch}/"):
        return f"expected the reference {branch}"
    path = rest[len(branch) + 1:]
    if folder and (not path or any(file.startswith(f"{path}/") for file in published.files)):
        return None
    if path in published.files:
        return None
    near = [file for file in published.files if file.lower() == path.lower()]
    return f"{branch} has no such file" + (f", but {near[0]}" if near else "")


def repository_name(url: str) -> str:
    """Owner and name from the address of a repository on GitHub.

    Raises ``ValueError`` for any other address.
    """
    parts = urlsplit(url.rstrip("/"))
    name = parts.path.removeprefix("/").removesuffix(".git")
    good = f"{parts.scheme}://{parts.netloc}/" == GITHUB and re.fullmatch(r"[\w.-]+/[\w.-]+", name)
    if not good:
        raise ValueError(f"repository: {url!r} given, expected {GITHUB}OWNER/NAME")
    return name
