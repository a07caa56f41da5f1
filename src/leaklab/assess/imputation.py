"""The scene of chapter 14: people held out of a public panel, some of whose SNPs are hidden.

The same people and SNPs for whatever is measured on a seed; the sets of SNPs that are kept are
nested. Nothing is linked to a real person: victims are coded samples of a public panel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from leaklab.attacks import imputation
from leaklab.data.genomes import chr20, chr22
from leaklab.data.genomes.panel import Panel
from leaklab.metrics import genotypes

VICTIMS = 50
METHODS = ("phased", "unphased", "linear", "tag", "frequency")
SCORES = ("accuracy", "concordance", "r2_low", "r2_common")


@dataclass(frozen=True)
class Task:
    """A public ``panel``, ``victims`` at the same SNPs, and which of these are known of them.

    ``observed`` and ``hidden`` are growing indices that together are all SNPs.
    """

    panel: Panel
    victims: Panel
    observed: np.ndarray
    hidden: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """The victims' genotypes at the observed SNPs, (victims, observed)."""
        return self.victims.dosages[:, self.observed]


@functools.cache
def chromosome(name: str) -> Panel:
    """The phased 300 of ``"chr20"``, or the unphased 378 of ``"chr22"``."""
    return {"chr20": lambda: chr20.load()[0], "chr22": chr22.load}[name]()


def held_out(seed: int, share: float = 0.1, *, source: str = "chr20",
             people: int | None = None) -> Task:
    """Fifty people drawn out of the panel, a ``share`` of whose SNPs is kept.

    The first ``people`` of the others, or all, are the panel. Raises ``ValueError`` for a share
    that leaves no SNP known or none hidden.
    """
    whole, rng = chromosome(source), np.random.default_rng(seed)
    drawn, order = rng.permutation(len(whole)), rng.permutation(whole.snps)
    panel = drawn[VICTIMS:] if people is None else drawn[VICTIMS:VICTIMS + people]
    return task(whole.take(people=panel), whole.take(people=drawn[:VICTIMS]),
                order[:round(share * whole.snps)])


def task(panel: Panel, victims: Panel, kept: np.ndarray) -> Task:
    """A task in which the SNPs ``kept`` (indices in any order) are known."""
    observed = np.unique(kept)
    hidden = np.setdiff1d(np.arange(panel.snps), observed)
    if not len(observed) or not len(hidden):
        raise ValueError(f"kept: {len(observed)} of {panel.snps} SNPs given, expected some known "
                         "and some hidden")
    return Task(panel, victims, observed, hidden)


def scores(dosages: np.ndarray, given: Task) -> dict[str, float]:
    """Means over the victims, or SNPs, of the scores of :data:`SCORES` at the hidden SNPs.

    ``dosages`` (victims, SNPs) may be of the first victims only.
    """
    truth = given.victims.dosages[:len(dosages)][:, given.hidden]
    guess = dosages[:, given.hidden]
    low, common = genotypes.dosage_r2(guess, truth, given.panel.minor[given.hidden],
                                      edges=(0.0, 0.05, 0.5))
    return {"accuracy": float(genotypes.accuracy(guess, truth).mean()),
            "concordance": float(np.nanmean(genotypes.non_reference_concordance(guess, truth))),
            "r2_low": float(low), "r2_common": float(common)}


def guessed(method: str, given: Task, victims: int | None = None, **settings: object) -> np.ndarray:
    """Dosages (victims, SNPs) of the first ``victims`` by a method.

    ``"phased"`` (haplotypes known), ``"unphased"``, ``"linear"``, ``"tag"`` or ``"frequency"``; the
    first two take the settings of :mod:`leaklab.attacks.imputation`. Raises ``ValueError`` for
    another method, or for these two where the panel is not phased.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} given, expected one of {METHODS}")
    panel, known = given.panel, given.known[:victims]
    if method in METHODS[:2] and panel.haplotypes is None:
        raise ValueError(f"method: {method!r} given with an unphased panel, expected one of "
                         f"{METHODS[2:]}")
    chain = (panel.haplotypes, given.observed)
    if method == "phased":
        alleles = given.victims.haplotypes[:2 * len(known), given.observed]
        copies = imputation.haploid(*chain, alleles, panel.centimorgans, **settings)
        return copies[0::2] + copies[1::2]
    return {
        "unphased": lambda: imputation.diploid(*chain, known, panel.centimorgans, **settings),
        "linear": lambda: imputation.by_linear(panel.dosages, given.observed, known,
                                               panel.centimorgans),
        "tag": lambda: imputation.by_tag(panel.dosages, given.observed, known),
        "frequency": lambda: imputation.by_frequency(panel.frequencies, len(known)),
    }[method]()


def without_linkage(panel: Panel, rng: np.random.Generator) -> Panel:
    """The panel with the alleles of each SNP dealt anew: frequencies stay, linkage goes."""
    haplotypes = rng.permuted(panel.haplotypes, axis=0)
    dosages = haplotypes[0::2] + haplotypes[1::2]
    return Panel(**vars(panel) | {"haplotypes": haplotypes, "dosages": dosages})
