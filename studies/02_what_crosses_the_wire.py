"""Study 2: what an update is made of, how near it is to a gradient, and what it says of its labels.

    reading    nodules dealt to five hospitals with label skew, as many to each; the share of
               malignant nodules in each is read off its update in two ways: by arithmetic on the
               last bias, and by asking the returned model about images
    client     the same with 2, 3, 5 and 10 hospitals; what one of them learns about another
    gradient   five hospitals by real slice thickness; an update over more and more local steps
               against the gradient of all records at the model received
    anatomy    the same hospitals; the norm of each layer's update in rounds 1 and 20

A seed redraws the deal, the initial weights and every batch. The images an attacker is given are
procedural, about half malignant, and drawn by the program that draws the hospitals' tissue too;
other images stand beside them for comparison. Nothing was tuned.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

import leaklab
from leaklab.attacks.labels import asked_shares, class_shares
from leaklab.data import hospitals, radiology
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import (
    Hospital,
    client_views,
    fed_avg,
    secure_aggregation_views,
    server_views,
)
from leaklab.metrics import mean_interval, proportion_interval
from leaklab.models import small_cnn
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Update, View
from studies import by_condition

SEEDS = tuple(range(20))
LEARNING_RATE = 0.1
TEST_FRACTION = 0.25  # as in study 1
BATCH = 32
SKEW = 0.3  # Dirichlet concentration, as in study 1
AUXILIARY = 200  # procedural images
LATE = 20  # rounds
LABELS = ("true", "shuffled within", "shuffled across")
METHODS = {"bias": class_shares, "asked": asked_shares}
IMAGES = ("half malignant", "all benign", "black", "the hospital's own")
FEDERATIONS = (2, 3, 5, 10)
WALKS = (1, 5, 20, 100)
LAYERS = ("0.weight", "2.weight", "5.weight", "7.weight", "7.bias")


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "reading", "local_steps": steps, "labels": "true", "trained": trained}
                for steps in (0, 20, 100) for trained in (False, True)]
    settings += [{"part": "reading", "local_steps": 20, "labels": labels, "trained": False}
                 for labels in LABELS[1:]]
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
def auxiliary() -> dict[str, Tensor]:
    """What an attacker may have beside the view, by name: images without labels."""
    drawn = radiology.load("nodule", source="synthetic", n=AUXILIARY)
    images = torch.tensor(drawn.inputs)
    return {"half malignant": images, "all benign": images[torch.tensor(drawn.targets) == 0],
            "black": torch.zeros_like(images[:1])}


def model(seed: int) -> torch.nn.Module:
    """The model of chapter 1."""
    return small_cnn(generator(seed, "initial weights"))


def training(local_steps: int) -> LocalTraining:
    """So many steps on batches; 0 stands for one step on all records."""
    return LocalTraining(LEARNING_RATE, local_steps=max(local_steps, 1),
                         batch_size=BATCH if local_steps else None)


def deal(number: int, seed: int) -> list[Hospital]:
    """The nodules dealt to ``number`` hospitals, skewed in label, as many to each."""
    rng = np.random.default_rng(seed)
    parts = hospitals.same_size(hospitals.label_skew(nodules(), number, SKEW, rng), rng)
    return [Hospital.of(name, part) for name, part in parts.items()]


def sites(seed: int) -> list[Hospital]:
    """The five hospitals of chapter 1, with the training patients of split ``seed``."""
    train, _ = hospitals.train_test(nodules(), TEST_FRACTION, np.random.default_rng(seed))
    return [Hospital.of(name, part) for name, part in hospitals.by_site(train).items()]


# --- Reading the share of a class --------------------------------------------------------------


def run_reading(local_steps: int, labels: str, trained: bool, seed: int) -> dict:
    """Read each hospital's share of malignant nodules off one round.

    It is the first of a new model or, if ``trained``, one that follows twenty rounds of training.
    """
    clinics = deal(5, seed)
    truth = [share(clinic) for clinic in clinics]
    clinics = relabel(clinics, labels, seed)
    net, recipe = model(seed), training(local_steps)
    if trained:
        *_, last = fed_avg(net, clinics, training(20), rounds=LATE, seed=seed)
        net.load_state_dict(last.after)
    (step,) = fed_avg(net, clinics, recipe, rounds=1, seed=seed)
    known = Knowledge(training=recipe)
    (together,) = secure_aggregation_views(step, known)
    found = {"truth": truth}
    for method in METHODS:
        for images in IMAGES:
            shown = [auxiliary().get(images, clinic.inputs) for clinic in clinics]
            found[f"{method}, {images}"] = [
                read(method, net, view, inputs)
                for view, inputs in zip(server_views(step, known), shown, strict=True)]
        found[f"{method}, sum"] = [read(method, net, together)] * len(clinics)
    return found


def read(method: str, net: torch.nn.Module, view: View, images: Tensor | None = None) -> float:
    """The share of class 1 that ``method`` reads off ``view``."""
    images = auxiliary()["half malignant"] if images is None else images
    return float(METHODS[method](net, view, auxiliary=images).guess[1])


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
    """What one hospital learns about another: against what its own share and the total imply."""
    clinics = deal(hospitals, seed)
    (step,) = fed_avg(model(seed), clinics, training(20), rounds=1, seed=seed)
    truth = {clinic.name: share(clinic) for clinic in clinics}
    sizes = {clinic.name: len(clinic) for clinic in clinics}
    total, positives = sum(sizes.values()), sum(sizes[k] * truth[k] for k in sizes)
    found: dict[str, list[float]] = {key: [] for key in ("cosine", "own", "guess", *METHODS)}
    for own in step.updates:
        (view,) = client_views(step, own.hospital, Knowledge(training=training(20)))
        implied = ((positives - sizes[own.hospital] * truth[own.hospital])
                   / (total - sizes[own.hospital]))
        readings = {method: read(method, model(seed), view) for method in METHODS}
        for other in step.updates:
            if other.hospital != own.hospital:
                true = truth[other.hospital]
                found["cosine"].append(cosine(change(view), flat(other.delta)))
                found["own"].append(cosine(flat(own.delta), flat(other.delta)))
                found["guess"].append(abs(implied - true))
                for method, reading in readings.items():
                    found[method].append(abs(reading - true))
    return {key: float(np.mean(values)) for key, values in found.items()}


def run_gradient(seed: int) -> dict:
    """Cosine between updates, turned round, and the gradient of all records."""
    found: dict[str, float] = {}
    for batch in (BATCH, None):
        for steps in WALKS:
            recipe = replace(training(1), local_steps=steps, batch_size=batch)
            cosines = [cosine(-flat(clinic.train(
                model(seed), recipe, generator=generator(seed, 1, clinic.name)).delta),
                full_gradient(clinic, seed)) for clinic in sites(seed)]
            found[f"{batch or 'all'}_{steps}"] = float(np.mean(cosines))
    return found


def full_gradient(clinic: Hospital, seed: int) -> Tensor:
    """The gradient of the loss on all records of a hospital, at the initial weights."""
    net = model(seed)
    cross_entropy(net(clinic.inputs), clinic.targets).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def run_anatomy(seed: int) -> dict:
    """Norms of each layer's update in the first and the last round, mean over hospitals."""
    steps = list(fed_avg(model(seed), sites(seed), training(20), rounds=LATE, seed=seed))
    return {f"{layer}_round_{number:02d}": norm(steps[number - 1].updates, layer)
            for layer in LAYERS for number in (1, LATE)}


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


