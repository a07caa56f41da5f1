"""The command ``leaklab audit``: its files, its page, its exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leaklab.assess.audit import Audit, Effort, Federation
from leaklab.assess.audit.appetite import Appetite, judge, read_appetite
from leaklab.assess.audit.command import main, parser
from leaklab.assess.audit.evidence import evidence_items
from leaklab.assess.audit.files import load_data, load_model
from leaklab.assess.audit.report import to_html
from leaklab.assess.audit.running import Picture, Result

ROOT = Path(__file__).resolve().parent.parent
MODEL = """import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))

def broken():
    return "no model"

def narrow():
    return nn.Linear(5, 2)

def asks(width):
    return nn.Linear(6, width)

def fails():
    raise KeyError("weights")

def leaves():
    raise SystemExit(1)

def a_class():
    return nn.Linear

def class_of_loss():
    return nn.Linear(6, 2), nn.CrossEntropyLoss

class Talker(nn.Linear):
    def forward(self, x):
        print("let me tell you")
        return super().forward(x)

def talks():
    return Talker(6, 2)

class Odd(nn.Linear):
    def __init__(self):
        super().__init__(6, 2)

    def named_modules(self, *args, **more):
        raise ZeroDivisionError("nobody foresaw this")

def odd():
    return Odd()

def stops():
    raise KeyboardInterrupt

def batch_norm():
    return nn.Sequential(nn.Linear(6, 2), nn.BatchNorm1d(2))
