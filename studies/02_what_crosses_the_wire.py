"""Study 2: what an update is made of, how near it is to a gradient, and what two numbers in it say.

    reading    nodules dealt to five hospitals with label skew; the share of malignant nodules in
               each is read off the last bias of its update, and compared with the truth
    client     the same with 2, 3, 5 and 10 hospitals; what one of them computes about another
    gradient   five hospitals by real slice thickness; an update over more and more local steps
               against the gradient of all records at the model received
    anatomy    the same hospitals; the norm of each layer's update in rounds 1 and 20

A seed redraws the deal, the initial weights and every batch. The images an attacker is given to
estimate what the model says are procedural: none of them is anybody's. Nothing was tuned.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

import leaklab
from leaklab.attacks.labels import class_shares
from leaklab.data import hospitals, radiology
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import (
    Hospital,
    Round,
    client_views,
    fed_avg,
    secure_aggregation_views,
    server_views,
)
from leaklab.metrics import mean_interval
from leaklab.models import small_cnn
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Update, View

SEEDS = tuple(range(20))
LEARNING_RATE = 0.1
TEST_FRACTION = 0.25  # as in study 1
BATCH = 32
SKEW = 0.3  # Dirichlet concentration, as in study 1
AUXILIARY = 200  # procedural images
READ_ROUNDS = (1, 20)
LABELS = ("true", "shuffled within", "shuffled across")
FEDERATIONS = (2, 3, 5, 10)
WALKS = (1, 5, 20, 100)
LAYERS = ("0.weight", "2.weight", "5.weight", "7.weight", "7.bias")


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "reading", "local_steps": steps, "labels": "true"}
                for steps in (0, 20, 100)]
    settings += [{"part": "reading", "local_steps": 20, "labels": labels} for labels in LABELS[1:]]
    settings += [{"part": "client", "hospitals": number} for number in FEDERATIONS]
    settings += [{"part": "gradient"}, {"part": "anatomy"}]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"reading": run_reading, "client": run_client, "gradient": run_gradient,
             "anatomy": run_anatomy}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


@functools.cache
def nodules() -> Dataset:
    """The images of chapter 1."""
    return radiology.load("nodule", source="hybrid")


@functools.cache
def auxiliary() -> Tensor:
    """What the attacker has beside the view: procedural images, without labels."""
    return torch.tensor(radiology.load("nodule", source="synthetic", n=AUXILIARY).inputs)


def model(seed: int) -> torch.nn.Module:
    """The model of chapter 1."""
    return small_cnn(generator(seed, "initial weights"))


def training(local_steps: int) -> LocalTraining:
    """So many steps on batches; 0 stands for one step on all records."""
    return LocalTraining(LEARNING_RATE, local_steps=max(local_steps, 1),
                         batch_size=BATCH if local_steps else None)


def deal(number: int, seed: int) -> list[Hospital]:
    """The nodules dealt to ``number`` hospitals, skewed in label."""
    parts = hospitals.label_skew(nodules(), number, SKEW, np.random.default_rng(seed))
    return [Hospital.of(name, part) for name, part in parts.items()]


def sites(seed: int) -> list[Hospital]:
    """The five hospitals of chapter 1, with the training patients of split ``seed``."""
    train, _ = hospitals.train_test(nodules(), TEST_FRACTION, np.random.default_rng(seed))
    return [Hospital.of(name, part) for name, part in hospitals.by_site(train).items()]


# --- Reading the share of a class --------------------------------------------------------------


def run_reading(local_steps: int, labels: str, seed: int) -> dict:
    """Read each hospital's share of malignant nodules as each observer could, in two rounds."""
    clinics = deal(5, seed)
    truth = {clinic.name: share(clinic) for clinic in clinics}
    clinics = relabel(clinics, labels, seed)
    net, recipe = model(seed), training(local_steps)
    last = max(READ_ROUNDS) if labels == "true" else 1
    steps = {step.number: step for step in fed_avg(net, clinics, recipe, rounds=last, seed=seed)}
    found = {"truth": list(truth.values()), "overall": float(nodules().targets.mean())}
    for number in READ_ROUNDS[:1] if labels != "true" else READ_ROUNDS:
        found[f"round_{number:02d}"] = {
            observer: [readings[name] for name in truth]
            for observer, readings in observed(net, steps[number], recipe).items()}
    return found


def observed(net: torch.nn.Module, step: Round, recipe: LocalTraining) -> dict[str, dict]:
    """What each observer reads, by hospital; a mean over several counts for each of them.

    The client is, for each hospital, the mean over the readings of all other hospitals.
    """
    known = Knowledge(training=recipe)
    names = [update.hospital for update in step.updates]
    alone = {view.contributors[0]: read(net, view) for view in server_views(step, known)}
    (together,) = secure_aggregation_views(step, known)
    clients = {own: read(net, client_views(step, own, known)[0]) for own in names}
    return {"server": alone, "sum": dict.fromkeys(names, read(net, together)),
            "client": {name: float(np.mean([clients[o] for o in names if o != name]))
                       for name in names}}


