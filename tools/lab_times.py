"""Run labs once and record what each of them costs a machine.

    python tools/lab_times.py [NN ...]    measure labs (default: all), write book/lab_times.yml

A lab runs alone, on one thread, from the first cell to the last, in a process of its own. Recorded
are the processor seconds of its kernel, which other work on the machine hardly changes, and the
most memory it held at once. Downloads are not counted. Nothing is written for a lab that fails.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import yaml

from labs import read_lab, to_notebook
from notebooks import write_atomically

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by tools/lab_times.py, never by hand: what one run of each lab costs.\n"


def measure(text: Path, root: Path) -> dict[str, object]:
    """Run the lab of ``text``; its processor seconds, peak memory in MB, and day.

    Call it in a fresh process: the system reports the peak over all finished children.
    Raises ``RuntimeError`` with what went wrong where the lab does not run cleanly.
    """
    from run_lab import Kernels

    lab = read_lab(text, root)
    if complaints := Kernels().run(to_notebook(lab, key=""), root / "src"):
        raise RuntimeError(f"{lab.name}: " + "\n".join(complaints))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return {"cpu_seconds": round(used.ru_utime + used.ru_stime),
            "peak_memory_mb": round(used.ru_maxrss * unit / 1e6),
            "measured": datetime.now(UTC).date().isoformat()}


def write(path: Path, times: dict[str, dict[str, object]]) -> None:
    """Replace ``path`` in one step."""
    write_atomically(path, HEADER + yaml.safe_dump(dict(sorted(times.items()))))


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Entry point; returns the exit status: 0, 1 if a lab failed, 2 if none was meant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labs", nargs="*", metavar="NN", help="labs, e.g. 01 (default: all)")
    args = parser.parse_args(argv)
    texts = [t for t in sorted((root / "notebooks/text").glob("[0-9][0-9]_*.md"))
             if not args.labs or t.stem.startswith(tuple(args.labs))]
    if not texts:
        print(f"no lab {', '.join(args.labs)} in notebooks/text", file=sys.stderr)
        return 2
    target, failed = root / "book/lab_times.yml", 0
    times = yaml.safe_load(target.read_text(encoding="utf-8")) if target.exists() else {}
    with ProcessPoolExecutor(max_workers=1, max_tasks_per_child=1) as pool:
        for text, task in [(text, pool.submit(measure, text, root)) for text in texts]:
            try:
                times[text.stem] = task.result()
            except RuntimeError as error:
                failed += 1
                print(error, file=sys.stderr)
                continue
            print(f"{text.stem}: {times[text.stem]}", flush=True)
            write(target, times)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
