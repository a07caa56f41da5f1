"""Build the HTML book: ``python tools/book.py``, or ``make book``.

Any warning fails the build. Each build starts afresh, since Sphinx reports a warning only when it
reads a page again; where no input has changed since the last success there is nothing to build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ("_config.yml", "_toc.yml", "constraints.txt", "book/**/*", "notebooks/*.ipynb",
          "notebooks/projects/*.ipynb",
          "src/leaklab/**/*.py", "src/leaklab/recorded/*.json", "tools/book.py",
          "tools/chapter_map.py")
JUPYTER_BOOK = str(Path(sys.executable).with_name("jupyter-book"))
COMMAND = (JUPYTER_BOOK, "build", ".", "--all", "-n", "-W", "--keep-going", "-q")


def inputs(root: Path) -> Iterator[Path]:
    """The files that the book is made from, in a fixed order."""
    for pattern in INPUTS:
        yield from (path for path in sorted(root.glob(pattern))
                    if path.is_file() and "__pycache__" not in path.parts)


def fingerprint(root: Path) -> str:
    """A hash over the names and the contents of all inputs."""
    digest = hashlib.sha256()
    for path in inputs(root):
        contents = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {contents}\n".encode())
    return digest.hexdigest()


def build(root: Path = ROOT) -> Path:
    """Build the book in ``root`` if an input has changed, and return its first page.

    Raises ``RuntimeError`` with what Jupyter Book wrote if it warns or fails; nothing of the
    failed build is kept, so a second run cannot pass on what the first left behind.
    """
    folder = root / "_build"
    stamp, first = folder / "inputs.sha256", folder / "html/book/index.html"
    now = fingerprint(root)
    if first.exists() and stamp.exists() and stamp.read_text() == now:
        return first
    shutil.rmtree(folder, ignore_errors=True)
    ran = subprocess.run(COMMAND, cwd=root, capture_output=True, text=True)
    if ran.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise RuntimeError(f"The book does not build without warnings:\n{ran.stdout}{ran.stderr}")
    part = stamp.with_suffix(".part")
    part.write_text(now)
    os.replace(part, stamp)
    return first


def main() -> None:
    try:
        first = build()
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"The book: {first} (open it in a browser)")


if __name__ == "__main__":
    main()
