"""Study 15: who was in a cohort, by its allele frequencies, a beacon, or a first gradient.

    simulated   unlinked SNPs of made-up people: do the attacks reach what theory says?
    people      the same on real Europeans at sites far apart
    linked      on real Europeans along three megabases of one chromosome
    ancestry    a reference from elsewhere, and thresholds set in four ways
    relatives   kin of members, made by gene dropping, who were never in the cohort
    gradient    the first update of a logistic model, of one hospital and of summed ones
    noise       frequencies released with Gaussian noise
    beacon      yes or no, asked about a person's rarest alleles

A trial deals real people anew into cohort, reference and others; intervals are over deals, among
the same people. Nothing was tuned; seeds 100 to 103 served to try the code. All relatives and
diseases are made up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

import leaklab
from leaklab.assess.allele_frequencies import (
    Deal,
    deal,
    first_view,
    frequencies,
    group,
    linked,
    rates,
    simulated,
    zero_model,
)
from leaklab.attacks.frequencies import (
    beacon,
    first_gradient,
    homer,
    inner_product,
    likelihood_ratio,
    theory,
)
from leaklab.data.genomes import families, sites
from leaklab.data.genomes.phenotypes import case_control
from leaklab.evidence import Evidence
from leaklab.metrics import mean_interval
from leaklab.runtime import generator
from studies import by_condition

SEEDS = tuple(range(20))
COHORT, REFERENCE, SNPS = 100, 200, 3000
UNLINKED = ((50, 300, 200), (100, 100, 200), (100, 1000, 100), (100, 1000, 10_000),
            (100, 3000, 200), (1000, 1000, 1000), (1000, 10_000, 1000))  # n, m, r
STRANGERS = 1000
COHORTS, SITES = (50, 100, 200), (300, 1000, 3000, 11_235)
ALONG = (30, 100, 300, 1000, 7363)
ANCESTRIES = ("EUR", "AMR", "SAS", "EAS", "AFR")
HELD_OUT = 100
KIN = ("parent", "sibling", "half-sibling", "cousin", "unrelated")
PAIRS, FOUNDERS = 10, 60
HOSPITALS, PATIENTS, READ = (1, 2, 4), 50, 1000
NOISE, NOISY_SITES, NOISY_COHORT = (0.0, 0.1, 0.3, 1.0, 3.0), (300, 3000), 100
BEACON, QUERIES = 65, (1, 2, 5, 10, 20)


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "simulated", "cohort": n, "snps": m, "reference": r}
                for n, m, r in UNLINKED]
    settings += [{"part": "people", "cohort": n, "snps": m, "reference": REFERENCE}
                 for n in COHORTS for m in SITES]
    settings += [{"part": "linked", "cohort": COHORT, "snps": m, "reference": REFERENCE}
                 for m in ALONG]
    settings += [{"part": "ancestry", "against": ancestry} for ancestry in ANCESTRIES]
    settings += [{"part": "relatives", "relation": relation} for relation in KIN]
    settings += [{"part": "gradient", "hospitals": hospitals} for hospitals in HOSPITALS]
    settings += [{"part": "noise", "snps": m, "noise": z} for m in NOISY_SITES for z in NOISE]
    settings += [{"part": "beacon"}]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict[str, float]:
    """Measure one trial."""
    given = {k: v for k, v in setting.items() if k != "part"}
    return {"simulated": on_simulated, "people": on_people, "linked": on_linked,
            "ancestry": on_ancestry, "relatives": on_relatives, "gradient": on_gradient,
            "noise": on_noise, "beacon": on_beacon}[setting["part"]](**given)


# --- The parts --------------------------------------------------------------------------------


def on_simulated(cohort: int, snps: int, reference: int, seed: int) -> dict:
    """Made-up people at unlinked SNPs."""
    return attacked(simulated(seed, members=cohort, reference=reference, others=STRANGERS,
                              snps=snps))


def on_people(cohort: int, snps: int, reference: int, seed: int) -> dict:
    """Real Europeans, with a control that must find nothing and what their SNPs are worth.

    The control asks about half of the cohort when only the other half was published.
    """
    panel = group().dosages
    dealt = deal(panel, seed, members=cohort, reference=reference, snps=snps)
    left_out, published = dealt.members.chunk(2)
    nobody = likelihood_ratio(torch.cat([left_out, dealt.others]), frequencies(published),
                              dealt.reference_frequencies)
    score = likelihood_ratio(torch.cat([dealt.members, dealt.others]), dealt.cohort_frequencies,
                             dealt.reference_frequencies)
    mixed = score[torch.randperm(len(score), generator=generator(seed, "permuted"))]
    return attacked(dealt) | {
        "left out, auc": rates(nobody[:len(left_out)], nobody[len(left_out):])["auc"],
        "permuted, auc": rates(mixed[:cohort], mixed[cohort:])["auc"],
        "worth, snps": theory.effective_snps(torch.cat([*vars(dealt).values()]))}


def on_linked(cohort: int, snps: int, reference: int, seed: int) -> dict:
    """Real Europeans at neighbouring SNPs, evenly thinned to ``snps``."""
    _, dosages = linked()
    kept = np.linspace(0, dosages.shape[1] - 1, snps).round().astype(int)
    dealt = deal(dosages[:, kept], seed, members=cohort, reference=reference)
    return attacked(dealt) | {
        "worth, snps": theory.effective_snps(torch.cat([*vars(dealt).values()]))}


def on_ancestry(against: str, seed: int) -> dict:
    """A European cohort and reference people from elsewhere; who is accused at which threshold?

    Thresholds for 1 % false alarms: the highest score but one in a hundred of the reference's own
    people, of people of the reference's ancestry who are not in it, and of Europeans.
    """
    rng = np.random.default_rng((seed, 0))
    columns = rng.permutation(group().snps)[:SNPS]
    home = deal(group().dosages[:, columns], seed, members=COHORT, reference=REFERENCE + HELD_OUT)
    there = home.reference
    if against != "EUR":
        elsewhere = group(against).dosages[:, columns]
        there = torch.from_numpy(rng.permutation(elsewhere)[:REFERENCE + HELD_OUT])
    reference, held_out = there.split([REFERENCE, HELD_OUT])
    p, f = home.cohort_frequencies, frequencies(reference)
    members, others, own, away = (likelihood_ratio(x, p, f)
                                  for x in (home.members, home.others, reference, held_out))
    cuts = {"zero": 0.0, "own people": highest(own), "held out": highest(away)}
    outcome = rates(members, others)
    found = {"ratio, auc": outcome["auc"], "ratio, named": outcome["named"]}
    for name, cut in cuts.items():
        found |= {f"{name}, alarms": share(others > cut), f"{name}, named": share(members > cut)}
    tail = homer(torch.cat([home.others, home.members]), p, f) > 1.645
    return found | {"Homer's five per cent, alarms": share(tail[:len(others)]),
                    "Homer's five per cent, named": share(tail[len(others):])}


def on_relatives(relation: str, seed: int) -> dict:
    """Ten of a hundred members have a relative outside; how much of a member is the relative?"""
    panel = group()
    rng = np.random.default_rng((seed, KIN.index(relation)))
    people, columns = rng.permutation(len(panel)), np.sort(rng.permutation(panel.snps)[:SNPS])
    shown = panel.take(people, columns)
    founders, real, reference, others = np.split(
        shown.dosages, np.cumsum([FOUNDERS, COHORT - PAIRS, REFERENCE]))
    crossovers = families.recombination(shown)
    phased = families.random_phase(founders, rng).reshape(PAIRS, -1, 2, SNPS)
    kin = [families.pairs(relation, own, crossovers, 1, rng) for own in phased]
    victims, relatives = (torch.from_numpy(np.concatenate(side))
                          for side in zip(*kin, strict=True))
    dealt = Deal(torch.cat([victims, torch.from_numpy(real)]), torch.from_numpy(reference),
                 torch.from_numpy(others))
    p, f = dealt.cohort_frequencies, dealt.reference_frequencies
    members, kin, strangers = (likelihood_ratio(x, p, f) for x in (victims, relatives,
                                                                   dealt.others))
    base = strangers.mean()
    outcome = rates(kin, strangers)
    return {"kin, auc": outcome["auc"], "kin, named": outcome["named"],
            "kin, share": float((kin.mean() - base) / (members.mean() - base))}


def on_gradient(hospitals: int, seed: int) -> dict:
    """A first round: the sum over hospitals of fifty patients each, made-up diseases."""
    patients = PATIENTS * hospitals
    dealt = deal(group().dosages, seed, members=patients, reference=REFERENCE, snps=READ)
    asked = torch.cat([dealt.members, dealt.others])
    labels = torch.from_numpy(case_control(asked.numpy(), np.random.default_rng((seed, 15))))
    view = first_view(dealt.members, labels[:patients], hospitals)
    found = first_gradient.membership(zero_model(READ), view, asked, dealt.reference_frequencies,
                                      labels=labels)
    known, unknown = (rates(score[:patients], score[patients:])
                      for score in (found.score, found.score.abs()))
    right = found.guess == labels
    table = (2 * labels[:patients] - 1)[:, None] * dealt.members.long()
    means, _ = first_gradient.case_control_means(zero_model(READ), view)
    return {"label known, auc": known["auc"], "label known, named": known["named"],
            "label unknown, auc": unknown["auc"], "label unknown, named": unknown["named"],
            "members, diagnosed": share(right[:patients]),
            "others, diagnosed": share(right[patients:]),
            "counts, exact": share((means * patients).round() == table.sum(0)),
            "published, auc": attacked(dealt)["ratio, auc"]}


def on_noise(snps: int, noise: float, seed: int) -> dict:
    """Noise of ``noise`` times the most by which one person moves the released frequencies."""
    dealt = deal(group().dosages, seed, members=NOISY_COHORT, reference=REFERENCE, snps=snps)
    sd = deviation(snps, noise)
    added = torch.randn(snps, generator=generator(seed, "noise"), dtype=torch.float64)
    released = dealt.cohort_frequencies + sd * added
    asked, f = torch.cat([dealt.members, dealt.others]), dealt.reference_frequencies
    scores = {"best weights": inner_product(asked, released, f, noise=sd,
                                            people=(NOISY_COHORT, REFERENCE)),
              "ratio": likelihood_ratio(asked, released.clamp(0, 1), f)}
    population = frequencies(torch.cat([*vars(dealt).values()]))
    expected = theory.noisy_distance(population, sd, NOISY_COHORT, REFERENCE)
    return {f"{name}, auc": rates(score[:NOISY_COHORT], score[NOISY_COHORT:])["auc"]
            for name, score in scores.items()} | {"theory, auc": theory.auc(expected)}


def on_beacon(seed: int) -> dict:
    """Sixty-five Europeans behind a beacon, asked about the rarest alleles a person carries."""
    dealt = deal(all_sites(), seed, members=BEACON, reference=REFERENCE)
    share_of = (dealt.reference.sum(0).double() + 0.5) / (2 * REFERENCE + 1)
    rare = share_of <= 0.5
    members, others = (torch.where(rare, x, 2 - x) for x in (dealt.members, dealt.others))
    said, share_of = beacon.answers(members), torch.where(rare, share_of, 1 - share_of)
    outcome = {}
    for queries in QUERIES:
        asked = [[beacon.rarest_first(x, share_of, queries) for x in side]
                 for side in (members, others)]
        scores = [torch.stack([beacon.beacon_score(said[a], share_of[a], people=BEACON)
                               for a in side]) for side in asked]
        strict, loose = (rates(*scores, fpr) for fpr in (0.01, 0.05))
        outcome |= {f"{queries} queries, auc": strict["auc"],
                    f"{queries} queries, named": strict["named"],
                    f"{queries} queries, named at five": loose["named"]}
    return outcome


# --- What the parts share ---------------------------------------------------------------------


@functools.cache
def all_sites() -> np.ndarray:
    """Dosages of the Europeans at every site at which they differ."""
    panel = sites.load()
    panel = panel.take(people=panel.ancestries == "EUR")
    return panel.take(snps=panel.minor > 0).dosages


def attacked(dealt: Deal) -> dict:
    """Rates of both tests on one deal."""
    found = {}
    for name, test in (("ratio", likelihood_ratio), ("Homer", homer)):
        outcome = rates(*(test(x, dealt.cohort_frequencies, dealt.reference_frequencies)
                          for x in (dealt.members, dealt.others)))
        found |= {f"{name}, {what}": value for what, value in outcome.items()}
    return found


def deviation(snps: int, noise: float) -> float:
    """Of the Gaussian mechanism: one person of n moves m frequencies by sqrt(m) / n at most."""
    return noise * math.sqrt(snps) / NOISY_COHORT


def highest(scores: Tensor) -> float:
    """The threshold above which one in a hundred lies."""
    return float(scores.sort(descending=True).values[len(scores) // 100])


def share(holds: Tensor) -> float:
    """Of a mask, how much of it is true."""
    return float(holds.double().mean())


# --- From trials to evidence ------------------------------------------------------------------

UNITS = {
    "auc": ("Chance that one of the first named scores above a stranger", "AUC", 0.5, "a coin"),
    "named": ("Share named at 1 % false alarms", "share of people", 0.01, "a coin"),
    "named at five": ("Share named at 5 % false alarms", "share of people", 0.05, "a coin"),
    "alarms": ("Share of strangers accused", "share of people", None, "no guess applies"),
    "diagnosed": ("Share whose disease the sign tells", "share of people", 0.5, "a coin"),
    "exact": ("Share of counts that are right to the last copy", "share of SNPs", None,
              "no guess applies"),
    "share": ("Mean score above a stranger's, in units of the member's", "share of a member's",
              0.0, "a stranger"),
    "snps": ("Unlinked SNPs that these are worth to the attacker", "SNPs", None,
             "no guess applies"),
}
VIEWS = {"gradient": "server behind secure aggregation"}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and number, from the trials of all seeds."""
    return [describe(setting, what, outcomes) for setting, outcomes in by_condition(results)
            for what in outcomes[0]]


