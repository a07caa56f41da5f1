"""Study 14, end to end: three messages of a federation, and where they lead.

A hospital takes three steps, each on a batch of eight real people of the chr20 panel, and sends
each one: gradients of a dense network on the 1,972 SNPs of a genotyping array. The observer reads
the genotypes off the gradients, fills in the SNPs that no model ever saw from a public panel of 300
others, and looks for a relative of each patient among 180 people: a child or a grandchild made by
gene dropping, put into a database of the 179 real people who are not in the batches.

A trial is one seed: it draws the patients, their labels, the weights and the relatives. Beside the
whole chain it records what each stage would be without the one before, and what a genome guessed
by frequency finds. The same search where no relative is there is the control: to be claimed a
relative has to come first and pass a limit, which one such search in a hundred at most passed when
patients and database were dealt on seeds 100 to 103, fifty times each. Nothing else was tuned.
These deals are of the same 203 people as the others: for people never seen a limit is less certain.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np
import torch

import leaklab
from leaklab.attacks.genotypes import recover
from leaklab.attacks.imputation import by_frequency, diploid
from leaklab.attacks.kinship import king_robust, opposite_homozygotes, ranks
from leaklab.data.genomes import chr20, families
from leaklab.data.genomes.panel import Panel, standardised
from leaklab.evidence import Evidence
from leaklab.federation import Hospital, Round, server_views
from leaklab.metrics import mean_interval
from leaklab.metrics.genotypes import accuracy, non_reference_concordance
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining
from studies import by_condition, victims_interval

SEEDS = tuple(range(20))
TUNING, REDEALT = (100, 101, 102, 103), 50
BATCHES, SIZE, WIDTH = 3, 8, 128
PATIENTS = BATCHES * SIZE
RELATIONS = ("child", "grandchild")
MEASURES = {"king": (king_robust, 1), "ibs0": (opposite_homozygotes, -1)}
LIMITS = {"true": {"king": 0.236738, "ibs0": 0.001079},
          "filled": {"king": 0.240574, "ibs0": 0.001374},
          "sent": {"king": 0.220346, "ibs0": 0.001014}}
STEP = LocalTraining(learning_rate=0.1)


def trials() -> list[dict]:
    """One for every seed."""
    return [{"part": "chain", "seed": seed} for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """The chain on one seed: from messages to genomes, hidden SNPs and relatives."""
    seed = setting["seed"]
    (reference, targets), array = data()
    order = np.random.default_rng(seed).permutation(len(targets))
    truth, others = targets.dosages[order[:PATIENTS]], targets.dosages[order[PATIENTS:]]
    read, certain, false = genomes(truth[:, array], reference.frequencies[array], seed)
    hidden = np.setdiff1d(np.arange(targets.snps), array)
    filled = diploid(reference.haplotypes, array, read, reference.centimorgans)
    guess = by_frequency(reference.frequencies, PATIENTS)
    found = {
        "certified": certain.mean(), "false": false,
        "exact": (read == truth[:, array]).all(1).mean(),
        "hidden": accuracy(filled[:, hidden], truth[:, hidden]).mean(),
        "hidden_guess": accuracy(guess[:, hidden], truth[:, hidden]).mean(),
        "carried": np.nanmean(non_reference_concordance(filled[:, hidden], truth[:, hidden])),
        "carried_guess": np.nanmean(non_reference_concordance(guess[:, hidden], truth[:, hidden])),
    }
    kinds = {"true": (truth, slice(None)), "filled": (np.rint(filled).astype(int), slice(None)),
             "sent": (read, array), "guess": (guess, slice(None))}
    families_of = descendants(truth, others, seed)
    for kind, (genome, seen) in kinds.items():
        outcomes = {"nobody": nobody(kind, genome, others[:, seen])}
        outcomes |= {relation: searched(kind, genome, relatives[:, seen], others[:, seen])
                     for relation, relatives in families_of.items()}
        found |= {f"{who}_{kind}_{way}": value for who, outcome in outcomes.items()
                  for way, value in outcome.items()}
    return {name: float(value) for name, value in found.items()}


# --- Stages -----------------------------------------------------------------------------------


@functools.cache
def data() -> tuple[tuple[Panel, Panel], np.ndarray]:
    """The 300 phased and 203 other people, and which SNPs the model sees."""
    return chr20.load(), np.flatnonzero(chr20.array())


def genomes(
    truth: np.ndarray, frequencies: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """What the server reads off the messages, which of it is certain, and how often that is false.

    Rows are put into the order of the patients by the truth, to be scored; a patient whose row is
    missing gets the likeliest genotypes. Shapes: truth and answer (patients, snps), certain
    (patients,).
    """
    scale = np.sqrt(2 * frequencies * (1 - frequencies))
    encoding = tuple(torch.from_numpy(part).float() for part in (2 * frequencies, scale))
    read = by_frequency(frequencies, len(truth))
    certain, false = np.zeros(len(truth), dtype=bool), 0
    for batch in range(BATCHES):
        rows = np.arange(batch * SIZE, (batch + 1) * SIZE)
        draw = generator(seed, "batch", batch)
        inputs = torch.from_numpy(standardised(truth[rows], frequencies))
        labels = torch.randint(2, (SIZE,), generator=draw)
        model = mlp(draw, num_features=inputs.shape[1], width=WIDTH)
        update = Hospital("A", inputs, labels).train(model, STEP, generator=draw)
        (view,) = server_views(Round(0, update.before, (update,), update.after), Knowledge(STEP))
        answer = recover(model, view, frequencies=torch.from_numpy(frequencies), encoding=encoding,
                         generator=draw)
        guesses, sure = answer.guess.numpy(), answer.certificate.numpy()
        for row, mine in zip(guesses, sure, strict=True):
            right = (truth[rows] == row).mean(1)
            patient, false = rows[right.argmax()], false + int(mine and right.max() < 1)
            if mine or not certain[patient]:
                read[patient], certain[patient] = row, mine
    return read, certain, false


def descendants(truth: np.ndarray, others: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """A child and a grandchild of each patient by gene dropping, (patients, snps) each.

    The other parents are real people of the database; phase, unknown, is drawn.
    """
    rng = np.random.default_rng((seed, 1))
    (reference, _), _ = data()
    chances = families.recombination(reference)
    parents = families.random_phase(truth, rng)
    partners = families.random_phase(others[rng.permutation(len(others))[:2 * len(truth)]], rng)
    children = families.child(parents, partners[:len(truth)], chances, rng)
    grandchildren = families.child(children, partners[len(truth):], chances, rng)
    return {"child": children.sum(1), "grandchild": grandchildren.sum(1)}


def limit(kind: str, way: str) -> float:
    """What a claim has to pass; a guess is taken for a genome that was filled in."""
    return LIMITS["filled" if kind == "guess" else kind][way]


def searched(kind: str, genomes: np.ndarray, relatives: np.ndarray, others: np.ndarray) -> dict:
    """How often the relative comes first, by kinship and by fewest opposite homozygotes, and how
    often it is claimed."""
    right, found = np.full(len(genomes), len(others)), {}
    for way, (measure, sign) in MEASURES.items():
        own = np.diag(measure(genomes, relatives))
        first = ranks(sign * np.column_stack([measure(genomes, others), own]), right) == 1
        claims = sign * own >= sign * limit(kind, way)
        found |= {way: first.mean(), f"{way}_claimed": (first & claims).mean()}
    return {**found, "phi": np.diag(king_robust(genomes, relatives)).mean()}


def nobody(kind: str, genomes: np.ndarray, others: np.ndarray) -> dict:
    """The closest stranger where no relative is there, and how often it would be claimed."""
    alarms = {f"{way}_alarm": ((sign * measure(genomes, others)).max(1)
                               >= sign * limit(kind, way)).mean()
              for way, (measure, sign) in MEASURES.items()}
    return {**alarms, "stranger": king_robust(genomes, others).max(1).mean()}


def limits(rate: float = 0.01) -> dict[str, dict[str, float]]:
    """How ``LIMITS`` was found, with what was sent taken to be read without an error."""
    (reference, targets), array = data()
    people = targets.dosages
    filled = diploid(reference.haplotypes, array, people[:, array], reference.centimorgans)
    kinds = {"true": (people, slice(None)), "filled": (np.rint(filled).astype(int), slice(None)),
             "sent": (people[:, array], array)}
    orders = [np.random.default_rng((seed, again)).permutation(len(people))
              for seed in TUNING for again in range(REDEALT)]
    found = {kind: {} for kind in kinds}
    for kind, (genomes, seen) in kinds.items():
        for way, (measure, sign) in MEASURES.items():
            scores = sign * measure(genomes, people[:, seen])
            closest = [scores[np.ix_(order[:PATIENTS], order[PATIENTS:])].max(1)
                       for order in orders]
            highest = np.quantile(closest, 1 - rate, method="higher")
            found[kind][way] = sign * math.ceil(highest * 1e6) / 1e6  # up: no more than the rate
    return found


# --- From trials to evidence ------------------------------------------------------------------

SAID = {
    "certified": ("share of patients", "patients whose genotype is read with a certificate"),
    "false": ("rows", "certificates of a row that is nobody's genotype"),
    "exact": ("share of patients", "patients all of whose genotypes in the model are right"),
    "hidden": ("share of SNPs", "genotypes right among those that were never sent"),
    "carried": ("share of SNPs", "the same where an alternate allele is carried or guessed"),
    "king": ("share of patients", "patients whose relative comes first by kinship"),
    "ibs0": ("share of patients", "patients whose relative comes first by opposite homozygotes"),
    "claimed": ("share of patients", "patients whose relative comes first and passes the limit"),
    "alarm": ("share of patients", "patients without a relative there for whom one is claimed"),
    "phi": ("kinship", "mean kinship of patient and relative"),
    "stranger": ("kinship", "mean kinship of patient and closest stranger"),
}

BY = {"king": ", by kinship", "ibs0": ", by opposite homozygotes"}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a measure, from the trials of all seeds."""
    return [describe(setting, outcomes, name) for setting, outcomes in by_condition(results)
            for name in outcomes[0]]


