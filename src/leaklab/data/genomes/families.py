"""Relatives made from people of a public panel by gene dropping: no real family is used.

A child gets one gamete of each parent; a gamete follows one of the parent's two chromosomes and
changes to the other at crossovers, which fall independently of each other (Haldane 1919). Where a
founder's phase is not known it is drawn at random: relatives then share the right length of the
genome, but long haplotypes of the founders are not those of any person.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from leaklab.data.genomes.panel import Panel, require_dosages

MORGANS_PER_BASE = 1.2e-8  # the human average, for panels without a genetic map

RELATIONS: Mapping[str, float] = MappingProxyType({
    "self": 1 / 2, "parent": 1 / 4, "sibling": 1 / 4, "half-sibling": 1 / 8, "avuncular": 1 / 8,
    "cousin": 1 / 16, "cousin once removed": 1 / 32, "second cousin": 1 / 64, "unrelated": 0.0,
})
"""Kinship of the pairs that :func:`pairs` makes: the chance that alleles drawn from the two, one
each, descend from the same copy."""

FOUNDERS = {"self": 1, "parent": 2, "sibling": 2, "half-sibling": 3, "avuncular": 3, "cousin": 4,
            "cousin once removed": 5, "second cousin": 6, "unrelated": 2}


def recombination(panel: Panel) -> np.ndarray:
    r"""Chance of an odd number of crossovers before each SNP, float64, shape (snps,).

    :math:`(1 - e^{-2d}) / 2` for d Morgans since the SNP before (Haldane 1919), and 1/2 at the
    first of a chromosome. Distances are of the genetic map, else 1.2 centimorgans a megabase.
    """
    if panel.centimorgans is None:
        morgans = panel.position * MORGANS_PER_BASE
    else:
        morgans = panel.centimorgans / 100
    distance = np.diff(morgans, prepend=0.0)
    if (distance[1:][np.diff(panel.chromosome) == 0] < 0).any():
        raise ValueError("panel: a genetic map that goes backwards given, expected centimorgans "
                         "that never fall along a chromosome")
    chance = (1 - np.exp(-2 * distance)) / 2
    chance[np.flatnonzero(np.diff(panel.chromosome, prepend=-1))] = 0.5
    return chance


def random_phase(dosages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (n, 2, snps) that sums to ``dosages`` (n, snps), each heterozygote either way."""
    require_dosages("dosages", dosages)
    first = (dosages == 2) | ((dosages == 1) & (rng.random(dosages.shape) < 0.5))
    return np.stack([first, dosages - first], axis=1).astype(np.uint8)


def gamete(
    haplotypes: np.ndarray, recombination: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One gamete of each parent: uint8 (n, 2, snps) to (n, snps)."""
    if haplotypes.ndim != 3 or haplotypes.shape[1:] != (2, len(recombination)):
        raise ValueError(f"haplotypes: shape {haplotypes.shape} given, expected "
                         f"(n, 2, {len(recombination)})")
    switches = rng.random((len(haplotypes), len(recombination))) < recombination
    follows = np.cumsum(switches, axis=1) % 2 == 1
    return np.where(follows, haplotypes[:, 1], haplotypes[:, 0])


def child(mothers: np.ndarray, fathers: np.ndarray, recombination: np.ndarray,
          rng: np.random.Generator) -> np.ndarray:
    """One child of each pair of parents: uint8, all of shape (n, 2, snps)."""
    return np.stack([gamete(mothers, recombination, rng), gamete(fathers, recombination, rng)],
                    axis=1)


def pairs(
    relation: str, founders: np.ndarray, recombination: np.ndarray, number: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Dosages uint8 (number, snps) of ``number`` victims and of one relative of each.

    ``relation`` is one of :data:`RELATIONS`, said of the relative: ``"parent"`` is the victim's
    parent, ``"avuncular"`` an aunt or uncle, ``"cousin once removed"`` a child of a cousin.
    ``founders``, uint8 (k, 2, snps), are drawn without replacement within a pair and anew for the
    next. Raises ``ValueError`` for an unknown relation or too few founders.
    """
    if relation not in RELATIONS:
        raise ValueError(f"relation: {relation!r} given, expected one of {list(RELATIONS)}")
    needed = FOUNDERS[relation]
    if len(founders) < needed:
        raise ValueError(f"founders: {len(founders)} given, expected {needed} or more for a pair "
                         f"related as {relation!r}")
    drawn = np.stack([rng.permutation(len(founders))[:needed] for _ in range(number)])
    a, b, *others = (founders[column] for column in drawn.T) if needed > 1 else (
        founders[drawn[:, 0]], None)

    def of(mothers: np.ndarray, fathers: np.ndarray) -> np.ndarray:
        return child(mothers, fathers, recombination, rng)

    match relation:
        case "self":
            victims, relatives = a, a
        case "unrelated":
            victims, relatives = a, b
        case "parent":
            victims, relatives = of(a, b), a
        case "sibling":
            victims, relatives = of(a, b), of(a, b)
        case "half-sibling":
            victims, relatives = of(a, b), of(a, others[0])
        case "avuncular":
            victims, relatives = of(of(a, b), others[0]), of(a, b)
        case _:  # cousins: each the child of one of two siblings
            victims, relatives = of(of(a, b), others[0]), of(of(a, b), others[1])
    if relation in ("cousin once removed", "second cousin"):
        relatives = of(relatives, others[2])
    if relation == "second cousin":
        victims = of(victims, others[3])
    return victims.sum(axis=1, dtype=np.uint8), relatives.sum(axis=1, dtype=np.uint8)