def describe(setting: dict, what: str, outcomes: list[dict]) -> Evidence:
    """Evidence of one number, with what theory expects where it expects anything."""
    runs = tuple(float(outcome[what]) for outcome in outcomes)
    subject, _, kind = what.rpartition(", ")
    statement, unit, guess, guess_kind = UNITS[kind]
    (low, high), form = mean_interval(runs), "95 % t over trials"
    if kind not in ("share", "snps"):
        low, high, form = max(0.0, low), min(1.0, high), f"{form}, cut to 0 and 1"
    words = [*(str(value) for value in setting.values()), what]
    expected = expectation(setting, subject, kind)
    name, sha256 = provenance(setting["part"])
    server = setting.get("hospitals") == 1 and "label" in what
    return Evidence(
        name="_".join(words).replace(", ", "_").replace(" ", "_"),
        statement=f"{statement}: {subject}.", value=float(np.mean(runs)), unit=unit,
        interval=(low, high), interval_kind=form, baseline=guess,
        baseline_kind=guess_kind, runs=runs, seeds=SEEDS[:len(runs)], data=name,
        data_sha256=sha256, scale="fast", version=leaklab.__version__,
        setting={**setting, **({} if expected is None else {"theory": expected})},
        view="server" if server else VIEWS.get(setting["part"], "public"),
        defence=f"Gaussian noise, multiplier {setting['noise']}" if "noise" in setting else None,
        privacy_unit="person")


