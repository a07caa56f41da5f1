"""KING-robust as matrix products against plink2, on the same genotypes of the same people.

    make bench NAME=kinship

Needs ``plink2`` on the path (Debian and Ubuntu: ``apt install plink2``). Both sides compare all
2,504 people of the panel at the 11,235 sites where Europeans vary, with and without missing calls,
on one thread; every pair must get the same kinship. plink2 reads its own binary format, written
before the clock starts, and its reading and writing of files count: it is made for panels that do
not fit into memory. Seconds are of CPU time, medians over the repeats.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from recording import record

from leaklab.attacks.kinship import MISSING, king_robust
from leaklab.data.download import DataUnavailable
from leaklab.data.genomes import sites

RESULT = Path(__file__).parent / "results" / "kinship.json"
MAF, GONE, REPEATS = 0.05, 0.02, 3
SAME = 1e-6
CODES = np.array([3, 2, 0, 1], dtype=np.uint8)  # of 0, 1 and 2 copies of A1, and of a missing call


def genotypes() -> dict[str, np.ndarray]:
    """The two cases, int8 (people, snps)."""
    panel = sites.load()
    vary = panel.take(people=panel.ancestries == "EUR").minor >= MAF
    whole = panel.dosages[:, vary].astype(np.int8)
    gone = np.random.default_rng(0).random(whole.shape) < GONE
    return {"complete": whole, "2 % missing": np.where(gone, MISSING, whole).astype(np.int8)}


def write_bed(values: np.ndarray, stem: Path) -> None:
    """PLINK 1's .bed, .bim and .fam: SNP by SNP, four people a byte."""
    people, snps = values.shape
    codes = np.zeros((snps, -(-people // 4) * 4), dtype=np.uint8)
    codes[:, :people] = CODES[values.T]
    quads = codes.reshape(snps, -1, 4)
    packed = (quads << np.arange(0, 8, 2, dtype=np.uint8)).sum(2, dtype=np.uint8)
    stem.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    stem.with_suffix(".bim").write_text(
        "".join(f"1\ts{k}\t0\t{k + 1}\tA\tC\n" for k in range(snps)))
    stem.with_suffix(".fam").write_text("".join(f"0\tp{k}\t0\t0\t0\t-9\n" for k in range(people)))


def plink2(stem: Path, people: int) -> tuple[np.ndarray, float]:
    """Its kinship of all pairs, and the CPU seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["plink2", "--bfile", stem, "--make-king", "square", "bin", "--threads", "1",
                    "--out", stem], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.fromfile(f"{stem}.king.bin").reshape(people, people), spent


def ours(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Ours, likewise."""
    begun = time.process_time()
    return king_robust(values, values), time.process_time() - begun


def compare(values: np.ndarray) -> dict[str, float]:
    """Seconds of both sides, and the largest difference of a pair."""
    seconds: dict[str, list[float]] = {"ours": [], "plink2": []}
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "panel"
        write_bed(values, stem)
        for _ in range(REPEATS):
            (mine, spent), (theirs, other) = ours(values), plink2(stem, len(values))
            seconds["ours"].append(spent)
            seconds["plink2"].append(other)
    apart = np.abs(mine - theirs)[~np.eye(len(values), dtype=bool)].max()
    if not apart < SAME:
        sys.exit(f"kinship: a pair differs by {apart:.3g}, expected less than {SAME:g}")
    return {"pairs": len(values) * (len(values) - 1) // 2, "largest_difference": float(apart),
            **{f"{side}_seconds": round(statistics.median(spent), 2)
               for side, spent in seconds.items()}}


def main() -> None:
    """Measure, print and record."""
    if not shutil.which("plink2"):
        sys.exit("plink2 is not on the path; on Debian or Ubuntu: apt install plink2")
    try:
        cases = genotypes()
    except DataUnavailable as reason:
        sys.exit(str(reason))
    version = subprocess.run(["plink2", "--version"], capture_output=True, text=True, check=True)
    figures = {name: compare(values) for name, values in cases.items()}
    result = {
        "what": "KING-robust kinship of all pairs of a panel",
        "sizes": {"people": len(cases["complete"]), "snps": cases["complete"].shape[1],
                  "repeats": REPEATS},
        "figures": figures,
        "peer": version.stdout.strip(),
        "ratio": {name: round(figure["plink2_seconds"] / figure["ours_seconds"], 3)
                  for name, figure in figures.items()},
    }
    record(RESULT, result)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
