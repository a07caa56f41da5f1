"""The command ``leaklab``: audit a model of your own and write a report."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import nn

import leaklab
from leaklab.assess.audit.appetite import UNMEASURED, UNUSABLE, WITHIN, judge, read_appetite
from leaklab.assess.audit.document import to_json
from leaklab.assess.audit.files import load_data, load_model
from leaklab.assess.audit.findings import as_text
from leaklab.assess.audit.inputs import KINDS, Effort, Federation
from leaklab.assess.audit.running import MEASURED, audit
from leaklab.updates import LocalTraining

__all__ = ["main"]

ABOUT = """Attack a model of your own as the observers of a federation could, before one trains it.

MODEL names a Python file and a function in it that takes no argument and returns the model, or
(model, loss). The file is run. DATA is an .npz with the arrays inputs (n, ...), targets (n, ...)
and, if patients have several records, groups (n,). Use public or synthetic records: reports show
them."""
EXAMPLE = """example:
  leaklab audit my_model.py:make --data records.npz --html report.html --json report.json

exit status:
  0  done, and within the appetite if one was given
  1  the appetite is exceeded
  2  the audit could not be run: the message names what is wrong
  3  a metric of the appetite was not measured, or nothing was"""
INTERRUPTED = 130  # as a shell has it after Ctrl-C


def parser() -> argparse.ArgumentParser:
    """The arguments of ``leaklab``."""
    top = argparse.ArgumentParser(prog="leaklab", description="Measure what federated updates "
                                  "give away.")
    top.add_argument("--version", action="version", version=f"leaklab {leaklab.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser("audit", help="attack a model of your own and write a report",
                              description=ABOUT, epilog=EXAMPLE,
                              formatter_class=argparse.RawDescriptionHelpFormatter)
    add.add_argument("model", metavar="MODEL", help="FILE.py:FUNCTION that makes the model")
    add.add_argument("--data", required=True, type=Path, help="records, an .npz file")
    add.add_argument("--kind", choices=KINDS, help="kind of records (default: as they look)")
    where = add.add_argument_group("reports")
    where.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page")
    where.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    where.add_argument("--appetite", type=Path, metavar="FILE",
                       help="what is tolerated, a JSON file; decides the exit status")
    group = add.add_argument_group("the federation")
    group.add_argument("--hospitals", type=int, default=3, help="in a round (default: %(default)s)")
    group.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16], metavar="N",
                       help="records of a hospital (default: 1 4 16)")
    group.add_argument("--learning-rate", type=float, default=0.1, help="(default: %(default)s)")
    group.add_argument("--local-steps", type=int, default=1, help="(default: %(default)s)")
    group.add_argument("--mode", choices=("train", "eval"), default="train",
                       help="of BatchNorm and dropout (default: %(default)s)")
    how = add.add_argument_group("effort")
    how.add_argument("--trials", type=int, default=3,
                     help="rounds for each batch size; 10 give useful intervals, and more where a "
                          "guess is right already (default: %(default)s)")
    how.add_argument("--evaluations", type=int, default=150,
                     help="of the loss, for each search (default: %(default)s)")
    how.add_argument("--seconds", type=float, help="for the whole audit (default: no limit)")
    how.add_argument("--device", help="such as cpu or cuda (default: where the model is)")
    how.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``leaklab`` and return its exit status.

    ``arguments`` are those of the command line by default. 0: done, within the appetite if one was
    given; 1: it is exceeded; 2: the audit could not be run, and standard error says why, with a
    traceback where nobody foresaw it; 3: a metric of the appetite was not measured, or nothing was;
    130: interrupted.
    """
    given = parser().parse_args(arguments)
    try:
        return _audit(given)
    except (ValueError, OSError, ImportError) as error:
        print(f"leaklab audit: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("leaklab audit: interrupted, no report written", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        print(f"leaklab audit: broke off ({type(error).__name__}: {error})", file=sys.stderr)
    return UNUSABLE


def _audit(given: argparse.Namespace) -> int:
    appetite = read_appetite(given.appetite) if given.appetite else None
    for path in filter(None, (given.html, given.json)):
        _require_writable(path)
    to_html = _html() if given.html else None
    federation = Federation(given.hospitals, tuple(given.batch_sizes), LocalTraining(
        given.learning_rate, local_steps=given.local_steps, mode=given.mode))
    effort = Effort(given.trials, given.evaluations, seconds=given.seconds)
    batch = load_data(given.data)
    with redirect_stdout(sys.stderr):  # what the model prints is no part of the report
        model, loss = load_model(given.model, given.seed)
        found = audit(_moved(model, given.device), loss, batch, federation=federation,
                      effort=effort, kind=given.kind, seed=given.seed)
    verdict = judge(found, appetite) if appetite else None
    reports = [(given.json, to_json), (given.html, to_html)]
    written = [(path, report(found, verdict)) for path, report in reports if path]
    for path, text in written:  # before anything is printed, into a pipe that may close
        path.write_text(text, encoding="utf-8")
    print(as_text(found))
    for line in verdict.lines if verdict else ():
        print(f"appetite: {line}")
    if verdict:
        return verdict.status
    return WITHIN if any(r.status == MEASURED for r in found.results) else UNMEASURED


def _require_writable(path: Path) -> None:
    """Before an audit that may take long."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"{path}: no folder {str(path.parent)!r} to write it into")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise ValueError(f"{path}: a file cannot be written there")


def _moved(model: nn.Module, device: str | None) -> nn.Module:
    if device is None:
        return model
    try:
        return model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: {device!r} given, expected one that torch can use here "
                         f"({reason})") from error


def _html():
    """How to write the page; asked for before the audit, which may take long."""
    try:
        from leaklab.assess.audit.report import to_html
    except ImportError as error:
        raise ImportError(f"--html needs jinja2 ({error}): pip install 'leaklab[assess]'"
                          ) from error
    return to_html


if __name__ == "__main__":
    sys.exit(main())
