"""Study 14, relatives: whom a recovered genome leads to, and how many SNPs that takes.

    kinship    KING-robust of gene-dropped pairs: mean, spread, right degree, by number of SNPs
    search     a relative among 2,254 real people who are none of the victim's family
    nobody     the same search where no relative is there, or no genome: false alarms
    errors     the search with a genome whose alleles are partly wrong
    guessed    with a genome partly filled in by frequency, or with these SNPs left out
    ancestry   what strangers of one or two ancestries seem to be

Victims and relatives descend from 250 Europeans of the panel by gene dropping; the database is
everybody else. A trial is one seed: it deals the Europeans anew, draws the families and the SNPs.
A search that claims nothing below a kinship has its limit from seeds 100 to 103, fifty deals each,
where it raised a false alarm in one of a hundred searches, of 20,000 (95 % interval over deals: 0.8
to 1.2 of a hundred). All deals are of the same 503 Europeans.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import leaklab
from leaklab.attacks.kinship import (
    DEGREES,
    MISSING,
    degree,
    king_robust,
    opposite_homozygotes,
    ranks,
)
from leaklab.data.genomes import families, sites
from leaklab.data.genomes.panel import Panel
from leaklab.evidence import Evidence
from leaklab.metrics import mean_interval
from studies import by_condition, victims_interval

SEEDS = tuple(range(20))
TUNING = (100, 101, 102, 103)
MAF, FOUNDERS = 0.05, 250
SNPS = (100, 300, 1000, 3000, 11_235)  # the last: every site at which Europeans vary so much
PAIRS, VICTIMS, TOP = 100, 50, 10
RELATIONS = tuple(families.RELATIONS)
SEARCHED = RELATIONS[:-1]
REDEALT = 50
LIMITS = {100: 0.2685, 300: 0.1712, 1000: 0.1002, 3000: 0.0608, 11_235: 0.0346}
# standard errors of the limits, by the bootstrap over deals
LIMIT_ERRORS = {100: 0.0008, 300: 0.0008, 1000: 0.0006, 3000: 0.0005, 11_235: 0.0002}
COMMON = 0.2
ERRORS = (0.0, 0.01, 0.05, 0.1, 0.2)
GUESSED = (0.1, 0.25, 0.5, 0.9)
DAMAGED = ("parent", "sibling", "cousin")
STRANGERS = 100
DATABASE = 2504 - FOUNDERS
RIVALS = 503 - FOUNDERS  # Europeans of the database; who is not one stands out by ancestry
Seed = int | tuple[int, ...]


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "kinship", "relation": relation} for relation in RELATIONS]
    settings += [{"part": "search", "relation": relation} for relation in SEARCHED]
    settings += [{"part": "nobody"}]
    settings += [{"part": part, "relation": relation} for part in ("errors", "guessed")
                 for relation in DAMAGED]
    settings += [{"part": "ancestry"}]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    measure = {"kinship": measure_kinship, "search": measure_search, "errors": measure_errors,
               "guessed": measure_guessed}
    if setting["part"] == "nobody":
        return measure_nobody(setting["seed"])
    if setting["part"] == "ancestry":
        return measure_ancestry(setting["seed"])
    return measure[setting["part"]](setting["relation"], setting["seed"])


# --- People -----------------------------------------------------------------------------------


@functools.cache
def panel() -> Panel:
    """All 2,504 people at the sites where Europeans vary."""
    whole = sites.load()
    europeans = whole.take(people=whole.ancestries == "EUR")
    return whole.take(snps=europeans.minor >= MAF)


def europeans_minor() -> np.ndarray:
    """The rarer allele's frequency among Europeans."""
    return panel().take(people=panel().ancestries == "EUR").minor


@functools.cache
def commonest() -> np.ndarray:
    """The commonest genotype among Europeans at each SNP: a genome guessed from nothing."""
    europeans = panel().dosages[panel().ancestries == "EUR"]
    return np.stack([(europeans == copies).sum(0) for copies in range(3)]).argmax(0)


