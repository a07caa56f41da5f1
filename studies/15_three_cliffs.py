"""Study 15, three cliffs: one patient's clipped gradient, and what noise takes from an observer.

    cliffs      a real European of the panel: the genotypes, which of 2,504 it is, was it there
    relatives   a gene-dropped victim: its parent, sibling or cousin among 2,255
    ld          a real European of chromosome 20: the genotypes again, by means of linked SNPs

A model of one layer takes one step on one patient; the gradient is clipped to a norm of 1, and
noise of standard deviation z falls on each entry. That is Gaussian differential privacy with
mu = 1/z for this one step, and says nothing of a training run. With x the standardised genotypes
and v = (x, 1), the label tells the sign and the observer sees u = v/|v| + z n. So u times the
direction of another person is 1 for the patient itself, about 2 phi for a relative of kinship phi
and about 0 for a stranger, each with noise z, however many SNPs there are; while one genotype has
noise of z |v| standard deviations.

A trial is one seed, which draws people and noise. The rule by which a match is claimed is theory,
and nothing was tuned.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.special import ndtr, ndtri

import leaklab
from leaklab.attacks.imputation import by_frequency, by_prior, decode
from leaklab.attacks.imputation.baselines import genotype_probabilities
from leaklab.attacks.kinship import ranks, top_one
from leaklab.bounds import auc_ceiling
from leaklab.data.genomes import chr20, families, sites
from leaklab.data.genomes.panel import Panel, standardised
from leaklab.defences.record_level import RecordLevel
from leaklab.evidence import Evidence
from leaklab.metrics import mean_interval
from leaklab.metrics.genotypes import accuracy, exact
from leaklab.metrics.roc import auc, operating_point
from leaklab.runtime import generator
from studies import by_condition, victims_interval

SEEDS = tuple(range(20))
NOISE = tuple(round(10 ** (-3 + k / 4), 5) for k in range(15))  # 0.001 to 3.16
MAF, VICTIMS, OTHERS, FOUNDERS = 0.05, 40, 200, 250
FEWER, FEW = 8, 5  # seeds and victims where linked SNPs are decoded
LD_NOISE = NOISE[3:10]
RELATIONS = ("parent", "sibling", "cousin")
SIZES = (1000, 11_235)
FPR = 0.01
SAME = 0.75  # half way between a parent, 1/2, and the patient itself, 1


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "cliffs", "snps": snps} for snps in SIZES]
    settings += [{"part": "relatives", "relation": relation} for relation in RELATIONS]
    linked_snps = [{"part": "ld", "seed": seed} for seed in SEEDS[:FEWER]]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS] + linked_snps


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    if setting["part"] == "relatives":
        return measure_relatives(setting["relation"], setting["seed"])
    if setting["part"] == "ld":
        return measure_ld(setting["seed"])
    return measure_cliffs(setting["snps"], setting["seed"])


# --- People and what they send ----------------------------------------------------------------


@functools.cache
def panel() -> Panel:
    """All 2,504 people at the sites where Europeans vary."""
    whole = sites.load()
    return whole.take(snps=whole.take(people=whole.ancestries == "EUR").minor >= MAF)


@functools.cache
def common() -> np.ndarray:
    """Frequencies among the panel's Europeans, by which the model's inputs are standardised."""
    return panel().take(people=panel().ancestries == "EUR").frequencies


def with_bias(dosages: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Standardised genotypes and a 1: what the gradient of one record is parallel to."""
    return np.column_stack([standardised(dosages, frequencies), np.ones(len(dosages))]).astype("f4")


