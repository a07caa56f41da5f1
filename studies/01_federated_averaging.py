"""Study 1: does federating help, what skew and local steps do to it, and how far models drift.

Four parts; a seed redraws the patients of the test set, the initial weights and every batch:

    nodules      five hospitals by real slice thickness, LIDC hybrid images; also with only a
                 few patients left to each hospital; beside them a ruler: a cut-off on the
                 nodule's diameter, chosen on the training patients
    heart        the four hospitals of the UCI heart-disease table
    lung         the institutions of the NCCTG lung-cancer table
    skew         the nodules dealt anew to five hospitals, skewed in label or in size

Learning rate and rounds were chosen on seeds 1000 to 1002, which are not reported, by the mean
accuracy over local, federated and pooled training. They are other splits of the same patients.

The tables are scaled by means and deviations over all hospitals, for every way to train. A
federation would have to exchange three sums a column for that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

import leaklab
from leaklab.data import heart, hospitals, lung, radiology
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import Hospital, accuracy_on, agreement, fed_avg
from leaklab.metrics import majority_rate, mean_interval
from leaklab.models import logistic_regression, predict, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining
from studies import by_condition

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
    settings += [{"part": "nodules", "way": way} for way in ("shuffled", "ruler")]
    skews = [{"kind": kind, "alpha": alpha} for kind, alpha in SKEWS]
    skews += [walk(*schedule) for schedule in SCHEDULES if schedule[0] != CNN["local_steps"]]
    skews += [{**walk(100, 4), "proximal": mu} for mu in PROXIMAL]
    return [{**setting, "seed": seed} for setting in settings + skews for seed in SEEDS]


def walk(local_steps: int, rounds: int) -> dict:
    """So many local steps between exchanges, under label skew."""
    return {**DRIFT, "local_steps": local_steps, "rounds": rounds}


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    if setting.get("way") == "ruler":
        return run_ruler(setting["seed"])
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
        if part == "nodules" else [],
        "agreement_curve": [agreement(runs[0][t - 1]) for t in SHOWN_ROUNDS]
        if way == "federated" and part == "nodules" else [],
        "batch_size": training.batch_size,
        "called": float(np.mean([called(net, state, test) for state in last.values()])),
        "hospitals": len(clinics), **counts(train, test),
    }


def run_ruler(seed: int) -> dict:
    """What a cut-off on the diameter reaches, with no image and no network."""
    every = radiology.nodules()
    labelled = every.labels >= 0
    images = whole("nodules")
    assert len(images) == labelled.sum(), "a diameter for each image, in the same order"
    measured = replace(images, inputs=every.diameter[labelled, None].astype(np.float32))
    train, test = hospitals.train_test(measured, TEST_FRACTION, np.random.default_rng(seed))
    cuts = np.unique(train.inputs)
    right = [np.mean((train.inputs[:, 0] >= cut) == train.targets) for cut in cuts]
    cut = cuts[int(np.argmax(right))]
    score = float(np.mean((test.inputs[:, 0] >= cut) == test.targets))
    guess = majority_rate(torch.tensor(test.targets), torch.tensor(train.targets))
    return {"at_home": score, "at_home_guess": guess, "everywhere": score,
            "everywhere_guess": guess, "called": float(np.mean(test.inputs[:, 0] >= cut)),
            "hospitals": 1, "batch_size": None, **counts(train, test)}


def called(net: torch.nn.Module, state: Mapping, test: Dataset) -> float:
    """Share of the test records that the model calls class 1."""
    return float(predict(net, state, torch.tensor(test.inputs)).argmax(1).double().mean())


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
    train, test = hospitals.train_test(whole(part), TEST_FRACTION, np.random.default_rng(seed))
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


@functools.cache
def whole(part: str) -> Dataset:
    """All records of one part."""
    load = {"nodules": functools.partial(radiology.load, "nodule", source="hybrid"),
            "heart": heart.load, "lung": lung.load}[part]
    return load()


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
    train, test = hospitals.train_test(whole("nodules"), TEST_FRACTION, rng)
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


# --- From trials to evidence ------------------------------------------------------------------

GUESSES = {"everywhere_guess": "always the commonest class of all hospitals",
           "at_home_guess": "always the commonest class of the patient's hospital"}
WAYS = {"local": "hospitals training alone", "federated": "federated averaging",
        "pooled": "training on pooled records",
        "shuffled": "federated averaging on labels shuffled inside each hospital",
        "ruler": "a cut-off on the nodule's diameter, without an image"}

SKEW = "skew_label_{:g}_steps_20_mu_0_{}"
WALK = "skew_label_0.3_steps_{}_mu_{:g}_accuracy"
# What is compared, split by split: name, the one, minus the other.
CONTRASTS = (
    *((f"{part}_gain_at_home", f"{part}_federated_at_home", f"{part}_local_at_home")
      for part in RECIPES),
    *((f"nodules_gain_{cap}_patients_at_home", f"nodules_federated_{cap}_patients_at_home",
       f"nodules_local_{cap}_patients_at_home") for cap in CAPS),
    *((f"nodules_gain_{cap}_patients_minus_all", f"nodules_gain_{cap}_patients_at_home",
       "nodules_gain_at_home") for cap in CAPS),
    *((f"{part}_federated_minus_pooled_at_home", f"{part}_federated_at_home",
       f"{part}_pooled_at_home") for part in RECIPES),
    ("nodules_federated_minus_ruler", "nodules_federated_everywhere", "nodules_ruler_everywhere"),
    *((f"skew_{alpha:g}_change", SKEW.format(alpha, "accuracy"), SKEW.format(100, "accuracy"))
      for alpha in (0.1, 1.0)),
    *((f"skew_{alpha:g}_disagreement", SKEW.format(alpha, "agreement"),
       SKEW.format(100, "agreement")) for alpha in (0.1, 1.0)),
    ("quantity_skew_disagreement", "skew_quantity_0.3_steps_20_mu_0_agreement",
     "skew_quantity_100_steps_20_mu_0_agreement"),
    ("long_walk_change", WALK.format(400, 0), WALK.format(1, 0)),
    *((f"fedprox_{mu:g}_gain", WALK.format(100, mu), WALK.format(100, 0)) for mu in PROXIMAL),
)


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and quantity, from the trials of all seeds, then contrasts."""
    items = [item for setting, outcomes in by_condition(results)
             for item in (describe_skew if "kind" in setting else describe)(setting, outcomes)]
    for name, one, other in CONTRASTS:
        found = {item.name: item for item in items}
        items.append(contrast(name, found[one], found[other]))
    return items


