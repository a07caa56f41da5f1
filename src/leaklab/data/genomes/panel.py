"""A panel: the genotypes of people at the same SNPs, with what is known of both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from leaklab.data.dataset import TAGS

__all__ = ["Panel"]


@dataclass(frozen=True)
class Panel:
    """People, SNPs, and how many copies of each SNP's counted allele each person carries.

    dosages
        uint8, shape (people, snps): copies of ``alt``, 0, 1 or 2; no call is missing.
    people, ancestries
        shape (people,): this package's own code of each person, and the group they were sampled
        from.
    chromosome, position
        shape (snps,): number of the autosome, and base pairs on it (genome build GRCh37), in order.
    ref, alt
        shape (snps,): the two alleles, as text.
    centimorgans
        float64, shape (snps,): place on the genetic map, or ``None`` where the panel has none.
    haplotypes
        uint8, shape (2 * people, snps), or ``None`` where phase is unknown: rows 2i and 2i + 1 are
        the two copies that person i carries, and add up to their dosages.
    tag, licence, citation, sha256
        Where the panel comes from, as in :class:`leaklab.data.dataset.Dataset`.

    Raises ``ValueError`` that names the field for shapes that differ, a dosage that is not 0, 1 or
    2 (such as the code of a missing call), haplotypes that do not add up, or SNPs out of order.
    """

    name: str
    dosages: np.ndarray
    people: np.ndarray
    ancestries: np.ndarray
    chromosome: np.ndarray
    position: np.ndarray
    ref: np.ndarray
    alt: np.ndarray
    tag: str
    licence: str
    citation: str
    sha256: str
    centimorgans: np.ndarray | None = None
    haplotypes: np.ndarray | None = None

    def __post_init__(self):
        _require(self.dosages.ndim == 2, "dosages", f"shape {self.dosages.shape}", "(people, snps)")
        people, snps = self.dosages.shape
        for field, entries in (("people", people), ("ancestries", people), ("chromosome", snps),
                               ("position", snps), ("ref", snps), ("alt", snps),
                               ("centimorgans", snps)):
            values = getattr(self, field)
            _require(values is None or len(values) == entries, field,
                     f"{0 if values is None else len(values)} entries", f"{entries}")
        require_dosages("dosages", self.dosages)
        if self.haplotypes is not None:
            _require(self.haplotypes.shape == (2 * people, snps), "haplotypes",
                     f"shape {self.haplotypes.shape}", f"{(2 * people, snps)}")
            pairs = self.haplotypes[0::2] + self.haplotypes[1::2]
            _require(np.array_equal(pairs, self.dosages), "haplotypes", "rows that do not add up",
                     "rows 2i and 2i + 1 whose sum is row i of dosages")
        backwards = np.lexsort((self.position, self.chromosome)) != np.arange(snps)
        _require(not backwards.any(), "position", "SNPs out of order",
                 "SNPs ordered by chromosome and position")
        _require(self.tag in TAGS, "tag", repr(self.tag), f"one of {TAGS}")

    def __len__(self) -> int:
        return len(self.dosages)

    @property
    def snps(self) -> int:
        """The number of SNPs."""
        return self.dosages.shape[1]

    @property
    def frequencies(self) -> np.ndarray:
        """The share of ``alt`` among the panel's alleles, float64, shape (snps,)."""
        return self.dosages.mean(axis=0, dtype=np.float64) / 2

    @property
    def minor(self) -> np.ndarray:
        """The frequency of the rarer allele, float64, shape (snps,)."""
        return np.minimum(self.frequencies, 1 - self.frequencies)

    @property
    def provenance(self) -> str:
        """One line to print once in a lab or under a figure."""
        return f"{self.tag} {self.name}, {self.licence}"

    def take(self, people=slice(None), snps=slice(None)) -> Panel:
        """The people and SNPs at these integers, mask or slice; provenance unchanged."""
        rows = np.arange(len(self))[people]
        columns = np.arange(self.snps)[snps]
        both = np.stack([2 * rows, 2 * rows + 1], axis=1).ravel()
        return replace(
            self, dosages=self.dosages[np.ix_(rows, columns)], people=self.people[rows],
            ancestries=self.ancestries[rows], chromosome=self.chromosome[columns],
            position=self.position[columns], ref=self.ref[columns], alt=self.alt[columns],
            centimorgans=None if self.centimorgans is None else self.centimorgans[columns],
            haplotypes=None if self.haplotypes is None else self.haplotypes[np.ix_(both, columns)],
        )


