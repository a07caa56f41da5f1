"""Generate the labs' notebooks from their texts, run them, and check that both agree.

    python tools/notebooks.py [--force] [NN ...]   write notebooks/NN_slug.ipynb
    python tools/notebooks.py --check              compare only; run nothing

The texts in notebooks/text/, and in notebooks/projects/text/ the starters of the projects
(p1, p2, ...), are the source; a notebook is written only when its lab ran to the end
without an error or a warning, so an interrupted or failing run leaves the old one as it was. Where
nothing that runs has changed, only words or the setup cell, the stored outputs are kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from lab_key import lab_key
from labs import KERNEL, Lab, read_lab, to_notebook

if TYPE_CHECKING:
    from run_lab import Kernels

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ("notebooks/text/[0-9][0-9]_*.md", "notebooks/projects/text/p[0-9]_*.md")
PARSING = threading.Lock()  # Python 3.11 fails now and then where two threads parse at once


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Entry point; returns the exit status: 0, 1 for a finding, 2 for a wrong call."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the texts; run nothing")
    parser.add_argument("--force", action="store_true", help="run labs whose inputs did not change")
    parser.add_argument("labs", nargs="*", metavar="NN", help="labs, e.g. 01, or p1 (default: all)")
    args = parser.parse_args(argv)
    root = root.resolve()
    texts = [text for pattern in TEXTS for text in sorted(root.glob(pattern))]
    unknown = [n for n in args.labs if not any(t.stem.startswith(n) for t in texts)]
    if unknown:
        print(f"no lab {', '.join(unknown)} among: {', '.join(t.stem for t in texts) or 'none'}")
        return 2
    chosen = [t for t in texts if not args.labs or t.stem.startswith(tuple(args.labs))]
    if args.check:
        findings = check(chosen, root) + (orphans(texts, root) if not args.labs else [])
        print("\n".join(findings) or f"{len(chosen)} labs in step with their inputs")
        return int(bool(findings))
    return generate(chosen, root, force=args.force)


def check(texts: Sequence[Path], root: Path) -> list[str]:
    """Findings, one a notebook, where it is missing, not run, or not what its inputs give."""
    findings = []
    for text in texts:
        try:
            lab = read_lab(text, root)
            reason = out_of_step(lab, lab_key(lab, root))
        except ValueError as error:  # which begins with the name of the text
            findings.append(f"{text.parent.relative_to(root).as_posix()}/{error}")
            continue
        if reason:
            findings.append(f"{lab.notebook.relative_to(root).as_posix()}: {reason}; "
                            f"run `make notebooks NB={text.stem[:2]}`")
    return findings


def orphans(texts: Sequence[Path], root: Path) -> list[str]:
    """Findings for notebooks that no text stands behind."""
    known = {text.parents[1] / f"{text.stem}.ipynb" for text in texts}
    folders = (root / "notebooks", root / "notebooks/projects")
    names = [(folder.relative_to(root).as_posix(), path.stem) for folder in folders
             for path in sorted(folder.glob("*.ipynb")) if path not in known]
    return [f"{folder}/{stem}.ipynb: has no text {folder}/text/{stem}.md" for folder, stem in names]


def out_of_step(lab: Lab, key: str) -> str | None:
    """Why the stored notebook is not what a full run of ``lab`` leaves, or ``None``.

    ``key`` is the lab's key now, which tells whether anything that its outputs depend on changed.
    """
    stored = read_stored(lab.notebook)
    if stored is None:
        return "missing or not readable"
    ours = [_inputs(cell) for cell in lab.cells]
    theirs = [_inputs(cell) for cell in stored.cells]
    for number, (our, their) in enumerate(zip(ours, theirs, strict=False), start=1):
        if our != their:
            return f"cell {number} differs from notebooks/text/{lab.text.name}"
    if len(ours) != len(theirs):
        return f"holds {len(theirs)} cells, the text makes {len(ours)}"
    sources = stored.metadata.get("leaklab", {})
    if (sources.get("data"), sources.get("evidence")) != (list(lab.data), list(lab.evidence)):
        return "front matter differs from the text"
    if stored.metadata.get("kernelspec") != KERNEL:
        return f"kernelspec differs from {KERNEL['name']}"
    counts = [cell.execution_count for cell in stored.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        return "was not run from top to bottom"
    return None if sources.get("key") == key else "inputs changed since it was run"


def with_kept_outputs(lab: Lab, key: str, root: Path) -> nbformat.NotebookNode | None:
    """The notebook of ``lab`` with the stored outputs, where a run would give them again.

    ``None`` unless the stored notebook is in step with all but its cells, and its code cells, the
    setup cell apart, are those of the lab in the same order.
    """
    stored = read_stored(lab.notebook)
    if stored is None:
        return None
    before = replace(lab, cells=tuple(stored.cells))
    if out_of_step(before, lab_key(before, root)) is not None:
        return None
    notebook = to_notebook(lab, key)
    new, old = _code_cells(notebook), _code_cells(stored)
    if [_runs(cell) for cell in new] != [_runs(cell) for cell in old]:
        return None
    for cell, kept in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = kept.outputs, kept.execution_count
    return notebook


def read_stored(path: Path) -> nbformat.NotebookNode | None:
    """The stored notebook, or ``None`` where there is none or it cannot be read."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError):
        return None