def expectation(setting: dict, subject: str, kind: str) -> float | None:
    """AUC or power of the best test on unlinked SNPs; what half of a member's score is worth."""
    part = setting["part"]
    if part == "relatives" and kind == "share":
        return 2 * families.RELATIONS[setting["relation"]]
    distance = {
        "ratio": lambda: theory.expected_distance(
            setting.get("snps", SNPS), setting.get("cohort", COHORT),
            setting.get("reference", REFERENCE)) if part != "noise" else None,
        "label known": lambda: theory.expected_distance(READ, PATIENTS * setting["hospitals"]),
        "published": lambda: theory.expected_distance(READ, PATIENTS * setting["hospitals"],
                                                      REFERENCE),
        "kin": lambda: theory.expected_distance(
            SNPS, COHORT, REFERENCE, relatedness=2 * families.RELATIONS[setting["relation"]]),
    }.get(subject, lambda: None)()
    if distance is None or (part == "ancestry" and setting["against"] != "EUR"):
        return None
    return {"auc": theory.auc(distance), "named": theory.power(distance, 0.01)}.get(kind)


def provenance(part: str) -> tuple[str, str]:
    """Where the people of a part come from, and its hash."""
    if part == "simulated":
        return "SYNTHETIC unlinked SNPs", ""
    panel = linked()[0] if part == "linked" else group()
    hybrid = part in ("relatives", "gradient")  # real founders and patients, made-up kin, diseases
    return panel.provenance.replace("REAL", "HYBRID") if hybrid else panel.provenance, panel.sha256