@dataclass(frozen=True)
class Deal:
    """One seed's founders (haplotypes, phase drawn), everybody else, and the order of the SNPs."""

    founders: np.ndarray
    database: np.ndarray
    order: np.ndarray
    rng: np.random.Generator


def deal(seed: Seed, *key: int) -> Deal:
    """The same people and SNPs for all that is measured on a seed; ``key`` moves later draws."""
    people, rng = panel(), np.random.default_rng(seed)
    europeans = rng.permutation(np.flatnonzero(people.ancestries == "EUR"))
    others = np.setdiff1d(np.arange(len(people)), europeans[:FOUNDERS])
    founders = families.random_phase(people.dosages[europeans[:FOUNDERS]], rng)
    order = rng.permutation(people.snps)
    return Deal(founders, people.dosages[others], order, np.random.default_rng((seed, 1, *key)))


def drawn(relation: str, seed: Seed, number: int) -> tuple[Deal, np.ndarray, np.ndarray]:
    """A deal, victims and their relatives."""
    dealt = deal(seed, RELATIONS.index(relation))
    chances = families.recombination(panel())
    return dealt, *families.pairs(relation, dealt.founders, chances, number, dealt.rng)


# --- Measures ---------------------------------------------------------------------------------


def own(measure, victims: np.ndarray, relatives: np.ndarray) -> np.ndarray:
    """``measure`` of each victim and its own relative."""
    return np.diag(measure(victims, relatives))


def measure_kinship(relation: str, seed: int) -> dict:
    """Of pairs, at nested sets of SNPs."""
    dealt, victims, relatives = drawn(relation, seed, PAIRS)
    expected = degree(families.RELATIONS[relation])
    found = {}
    for number in SNPS:
        seen = dealt.order[:number]
        phi = own(king_robust, victims[:, seen], relatives[:, seen])
        found |= {f"{number}_mean": phi.mean(), f"{number}_sd": phi.std(ddof=1),
                  f"{number}_right": (degree(phi) == expected).mean()}
    found[f"{SNPS[-1]}_opposite"] = own(opposite_homozygotes, victims, relatives).mean()
    return plain(found)


