"""503 Europeans along three million base pairs of chromosome 20, with their linkage: REAL.

Of the 1000 Genomes Project, chr20:1-4 Mb, as SHAPEIT4 ships them for its test: 300 people whose two
chromosomes are told apart, and 203 others. Read are the two VCF files, or a local pack of the same
calls. Kept are the variants of which the 300 carry at least :data:`COPIES` copies of either allele.
"""

from __future__ import annotations

import csv
import gzip
import io
from importlib import resources
from pathlib import Path

import numpy as np

from leaklab.data.download import cached_npz, obtain
from leaklab.data.genomes.panel import Panel
from leaklab.data.registry import FILES

PACK = "kg_chr20_503x10187.npz"
REFERENCE, TARGETS = "shapeit4_reference.vcf.gz", "shapeit4_unphased.vcf.gz"
GENOTYPES = frozenset(a + bar + b for a in "01" for bar in "|/" for b in "01")
COPIES = 6  # of 600: a frequency of one in a hundred
SITES = 10_187


def load() -> tuple[Panel, Panel]:
    """(300 phased people, 203 others whose phase is left out), at the same 10,187 variants.

    Ancestries of the first are IBS, FIN, GBR and three of CEU, of the others TSI and CEU. The
    genetic map is the one SHAPEIT4 ships. Every tenth variant or so is an insertion or deletion.
    Raises ``DataUnavailable`` where neither the pack nor the VCF files can be had.
    """
    paths = obtain(PACK)
    if PACK in paths:
        arrays = _unpacked(paths[PACK])
    else:
        arrays = cached_npz("chr20", FILES[PACK].sha256[:16],
                            lambda: _from_vcf(paths[REFERENCE], paths[TARGETS]))
    haplotypes, dosages = arrays["haplotypes"], arrays["dosages"]
    reference = _panel("reference", haplotypes[0::2] + haplotypes[1::2], arrays["reference"])
    return (Panel(**vars(reference) | {"haplotypes": haplotypes}),
            _panel("targets", dosages, arrays["targets"]))


def array() -> np.ndarray:
    """bool, shape (snps,): which variants a genotyping array measures (SHAPEIT4's scaffold)."""
    return _table()["array"] == "1"


def _panel(part: str, dosages: np.ndarray, samples: np.ndarray) -> Panel:
    table, file = _table(), FILES[PACK]
    return Panel(
        name=f"1000 Genomes phase 3, chr20:1-4 Mb, {part}",
        dosages=dosages,
        people=np.array([f"chr20-{part}-{k:03d}" for k in range(len(dosages))]),
        ancestries=np.array([_population(sample) for sample in samples.tolist()]),
        chromosome=np.full(SITES, 20, dtype=np.int8),
        position=table["position"].astype(np.int64), ref=table["ref"], alt=table["alt"],
        centimorgans=table["centimorgans"].astype(np.float64),
        tag="REAL", licence=file.licence, citation=file.citation, sha256=file.sha256,
    )


def _table() -> dict[str, np.ndarray]:
    """The public list of variants: place on the chromosome and on the genetic map, alleles."""
    packed = (resources.files("leaklab.data.genomes") / "chr20_sites.tsv.gz").read_bytes()
    rows = csv.DictReader(io.StringIO(gzip.decompress(packed).decode()), delimiter="\t")
    columns = list(rows)
    return {name: np.array([row[name] for row in columns]) for name in columns[0]}


def _population(sample: str) -> str:
    """The population by the ranges in which the project numbered its Europeans."""
    number = int(sample[2:])
    if sample.startswith("NA"):
        return "TSI" if number >= 20_500 else "CEU"
    if 171 <= number <= 190 or 266 <= number <= 384:
        return "FIN"
    return "IBS" if 1500 <= number <= 1788 or 2218 <= number <= 2239 else "GBR"


def _unpacked(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as pack:
        def rows(name: str, number: int) -> np.ndarray:
            return np.unpackbits(pack[name])[:number * SITES].reshape(number, SITES)

        alleles = rows("T", 2 * len(pack["tgt"]))  # a person's two alleles in arbitrary order
        return {"haplotypes": rows("R", 2 * len(pack["ref"])),
                "dosages": alleles[0::2] + alleles[1::2],
                "reference": pack["ref"], "targets": pack["tgt"]}


def _from_vcf(reference: Path, targets: Path) -> dict[str, np.ndarray]:
    people, sites, haplotypes = _read_vcf(reference)
    others, same, alleles = _read_vcf(targets)
    copies = haplotypes.sum(axis=0, dtype=int)
    kept = (copies >= COPIES) & (copies <= len(haplotypes) - COPIES)
    table = _table()
    expected = list(zip(table["position"], table["ref"], table["alt"], strict=True))
    if sites != same or [site for site, keep in zip(sites, kept, strict=True) if keep] != expected:
        raise ValueError(f"{reference.name}, {targets.name}: other variants, expected those of "
                         "chr20_sites.tsv.gz")
    return {"haplotypes": haplotypes[:, kept], "dosages": (alleles[0::2] + alleles[1::2])[:, kept],
            "reference": np.array(people), "targets": np.array(others)}


def _read_vcf(path: Path) -> tuple[list[str], list[tuple[str, str, str]], np.ndarray]:
    """Samples, (position, ref, alt) of each variant, and alleles, uint8 (2 * samples, variants).

    Reads genotypes of two alleles, 0 or 1, such as ``0|1`` or ``0/1:...``, and no other.
    """
    samples: list[str] = []
    sites, calls = [], []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line.startswith("#CHROM"):
                samples = line.split()[9:]
            if line.startswith("#"):
                continue
            columns = line.rstrip("\n").split("\t")
            sites.append((columns[1], columns[3], columns[4]))
            genotypes = [column.partition(":")[0] for column in columns[9:]]
            if len(genotypes) != len(samples) or not GENOTYPES.issuperset(genotypes):
                raise ValueError(
                    f"{path.name}: {sorted(set(genotypes) - GENOTYPES)} among {len(genotypes)} "
                    f"genotypes given at position {columns[1]}, expected {len(samples)} of two "
                    "alleles, 0 or 1")
            calls.append("".join(genotypes))
    alleles = np.frombuffer("".join(calls).encode(), np.uint8).reshape(len(sites), -1, 3)
    return samples, sites, alleles[:, :, [0, 2]].reshape(len(sites), -1).T - ord("0")
