"""Beagle and minimac4, the programs that geneticists impute with, run on files written for them.

Debian has both (packages ``beagle`` and ``minimac4``, which needs ``tabix``). They are found on the
PATH, or Beagle by the environment variable ``BEAGLE_JAR``.
"""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np

from leaklab.data.genomes.panel import Panel

PHASED, UNPHASED = "|", "/"


def programs() -> dict[str, list[str]]:
    """The command of each program that is there."""
    found = {}
    jar = os.environ.get("BEAGLE_JAR", "/usr/share/beagle/beagle.jar")
    if Path(jar).exists() and shutil.which("java"):
        found["Beagle"] = ["java", "-jar", jar]
    if all(map(shutil.which, ("minimac4", "bgzip", "tabix"))):
        found["minimac4"] = ["minimac4"]
    return found


def write_vcf(path: Path, panel: Panel, alleles: np.ndarray, snps: np.ndarray, bar: str) -> None:
    """Genotypes as gzipped text: ``alleles`` (2 * people, all SNPs), of which ``snps`` are told."""
    columns = "\t".join(panel.people)
    chromosome = int(panel.chromosome[0])
    with gzip.open(path, "wt", compresslevel=1) as out:
        out.write("##fileformat=VCFv4.2\n"
                  f"##contig=<ID={chromosome}>\n"
                  '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
                  f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{columns}\n")
        for snp in snps:
            first, second = alleles[0::2, snp], alleles[1::2, snp]
            calls = "\t".join(f"{a}{bar}{b}" for a, b in zip(first, second, strict=True))
            out.write(f"{chromosome}\t{panel.position[snp]}\ts{snp}\t{panel.ref[snp]}\t"
                      f"{panel.alt[snp]}\t.\tPASS\t.\tGT\t{calls}\n")


def write_map(path: Path, panel: Panel, header: bool) -> None:
    """The genetic map: PLINK's for Beagle, a table with a header for minimac4."""
    chromosome = int(panel.chromosome[0])
    _, first = np.unique(panel.position, return_index=True)
    with path.open("w") as out:
        if header:
            out.write("#chr\tposition\tGenetic_Map(cM)\n")
        for snp in first:
            where, centimorgans = panel.position[snp], panel.centimorgans[snp]
            out.write(f"{chromosome}\t{where}\t{centimorgans:.8f}\n" if header
                      else f"{chromosome}\t.\t{centimorgans:.8f}\t{where}\n")


def read_dosages(path: Path, panel: Panel, people: int) -> np.ndarray:
    """Dosages (people, SNPs) from the DS field, matched by position and alleles."""
    place = {(int(p), r, a): k for k, (p, r, a) in enumerate(
        zip(panel.position, panel.ref, panel.alt, strict=True))}
    dosages = np.full((people, panel.snps), np.nan)
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line.startswith("#"):
                continue
            fields = line.rstrip("\n").split("\t")
            field = fields[8].split(":").index("DS")
            snp = place[int(fields[1]), fields[3], fields[4]]
            dosages[:, snp] = [float(cell.split(":")[field]) for cell in fields[9:]]
    return dosages


def timed(command: list[str], output: Path | None = None) -> float:
    """Run to the end; CPU seconds of the process and all its threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(output or os.devnull, "wb") as out:
        subprocess.run(command, check=True, stdout=out, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def beagle(command: list[str], folder: Path, panel: Panel, people: int) -> tuple[np.ndarray, float]:
    """Dosages and CPU seconds; phases the targets itself where they are unphased."""
    seconds = timed([*command, f"ref={folder}/reference.vcf.gz", f"gt={folder}/targets.vcf.gz",
                     f"map={folder}/plink.map", f"out={folder}/beagle", "nthreads=1", "seed=1"])
    return read_dosages(folder / "beagle.vcf.gz", panel, people), seconds


def minimac4(command: list[str], folder: Path, panel: Panel,
             people: int) -> tuple[np.ndarray, float]:
    """Dosages and CPU seconds, without those of packing the reference; targets must be phased."""
    timed([*command, "--compress-reference", f"{folder}/reference.vcf.gz", "-o",
           f"{folder}/reference.msav"])
    blocks = folder / "indexed.vcf.gz"
    plain = folder / "indexed.vcf"
    plain.write_bytes(gzip.decompress((folder / "targets.vcf.gz").read_bytes()))
    timed(["bgzip", "-f", str(plain)])
    timed(["tabix", "-p", "vcf", str(blocks)])
    seconds = timed([*command, f"{folder}/reference.msav", str(blocks), "--map",
                     f"{folder}/map.txt", "-f", "DS", "-t", "1", "-O", "vcf.gz", "-o",
                     f"{folder}/minimac.vcf.gz"])
    return read_dosages(folder / "minimac.vcf.gz", panel, people), seconds