def searched(victims: np.ndarray, relatives: np.ndarray,
             database: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each victim's relative the place among all, 1 the first; its kinship, and that of the
    closest stranger."""
    strangers, phi = king_robust(victims, database), own(king_robust, victims, relatives)
    place = ranks(np.column_stack([strangers, phi]), np.full(len(phi), len(database)))
    return place, phi, strangers.max(1)


def measure_search(relation: str, seed: int) -> dict:
    """A planted relative, at nested sets of SNPs; with and without a limit to what is claimed."""
    dealt, victims, relatives = drawn(relation, seed, VICTIMS)
    found = {}
    for number in SNPS:
        seen = dealt.order[:number]
        place, phi, _ = searched(victims[:, seen], relatives[:, seen], dealt.database[:, seen])
        found |= {f"{number}_first": (place == 1).mean(), f"{number}_top": (place <= TOP).mean(),
                  f"{number}_claimed": ((place == 1) & (phi >= LIMITS[number])).mean()}
    return plain(found)


def damaged(genomes: np.ndarray, relatives: np.ndarray, database: np.ndarray) -> dict:
    """What a search says of a genome that is not quite the victim's."""
    place, phi, stranger = searched(genomes, relatives, database)
    return {"first": (place == 1).mean(), "phi": phi.mean(), "stranger": stranger.mean(),
            "third": (stranger >= DEGREES[3]).mean()}


def closest_strangers(seed: Seed, number: int) -> np.ndarray:
    """The highest kinship to anybody in the database, for people without family there, (SNPs, n).

    These are themselves drawn from the founders' children, as the victims of a search are.
    """
    dealt, victims, _ = drawn("parent", seed, number)
    return np.array([king_robust(victims[:, seen], dealt.database[:, seen]).max(1)
                     for seen in (dealt.order[:number] for number in SNPS)])


def measure_nobody(seed: int) -> dict:
    """False alarms."""
    found = {}
    for number, highest in zip(SNPS, closest_strangers(seed, PAIRS), strict=True):
        found |= {f"{number}_highest": highest.mean(),
                  f"{number}_third": (highest >= DEGREES[3]).mean(),
                  f"{number}_alarm": (highest >= LIMITS[number]).mean()}
    dealt, common = deal(seed), europeans_minor() >= COMMON
    for name, kept in (("all", slice(None)), ("common", common)):
        phi = king_robust(commonest()[None, kept], dealt.database[:, kept])
        found |= {f"nothing_{name}_mean": phi.mean(), f"nothing_{name}_highest": phi.max()}
    return plain(found)


def measure_errors(relation: str, seed: int) -> dict:
    """Every allele of the victim is, with some chance, replaced by one drawn by its frequency."""
    dealt, victims, relatives = drawn(relation, seed, VICTIMS)
    frequencies, found = panel().frequencies, {}
    for rate in ERRORS:
        alleles = families.random_phase(victims, dealt.rng)
        wrong = dealt.rng.random(alleles.shape) < rate
        drawn_anew = dealt.rng.random(alleles.shape) < frequencies
        seen = np.where(wrong, drawn_anew, alleles).sum(1)
        outcome = damaged(seen, relatives, dealt.database)
        outcome["accuracy"] = (seen == victims).mean()
        found |= {f"{rate:g}_{name}": value for name, value in outcome.items()}
    return plain(found)


def measure_guessed(relation: str, seed: int) -> dict:
    """A share of the SNPs is not known: filled with the commonest genotype, or left out."""
    dealt, victims, relatives = drawn(relation, seed, VICTIMS)
    found = {}
    for share in GUESSED:
        unknown = dealt.order[:round(share * len(dealt.order))]
        for way, filling in (("filled", commonest()[unknown]), ("left_out", MISSING)):
            seen = victims.astype(np.int8)
            seen[:, unknown] = filling
            outcome = damaged(seen, relatives, dealt.database)
            found |= {f"{way}_{share:g}_{name}": value for name, value in outcome.items()}
    return plain(found)


def measure_ancestry(seed: int) -> dict:
    """Kinship of unrelated people, by the ancestries of both."""
    people, rng = panel(), np.random.default_rng(seed)
    groups = {group: people.dosages[rng.permutation(np.flatnonzero(people.ancestries == group))
                                    [:STRANGERS]] for group in ("AFR", "AMR", "EAS", "EUR", "SAS")}
    found = {}
    for group, some in groups.items():
        within = king_robust(some, some)[np.triu_indices(STRANGERS, 1)]
        across = king_robust(groups["EUR"], some)
        found |= {f"{group}_within": np.median(within), f"{group}_within_sd": within.std(),
                  f"{group}_third": (within >= DEGREES[3]).mean()}
        if group != "EUR":
            found[f"{group}_across"] = np.median(across)
    return plain(found)


def plain(found: Mapping) -> dict:
    """Plain numbers, as they are recorded."""
    return {name: float(value) for name, value in found.items()}


def limits(rate: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """How ``LIMITS`` and ``LIMIT_ERRORS`` were found: a quantile, and its bootstrap over deals."""
    highest = np.stack([closest_strangers((seed, 2, again), PAIRS) for seed in TUNING
                        for again in range(REDEALT)], axis=1)
    draws = np.random.default_rng(TUNING).integers(highest.shape[1], size=(400, highest.shape[1]))
    bootstrap = [np.quantile(highest[:, draw], 1 - rate, axis=(1, 2)) for draw in draws]
    return np.quantile(highest, 1 - rate, axis=(1, 2)), np.std(bootstrap, axis=0, ddof=1)


# --- From trials to evidence ------------------------------------------------------------------

SAID = {
    "mean": ("kinship", "mean kinship of pairs"),
    "sd": ("kinship", "spread of the kinship of pairs"),
    "right": ("share of pairs", "pairs whose degree is read rightly"),
    "opposite": ("share of SNPs", "SNPs at which the pair has opposite homozygotes"),
    "first": ("share of victims", "victims whose relative comes first"),
    "top": ("share of victims", f"victims whose relative is among the first {TOP}"),
    "claimed": ("share of victims", "victims whose relative comes first and above the limit"),
    "phi": ("kinship", "mean kinship of victim and relative"),
    "stranger": ("kinship", "mean kinship of victim and closest stranger"),
    "third": ("share of searches", "searches in which a stranger seems of third degree or closer"),
    "highest": ("kinship", "mean of the highest kinship in a search"),
    "alarm": ("share of searches", "searches with a false alarm at the limit"),
    "accuracy": ("share of SNPs", "genotypes of the damaged genome that are right"),
    "within": ("kinship", "median kinship of strangers of one ancestry"),
    "across": ("kinship", "median kinship of strangers, one of them European"),
}
SEARCHES = ("first", "top", "claimed")


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and measure, from the trials of all seeds."""
    return [describe(setting, outcomes, name) for setting, outcomes in by_condition(results)
            for name in outcomes[0]]


def describe(setting: dict, outcomes: list[dict], name: str) -> Evidence:
    """Evidence of one measure."""
    runs = tuple(outcome[name] for outcome in outcomes)
    kind = "sd" if name.endswith("sd") else name.rpartition("_")[2]
    unit, said = SAID[kind]
    size = PAIRS if setting["part"] in ("kinship", "nobody") else VICTIMS
    counted = unit in ("share of pairs", "share of victims", "share of searches")
    interval, way = victims_interval(runs, size) if counted else (mean_interval(runs),
                                                                  "95 % t over trials")
    words = [setting["part"], *setting.get("relation", "").split(), name]
    baseline, whose = baseline_of(kind)
    relation = f", relation {setting['relation']}" if "relation" in setting else ""
    people = panel()
    return Evidence(
        name="_".join(word for word in words if word), value=float(np.mean(runs)), unit=unit,
        statement=f"{said.capitalize()}; {setting['part']}{relation}, {name}.", runs=runs,
        interval=interval, baseline=baseline, baseline_kind=whose, seeds=SEEDS,
        interval_kind=way,
        data=people.provenance, data_sha256=people.sha256, scale="fast",
        version=leaklab.__version__, setting=conditions(setting, name),
        view="server" if kind in SEARCHES else None,
        privacy_unit="relative" if kind in SEARCHES else None)


def baseline_of(kind: str) -> tuple[float | None, str]:
    """What needs no genome of the victim."""
    if kind in SEARCHES:
        return (TOP if kind == "top" else 1) / (RIVALS + 1), "a European of the database at random"
    if kind == "right":
        return 1 / (len(DEGREES) + 1), "one of five degrees at random"
    return None, "none: not a success of the attack"


def conditions(setting: dict, name: str) -> dict:
    """Everything a rerun needs."""
    first = name.split("_")[0]
    plan = {"maf": MAF, "founders": FOUNDERS, "database": DATABASE, "europeans": RIVALS,
            "pairs": PAIRS, "victims": VICTIMS, **setting}
    if "relation" in setting:
        plan["expected"] = families.RELATIONS[setting["relation"]]
    if first.isdigit() and setting["part"] in ("kinship", "search", "nobody"):
        plan |= {"snps": int(first), "limit": LIMITS[int(first)],
                 "limit_error": LIMIT_ERRORS[int(first)]}
    if setting["part"] == "errors":
        plan["allele_error"] = float(first)
    if setting["part"] == "guessed":
        plan |= {"unknown": float(name.split("_")[-2]), "way": name.partition("_0")[0]}
    return plan