def describe(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Evidence on one way to train: at home, everywhere, and by round."""
    part, way = setting["part"], setting["way"]
    recipe = {**RECIPES[part], **setting, "batch_size": outcomes[0]["batch_size"],
              "hospitals": float(np.mean([o["hospitals"] for o in outcomes])),
              "records_per_hospital": float(np.mean([o["train"] / o["hospitals"]
                                                     for o in outcomes]))}
    stem = f"{part}_{way}" + (f"_{setting['cap']}_patients" if "cap" in setting else "")
    for quantity, whose in (("at_home", "each patient judged by their own hospital's model"),
                            ("everywhere", "all patients judged by each hospital's model")):
        yield make(f"{stem}_{quantity}", f"Test accuracy of {WAYS[way]}, {whose}.",
                   [o[quantity] for o in outcomes], part, recipe,
                   baseline=guess_of(outcomes, f"{quantity}_guess"))
    yield make(f"{stem}_called", f"Share of test records that {WAYS[way]} calls class 1.",
               [o["called"] for o in outcomes], part, recipe)
    if way == "federated" and part == "nodules" and "cap" not in setting:
        for k, number in enumerate(SHOWN_ROUNDS):
            at_round = {**recipe, "rounds": number}
            yield make(f"nodules_lead_round_{number:02d}",
                       f"Accuracy of the global model after round {number} minus that of always "
                       "answering the commonest class of all hospitals, paired by split.",
                       [o["curve"][k] - o["everywhere_guess"] for o in outcomes], part, at_round,
                       unit="difference")
            yield make(f"nodules_agreement_round_{number:02d}",
                       f"Mean cosine between two hospitals' updates in round {number}.",
                       [o["agreement_curve"][k] for o in outcomes], part, at_round, unit="cosine")


def describe_skew(setting: dict, outcomes: list[dict]) -> Iterator[Evidence]:
    """Evidence on one deal of the nodules: accuracy and agreement of the first updates."""
    recipe = {**CNN, "proximal": 0.0, **setting}
    name = (f"{recipe['kind']}_{recipe['alpha']:g}_steps_{recipe['local_steps']}"
            f"_mu_{recipe['proximal']:g}")
    recipe |= {key: float(np.mean([o[key] for o in outcomes]))
               for key in ("largest_share", "prevalence_gap")}
    yield make(f"skew_{name}_accuracy", "Test accuracy of federated averaging under skew.",
               [o["accuracy"] for o in outcomes], "nodules", recipe,
               baseline=guess_of(outcomes, "everywhere_guess"))
    yield make(f"skew_{name}_agreement",
               "Mean cosine between two hospitals' updates in the first round.",
               [o["agreement"] for o in outcomes], "nodules", recipe, unit="cosine")


def contrast(name: str, one: Evidence, other: Evidence) -> Evidence:
    """The difference of two conditions, seed by seed on the same split of the patients."""
    runs = [a - b for a, b in zip(one.runs, other.runs, strict=True)]
    unit = "difference in cosine" if one.unit == "cosine" else "difference"
    return make(name, f"{one.name} minus {other.name}, paired by split.", runs,
                str(one.setting.get("part", "nodules")), {**one.setting, "minus": other.name},
                unit=unit)


def guess_of(outcomes: list[dict], guess: str) -> tuple[float, str]:
    """What the guess reaches on average, and which guess it is."""
    return float(np.mean([o[guess] for o in outcomes])), GUESSES[guess]


def make(name: str, statement: str, runs: list[float], part: str, setting: dict, *,
         unit: str = "share of records", baseline: tuple[float, str] = (0.0, "no difference"),
         ) -> Evidence:
    """Evidence from one number a seed.

    Accuracies share test patients from seed to seed, and their intervals are widened for it. A
    cosine between updates has no test set: its runs count as independent.
    """
    data = whole(part)
    overlap = 0.0 if "cosine" in unit else TEST_TO_TRAIN
    return Evidence(
        name=name, statement=statement, value=float(np.mean(runs)), unit=unit,
        interval=mean_interval(runs, test_to_train=overlap),
        interval_kind=("95 % corrected resampled t over seeds" if overlap
                       else "95 % t over seeds"),
        baseline=baseline[0], baseline_kind=baseline[1],
        runs=tuple(runs), seeds=SEEDS, data=data.provenance, data_sha256=data.sha256,
        scale="fast", version=leaklab.__version__, setting=setting,
        clusters=len(np.unique(data.patients)),
    )
