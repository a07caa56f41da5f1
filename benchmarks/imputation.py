"""Imputation of real people on chromosome 20: against plain loops, Beagle and minimac4.

    make bench NAME=imputation

Fifty people are held out of the panel of 300 and a tenth of the SNPs is kept, three times. All
sides get the same panel, people, SNPs and genetic map, and one thread. Sides:

    phased        `haploid`, which is told the phase        loop      the same in plain Python, O(K)
    unphased      `diploid`                                 Beagle, phased and unphased
    linear        `by_linear`, no phased panel              minimac4  phased
    tag, frequency                                          the baselines

CPU seconds are those of fifty people. Beagle's hold reading and writing files and, for unphased
people, their phasing; minimac4's the files, but not packing the reference. The loop is timed on one
haplotype and multiplied. A program that is not installed is left out and named.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import imputation_programs as peers
from peers.li_stephens_loop import haploid_loop
from recording import record

from leaklab.assess import imputation as scene
from leaklab.data.download import DataUnavailable
from leaklab.runtime import seed_all

RESULT = Path(__file__).parent / "results" / "imputation.json"
SEEDS = (0, 1, 2)
OURS = ("phased", "unphased", "linear", "tag", "frequency")


def ours(given: scene.Task) -> dict[str, dict[str, float]]:
    """Scores and CPU seconds of our sides."""
    found = {}
    for method in OURS:
        begun = time.process_time()
        dosages = scene.guessed(method, given)
        seconds = time.process_time() - begun
        found[method] = {**scene.scores(dosages, given), "seconds": seconds}
    return found


def loop(given: scene.Task) -> tuple[float, float]:
    """CPU seconds of the plain loop for all victims, and how far it is from ours."""
    panel, observed = given.panel, given.observed
    alleles = given.victims.haplotypes[:1, observed]
    arguments = (panel.haplotypes.tolist(), observed.tolist(), alleles[0].tolist(),
                 panel.centimorgans.tolist())
    begun = time.process_time()
    plain = haploid_loop(*arguments)
    seconds = (time.process_time() - begun) * len(given.victims.haplotypes)
    same = scene.imputation.haploid(panel.haplotypes, observed, alleles, panel.centimorgans)[0]
    return seconds, float(np.abs(same - plain).max())


def rivals(given: scene.Task) -> dict[str, dict[str, float]]:
    """Scores and CPU seconds of the programs that are there."""
    found, people = {}, len(given.victims)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        everything = np.arange(given.panel.snps)
        peers.write_vcf(folder / "reference.vcf.gz", given.panel, given.panel.haplotypes,
                        everything, peers.PHASED)
        peers.write_map(folder / "plink.map", given.panel, header=False)
        peers.write_map(folder / "map.txt", given.panel, header=True)
        for phase, bar in (("phased", peers.PHASED), ("unphased", peers.UNPHASED)):
            alleles = given.victims.haplotypes
            if bar == peers.UNPHASED:
                alleles = np.sort(alleles.reshape(people, 2, -1), axis=1).reshape(alleles.shape)
            peers.write_vcf(folder / "targets.vcf.gz", given.victims, alleles, given.observed, bar)
            for program, command in peers.programs().items():
                if program == "minimac4" and bar == peers.UNPHASED:
                    continue
                run = {"Beagle": peers.beagle, "minimac4": peers.minimac4}[program]
                dosages, seconds = run(command, folder, given.panel, people)
                found[f"{program}, {phase}"] = {**scene.scores(dosages, given),
                                                "seconds": seconds}
    return found


def figures(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over the draws; of the seconds, medians."""
    return {side: {what: round((statistics.median if what == "seconds" else statistics.mean)(
        run[side][what] for run in runs), 4) for what in runs[0][side]} for side in runs[0]}


def ratio(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """CPU seconds of each peer over those of our side that is told as much."""
    return {side: round(row["seconds"] / table["unphased" if "unphased" in side else
                                               "phased"]["seconds"], 1)
            for side, row in table.items() if side not in OURS}


def measured(seed: int) -> dict[str, dict[str, float]]:
    """Every side on one draw of people and SNPs."""
    given = scene.held_out(seed)
    seconds, apart = loop(given)
    if apart > 1e-3:
        raise AssertionError(f"the loop is {apart} away from ours, expected the same dosages")
    return {**ours(given), "loop": {"seconds": seconds}, **rivals(given)}


def main() -> None:
    """Measure, print and record."""
    os.environ["LEAKLAB_PROGRESS"] = "0"
    seed_all(0)
    try:
        scene.chromosome("chr20")
    except DataUnavailable as reason:
        sys.exit(str(reason))
    table = figures([measured(seed) for seed in SEEDS])
    absent = sorted({"Beagle", "minimac4"} - set(peers.programs()))
    result = {
        "what": "imputation of fifty held-out people on chr20:1-4 Mb, a tenth of the SNPs kept",
        "sizes": {"panel": 250, "victims": scene.VICTIMS, "SNPs": scene.chromosome("chr20").snps,
                  "kept": 0.1, "draws": len(SEEDS)},
        "figures": {"chr20": table},
        "peer": "plain Python loops; Beagle 22Jul22.46e and minimac4 4.1.2 as in Debian 12",
        "not installed": absent,
        "ratio": {"chr20": ratio(table)},
    }
    record(RESULT, result)
    print(json.dumps(result["figures"] | {"ratio": result["ratio"]}, indent=1))


if __name__ == "__main__":
    main()
