"""Study 1: does federating help, what skew and local steps do to it, and how far models drift.

Four parts; a seed redraws the patients of the test set, the initial weights and every batch:

    nodules      five hospitals by real slice thickness, LIDC hybrid images; also with only a
                 few patients left to each hospital
    heart        the four hospitals of the UCI heart-disease table
    lung         the institutions of the NCCTG lung-cancer table
    skew         the nodules dealt anew to five hospitals, skewed in label or in size

Learning rate, momentum and rounds were chosen on seeds 1000 to 1002, which are not reported, by
the mean accuracy over local, federated and pooled training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations, groupby

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

import leaklab
from leaklab.data import heart, hospitals, lung, radiology
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import Hospital, Round, accuracy_on, fed_avg
from leaklab.metrics import majority_rate, mean_interval
from leaklab.models import logistic_regression, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

SEEDS = tuple(range(20))
TEST_FRACTION = 0.25
TEST_TO_TRAIN = TEST_FRACTION / (1 - TEST_FRACTION)  # of the split, before any thinning
CNN = {"learning_rate": 0.1, "batch_size": 32, "local_steps": 20, "rounds": 20}
TABLE = {"learning_rate": 0.1, "batch_size": 16, "local_steps": 5, "rounds": 60}
CAPS = (10, 30)  # patients left to each hospital
RECIPES = {"nodules": CNN, "heart": TABLE, "lung": TABLE}
SHOWN_ROUNDS = (1, 2, 3, 5, 8, 12, 16, 20)
SKEWS = (("label", 0.1), ("label", 0.3), ("label", 1.0), ("label", 100.0),
         ("quantity", 0.3), ("quantity", 100.0))
# Every schedule takes 400 local steps in all; what differs is how often the models meet.
SCHEDULES = ((1, 400), (5, 80), (20, 20), (100, 4), (400, 1))
PROXIMAL = (0.01, 0.1, 1.0)
DRIFT = {"kind": "label", "alpha": 0.3}


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": part, "way": way} for part in RECIPES
                for way in ("local", "federated", "pooled")]
    settings += [{"part": "nodules", "way": way, "cap": cap} for cap in CAPS
                 for way in ("local", "federated")]
    settings += [{"part": "nodules", "way": "shuffled"}]
    skews = [{"kind": kind, "alpha": alpha} for kind, alpha in SKEWS]
    skews += [walk(*schedule) for schedule in SCHEDULES if schedule[0] != CNN["local_steps"]]
    skews += [{**walk(100, 4), "proximal": mu} for mu in PROXIMAL]
    return [{**setting, "seed": seed} for setting in settings + skews for seed in SEEDS]


def walk(local_steps: int, rounds: int) -> dict:
    """So many local steps between exchanges, under label skew."""
    return {**DRIFT, "local_steps": local_steps, "rounds": rounds}


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    return run_skew(**setting) if "kind" in setting else run_comparison(**setting)


# --- Three ways to train on the same patients -------------------------------------------------


def run_comparison(part: str, way: str, seed: int, cap: int | None = None) -> dict:
    """Train locally, together, or on pooled records; score every test patient.

    ``shuffled`` is the control: together, on labels shuffled inside each hospital. ``cap`` leaves
    each hospital only so many patients to train on.

    ``at_home`` judges each patient by the model their own hospital would use; ``everywhere``
    judges all patients by each hospital's model and takes the mean over hospitals. The guesses
    are always the commonest class of each hospital, and of all of them.
    """
    train, test = split(part, seed)
    if cap:
        train = thin(train, cap, seed)
    clinics = [Hospital.of(name, data) for name, data in hospitals.by_site(train).items()]
    if way == "shuffled":
        clinics = [shuffle_labels(clinic, seed) for clinic in clinics]
    everyone = Hospital.of("everyone", train)
    net = initial_model(part, train, seed)
    training, rounds = recipe_of(part)
    groups = {"local": [[clinic] for clinic in clinics], "federated": [clinics],
              "shuffled": [clinics], "pooled": [[everyone]]}[way]
    if way == "pooled":  # as many records a step as the hospitals see together
        training = replace(training, batch_size=training.batch_size * len(clinics))
    runs = [list(fed_avg(net, group, training, rounds=rounds, seed=seed)) for group in groups]
    last = {name: steps[-1].after
            for group, steps in zip(groups, runs, strict=True)
            for name in ([c.name for c in clinics] if way == "pooled" else [c.name for c in group])}

    home = hospitals.by_site(test)
    targets = {name: torch.tensor(data.targets) for name, data in home.items()}
    share = {name: len(data) / len(test) for name, data in home.items()}
    guess = {c.name: majority_rate(targets[c.name], c.targets) for c in clinics if c.name in home}
    return {
        "at_home": sum(share[k] * accuracy_on(net, last[k], data) for k, data in home.items()),
        "at_home_guess": sum(share[k] * guess[k] for k in home),
        "everywhere": float(np.mean([accuracy_on(net, state, test) for state in last.values()])),
        "everywhere_guess": majority_rate(torch.tensor(test.targets), everyone.targets),
        "curve": [accuracy_on(net, runs[0][t - 1].after, test) for t in SHOWN_ROUNDS]
        if way == "federated" else [],
        "hospitals": len(clinics), **counts(train, test),
    }


def shuffle_labels(clinic: Hospital, seed: int) -> Hospital:
    """The same records and labels, with nothing to learn of one from the other."""
    draw = generator(seed, "shuffled labels", clinic.name)
    return replace(clinic, targets=clinic.targets[torch.randperm(len(clinic), generator=draw)])


def recipe_of(part: str) -> tuple[LocalTraining, int]:
    """Local training and number of rounds of one part."""
    fields = dict(RECIPES[part])
    rounds = fields.pop("rounds")
    return LocalTraining(**fields), rounds


def split(part: str, seed: int) -> tuple[Dataset, Dataset]:
    """Training and test records; no patient on both sides."""
    loaders = {"nodules": nodules, "heart": heart.load, "lung": lung.load}
    train, test = hospitals.train_test(
        loaders[part](), TEST_FRACTION, np.random.default_rng(seed))
    if part == "nodules":
        return train, test
    train, test = heart.impute_and_scale(train, test)
    return join_one_class_sites(train, test)


def thin(train: Dataset, cap: int, seed: int) -> Dataset:
    """Only ``cap`` patients of each site, with about the same share of each class as before."""
    kept = []
    for number, part in enumerate(hospitals.by_site(train).values()):
        fraction = cap / len(np.unique(part.patients))
        rng = np.random.default_rng([seed, number])
        kept.append(hospitals.train_test(part, fraction, rng)[1].patients)
    return train.take(np.isin(train.patients, np.concatenate(kept)))


def nodules() -> Dataset:
    """The images of chapter 1."""
    return radiology.load("nodule", source="hybrid")


def join_one_class_sites(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    """Join the sites whose training records are all of one class, or that have none, in one.

    Such a site cannot train a model of its own; in a real consortium it would share a node. If
    even together they hold one class, the smallest of the others joins them.
    """
    def one_class(sites: list[str]) -> bool:
        return len(np.unique(train.targets[np.isin(train.sites, sites)])) < 2

    sizes = {str(site): int((train.sites == site).sum())
             for site in np.unique([*train.sites, *test.sites])}
    weak = [site for site in sizes if one_class([site])]
    able = sorted((site for site in sizes if site not in weak), key=sizes.get)
    if weak and one_class(weak):
        weak.append(able[0])
    joined = [replace(part, sites=np.where(np.isin(part.sites, weak), "joined", part.sites))
              for part in (train, test)]
    return joined[0], joined[1]


def initial_model(part: str, train: Dataset, seed: int) -> torch.nn.Module:
    """The model every hospital starts from."""
    weights = generator(seed, "initial weights")
    if part in ("heart", "lung"):
        return logistic_regression(weights, num_features=train.inputs.shape[1])
    return small_cnn(weights)


def counts(train: Dataset, test: Dataset) -> dict:
    """Records and patients on each side."""
    people = sum(len(np.unique(part.patients)) for part in (train, test))
    return {"train": len(train), "test": len(test), "patients": people}


# --- Skew, local steps, drift -----------------------------------------------------------------


def run_skew(kind: str, alpha: float, seed: int, local_steps: int = CNN["local_steps"],
             rounds: int = CNN["rounds"], proximal: float = 0.0) -> dict:
    """Federate the nodules dealt anew to five hospitals; accuracy and how updates agree."""
    rng = np.random.default_rng(seed)
    train, test = hospitals.train_test(nodules(), TEST_FRACTION, rng)
    deal = {"label": hospitals.label_skew, "quantity": hospitals.quantity_skew}[kind]
    parts = deal(train, 5, alpha, rng)
    training = LocalTraining(CNN["learning_rate"], local_steps=local_steps,
                             batch_size=CNN["batch_size"], proximal=proximal)
    net = initial_model("nodules", train, seed)
    clinics = [Hospital.of(name, part) for name, part in parts.items()]
    steps = list(fed_avg(net, clinics, training, rounds=rounds, seed=seed))
    sizes = np.array([len(clinic) for clinic in clinics])
    positives = [float(clinic.targets.double().mean()) for clinic in clinics]
    return {
        "accuracy": accuracy_on(net, steps[-1].after, test),
        "agreement": agreement(steps[0]),
        "largest_share": float(sizes.max() / sizes.sum()),
        "prevalence_gap": max(positives) - min(positives),
        "everywhere_guess": majority_rate(torch.tensor(test.targets),
                                          torch.tensor(train.targets)),
        **counts(train, test),
    }


def agreement(step: Round) -> float:
    """Mean cosine between the updates of two hospitals: 1 is no drift, 0 is unrelated."""
    flat = [torch.cat([t.flatten() for t in update.delta.values()]) for update in step.updates]
    return float(np.mean([cosine_similarity(a, b, dim=0) for a, b in combinations(flat, 2)]))


# --- From trials to evidence ------------------------------------------------------------------

GUESSES = {"everywhere_guess": "always the commonest class of all hospitals",
           "at_home_guess": "always the commonest class of the patient's hospital"}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity, from the trials of all seeds, then contrasts."""
    groups = list(by_condition(results))
    items = []
    for setting, outcomes in groups:
        items += (describe_skew if "kind" in setting else describe)(setting, outcomes)
    outcomes_of = {frozenset(setting.items()): outcomes for setting, outcomes in groups}
    return items + [contrast(*row, outcomes_of) for row in contrasts()]


