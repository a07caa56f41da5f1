"""Evidence survives the disk, keeps to its schema, and a live run that disagrees is caught."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from leaklab import evidence
from leaklab.evidence import Evidence

ITEM = Evidence(
    name="federated", statement="Accuracy of the federated model.", value=0.86, unit="share",
    interval=(0.84, 0.88), interval_kind="t, 95 %", baseline=0.67, baseline_kind="majority class",
    runs=(0.85, 0.86, 0.87), seeds=(0, 1, 2), data="HYBRID LIDC", data_sha256="ab" * 32,
    scale="fast", version="0.1.0", setting={"local_steps": 10},
)
RECORDED = sorted(Path(str(resources.files("leaklab") / "recorded")).glob("*.json"))


def test_what_is_recorded_is_loaded_again(tmp_path):
    evidence.record("s", [ITEM, replace(ITEM, name="other")], tmp_path)
    assert evidence.load("s", tmp_path) == {"federated": ITEM, "other": replace(ITEM, name="other")}


def test_recording_twice_gives_the_same_bytes_and_leaves_no_part(tmp_path):
    first = evidence.record("s", [ITEM], tmp_path).read_bytes()
    assert evidence.record("s", [ITEM], tmp_path).read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["s.json"]


def test_a_name_used_twice_is_refused_and_the_old_file_kept(tmp_path):
    old = evidence.record("s", [ITEM], tmp_path).read_bytes()
    with pytest.raises(ValueError, match="federated"):
        evidence.record("s", [ITEM, ITEM], tmp_path)
    assert (tmp_path / "s.json").read_bytes() == old


def test_check_prints_recorded_numbers_only(capsys):
    evidence.check(0.861, ITEM, seed=99, local_steps=10)
    first = capsys.readouterr().out
    evidence.check(0.859, ITEM, seed=99, local_steps=10)
    assert capsys.readouterr().out == first
    assert "federated" in first


@pytest.mark.parametrize(
    ("live", "setting", "message"),
    [(0.99, {}, "gave 0.990"), (0.7, {}, "gave 0.700"), (0.86, {"local_steps": 5}, "local_steps=5"),
     (float("nan"), {}, "nan")],
)
def test_a_live_run_that_disagrees_is_caught(live, setting, message):
    with pytest.raises(AssertionError, match=message):
        evidence.check(live, ITEM, seed=99, **setting)


def test_a_recorded_seed_must_repeat_its_own_run_and_no_other(capsys):
    seed, run = ITEM.seeds[0], ITEM.runs[0]
    evidence.check(run + 0.005, ITEM, seed=seed)
    assert f"seed {seed} repeats its recorded run" in capsys.readouterr().out
    with pytest.raises(AssertionError, match=f"seed {seed}: the live run gave"):
        evidence.check(run + 0.03, ITEM, seed=seed)


def test_another_scale_is_not_compared(capsys, monkeypatch):
    monkeypatch.setenv("LEAKLAB_SCALE", "full")
    evidence.check(0.1, ITEM, seed=0)
    assert "not compared" in capsys.readouterr().out


def test_an_interval_that_does_not_hold_the_value_is_refused():
    with pytest.raises(ValueError, match="interval of 'federated'"):
        replace(ITEM, interval=(0.9, 1.0))
    with pytest.raises(ValueError, match="seeds of 'federated'"):
        replace(ITEM, seeds=(0,))


def test_missing_evidence_says_how_to_record_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="make evidence NAME=99_none"):
        evidence.load("99_none", tmp_path)
    (tmp_path / "old.json").write_text('{"schema": 0, "evidence": []}')
    with pytest.raises(ValueError, match="schema 0 given"):
        evidence.load("old", tmp_path)


NUMBER_OR_NULL = {"type": ["number", "null"]}
TEXT_OR_NULL = {"type": ["string", "null"]}
SCHEMA = {
    "type": "object",
    "required": ["schema", "study", "evidence"],
    "additionalProperties": False,
    "properties": {
        "schema": {"const": evidence.SCHEMA},
        "study": {"type": "string", "pattern": r"^\d\d_[a-z_]+$"},
        "evidence": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": [f.name for f in evidence.fields(Evidence)],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "minLength": 3},
                    "statement": {"type": "string", "minLength": 20},
                    "value": {"type": "number"},
                    "unit": {"type": "string", "minLength": 1},
                    "interval": {"type": "array", "minItems": 2, "maxItems": 2},
                    "interval_kind": {"type": "string", "minLength": 5},
                    "baseline": NUMBER_OR_NULL,
                    "baseline_kind": {"type": "string", "minLength": 5},
                    "runs": {"type": "array", "minItems": 2, "items": {"type": "number"}},
                    "seeds": {"type": "array", "items": {"type": "integer"}},
                    "data": {"type": "string", "pattern": "^(REAL|HYBRID|SYNTHETIC) "},
                    "data_sha256": {"type": "string", "pattern": "^([0-9a-f]{64})?$"},
                    "scale": {"enum": ["fast", "full"]},
                    "version": {"type": "string"},
                    "setting": {"type": "object"},
                    "successes": NUMBER_OR_NULL,
                    "trials": NUMBER_OR_NULL,
                    "clusters": NUMBER_OR_NULL,
                    "view": TEXT_OR_NULL,
                    "defence": TEXT_OR_NULL,
                    "privacy_unit": TEXT_OR_NULL,
                },
            },
        },
    },
}


def test_there_is_recorded_evidence():
    assert RECORDED


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_only_what_is_drawn_from_a_seed_has_no_hash(path):
    for item in evidence.load(path.stem).values():
        assert item.data_sha256 or item.data.startswith("SYNTHETIC"), item.name


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_recorded_evidence_keeps_to_the_schema(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, SCHEMA)
    assert document["study"] == path.stem
    evidence.load(path.stem)


def test_the_schema_rejects_a_number_without_provenance(tmp_path):
    path = evidence.record("01_x", [ITEM], tmp_path)
    document = json.loads(path.read_text())
    jsonschema.validate(document, SCHEMA)
    del document["evidence"][0]["data_sha256"]
    with pytest.raises(jsonschema.ValidationError, match="data_sha256"):
        jsonschema.validate(document, SCHEMA)
