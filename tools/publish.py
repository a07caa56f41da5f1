"""Make what one version publishes: the book, the labs that Colab opens, and the wheel.

    python tools/publish.py --repository https://github.com/OWNER/NAME [--tag v1.2.3]

The committed files name no address, so that a fork need change none. This writes a copy of the
last commit that names one, below ``_build/published``, and leaves the checkout as it is:

* ``html/``: the book, with launch buttons;
* ``dist/``: the wheel, which the setup cells install from the release of the tag;
* ``labs.bundle``: a git reference ``colab-TAG`` of one commit, whose notebooks name the address.

It fails where an address in them leads nowhere (tools/links.py).
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import nbformat
import yaml

import book as book_tool
import links
from lab_key import lab_key
from labs import Address, read_lab
from notebooks import TEXTS, with_kept_outputs, write_atomically

ROOT = Path(__file__).resolve().parents[1]
TO_A_PAGE = re.compile(r"\]\((?:\.\./)+book/([\w/]+)\.md(#[^)\s]*)?\)")
LEFT_OUT = ":(exclude).github"  # a push that holds workflows needs a right that none here has


def address_of(repository: str, tag: str, version: str, book: str = "") -> Address:
    """Where the version is to be found once ``tag`` is released.

    ``book`` is the address of the published book, by default that of GitHub Pages. Raises
    ``ValueError`` for a repository that is not on GitHub or a tag of another version.
    """
    name = links.repository_name(repository)
    if tag != f"v{version}":
        raise ValueError(f"tag: {tag!r} given, expected 'v{version}', the version of "
                         "pyproject.toml")
    wheel = f"{links.GITHUB}{name}/releases/download/{tag}/leaklab-{version}-py3-none-any.whl"
    pages = (book or pages_address(name)).rstrip("/")
    return Address(f"{links.GITHUB}{name}", f"colab-{tag}", pages, wheel)


def pages_address(name: str) -> str:
    """Where GitHub Pages serves the repository OWNER/NAME."""
    owner, project = name.split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}" if project.lower() == host else f"https://{host}/{project}"


def publish(root: Path, out: Path, address: Address) -> list[str]:
    """Write everything into ``out`` anew, and return a finding for each dead link.

    Raises ``ValueError`` for a notebook that is not in step with its text, and ``RuntimeError``
    where the wheel or the book is not built.
    """
    shutil.rmtree(out, ignore_errors=True)
    copy = out / "copy"
    export(root, copy)
    write_address(copy, address)
    readdress(copy)
    build_wheel(copy, out / "dist", address.wheel.rpartition("/")[2])
    book_tool.build(copy)
    shutil.move(copy / "_build/html", out / "html")
    lead_to_the_book(copy, address.book)
    readdress(copy)
    commit(copy, address.branch, like=root)
    git(copy, "bundle", "create", "--quiet", out / "labs.bundle", f"refs/tags/{address.branch}")
    published = links.Published(address, links.files_of(copy, address.branch),
                                links.pages_of(out / "html"))
    return links.check(out / "html", copy / "notebooks", published)


def lead_to_the_book(copy: Path, book: str) -> None:
    """Let links of labs to pages of the book lead to the published one: Colab has no page beside.

    It changes the texts, of which :func:`readdress` then makes the notebooks.
    """
    for text in texts(copy):
        words = text.read_text(encoding="utf-8")
        text.write_text(TO_A_PAGE.sub(rf"]({book}/book/\1.html\2)", words), encoding="utf-8")


def texts(copy: Path) -> list[Path]:
    """The texts of labs and of starters."""
    return [text for pattern in TEXTS for text in sorted(copy.glob(pattern))]


def export(root: Path, copy: Path) -> None:
    """Write the files of the last commit in ``root`` into the new folder ``copy``."""
    copy.mkdir(parents=True)
    packed = subprocess.run(["git", "archive", "HEAD", "--", ".", LEFT_OUT], cwd=root, check=True,
                            capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(copy, filter="data")


def write_address(copy: Path, address: Address) -> None:
    """Name the address in ``_config.yml``, from which the book and the labs read it."""
    path = copy / "_config.yml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["repository"] = {"url": address.repository, "branch": address.branch,
                            "wheel": address.wheel}
    config["html"] = {**(config.get("html") or {}), "baseurl": f"{address.book}/"}
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def readdress(copy: Path) -> None:
    """Give the notebooks the badge and setup cell of the address, with their stored outputs."""
    for text in texts(copy):
        lab = read_lab(text, copy)
        notebook = with_kept_outputs(lab, lab_key(lab, copy), copy)
        if notebook is None:
            raise ValueError(f"{lab.notebook.relative_to(copy)}: not in step with its text; run "
                             "`make notebooks` and commit before you publish")
        write_atomically(lab.notebook, nbformat.writes(notebook) + "\n")


def commit(copy: Path, reference: str, *, like: Path) -> None:
    """Make ``copy`` a repository of one commit, tagged ``reference``.

    It takes author and date from the last commit of the repository ``like``, so that publishing
    a commit twice gives the same one.
    """
    identifier, name, email, date = git(like, "log", "-1", "--format=%H%n%an%n%ae%n%aI").split("\n")
    who = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER")
           for field, value in (("NAME", name), ("EMAIL", email), ("DATE", date))}
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    git(copy, "-c", "commit.gpgsign=false", "commit", "--quiet", "--no-verify", "-m",
        f"The labs of {identifier} with their address", env=who)
    git(copy, "-c", "tag.gpgsign=false", "tag", reference)


def git(folder: Path, *arguments: object, env: dict[str, str] | None = None) -> str:
    """What git prints; raises ``RuntimeError`` with its complaint."""
    done = subprocess.run(["git", *map(str, arguments)], cwd=folder, capture_output=True,
                          text=True, env={**os.environ, **(env or {})})
    if done.returncode:
        raise RuntimeError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def build_wheel(copy: Path, target: Path, name: str) -> None:
    """Build the wheel ``name`` into ``target``; raises ``RuntimeError`` if it gets another."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    made = sorted(path.name for path in target.glob("*"))
    if done.returncode or made != [name]:
        raise RuntimeError(f"{made or 'nothing'} was built, expected {name}:\n"
                           f"{done.stdout}{done.stderr}")


def version_of(root: Path) -> str:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["version"]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Entry point; returns 0, or 1 where something is not fit to be published."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", required=True, help="https://github.com/OWNER/NAME")
    parser.add_argument("--tag", default="", help="default: v and the version of pyproject.toml")
    parser.add_argument("--book", default="", help="address of the book (default: GitHub Pages)")
    given = parser.parse_args(argv)
    version, out = version_of(root), root / "_build/published"
    try:
        address = address_of(given.repository, given.tag or f"v{version}", version, given.book)
        findings = publish(root, out, address)
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    if findings:
        print("\n".join([*findings, f"{len(findings)} dead links"]), file=sys.stderr)
        return 1
    print(f"{out}: html/ for {address.book}/, dist/ for the release {address.wheel}, and "
          f"labs.bundle with {address.branch}; every link to the repository leads to a file")
    return 0


if __name__ == "__main__":
    sys.exit(main())