def aligned(panel: Panel, like: Panel) -> Panel:
    """``panel`` at the SNPs of ``like``, in its order, counting the same allele.

    SNPs are matched by chromosome and position. Where the two name the alleles the other way
    round, dosages become 2 - x and haplotypes 1 - h. Raises ``ValueError`` for a SNP of ``like``
    that ``panel`` lacks or of which it has other alleles. Alleles read from opposite strands of
    an A/T or C/G SNP cannot be told from swapped ones: check frequencies where panels differ.
    """
    place = {site: k for k, site in enumerate(_sites(panel))}
    missing = [key for key in _sites(like) if key not in place]
    _require(not missing, "panel", f"no SNP at {_named(missing)}", "every SNP of like")
    found = panel.take(snps=np.array([place[key] for key in _sites(like)], dtype=np.int64))
    same = (found.ref == like.ref) & (found.alt == like.alt)
    swapped = (found.ref == like.alt) & (found.alt == like.ref)
    other = [key for key, known in zip(_sites(like), same | swapped, strict=True) if not known]
    _require(not other, "panel", f"other alleles at {_named(other)}", "the alleles of like")
    haplotypes = found.haplotypes
    if haplotypes is not None:
        haplotypes = np.where(swapped, 1 - haplotypes, haplotypes)
    return replace(found, dosages=np.where(swapped, 2 - found.dosages, found.dosages),
                   ref=like.ref, alt=like.alt, haplotypes=haplotypes)


def standardised(dosages: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """(x - 2f) / sqrt(2 f (1 - f)): mean 0 and variance 1 under random mating; float32.

    Shapes: dosages (n, snps), frequencies (snps,). Raises ``ValueError`` for dosages outside 0 to
    2 and for SNPs of which ``frequencies`` knows one allele only: they have no variance.
    """
    require_dosages("dosages", dosages)
    frequencies = np.asarray(frequencies, dtype=np.float64)
    fixed = np.flatnonzero(~((frequencies > 0) & (frequencies < 1)))
    _require(not len(fixed), "frequencies", f"0, 1 or no number at SNPs {fixed[:5].tolist()}",
             "numbers between 0 and 1: leave monomorphic SNPs out")
    spread = np.sqrt(2 * frequencies * (1 - frequencies))
    return ((dosages - 2 * frequencies) / spread).astype(np.float32)


def require_dosages(argument: str, dosages: np.ndarray) -> None:
    """Raise ``ValueError`` that names ``argument`` unless every entry is 0, 1 or 2."""
    wrong = ~np.isin(dosages, (0, 1, 2))
    if wrong.any():
        raise ValueError(f"{argument}: {np.asarray(dosages)[wrong].ravel()[0]} among "
                         f"{int(wrong.sum())} entries that are no dosage, expected 0, 1 or 2; "
                         "missing calls must be left out or filled first")


def _sites(panel: Panel) -> list[tuple[int, int, frozenset]]:
    """What tells SNPs apart: place and the two alleles, either way round where place is shared."""
    places = list(zip(panel.chromosome.tolist(), panel.position.tolist(), strict=True))
    shared = {place for place, after in pairwise(places) if place == after}
    return [(*place, frozenset((r, a)) if place in shared else frozenset())
            for place, r, a in zip(places, panel.ref.tolist(), panel.alt.tolist(), strict=True)]


def _named(sites: list[tuple[int, int, frozenset]]) -> str:
    names = [f"{chromosome}:{position}" for chromosome, position, _ in sites]
    return ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)


def _require(holds: bool, argument: str, given: str, expected: str) -> None:
    if not holds:
        raise ValueError(f"{argument}: {given} given, expected {expected}")