def generate(texts: Sequence[Path], root: Path, *, force: bool) -> int:
    """Run the labs whose inputs changed, in parallel, and write their notebooks."""
    from run_lab import Kernels  # here, since --check runs nothing and should start fast

    kernels, failures, started = Kernels(), 0, time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = {pool.submit(build, text, kernels, root, force): text for text in texts}
        try:
            for task in as_completed(tasks):
                findings = task.result()
                failures += bool(findings)
                for finding in findings:
                    text = tasks[task].relative_to(root).as_posix()
                    print(f"{text}: {finding}", file=sys.stderr)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.stop()
            print("interrupted: notebooks not yet finished stay as they were", file=sys.stderr)
            return 130
    print(f"{len(texts) - failures} of {len(texts)} labs current, "
          f"{time.monotonic() - started:.0f} s")
    return int(failures > 0)


def build(text: Path, kernels: Kernels, root: Path, force: bool) -> list[str]:
    """Run one lab unless it is current; write its notebook if nothing was wrong.

    Returns what was wrong, one finding an entry.
    """
    try:
        with PARSING:
            lab = read_lab(text, root)
            key = lab_key(lab, root)
            current = not force and out_of_step(lab, key) is None
            kept = None if force or current else with_kept_outputs(lab, key, root)
    except ValueError as error:
        return [str(error).removeprefix(f"{text.name}: ")]
    if current:
        print(f"{lab.name}: up to date")
        return []
    if kept:
        write_atomically(lab.notebook, nbformat.writes(kept) + "\n")
        print(f"{lab.name}: new words, same outputs")
        return []
    print(f"{lab.name}: running", flush=True)
    started = time.monotonic()
    notebook = to_notebook(lab, key)
    findings = kernels.run(notebook, root / "src")
    if not findings:
        write_atomically(lab.notebook, nbformat.writes(notebook) + "\n")
        print(f"{lab.name}: {time.monotonic() - started:.1f} s", flush=True)
    return findings


def write_atomically(path: Path, content: str) -> None:
    """Replace ``path`` in one step, so that no reader or interrupt meets half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(content, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _inputs(cell: nbformat.NotebookNode) -> tuple:
    return cell.id, cell.cell_type, cell.source, cell.metadata


def _code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _runs(cell: nbformat.NotebookNode) -> tuple:
    """What a cell adds to the outputs; the setup cell does nothing where leaklab is installed."""
    return () if "setup" in cell.metadata.get("tags", []) else (cell.source, cell.metadata)


if __name__ == "__main__":
    sys.exit(main())
