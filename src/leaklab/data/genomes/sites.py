"""2,504 people from five continental groups at 23,770 sites across the genome: 1000 Genomes, REAL.

The sites are those by which ``peddy`` checks samples and their ancestry (Pedersen and Quinlan
2017), mostly in exons and far apart: the panel has next to no linkage. Its authors ship the
genotypes with their program, from which they are read here without running any of it.
"""

from __future__ import annotations

import gzip
import re
import tarfile

import numpy as np

from leaklab.data.download import fetch
from leaklab.data.genomes.panel import Panel
from leaklab.data.registry import FILES

__all__ = ["load"]

FILE = "peddy-0.4.8.tar.gz"
PEOPLE, SITES = 2504, 23_770
ANCESTRIES = ("AFR", "AMR", "EAS", "EUR", "SAS")  # in the order of peddy's labels 0 to 4


def load() -> Panel:
    """The whole panel, SNPs in the order of the genome; takes about a second.

    Ancestries: 661 AFR, 347 AMR, 504 EAS, 503 EUR, 489 SAS. About a thousand sites carry one
    allele only, and many more do within one group: select by ``panel.minor``. Raises
    ``DataUnavailable`` where the file cannot be had.
    """
    with tarfile.open(fetch(FILE)) as archive:
        def read(member: str) -> bytes:
            return archive.extractfile(f"peddy-0.4.8/peddy/{member}").read()

        packed, sites, labels = (
            read("GRCH37.sites.bin.gz"), read("GRCH37.sites"), read("pca.py"))
    dosages = np.frombuffer(gzip.decompress(packed), np.uint8).reshape(SITES, PEOPLE)
    chromosome, position, ref, alt = zip(
        *(line.split(":") for line in sites.decode().split()), strict=True)
    groups = re.search(rb'^_str = "([0-4|]+)"', labels)[1].split(b"|")
    file = FILES[FILE]
    return Panel(
        name="1000 Genomes phase 3, sites of peddy",
        dosages=np.ascontiguousarray(dosages.T),
        people=np.array([f"sites-{k:04d}" for k in range(PEOPLE)]),
        ancestries=np.array(ANCESTRIES)[[int(group) for group in groups]],
        chromosome=np.array(chromosome, dtype=np.int8),
        position=np.array(position, dtype=np.int64),
        ref=np.array(ref), alt=np.array(alt),
        tag="REAL", licence=file.licence, citation=file.citation, sha256=file.sha256,
    )
