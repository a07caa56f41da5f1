"""Study 14, imputation: how much of a genome that was never sent the rest of it tells.

    kept       by the share of SNPs kept, with phase and without, beside linear imputation, the best
               tag SNP and the commonest genotype
    panel      by the number of people in the panel, a tenth of the SNPs kept
    people     victims of one European population by a panel of each, of the same size
    cohort     by SNPs of a genotyping array, of Tuscans and Utahns by a panel of Spaniards,
               British, Finns and three Utahns; the array thinned
    errors     with part of the known alleles wrong
    noise      every known genotype blurred: SNPs side by side, or those of an array; the panel as
               it is, or with its linkage taken out
    unlinked   the panel with its linkage taken out
    chr22      378 people on the whole of chromosome 22, unphased: linear imputation only

Victims are held out of the panel (chr20, 300 people; 50 of them, or the first 20 where unphased); a
seed draws them and the SNPs kept. All people are Europeans: no panel with linkage is to be had here
for other ancestries, so nothing is said of them. The settings of the chain are the library's, fixed
on seeds 100 and 101.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

import leaklab
from leaklab.assess import imputation as scene
from leaklab.assess.imputation import SCORES, Task
from leaklab.attacks import imputation
from leaklab.data.genomes import chr20
from leaklab.evidence import Evidence
from leaklab.metrics import mean_interval
from studies import by_condition

SEEDS = tuple(range(10))
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
PANELS = (10, 25, 50, 100, 250)
POPULATIONS, EACH, JUDGED = ("IBS", "GBR", "FIN"), 70, 20
UNPHASED, FEW = 20, 8  # victims of the slower chain
WITHOUT_PHASE = (0.1, 0.02)
COHORT = 20
THINNED = (1.0, 0.5, 0.25, 0.1)
ERRORS = (0.05, 0.1, 0.2)
NOISE = (0.5, 1.0, 2.0, 4.0)
SIDE_BY_SIDE = 1000
PARTS = ("kept", "panel", "people", "cohort", "errors", "noise", "unlinked", "chr22")


def trials() -> list[dict]:
    """Every part of the study, for every seed."""
    return [{"part": part, "seed": seed} for part in PARTS for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    measure = {"kept": by_share, "panel": by_panel, "people": by_population, "cohort": by_cohort,
               "errors": by_error, "noise": by_noise, "unlinked": by_no_linkage, "chr22": by_chr22}
    return measure[setting["part"]](setting["seed"])


def scored(name: str, method: str, given: Task, victims: int | None = None,
           **settings: object) -> dict:
    """The scores of a method, named after it and the condition."""
    found = scene.scores(scene.guessed(method, given, victims, **settings), given)
    return {f"{name}_{method}_{score}": value for score, value in found.items()}


def by_share(seed: int) -> dict:
    """The share of the SNPs that is kept."""
    found = {}
    for share in SHARES:
        given = scene.held_out(seed, share)
        for method in ("phased", "linear", "tag", "frequency"):
            found |= scored(f"{share:g}", method, given)
        if share in WITHOUT_PHASE:
            few = replace(given, victims=given.victims.take(people=slice(UNPHASED)))
            found |= scored(f"{share:g}", "unphased", few)
            again = scored(f"{share:g}", "phased", few)[f"{share:g}_phased_accuracy"]
            found[f"{share:g}_loss_accuracy"] = again - found[f"{share:g}_unphased_accuracy"]
    return found


def by_panel(seed: int) -> dict:
    """The number of people in the panel."""
    found = {}
    for people in PANELS:
        given = scene.held_out(seed, people=people)
        for method in ("phased", "linear", "frequency"):
            found |= scored(str(people), method, given)
    return found


def by_population(seed: int) -> dict:
    """Each population's victims by each population's panel, and by one of all three."""
    whole, rng, found = scene.chromosome("chr20"), np.random.default_rng(seed), {}
    groups = {name: rng.permutation(np.flatnonzero(whole.ancestries == name))
              for name in POPULATIONS}
    kept = rng.permutation(whole.snps)[:round(0.1 * whole.snps)]
    panels = {name: group[JUDGED:JUDGED + EACH] for name, group in groups.items()}
    third = [JUDGED + EACH // 3 + (k < EACH % 3) for k in range(len(groups))]
    panels["all"] = np.concatenate([group[JUDGED:end]
                                    for group, end in zip(groups.values(), third, strict=True)])
    for victims, group in groups.items():
        for name, people in panels.items():
            given = scene.task(whole.take(people=people), whole.take(people=group[:JUDGED]), kept)
            for method in ("phased", "frequency"):
                found |= scored(f"{victims}_by_{name}", method, given)
    return found


def by_cohort(seed: int) -> dict:
    """People of other populations than most of the panel, at the SNPs of an array."""
    panel, targets = chr20.load()
    rng, found = np.random.default_rng(seed), {}
    order = rng.permutation(np.flatnonzero(chr20.array()))
    victims = targets.take(people=rng.permutation(len(targets))[:COHORT])
    for share in THINNED:
        given = scene.task(panel, victims, order[:round(share * len(order))])
        for method in ("unphased", "linear", "tag", "frequency"):
            found |= scored(f"{share:g}", method, given)
    return found


def by_error(seed: int) -> dict:
    """Alleles turned over at random before the attacker sees them, who knows how many."""
    given, found = scene.held_out(seed), {}
    rng = np.random.default_rng((seed, 1))
    for rate in ERRORS:
        alleles = given.victims.haplotypes
        wrong = alleles ^ (rng.random(alleles.shape) < rate)
        seen = (wrong[0::2] + wrong[1::2])[:FEW, given.observed]
        dosages = imputation.diploid(given.panel.haplotypes, given.observed, seen,
                                     given.panel.centimorgans, error=max(rate, 1e-3))
        found |= {f"{rate:g}_unphased_{score}": value
                  for score, value in scene.scores(dosages, given).items()}
        found[f"{rate:g}_known_accuracy"] = float((seen == given.known[:FEW]).mean())
        found |= scored(f"{rate:g}", "frequency", given, FEW)
    return found


def by_noise(seed: int) -> dict:
    """Genotypes blurred by Gaussian noise, read one by one, or along the chromosome."""
    whole, found = scene.held_out(seed), {}
    rng = np.random.default_rng((seed, 2))
    start = rng.integers(whole.panel.snps - SIDE_BY_SIDE)
    places = {"side": slice(start, start + SIDE_BY_SIDE), "array": chr20.array()}
    for place, snps in places.items():
        panel = whole.panel.take(snps=snps)
        mixed = scene.without_linkage(panel, rng)
        truth = whole.victims.dosages[:FEW, snps]
        blur = rng.standard_normal(truth.shape)
        common = imputation.by_frequency(panel.frequencies, FEW)
        found[f"{place}_frequency_accuracy"] = float((common == truth).mean())
        for noise in NOISE:
            noisy = truth + noise * blur
            found |= {f"{place}_{noise:g}_{name}_accuracy": float((guess == truth).mean())
                      for name, guess in read_along(noisy, noise, panel).items()}
            if noise == 1:
                alone = read_along(noisy, noise, mixed)["chain"]
                found[f"{place}_{noise:g}_unlinked_accuracy"] = float((alone == truth).mean())
    return found


def read_along(noisy: np.ndarray, noise: float, panel) -> dict[str, np.ndarray]:
    """Genotypes by rounding, by the prior of each SNP, and by the chain."""
    _, probabilities = imputation.decode(panel.haplotypes, np.arange(panel.snps), noisy,
                                         panel.centimorgans, noise=noise)
    return {"rounding": np.rint(noisy).clip(0, 2),
            "prior": imputation.by_prior(noisy, noise, panel.frequencies),
            "chain": probabilities.argmax(-1)}


def by_no_linkage(seed: int) -> dict:
    """The control: a panel that has nothing but frequencies."""
    given = scene.held_out(seed)
    mixed = scene.without_linkage(given.panel, np.random.default_rng((seed, 3)))
    return (scored("0.1", "phased", replace(given, panel=mixed))
            | scored("0.1", "frequency", given))


def by_chr22(seed: int) -> dict:
    """What can be done with no phased panel."""
    found = {}
    for share in (0.5, 0.2, 0.1, 0.05):
        given = scene.held_out(seed, share, source="chr22")
        for method in ("linear", "tag", "frequency"):
            found |= scored(f"{share:g}", method, given)
    return found


# --- From trials to evidence ------------------------------------------------------------------

SAID = {
    "accuracy": ("share of genotypes", "hidden genotypes that are right"),
    "concordance": ("share of genotypes", "hidden genotypes that are right, where truth or guess "
                                          "has an alternate allele"),
    "r2_low": ("squared correlation", "dosage r2 at SNPs with a minor allele below 5 %"),
    "r2_common": ("squared correlation", "dosage r2 at the other SNPs"),
}
METHODS = {
    "phased": "by the chain, phase known", "unphased": "by the chain, phase unknown",
    "linear": "by linear imputation", "tag": "by the best tag SNP",
    "frequency": "the commonest genotype", "loss": "lost without phase",
    "known": "as the attacker sees them", "rounding": "by rounding the noisy dosage",
    "prior": "by the noisy dosage and the frequency", "chain": "by the chain",
    "unlinked": "by the chain on a panel without linkage",
}
GUESSED = ("frequency", "loss", "known")  # no success of an attack
PANEL_SIZE = {"kept": 250, "panel": 250, "people": EACH, "cohort": 300, "errors": 250,
              "noise": 250, "unlinked": 250, "chr22": 328}
VICTIMS = {"kept": 50, "panel": 50, "people": JUDGED, "cohort": COHORT, "errors": FEW,
           "noise": FEW, "unlinked": 50, "chr22": 50}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition, method and score, from the trials of all seeds."""
    return [describe(setting["part"], outcomes, name)
            for setting, outcomes in by_condition(results) for name in outcomes[0]]