def read(net: torch.nn.Module, view: View) -> float:
    """The share of class 1 that the attack reads off ``view``."""
    return float(class_shares(net, view, auxiliary=auxiliary()).guess[1])


def share(clinic: Hospital) -> float:
    """The true share of class 1."""
    return float(clinic.targets.double().mean())


def relabel(clinics: list[Hospital], labels: str, seed: int) -> list[Hospital]:
    """The controls: labels shuffled inside each hospital, or over all of them."""
    draw = generator(seed, "shuffled labels")
    if labels == "shuffled within":
        return [replace(c, targets=c.targets[torch.randperm(len(c), generator=draw)])
                for c in clinics]
    if labels == "shuffled across":
        pool = torch.cat([clinic.targets for clinic in clinics])
        dealt = pool[torch.randperm(len(pool), generator=draw)].split([len(c) for c in clinics])
        return [replace(c, targets=part) for c, part in zip(clinics, dealt, strict=True)]
    return clinics


# --- What a client computes, gradients, layers --------------------------------------------------


def run_client(hospitals: int, seed: int) -> dict:
    """How well the difference of two global models stands for one other hospital's update."""
    clinics = deal(hospitals, seed)
    (step,) = fed_avg(model(seed), clinics, training(20), rounds=1, seed=seed)
    cosines, errors, guesses = [], [], []
    overall, truth = float(nodules().targets.mean()), {c.name: share(c) for c in clinics}
    for own in truth:
        (view,) = client_views(step, own, Knowledge(training=training(20)))
        reading = read(model(seed), view)
        for update in step.updates:
            if update.hospital != own:
                cosines.append(cosine(change(view), flat(update.delta)))
                errors.append(abs(reading - truth[update.hospital]))
                guesses.append(abs(overall - truth[update.hospital]))
    return {"cosine": float(np.mean(cosines)), "error": float(np.mean(errors)),
            "guess": float(np.mean(guesses))}


def run_gradient(seed: int) -> dict:
    """Cosine and relative error between scaled updates and the gradient of all records."""
    found: dict[str, float] = {}
    for steps in (0, *WALKS):
        recipe, pairs = training(steps), []
        for clinic in sites(seed):
            update = clinic.train(model(seed), recipe, generator=generator(seed, 1, clinic.name))
            pairs.append((-flat(update.delta) / (recipe.learning_rate * recipe.local_steps),
                          full_gradient(clinic, seed)))
        found[f"cosine_{steps}"] = float(np.mean([cosine(a, b) for a, b in pairs]))
        found[f"error_{steps}"] = float(np.mean([float((a - b).norm() / b.norm())
                                                 for a, b in pairs]))
    return found


def full_gradient(clinic: Hospital, seed: int) -> Tensor:
    """The gradient of the loss on all records of a hospital, at the initial weights."""
    net = model(seed)
    cross_entropy(net(clinic.inputs), clinic.targets).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def run_anatomy(seed: int) -> dict:
    """Norms of each layer's update in the first and the last round, mean over hospitals."""
    steps = list(fed_avg(model(seed), sites(seed), training(20), rounds=READ_ROUNDS[-1], seed=seed))
    return {f"{layer}_round_{number:02d}": norm(steps[number - 1].updates, layer)
            for layer in LAYERS for number in READ_ROUNDS}


def norm(updates: tuple[Update, ...], layer: str) -> float:
    """The mean Euclidean norm of one layer's update."""
    return float(np.mean([float(update.delta[layer].norm()) for update in updates]))


def flat(delta: Mapping[str, Tensor]) -> Tensor:
    """All tensors of an update in one vector."""
    return torch.cat([tensor.flatten() for tensor in delta.values()])


def change(view: View) -> Tensor:
    """What lies between the two states of a view, in one vector."""
    return flat({name: view.after[name] - view.before[name] for name in view.after})


def cosine(a: Tensor, b: Tensor) -> float:
    """Of the angle between two vectors."""
    return float(cosine_similarity(a, b, dim=0))