"""
QUICK = ("--batch-sizes", "1", "--hospitals", "2", "--trials", "2", "--evaluations", "3")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "mine.py").write_text(MODEL, encoding="utf-8")
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "records.npz", inputs=draw.random((24, 6), dtype=np.float32),
             targets=np.arange(24) % 2, groups=[f"p{k}" for k in range(24)])
    return tmp_path


def run(place, function: str = "make", *more: str) -> int:
    return main(["audit", f"{place / 'mine.py'}:{function}", "--data", str(place / "records.npz"),
                 *QUICK, *more])


def test_from_a_file_to_reports(place, capsys):
    (place / "appetite.json").write_text('{"tolerated": {"records read": 0.0}}')
    page, figures = place / "report.html", place / "report.json"
    status = run(place, "make", "--html", str(page), "--json", str(figures),
                 "--appetite", str(place / "appetite.json"))
    said = capsys.readouterr().out
    assert status == 1 and "appetite: records read by server" in said
    assert "Records read to within 2 %" in said
    document = json.loads(figures.read_text())
    assert document["verdict"]["status"] == 1 and document["model"] == "Sequential"
    assert "Risk appetite exceeded" in page.read_text()


def test_the_reports_are_written_though_nobody_reads_what_is_printed(place, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError("closed")

    monkeypatch.setattr("builtins.print", closed)
    with pytest.raises(BrokenPipeError):
        run(place, "make", "--json", str(place / "report.json"))
    assert json.loads((place / "report.json").read_text())["results"]


def test_without_an_appetite_a_leak_is_no_failure(place):
    assert run(place) == 0


@pytest.mark.parametrize(("function", "more", "said"), [
    ("broken", (), "returned str"), ("absent", (), "no function 'absent'"),
    ("narrow", (), "fails on inputs of shape"), ("make", ("--hospitals", "1"), "hospitals: 1"),
    ("make", ("--json", "/nowhere/at/all.json"), "no folder"),
    ("make", ("--html", "."), "a file cannot be written there"),
    ("asks", (), "asks() raised TypeError: asks() missing 1 required positional argument"),
    ("fails", (), "fails() raised KeyError: 'weights' (mine.py, line 18)"),
    ("leaves", (), "leaves() raised SystemExit"), ("a_class", (), "the class Linear given"),
    ("class_of_loss", (), "such as CrossEntropyLoss()"),
    ("make", ("--device", "gpu"), "device: 'gpu' given"),
    ("make", ("--seed", "-1"), "seed: -1"), ("odd", (), "broke off (ZeroDivisionError"),
    ("make", ("--kind", "image"), "")])
def test_what_cannot_run_ends_with_2_and_a_reason_or_is_a_result(place, capsys, function, more,
                                                                 said):
    status = run(place, function, *more)
    assert (status, said in capsys.readouterr().err) == ((2, True) if said else (0, True))


def test_what_a_model_prints_is_no_part_of_the_report(place, capsys):
    assert run(place, "talks") == 0
    said = capsys.readouterr()
    assert "let me tell you" in said.err and "let me tell you" not in said.out


def test_after_an_interruption_there_is_no_report(place, capsys):
    assert run(place, "stops", "--json", str(place / "r.json")) == 130
    assert "interrupted" in capsys.readouterr().err and not (place / "r.json").exists()


def test_an_audit_that_measured_nothing_is_no_success(place):
    assert run(place, "batch_norm") == 3  # BatchNorm in train mode refuses one record


def test_help_reads_well(capsys):
    for arguments in (["--help"], ["audit", "--help"]):
        with pytest.raises(SystemExit) as end:
            parser().parse_args(arguments)
        assert end.value.code == 0
    said = capsys.readouterr().out
    assert "attack a model of your own" in said and "exit status:" in said
    actions = parser()._subparsers._group_actions[0].choices["audit"]._actions
    assert all(action.help for action in actions)


def test_the_command_is_installed_under_its_name():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["leaklab"].partition(":")
    assert getattr(__import__(module, fromlist=[function]), function) is main


def test_help_of_the_module_run_as_a_program():
    done = subprocess.run([sys.executable, "-m", "leaklab.assess.audit.command", "--version"],
                          capture_output=True, text=True, check=True)
    assert re.fullmatch(r"leaklab \d+\.\d+\.\d+\n", done.stdout)


# --- The page -------------------------------------------------------------------------------------


def result(**changes) -> Result:
    base = Result("gradient matching", "a source", "records matched", "share", "chance", "labels",
                  "update", ("server", "eavesdropper on a plain line"), 1, 1, "measured", None,
                  0.9, (0.5, 1.0), 0.1, 5, {"PSNR": 20.0})
    return replace(base, **changes)


def made(*results: Result, model: str = "Net") -> Audit:
    image = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Audit(model, 10, "image", Federation(), Effort(), 0, 24, ("A warning.",), (),
                 results or (result(),), (Picture("first", image, image, image),))


def test_a_result_is_above_a_guess_only_where_its_whole_interval_is():
    assert result(interval=(0.11, 1.0)).above
    assert not result(interval=(0.1, 1.0)).above and not result(interval=(0.05, 1.0)).above
    assert not result(value=None, interval=None, baseline=None).above


def test_the_page_fetches_nothing_and_holds_its_pictures():
    page = to_html(made())
    assert page.count("data:image/png;base64,") == 6
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert not re.search(r"@import|url\(|<script|<link", page)
    assert "default-src 'none'" in page
    assert "Results held against a guess: 1; above it: " in page


def test_words_of_a_model_are_no_markup():
    page = to_html(made(model="<script>alert(1)</script>"))
    assert "<script>" not in page and "&lt;script&gt;" in page


# --- Evidence for the worksheet -------------------------------------------------------------------


def test_results_become_evidence_of_those_whose_role_is_known():
    lacking = result(status="not run", reason="no time", value=None, interval=None, baseline=None)
    tokens = result(metric="tokens named")
    total = result(artefact="sum", seen_by=("server behind secure aggregation",))
    found = evidence_items(made(result(), lacking, tokens, total),
                           {"server": "processor",
                            "server behind secure aggregation": "independent recipient"},
                           data="made up", synthetic=True)
    assert [(i.role, i.artefact, i.contributors, i.metric) for i in found] == [
        ("processor", "update", 1, "records matched"),
        ("independent recipient", "sum", 3, "records matched")]
    assert (found[0].value, found[0].interval, found[0].baseline) == (0.9, (0.5, 1.0), 0.1)
    with pytest.raises(ValueError, match=r"roles: .*moon"):
        evidence_items(made(), {"moon": "processor"}, data="made up", synthetic=True)


# --- The appetite ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("tolerated", "more", "status"), [
    ({"records matched": 0.8}, {}, 0),  # 0.9 - 0.1
    ({"records matched": 0.79}, {}, 1),
    ({"records matched": 0.85}, {"judge": "upper"}, 1),  # 1.0 - 0.1
    ({"records matched": 0.8, "labels read": 0.5}, {}, 3),
    ({"records matched": 0.1}, {"observers": ("public",)}, 3),  # who never saw the update
    ({"records matched": 0.1}, {"observers": ("server", "public")}, 1)])
def test_the_appetite_decides(tolerated, more, status):
    assert judge(made(), Appetite(tolerated, **more)).status == status


def test_within_the_appetite_says_how_much_was_not_measured():
    lacking = result(status="not run", reason="no time", value=None, interval=None, baseline=None)
    other = replace(lacking, metric="labels read")
    found = judge(made(result(), lacking, other), Appetite({"records matched": 0.9}))
    assert found.status == 0 and found.lines[1] == (
        "not measured: 1 of 2 results that it asks about")
    assert len(judge(made(), Appetite({"records matched": 0.9})).lines) == 1


def test_what_was_not_measured_is_not_within_the_appetite():
    lacking = result(status="not run", reason="no time", value=None, interval=None, baseline=None)
    assert judge(made(lacking), Appetite({"records matched": 1.0})).status == 3


@pytest.mark.parametrize(("text", "said"), [
    ("[]", "expected an object"), ("{", "no JSON"), ('{"tolerated": {}}', "nothing given"),
    ('{"tolerated": {"records red": 0.1}}', "records red"),
    ('{"tolerated": {"records read": 2}}', "expected 0 to 1"),
    ('{"tolerated": {"records read": true}}', "expected 0 to 1"),
    ('{"tolerated": {"records read": 0.1}, "jugde": "upper"}', "at most"),
    ('{"tolerated": {"records read": 0.1}, "judge": "luck"}', "judge: 'luck'"),
    ('{"tolerated": {"records read": 0.1}, "observers": ["moon"]}', "observers"),
    ('{"tolerated": {"records read": 0.1}, "observers": "server"}', "expected a list")])
def test_an_appetite_that_says_nothing_clear_is_refused(tmp_path, text, said):
    path = tmp_path / "appetite.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_appetite(path)


# --- Files ----------------------------------------------------------------------------------------


def test_records_are_read_as_they_are(place):
    batch = load_data(place / "records.npz")
    assert batch.inputs.shape == (24, 6) and batch.inputs.dtype == torch.float32
    assert batch.targets.dtype == torch.int64 and len(batch.groups.unique()) == 24


@pytest.mark.parametrize(("arrays", "said"), [
    ({"inputs": np.ones((4, 2))}, "expected 'inputs', 'targets'"),
    ({"inputs": np.ones((4, 2)), "targets": np.ones(4), "names": np.ones(4)}, "at most"),
    ({"inputs": np.ones((4, 2, 2), np.uint8), "targets": np.ones(4)}, "inputs of uint8"),
    ({"inputs": np.ones((4, 2)), "targets": np.array(["a"] * 4)}, "targets of"),
    ({"inputs": np.ones((4, 2)), "targets": np.array([None] * 4)}, "not objects"),
    ({"inputs": np.ones((4, 2)), "targets": np.ones(3)}, "expected 4 entries")])
def test_other_records_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        load_data(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as \.npz"):
        load_data(tmp_path / "x.npz")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4, 2)))
    with pytest.raises(ValueError, match="one array, without a name"):
        load_data(tmp_path / "x.npy")


def test_a_file_may_import_its_neighbours_and_the_seed_fixes_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_a_model.py").write_text("WIDTH = 7\n")
    (tmp_path / "own.py").write_text(
        "from torch import nn\nfrom neighbour_of_a_model import WIDTH\n\n"
        "def make():\n    return nn.Linear(WIDTH, 2)\n")
    place = f"{tmp_path / 'own.py'}:make"
    state = torch.random.get_rng_state()
    first, again, other = (load_model(place, seed)[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_file_of_a_package_may_import_relatively(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    inner = tmp_path / "my models" / "package_of_a_model" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").touch()
    (inner.parent / "parts.py").write_text("WIDTH = 5\n")
    (inner / "own.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from typing import ClassVar\nfrom torch import nn\nfrom ..parts import WIDTH\n\n"
        "@dataclass\nclass Shape:\n    width: int = WIDTH\n    kind: ClassVar[str] = 'dense'\n\n"
        "def make():\n    return nn.Linear(Shape().width, 2)\n")
    assert load_model(f"{inner / 'own.py'}:make")[0].in_features == 5
    (inner / "__init__.py").unlink()
    (inner / "lone.py").write_text((inner / "own.py").read_text())
    with pytest.raises(ValueError, match=r"relative import.*line 5.*__init__"):
        load_model(f"{inner / 'lone.py'}:make")


@pytest.mark.parametrize("place", ["model", "model.py", "model.txt:make", "absent.py:make"])
def test_a_place_that_names_no_function_is_refused(place):
    with pytest.raises(ValueError, match="model: "):
        load_model(place)