def split(name: str) -> tuple[str, str, str]:
    """Condition, method and score of a number's name."""
    score = next(score for score in SCORES if name.endswith(score))
    condition, _, method = name.removesuffix(f"_{score}").rpartition("_")
    return condition, method, score


def describe(part: str, outcomes: list[dict], name: str) -> Evidence:
    """Evidence of one score; a trial draws victims and SNPs from one panel."""
    condition, method, score = split(name)
    runs = tuple(outcome[name] for outcome in outcomes)
    unit, said = SAID[score]
    if part == "noise" or method == "known":
        said = said.replace("hidden", "known")
    victims = UNPHASED if (part, method) == ("kept", "unphased") else VICTIMS[part]
    ratio = victims / PANEL_SIZE[part]
    attack = method not in GUESSED
    place = condition.split("_")[0] if part == "noise" else condition
    guess = f"{place}_frequency_{score}"
    baseline = float(np.mean([o[guess] for o in outcomes])) if guess in outcomes[0] else None
    data = scene.chromosome("chr22" if part == "chr22" else "chr20")
    return Evidence(
        name=f"{part}_{name}", value=float(np.mean(runs)), unit=unit, runs=runs, seeds=SEEDS,
        statement=f"{said.capitalize()}; {METHODS[method]}; {part}, {condition}.",
        interval=mean_interval(runs, test_to_train=ratio),
        interval_kind=f"95 % corrected resampled t over draws, {victims} to {PANEL_SIZE[part]}",
        baseline=baseline if attack else None,
        baseline_kind=("the commonest genotype of each SNP" if attack
                       else "none: not a success of the attack"),
        data=data.provenance, data_sha256=data.sha256, scale="fast", version=leaklab.__version__,
        clusters=len(data), view="server" if attack else None,
        privacy_unit="genotype" if attack else None,
        setting={"part": part, **numbers(part, condition), "method": method, "score": score,
                 "victims": victims, "panel": PANEL_SIZE[part]})


def numbers(part: str, condition: str) -> dict:
    """The condition as settings: what a chart places it by."""
    if part == "people":
        victims, _, panel = condition.partition("_by_")
        return {"victims_from": victims, "panel_from": panel}
    if part == "noise":
        place, _, noise = condition.partition("_")
        return {"place": place} | ({"noise": float(noise)} if noise else {})
    return {{"panel": "people", "errors": "error"}.get(part, "share"): float(condition)}