# --- From trials to evidence ------------------------------------------------------------------


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity, from the trials of all seeds."""
    describe = {"reading": describe_reading, "client": describe_client,
                "gradient": describe_gradient, "anatomy": describe_anatomy}
    return [item for setting, outcomes in by_condition(results)
            for item in describe[setting["part"]](setting, outcomes)]


def by_condition(results: list[tuple[dict, dict]]) -> Iterator[tuple[dict, list[dict]]]:
    """The outcomes of each condition, in the order of the seeds."""
    def condition(result: tuple[dict, dict]) -> dict:
        return {key: value for key, value in result[0].items() if key != "seed"}

    for setting, group in groupby(results, condition):
        yield setting, [outcome for _, outcome in group]


def describe_reading(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Errors of the readings by observer and round, and the readings themselves."""
    recipe = training(setting["local_steps"])
    stem = (f"reading_{recipe.local_steps}_steps"
            + ("" if setting["labels"] == "true" else f"_{setting['labels'].replace(' ', '_')}"))
    truth = np.array([o["truth"] for o in outcomes])
    overall = outcomes[0]["overall"]
    guess = float(np.abs(truth - overall).mean()), "the share over all hospitals together"
    base = {**setting, "local_steps": recipe.local_steps, "batch_size": recipe.batch_size,
            "learning_rate": LEARNING_RATE, "skew": SKEW, "hospitals": 5}
    for number in [n for n in READ_ROUNDS if f"round_{n:02d}" in outcomes[0]]:
        for observer in ("server", "sum", "client"):
            reads = np.array([o[f"round_{number:02d}"][observer] for o in outcomes])
            where = {**base, "round": number}
            name = f"{stem}_round_{number:02d}_{observer}"
            yield make(f"{name}_error", "Mean distance of the share read from the true share of "
                       "each hospital.", np.abs(reads - truth).mean(1), where, baseline=guess,
                       view=observer)
            yield make(f"{name}_gain", "How much nearer the reading comes than the guess.",
                       (np.abs(truth - overall) - np.abs(reads - truth)).mean(1), where,
                       view=observer, unit="difference in share")
            yield make(f"{name}_majority", "Share of hospitals of which the reading says rightly "
                       "whether most of their nodules are malignant.",
                       ((reads > 0.5) == (truth > 0.5)).mean(1), where, view=observer,
                       baseline=(float((truth <= 0.5).mean()), "always: most are benign"),
                       unit="share of hospitals")
            if observer == "server":
                yield make(f"{name}_shares", "The share read, for each hospital.", reads.ravel(),
                           {**where, "true_shares": [float(f"{t:.4f}") for t in truth.ravel()]},
                           view=observer, seeds=np.repeat(SEEDS, truth.shape[1]))


def describe_client(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """What one hospital computes about another, by the size of the federation."""
    number = setting["hospitals"]
    where = {**setting, "local_steps": 20, "batch_size": BATCH, "skew": SKEW, "round": 1}
    yield make(f"client_of_{number}_cosine", "Cosine between what a client computes of the others "
               "and the update of one of them.", [o["cosine"] for o in outcomes], where,
               view="client", unit="cosine")
    yield make(f"client_of_{number}_error", "Mean distance of the share a client reads from the "
               "true share of one other hospital.", [o["error"] for o in outcomes], where,
               view="client", baseline=(float(np.mean([o["guess"] for o in outcomes])),
                                        "the share over all hospitals together"))
    yield make(f"client_of_{number}_gain", "How much nearer the client's reading comes than the "
               "guess.", [o["guess"] - o["error"] for o in outcomes], where, view="client",
               unit="difference in share")


def describe_gradient(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """How near an update comes to the gradient of all records, by local steps."""
    for steps in (0, *WALKS):
        recipe = training(steps)
        where = {**setting, "local_steps": recipe.local_steps, "batch_size": recipe.batch_size}
        name = f"gradient_{steps}_steps" if steps else "gradient_full_batch"
        yield make(f"{name}_cosine", "Cosine between the update, turned round, and the gradient.",
                   [o[f"cosine_{steps}"] for o in outcomes], where, unit="cosine")
        yield make(f"{name}_error", "Relative error of the update, per step and turned round, "
                   "as a gradient.", [o[f"error_{steps}"] for o in outcomes], where, unit="ratio")


def describe_anatomy(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Norms of each layer's update."""
    for name in outcomes[0]:
        layer, _, number = name.partition("_round_")
        yield make(f"norm_{name}", f"Norm of the update of {layer}, mean over hospitals.",
                   [o[name] for o in outcomes], {**setting, "round": int(number)}, unit="norm")


def make(name: str, statement: str, runs, setting: dict, *, unit: str = "share of records",
         baseline: tuple[float, str] = (0.0, "nothing"), view: str | None = None,
         seeds=SEEDS) -> Evidence:
    """Evidence from one number a run.

    Runs deal the same patients anew: the interval is over deals and weights, not over patients.
    """
    data, runs = nodules(), tuple(float(value) for value in runs)
    return Evidence(
        name=name, statement=statement, value=float(np.mean(runs)), unit=unit,
        interval=mean_interval(runs), interval_kind="95 % t over deals of the same patients",
        baseline=baseline[0], baseline_kind=baseline[1], runs=runs,
        seeds=tuple(int(seed) for seed in seeds), data=data.provenance,
        data_sha256=data.sha256, scale="fast", version=leaklab.__version__, setting=setting,
        view=view, privacy_unit="hospital" if view else None,
        clusters=len(np.unique(data.patients)))
