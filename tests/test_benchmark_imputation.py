"""The benchmark of imputation: its record follows from its figures, and its files are read back."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import promised_data

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import imputation as bench  # noqa: E402
from peers import imputation_programs as peers  # noqa: E402

from leaklab.assess import imputation as scene  # noqa: E402


@pytest.fixture(scope="module")
def panel():
    with promised_data():
        return scene.held_out(0).victims.take(people=slice(4), snps=slice(0, 300))


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads(bench.RESULT.read_text())


def test_recorded_ratios_follow_from_the_figures(recorded):
    assert bench.ratio(recorded["figures"]["chr20"]) == recorded["ratio"]["chr20"]


def test_the_loop_takes_a_hundred_times_as_long(recorded):
    assert recorded["ratio"]["chr20"]["loop"] >= 100


def test_the_goals_are_met_and_the_programs_are_not_left_behind(recorded):
    table = recorded["figures"]["chr20"]
    assert table["phased"]["accuracy"] >= 0.97 and table["phased"]["seconds"] <= 3
    assert table["phased"]["accuracy"] - table["unphased"]["accuracy"] <= 0.005
    rivals = {side: row["accuracy"] for side, row in table.items()
              if side.startswith(("Beagle", "minimac4"))}
    assert rivals or recorded["not installed"]
    for side, accuracy in rivals.items():
        ours = table["unphased" if "unphased" in side else "phased"]["accuracy"]
        assert abs(ours - accuracy) <= 0.01, side


def test_a_program_that_is_absent_is_not_run(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("BEAGLE_JAR", "/nowhere/beagle.jar")
    assert peers.programs() == {}


def test_a_written_file_holds_the_genotypes_and_is_read_back(panel, tmp_path):
    snps = np.arange(0, 300, 3)
    peers.write_vcf(tmp_path / "a.vcf.gz", panel, panel.haplotypes, snps, peers.PHASED)
    text = gzip.decompress((tmp_path / "a.vcf.gz").read_bytes()).decode()
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    sums = np.array([[int(c[0]) + int(c[2]) for c in line[9:]] for line in lines])
    assert np.array_equal(sums.T, panel.dosages[:, snps])
    with gzip.open(tmp_path / "b.vcf.gz", "wt") as out:
        out.write("##fileformat=VCFv4.2\n#CHROM\n")
        for line, row in zip(lines, sums, strict=True):
            out.write("\t".join([*line[:8], "GT:DS", *(f"0|1:{x}" for x in row)]) + "\n")
    read = peers.read_dosages(tmp_path / "b.vcf.gz", panel, 4)
    assert np.array_equal(read[:, snps], panel.dosages[:, snps])
    assert np.isnan(np.delete(read, snps, axis=1)).all()


def test_the_map_is_written_once_a_position(panel, tmp_path):
    peers.write_map(tmp_path / "map", panel, header=True)
    header, *rows = (tmp_path / "map").read_text().splitlines()
    places = [int(row.split("\t")[1]) for row in rows]
    assert header.startswith("#chr") and places == sorted(set(panel.position.tolist()))