def by_condition(results: list[tuple[dict, dict]]) -> Iterator[tuple[dict, list[dict]]]:
    """The outcomes of each condition, in the order of the seeds."""
    def condition(result: tuple[dict, dict]) -> dict:
        return {key: value for key, value in result[0].items() if key != "seed"}

    for setting, group in groupby(results, condition):
        yield setting, [outcome for _, outcome in group]


def describe(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Evidence on one way to train: at home, everywhere, and by round."""
    part, way = setting["part"], setting["way"]
    recipe = {**RECIPES[part], **setting, "hospitals": outcomes[0]["hospitals"],
              "records_per_hospital": outcomes[0]["train"] / outcomes[0]["hospitals"]}
    stem = f"{part}_{way}" + suffix(setting.get("cap"))
    how = {"local": "hospitals training alone", "federated": "federated averaging",
           "pooled": "training on pooled records",
           "shuffled": "federated averaging on shuffled labels"}[way]
    for quantity, whose in (("at_home", "each patient judged by their own hospital's model"),
                            ("everywhere", "all patients judged by each hospital's model")):
        yield make(f"{stem}_{quantity}", f"Test accuracy of {how}, {whose}.",
                   [o[quantity] for o in outcomes], outcomes, part, recipe,
                   guess=f"{quantity}_guess")
    if way == "federated" and part == "nodules" and "cap" not in setting:
        for k, number in enumerate(SHOWN_ROUNDS):
            yield make(f"{part}_federated_round_{number:02d}",
                       f"Test accuracy of the global model after round {number}.",
                       [o["curve"][k] for o in outcomes], outcomes, part,
                       {**recipe, "rounds": number})


def contrasts() -> Iterator[tuple[str, str, str, dict, dict]]:
    """What is compared: name, statement, quantity, the one condition, the other."""
    for part, cap in [(part, None) for part in RECIPES] + [("nodules", cap) for cap in CAPS]:
        few = {"cap": cap} if cap else {}
        yield (f"{part}_gain{suffix(cap)}_at_home",
               "Accuracy at home of federated averaging minus that of training alone.", "at_home",
               {"part": part, "way": "federated", **few}, {"part": part, "way": "local", **few})
    for part in RECIPES:
        yield (f"{part}_federated_minus_pooled_at_home",
               "Accuracy at home of federated averaging minus that of pooled training.",
               "at_home", {"part": part, "way": "federated"}, {"part": part, "way": "pooled"})
    yield ("skew_cost", "Accuracy under label skew 0.1 minus that under label skew 100.",
           "accuracy", {"kind": "label", "alpha": 0.1}, {"kind": "label", "alpha": 100.0})
    yield ("long_walk_cost", "Accuracy after one walk of 400 steps minus that after 400 of one.",
           "accuracy", walk(400, 1), walk(1, 400))
    for mu in PROXIMAL:
        yield (f"fedprox_{mu:g}_gain", f"Accuracy of FedProx, mu = {mu:g}, minus that of FedAvg.",
               "accuracy", {**walk(100, 4), "proximal": mu}, walk(100, 4))


def contrast(name: str, statement: str, quantity: str, one: dict, other: dict,
             outcomes_of: Mapping) -> Evidence:
    """The difference of two conditions, seed by seed on the same split of the patients."""
    left, right = outcomes_of[frozenset(one.items())], outcomes_of[frozenset(other.items())]
    runs = [a[quantity] - b[quantity] for a, b in zip(left, right, strict=True)]
    part = one.get("part", "nodules")
    setting = {**RECIPES[part], **one, "minus": other}
    if "hospitals" in left[0]:
        setting["records_per_hospital"] = left[0]["train"] / left[0]["hospitals"]
    return make(name, f"{statement[:-1]}, paired by split.", runs, left, part, setting,
                unit="difference", guess=None)


def suffix(cap: int | None) -> str:
    """Part of a name: how many patients each hospital was left with, if fewer than all."""
    return f"_{cap}_patients" if cap else ""


def describe_skew(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Evidence on one deal of the nodules: accuracy and agreement of the first updates."""
    recipe = {**CNN, "proximal": 0.0, **setting}
    name = (f"{recipe['kind']}_{recipe['alpha']:g}_steps_{recipe['local_steps']}"
            f"_mu_{recipe['proximal']:g}")
    recipe |= {key: float(np.mean([o[key] for o in outcomes]))
               for key in ("largest_share", "prevalence_gap")}
    yield make(f"skew_{name}_accuracy", "Test accuracy of federated averaging under skew.",
               [o["accuracy"] for o in outcomes], outcomes, "nodules", recipe)
    yield make(f"skew_{name}_agreement",
               "Mean cosine between two hospitals' updates in the first round.",
               [o["agreement"] for o in outcomes], outcomes, "nodules", recipe,
               unit="cosine", guess=None)


def make(name: str, statement: str, runs: list[float], outcomes: list[dict], part: str,
         setting: dict, unit: str = "share of records", guess: str | None = "everywhere_guess",
         ) -> Evidence:
    """Evidence from one number a seed; ``guess`` names the baseline among the outcomes."""
    data = {"nodules": nodules, "heart": heart.load, "lung": lung.load}[part]()
    return Evidence(
        name=name, statement=statement, value=float(np.mean(runs)), unit=unit,
        interval=mean_interval(runs, test_to_train=TEST_TO_TRAIN),
        interval_kind="95 % corrected resampled t over seeds",
        baseline=float(np.mean([o[guess] for o in outcomes])) if guess else 0.0,
        baseline_kind=GUESSES[guess] if guess else "no relation",
        runs=tuple(runs), seeds=SEEDS, data=data.provenance, data_sha256=data.sha256,
        scale="fast", version=leaklab.__version__, setting=setting,
        clusters=outcomes[0]["patients"],
    )