def describe_reading(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Errors of the readings by method and images, and the readings themselves."""
    recipe = training(setting["local_steps"])
    walk = f"{recipe.local_steps}_steps" if recipe.batch_size else "full_batch"
    stem = (f"reading_{walk}" + "_trained" * setting["trained"]
            + ("" if setting["labels"] == "true" else f"_{setting['labels'].replace(' ', '_')}"))
    truth = np.array([o["truth"] for o in outcomes])
    overall = truth.mean(1, keepdims=True)
    guess = float(np.abs(truth - overall).mean()), "the share over all hospitals together"
    for key in (key for key in outcomes[0] if key != "truth"):
        method, images = key.split(", ")
        reads = np.array([o[key] for o in outcomes])
        where = {**setting, "local_steps": recipe.local_steps, "batch_size": recipe.batch_size,
                 "learning_rate": LEARNING_RATE, "skew": SKEW, "hospitals": 5, "images": images,
                 "rounds_before": LATE if setting["trained"] else 0}
        view = "sum" if images == "sum" else "server"
        short = images.removeprefix("the hospital's ").replace(" ", "_")
        name = f"{stem}_{method}_{short}"
        yield make(f"{name}_error", "Mean distance of the share read from the true share of each "
                   "hospital.", np.abs(reads - truth).mean(1), where, baseline=guess, view=view)
        if images in ("half malignant", "sum"):
            yield make(f"{name}_gain", "How much nearer the reading comes than the guess.",
                       (np.abs(truth - overall) - np.abs(reads - truth)).mean(1), where,
                       view=view, unit="difference in share")
        if images == "half malignant":
            yield told(name, reads, truth, where)
            yield shares(name, reads, truth, where)


def told(name: str, reads: np.ndarray, truth: np.ndarray, where: dict) -> Evidence:
    """The deals of which a reading says rightly, for each hospital, whether most are malignant."""
    right = ((reads > 0.5) == (truth > 0.5)).all(1)
    item = make(f"{name}_told", "Share of deals in which it is told rightly of each of five "
                "hospitals whether most of its nodules are malignant.", right, where,
                view="server", unit="share of deals",
                baseline=(float((truth <= 0.5).all(1).mean()), "always: most are benign"))
    return replace(item, successes=int(right.sum()), trials=len(right),
                   interval=proportion_interval(int(right.sum()), len(right)),
                   interval_kind="95 % Clopper-Pearson over deals")


def shares(name: str, reads: np.ndarray, truth: np.ndarray, where: dict) -> Evidence:
    """The readings of all hospitals, to plot; five of them come from one deal."""
    item = make(f"{name}_shares", "The share read, for each hospital.", reads.ravel(),
                {**where, "true_shares": [float(f"{t:.4f}") for t in truth.ravel()]},
                view="server", seeds=np.repeat(SEEDS, truth.shape[1]))
    return replace(item, interval=(float(reads.min()), float(reads.max())),
                   interval_kind="smallest and largest reading")


def describe_client(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """What one hospital learns about another, by the size of the federation."""
    number = setting["hospitals"]
    where = {**setting, "local_steps": 20, "batch_size": BATCH, "skew": SKEW, "round": 1}
    runs = {key: np.array([o[key] for o in outcomes]) for key in outcomes[0]}
    yield make(f"client_of_{number}_cosine", "Cosine between what a client computes of the others "
               "and the update of one of them.", runs["cosine"], where, view="client",
               unit="cosine", baseline=(float(runs["own"].mean()), "the client's own update"))
    for method in METHODS:
        yield make(f"client_of_{number}_{method}_gain", "How much nearer the client's reading of "
                   "one other hospital comes than what its own share and the total imply.",
                   runs["guess"] - runs[method], where, view="client",
                   unit="difference in share")


def describe_gradient(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """How near an update comes to the gradient of all records, by local steps."""
    for key in outcomes[0]:
        batch, _, steps = key.partition("_")
        where = {**setting, "local_steps": int(steps), "batch_size": batch}
        yield make(f"gradient_batch_{batch}_steps_{steps}", "Cosine between the update, turned "
                   "round, and the gradient of all records at the model received.",
                   [o[key] for o in outcomes], where, unit="cosine")


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