def directions(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def released(rows: np.ndarray, noise: float, draw: torch.Generator) -> np.ndarray:
    """What each patient's step gives away through the defence, turned by its label, (n, p + 1).

    The gradient of the logistic loss at a new model, all weights 0, is (1/2 - label) (x, 1).
    """
    defence = RecordLevel(max_grad_norm=1.0, noise_multiplier=noise)
    sign = torch.randint(2, (len(rows), 1), generator=draw) - 0.5
    gradients = sign * torch.from_numpy(rows)
    seen = torch.stack([defence.mean(gradient[None], draw) for gradient in gradients])
    return (2 * sign * seen).numpy()


# --- What the observer makes of it ------------------------------------------------------------


def scale(seen: np.ndarray, public: np.ndarray, noise: float) -> np.ndarray:
    """1/|v| of each patient: its last entry is that plus noise, and public people know about it."""
    known = 1 / np.linalg.norm(public, axis=1)
    weight = known.var() / (known.var() + noise**2)
    return weight * seen[:, -1] + (1 - weight) * known.mean()


def dosages_of(seen: np.ndarray, lengths: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Copies of the allele with noise, (n, p)."""
    spread = np.sqrt(2 * frequencies * (1 - frequencies))
    return 2 * frequencies + spread * seen[:, :-1] / lengths[:, None]


def expected_accuracy(frequencies: np.ndarray, sd: np.ndarray) -> float:
    """Of the likeliest genotype, by theory: where the three posteriors cross."""
    chance = genotype_probabilities(frequencies).T
    low = 0.5 + sd**2 * np.log(chance[0] / chance[1])
    high = 1.5 + sd**2 * np.log(chance[1] / chance[2])
    never = 1 + 0.5 * sd**2 * np.log(chance[0] / chance[2])  # one copy is then never the best
    low, high = np.where(low < high, low, never), np.where(low < high, high, never)
    right = chance[0] * ndtr(low / sd) + chance[2] * ndtr((2 - high) / sd)
    right += chance[1] * (ndtr((high - 1) / sd) - ndtr((low - 1) / sd))
    return float(right.mean())


def limit(noise: float, candidates: int, strangers: float = 0.0) -> float:
    """Above it, one stranger in so many ``candidates`` falls in 1 of 100 searches."""
    return float(-ndtri(FPR / candidates) * math.hypot(noise, strangers))


# --- Measures ---------------------------------------------------------------------------------


def measure_cliffs(snps: int, seed: int) -> dict:
    """Genotypes, place in the panel, and membership of real Europeans."""
    people, rng = panel(), np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(people.snps)[:snps])
    frequencies, rows = common()[chosen], with_bias(people.dosages[:, chosen], common()[chosen])
    order = rng.permutation(np.flatnonzero(people.ancestries == "EUR"))
    victims, others = order[:VICTIMS], order[VICTIMS:VICTIMS + OTHERS]
    unit, draw, found = directions(rows), generator(seed, "cliffs", snps), {}
    for noise in NOISE:
        seen = released(rows[victims], noise, draw)
        lengths = scale(seen, rows[order[VICTIMS:]], noise)
        read = reading(seen, lengths, noise, frequencies, people.dosages[np.ix_(victims, chosen)])
        similar = seen @ unit.T
        outcome = {**read, **linked(similar, victims, noise),
                   **membership(similar, victims, others)}
        found |= {f"{noise:g}_{name}": float(value) for name, value in outcome.items()}
    return found


def reading(seen: np.ndarray, lengths: np.ndarray, noise: float, frequencies: np.ndarray,
            truth: np.ndarray) -> dict:
    """Each genotype by itself: rounded, the likeliest, and without any gradient."""
    noisy = dosages_of(seen, lengths, frequencies)
    sd = noise * np.sqrt(2 * frequencies * (1 - frequencies)) / lengths[:, None]
    rounded = np.clip(np.rint(noisy), 0, 2)
    guess = by_frequency(frequencies, len(truth))
    return {"rounded": accuracy(rounded, truth).mean(), "exact": exact(rounded, truth).mean(),
            "likeliest": accuracy(by_prior(noisy, sd, frequencies), truth).mean(),
            "guess": accuracy(guess, truth).mean(),
            "theory": expected_accuracy(frequencies, sd.mean(0))}


def linked(similar: np.ndarray, victims: np.ndarray, noise: float) -> dict:
    """Which sample of the panel it is; and the same where the patient is not in the panel."""
    first = ranks(similar, victims) == 1
    least = max(SAME, limit(noise, similar.shape[1]))
    outside = similar.copy()
    outside[np.arange(len(victims)), victims] = -np.inf
    claims = similar.max(1) >= least
    return {"linked": first.mean(), "unlabelled": (ranks(np.abs(similar), victims) == 1).mean(),
            "claimed": (first & claims).mean(), "wrong": (~first & claims).mean(),
            "outside": (outside.max(1) >= least).mean()}


def membership(similar: np.ndarray, victims: np.ndarray, others: np.ndarray) -> dict:
    """Was it this person's gradient? Victims against other Europeans, by the likelihood ratio."""
    inside = similar[np.arange(len(victims)), victims]
    scores = torch.from_numpy(np.concatenate([inside, similar[:, others].ravel()]))
    members = torch.arange(len(scores)) < len(inside)
    return {"auc": auc(scores, members),
            "tpr": operating_point(scores, members, FPR).true_positive_rate}


def measure_relatives(relation: str, seed: int) -> dict:
    """The place of a victim's relative in the database, and of strangers where it is missing."""
    people, rng = panel(), np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(people.ancestries == "EUR"))
    founders = families.random_phase(people.dosages[order[:FOUNDERS]], rng)
    database = np.setdiff1d(np.arange(len(people)), order[:FOUNDERS])
    victims, relatives = families.pairs(relation, founders, families.recombination(people),
                                        VICTIMS, rng)
    rows = with_bias(victims, common())
    unit, own = (directions(with_bias(dosages, common()))
                 for dosages in (people.dosages[database], relatives))
    europeans = directions(with_bias(people.dosages[order[FOUNDERS:]], common()))
    strangers = (europeans @ europeans.T)[np.triu_indices(len(europeans), 1)].std()
    draw, found = generator(seed, "relatives", relation), {}
    for noise in NOISE:
        seen = released(rows, noise, draw)
        similar = np.column_stack([seen @ unit.T, (seen * own).sum(1)])
        first = ranks(similar, np.full(VICTIMS, len(unit))) == 1
        least = limit(noise, len(unit), strangers)
        found |= {f"{noise:g}_found": float(first.mean()),
                  f"{noise:g}_claimed": float((first & (similar[:, -1] >= least)).mean()),
                  f"{noise:g}_alarm": float((similar[:, :-1].max(1) >= least).mean())}
    return found


def measure_ld(seed: int) -> dict:
    """Genotypes of an array on one stretch of a chromosome, alone and as parts of haplotypes."""
    (reference, targets), array = chr20.load(), np.flatnonzero(chr20.array())
    frequencies = reference.frequencies[array]
    people = np.random.default_rng(seed).permutation(len(targets))[:FEW]
    truth = targets.dosages[np.ix_(people, array)]
    rows, public = (with_bias(dosages, frequencies)
                    for dosages in (truth, reference.dosages[:, array]))
    draw, found = generator(seed, "ld"), {}
    for noise in LD_NOISE:
        seen = released(rows, noise, draw)
        lengths = scale(seen, public, noise)
        noisy = dosages_of(seen, lengths, frequencies)
        sd = noise * np.sqrt(2 * frequencies * (1 - frequencies)) / lengths[:, None]
        _, chances = decode(reference.haplotypes, array, noisy, reference.centimorgans, noise=sd)
        outcome = reading(seen, lengths, noise, frequencies, truth)
        outcome["decoded"] = accuracy(chances.argmax(-1), truth).mean()
        found |= {f"{noise:g}_{name}": float(outcome[name])
                  for name in ("rounded", "likeliest", "decoded", "guess")}
    return found


# --- From trials to evidence ------------------------------------------------------------------

SAID = {
    "rounded": "genotypes that are right, rounded",
    "likeliest": "genotypes that are right, the likeliest at each SNP",
    "decoded": "genotypes that are right, decoded through linked SNPs",
    "guess": "genotypes that are right, guessed by frequency without any gradient",
    "exact": "victims all of whose genotypes are right when rounded",
    "linked": "victims whose own sample comes first among the panel's",
    "unlabelled": "the same where the observer does not know the label",
    "claimed": "victims who come first and are claimed as a match",
    "wrong": "victims for whom another sample is claimed as a match",
    "outside": "patients outside the panel for whom a sample of it is claimed",
    "auc": "AUC, the gradient of this patient against those of other Europeans",
    "tpr": f"true-positive rate at a false-positive rate of at most {FPR:g}, the same question",
    "found": "victims whose relative comes first in the database",
    "alarm": "victims for whom a stranger would be claimed as a relative",
}
NO_CLAIM = ("guess", "wrong", "outside", "alarm")


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and measure, from the trials of all seeds."""
    return [describe(setting, outcomes, name) for setting, outcomes in by_condition(results)
            for name in outcomes[0] if not name.endswith("theory")]


def describe(setting: dict, outcomes: list[dict], name: str) -> Evidence:
    """Evidence of one measure at one noise multiplier."""
    runs = tuple(outcome[name] for outcome in outcomes)
    noise, kind = name.split("_")
    what = setting.get("relation") or setting.get("snps")
    ld = setting["part"] == "ld"
    victims = FEW if ld else VICTIMS
    unit = ("AUC" if kind == "auc" else "share of SNPs"
            if kind in ("rounded", "likeliest", "decoded", "guess") else "share of victims")
    if unit == "share of victims":
        interval, way = victims_interval(runs, victims)
    else:
        low, high = mean_interval(runs)
        interval, way = (max(0.0, low), min(1.0, high)), "95 % t over trials, cut to 0 and 1"
    people = chr20.load()[1] if ld else panel()
    baseline, whose = baseline_of(setting, outcomes, noise, kind)
    return Evidence(
        name="_".join(map(str, (setting["part"], *([what] if what else []), name))),
        statement=f"{SAID[kind].capitalize()}; noise multiplier {noise}.",
        value=float(np.mean(runs)), unit=unit, interval=interval, interval_kind=way,
        baseline=baseline, baseline_kind=whose, runs=runs, seeds=SEEDS[:len(runs)],
        data=people.provenance, data_sha256=people.sha256, scale="fast",
        version=leaklab.__version__,
        setting={"noise_multiplier": float(noise), "max_grad_norm": 1.0, "mu": 1 / float(noise),
                 "maf": None if ld else MAF, "victims": victims, **setting,
                 "candidates": None if ld else candidates(setting),
                 "theory": theory(setting, outcomes, float(noise), kind)},
        view=None if kind in NO_CLAIM else "server", defence="clipping and noise for each record",
        privacy_unit=None if kind in NO_CLAIM else
        "relative" if setting["part"] == "relatives" else "record")


def theory(setting: dict, outcomes: list[dict], noise: float, kind: str) -> float | None:
    """What the model of independent SNPs foretells, where it does."""
    if kind == "likeliest" and setting["part"] == "cliffs":
        return float(np.mean([outcome[f"{noise:g}_theory"] for outcome in outcomes]))
    if kind == "linked":
        return top_one(1 / noise, candidates(setting))
    if kind == "found":
        return top_one(2 * families.RELATIONS[setting["relation"]] / noise, candidates(setting))
    return {"auc": auc_ceiling(1 / noise), "tpr": float(ndtr(1 / noise + ndtri(FPR)))}.get(kind)


def baseline_of(setting: dict, outcomes: list[dict], noise: str,
                kind: str) -> tuple[float | None, str]:
    """What needs no gradient."""
    if kind in NO_CLAIM:
        return None, "none: not a success of the attack"
    if kind in ("rounded", "likeliest", "decoded"):
        return (float(np.mean([outcome[f"{noise}_guess"] for outcome in outcomes])),
                "the likeliest genotype by frequency")
    if kind in ("auc", "tpr"):
        return (0.5 if kind == "auc" else FPR), "chance"
    if kind == "exact":
        return 0.0, "the likeliest genotype by frequency at each SNP"
    return 1 / candidates(setting, "EUR"), "a European sample at random"


def candidates(setting: dict, ancestry: str | None = None) -> int:
    """Who may come first: all of the panel; or all but the founders, and the relative."""
    among = len(panel()) if ancestry is None else int((panel().ancestries == ancestry).sum())
    return among - FOUNDERS + 1 if setting["part"] == "relatives" else among