def describe(setting: dict, outcomes: list[dict], name: str) -> Evidence:
    """Evidence of one measure."""
    runs = tuple(outcome[name] for outcome in outcomes)
    searches = (*RELATIONS, "nobody")
    relation, *rest = name.split("_") if name.startswith(searches) else ("", name)
    kind = rest[-1].removesuffix("_guess")
    unit, said = SAID[kind]
    counted, attacked = unit == "share of patients", unit.startswith("share") and (
        "guess" not in name and "true" not in name and kind != "alarm")
    interval, way = victims_interval(runs, PATIENTS) if counted else (mean_interval(runs),
                                                                      "95 % t over trials")
    (reference, targets), array = data()
    baseline = [outcome[guessed(name)] for outcome in outcomes] if guessed(name) else None
    return Evidence(
        name="chain_" + name, value=float(np.mean(runs)), unit=unit, runs=runs, seeds=SEEDS,
        statement=said.capitalize() + (
            f"; {relation}, genome {rest[0]}{BY.get(rest[1], '')}." if relation else "."),
        interval=interval, interval_kind=way,
        baseline=None if baseline is None else float(np.mean(baseline)),
        baseline_kind=("none: not a success of the attack" if baseline is None
                       else "the likeliest genotypes by frequency"),
        data=targets.provenance, data_sha256=targets.sha256, scale="fast",
        version=leaklab.__version__,
        setting={"batches": BATCHES, "batch_size": SIZE, "width": WIDTH, "sent": len(array),
                 "snps": targets.snps, "reference": len(reference),
                 "database": len(targets) - PATIENTS + (relation != "nobody"),
                 "limit": limit(*rest[:2]) if kind in ("claimed", "alarm") else None, **setting},
        view="server" if attacked else None, privacy_unit="record" if attacked else None)


def guessed(name: str) -> str | None:
    """The measure that says what a genome guessed by frequency reaches."""
    if name in ("hidden", "carried"):
        return f"{name}_guess"
    if name.startswith(RELATIONS) and ("king" in name or "ibs0" in name) and "guess" not in name:
        relation, _, way = name.split("_", 2)
        return f"{relation}_guess_{way}"
    return None
