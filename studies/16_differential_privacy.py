"""Study 16: what differential privacy holds, what it costs, and whether a program keeps it.

    picked         one noisy gradient of one of ten heart patients, each as likely: which one?
    members        models trained privately on patients dealt by coins: the likelihood-ratio test
                   of a server that sees all steps and knows all others, and LiRA on the end
    unit           nodules of real patients, several to one: how far one patient moves the sum where
                   records are clipped, and where patients are
    heart          accuracy of four real hospitals by DP-SGD at several epsilons, without
                   privacy, and of each hospital alone
    nodules        the same for five hospitals and a convolutional network, by record and by patient
    central        noise at the server and noise at the hospital: who still rebuilds a record
    flower         the same server noise in Flower; what crosses the wire
    audit          canaries in one run of DP-SGD: correct, without noise, clipped after averaging
    sampler        runs of the sampler: Poisson batches, shuffled batches

A seed redraws splits, weights, batches, noise and coins. Learning rates and the audits' settings
were chosen on seeds 100 to 103.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

import leaklab
from leaklab import bounds
from leaklab.assess.membership import cleveland
from leaklab.assess.under_privacy import private_members, who_was_it
from leaklab.attacks.canaries import insert_canaries, many_run_audit, one_run_audit
from leaklab.attacks.dense_layer import single_record
from leaklab.attacks.membership import lira
from leaklab.attacks.membership.shadows import in_turn
from leaklab.attacks.membership.signals import logit_margin
from leaklab.attacks.sampler_audit import sampler_scores
from leaklab.data import heart, hospitals, radiology
from leaklab.data.dataset import Dataset
from leaklab.defences.accounting import Spent, epsilon, noise_for
from leaklab.defences.clip_and_noise import ClipAndNoise
from leaklab.defences.differential_privacy import PrivateHospital, poisson_batches
from leaklab.defences.faults import clipped_after_averaging, noise_forgotten, shuffled_batches
from leaklab.defences.record_level import RecordLevel
from leaklab.evidence import Evidence
from leaklab.federation import (
    Hospital,
    Round,
    accuracy_on,
    fed_avg,
    public_views,
    server_views,
)
from leaklab.gradients import record_gradients
from leaklab.metrics import majority_rate, mean_interval
from leaklab.metrics.roc import auc, operating_point
from leaklab.models import logistic_regression, mlp, small_cnn
from leaklab.runtime import generator
from leaklab.stack import new_stack, stack_logits
from leaklab.updates import Knowledge, LocalTraining, View, weighted_mean
from studies import by_condition, interval_of

SEEDS, FEWER = tuple(range(20)), tuple(range(10))
MUS = (0.5, 1.0, 2.0, 4.0)
DELTA = 1e-3
CANDIDATES, TRIALS, WIDTH = 10, 500, 32
MODELS, STEPS, RATE, FPR = 64, 40, 2.0, 0.01
TEST_FRACTION = 0.25
TEST_TO_TRAIN = TEST_FRACTION / (1 - TEST_FRACTION)
BUDGETS = (8.0, 2.0, 1.0, 0.5, 0.25, 0.1)
HEART = LocalTraining(0.5, local_steps=2, batch_size=64)
HEART_ROUNDS = 15
NODULE_TRIALS = (("none", None), ("record", 8.0), ("record", 2.0), ("record", 0.5),
                 ("patient", 2.0))
NODULE_RATES = {"none": 0.2, "record": 0.5, "patient": 0.5}
NODULE_ROUNDS, NODULE_STEPS, NODULE_BATCH = 20, 5, 32
ONE_STEP = LocalTraining(0.1)
SERVER_NOISE = 1.0
AUDITED = LocalTraining(0.1, local_steps=50, batch_size=100)
AUDIT_NOISE, AUDIT_DELTA, CANARIES, GUESSED = 5.0, 1e-5, 600, 0.2
RUNS, SAMPLER_UNITS, SAMPLER_STEPS, SAMPLER_NOISE = 6000, 100, 50, 0.8
FAULTS = {"correct": None, "noise forgotten": noise_forgotten,
          "clipped after averaging": clipped_after_averaging}
SAMPLERS = {"poisson": poisson_batches, "shuffled": shuffled_batches}


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    many = [{"part": "picked", "mu": mu} for mu in (*MUS, 8.0)]
    many += [{"part": "heart", "how": how} for how in ("plain", "alone", *BUDGETS)]
    fewer = [{"part": "members", "mu": mu} for mu in (*MUS, None)]
    fewer += [{"part": "nodules", "unit": unit, "budget": budget}
              for unit, budget in NODULE_TRIALS]
    fewer += [{"part": part} for part in ("unit", "central", "flower")]
    fewer += [{"part": "audit", "code": code} for code in FAULTS]
    fewer += [{"part": "sampler", "code": code} for code in SAMPLERS]
    return [{**setting, "seed": seed} for group, seeds in ((many, SEEDS), (fewer, FEWER))
            for setting in group for seed in seeds]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"picked": run_picked, "members": run_members, "unit": run_unit, "heart": run_heart,
             "nodules": run_nodules, "central": run_central, "flower": run_flower,
             "audit": run_audit, "sampler": run_sampler}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


@functools.cache
def patients() -> tuple[Tensor, Tensor]:
    """The heart patients of Cleveland, scaled."""
    data = cleveland()
    return torch.tensor(data.inputs), torch.tensor(data.targets)


# --- What is under the bound ------------------------------------------------------------------


def run_picked(mu: float, seed: int, trials: int = TRIALS) -> dict:
    """Share of trials in which each attack names the patient behind a noisy gradient."""
    inputs, targets = patients()
    rows = torch.randperm(len(inputs), generator=generator(seed, "candidates"))[:CANDIDATES]
    net = mlp(generator(seed, "initial weights"), num_features=inputs.shape[1], width=WIDTH)
    found = who_was_it(net, inputs[rows], targets[rows], RecordLevel(1.0, 1 / mu), trials,
                       generator(seed, "noise", mu))
    return {"likeliest": share(found.likeliest == found.truth),
            "nearest": share(found.nearest == found.truth)}


def run_members(mu: float | None, seed: int) -> dict:
    """AUC and true-positive rate of the server's test and of LiRA on the models released."""
    inputs, targets = patients()
    half = torch.rand(MODELS // 2, len(inputs), generator=generator(seed, "coins")) < 0.5
    members = torch.stack([half, ~half], 1).flatten(0, 1)
    stack = new_stack(partial(mlp, num_features=inputs.shape[1], width=WIDTH), MODELS,
                      generator(seed, "initial weights"))
    privacy = RecordLevel(1.0, STEPS**0.5 / mu if mu else 0.0)
    models, scores = private_members(stack, inputs, targets, members, privacy, steps=STEPS,
                                     learning_rate=RATE, generator=generator(seed, "noise"))
    margins = logit_margin(stack_logits(models, inputs), targets)
    judged = {"public": in_turn(partial(lira.lira_online, variance="shared"), margins, members)}
    judged |= {"server": scores} if mu else {}
    return {f"{who}_{what}": value for who, score in judged.items() for what, value in (
        ("auc", auc(score, members)),
        ("tpr", operating_point(score, members, FPR).true_positive_rate))}


# --- The unit ---------------------------------------------------------------------------------


@functools.cache
def nodules() -> Dataset:
    """The images of chapter 1, several of one patient."""
    return radiology.load("nodule", source="hybrid")


def run_unit(seed: int) -> dict:
    """The farthest that one patient moves the sum of clipped gradients, in units of C."""
    data = nodules()
    net = small_cnn(generator(seed, "initial weights"))
    rows = record_gradients(net, net.state_dict(), torch.tensor(data.inputs),
                            torch.tensor(data.targets))
    owner = torch.from_numpy(np.unique(data.patients, return_inverse=True)[1])
    privacy = RecordLevel(1.0, 0.0)

    def by_patient(gradients: Tensor) -> Tensor:
        return torch.zeros(int(owner.max()) + 1, rows.shape[1]).index_add_(0, owner, gradients)

    mean = by_patient(rows) / owner.bincount()[:, None]
    return {"record": float(by_patient(privacy.clip(rows)).norm(dim=1).max()),
            "patient": float(privacy.clip(mean).norm(dim=1).max())}


# --- What it costs ----------------------------------------------------------------------------


def clinics(
    parts: Mapping[str, Dataset], training: LocalTraining, rounds: int, budget: float | None,
    unit: str = "record",
) -> list[Hospital | PrivateHospital]:
    """The hospitals, each with the noise that spends ``budget`` over all rounds."""
    if budget is None:
        return [Hospital.of(name, part) for name, part in parts.items()]
    found = []
    for name, part in parts.items():
        owners = tuple(part.patients) if unit == "patient" else None
        units = len(set(owners)) if owners else len(part)
        noise = noise_of(budget, units, training.batch_size, training.local_steps * rounds)
        found.append(PrivateHospital(name, torch.tensor(part.inputs), torch.tensor(part.targets),
                                     noise, 1.0, patients=owners, one_pass=owners is None))
    return found


@functools.cache
def noise_of(budget: float, units: int, batch: int, steps: int) -> float:
    """The noise multiplier of one hospital."""
    return noise_for(budget, DELTA, units=units, sample_rate=batch / units, steps=steps)


@functools.lru_cache(maxsize=4)
def heart_split(seed: int) -> tuple[Dataset, Dataset]:
    """Training and test patients of the four hospitals."""
    table = hospitals.drop_duplicates(heart.load())
    return heart.impute_and_scale(
        *hospitals.train_test(table, TEST_FRACTION, np.random.default_rng(seed)))


def run_heart(how: str | float, seed: int) -> dict:
    """Accuracy on the test patients of all four hospitals."""
    train, test = heart_split(seed)
    parts = hospitals.by_site(train)
    net = logistic_regression(generator(seed, "initial weights"),
                              num_features=train.inputs.shape[1])
    budget = None if how in ("plain", "alone") else float(how)
    members = clinics(parts, HEART, HEART_ROUNDS, budget)
    guess = majority_rate(torch.tensor(test.targets), torch.tensor(train.targets))
    if how != "alone":
        *_, last = fed_avg(net, members, HEART, rounds=HEART_ROUNDS, seed=seed)
        return {"accuracy": accuracy_on(net, last.after, test), "guess": guess}
    tests = hospitals.by_site(test)
    right = 0.0
    for member in members:
        *_, last = fed_avg(net, [member], HEART, rounds=HEART_ROUNDS, seed=seed)
        right += accuracy_on(net, last.after, tests[member.name]) * len(tests[member.name])
    return {"accuracy": right / len(test), "guess": guess}


def run_nodules(unit: str, budget: float | None, seed: int) -> dict:
    """Accuracy on nodules of other patients."""
    train, test = hospitals.train_test(nodules(), TEST_FRACTION, np.random.default_rng(seed))
    training = LocalTraining(NODULE_RATES[unit], local_steps=NODULE_STEPS, batch_size=NODULE_BATCH)
    members = clinics(hospitals.by_site(train), training, NODULE_ROUNDS, budget, unit)
    net = small_cnn(generator(seed, "initial weights"))
    *_, last = fed_avg(net, members, training, rounds=NODULE_ROUNDS, seed=seed)
    return {"accuracy": accuracy_on(net, last.after, test),
            "guess": majority_rate(torch.tensor(test.targets), torch.tensor(train.targets))}


# --- Noise at the server ----------------------------------------------------------------------


def run_central(seed: int) -> dict:
    """Whether a record is rebuilt by the server and by the public, with noise here or there.

    Two hospitals of one patient each take one step; where the server adds the noise it clips each
    update and adds noise to their mean, as central differential privacy asks.
    """
    inputs, targets = patients()
    rows = torch.randperm(len(inputs), generator=generator(seed, "patients"))[:2]
    net = mlp(generator(seed, "initial weights"), num_features=inputs.shape[1], width=WIDTH)
    noisy = ClipAndNoise(1.0, SERVER_NOISE)
    known = Knowledge(training=ONE_STEP)

    def rebuilt(view: View) -> float:
        guess = single_record(net, view).guess[0]
        return float((inputs[rows] - guess).abs().amax(1).min() < 1e-2)

    found = {}
    for where in ("nowhere", "server", "hospital"):
        noise = generator(seed, "noise", where)
        here = [PrivateHospital(str(k), inputs[[k]], targets[[k]],
                                SERVER_NOISE if where == "hospital" else 0.0,
                                1.0 if where == "hospital" else 1e6) for k in rows.tolist()]
        sent = tuple(member.train(net, ONE_STEP, generator=noise) for member in here)
        pooled = [noisy.defend(update, ONE_STEP, generator=noise) for update in sent] \
            if where == "server" else sent
        after = weighted_mean([update.after for update in pooled], [1.0] * len(pooled))
        step = Round(1, sent[0].before, sent, after)
        found[f"{where}_server"] = rebuilt(server_views(step, known)[0])
        end = public_views(step)[0]
        found[f"{where}_public"] = rebuilt(View(end.observer, "difference", step.before, end.after,
                                                end.contributors, knowledge=known))
    return found


def run_flower(seed: int) -> dict:
    """Cosine of what crosses the wire and a hospital's own update, noise added by Flower's server.
    """
    from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping

    from leaklab.flower import app, capture, local_grid, wiretap

    training = LocalTraining(0.1, local_steps=2, batch_size=32)
    grid = local_grid.LocalGrid(app.client_app, [{"partition-id": k} for k in range(5)])
    tap = wiretap.WireTap(grid)
    result = app.federate(
        tap, training, rounds=1, seed=seed, num_hospitals=5,
        wrap=lambda strategy: DifferentialPrivacyServerSideFixedClipping(
            strategy, noise_multiplier=SERVER_NOISE, clipping_norm=1.0, num_sampled_clients=5))
    (own,) = fed_avg(app.initial_model(seed), app.chapter_hospitals(seed), training, rounds=1,
                     seed=seed)
    true = {update.hospital: flat(update.delta) for update in own.updates}
    seen = [nn.functional.cosine_similarity(flat(update.delta), true[update.hospital], dim=0)
            for update in capture.updates(tap.log)]
    released = result.arrays.to_torch_state_dict()
    moved = flat({name: released[name] - own.before[name] for name in own.before})
    plain = flat({name: own.after[name] - own.before[name] for name in own.before})
    return {"wire": float(min(seen)),
            "released": float(nn.functional.cosine_similarity(moved, plain, dim=0))}


# --- Audits -----------------------------------------------------------------------------------


def run_audit(code: str, seed: int) -> dict:
    """The epsilon that canaries in one run prove."""
    inputs, targets = patients()
    included = torch.rand(CANARIES, generator=generator(seed, "coins")) < 0.5
    scores = []

    def listen(optimiser) -> None:
        if FAULTS[code]:
            FAULTS[code](optimiser)
        scores.append(insert_canaries(optimiser, included, generator=generator(seed, "canaries"),
                                      sample_rate=AUDITED.batch_size / len(inputs)))

    net = mlp(generator(seed, "initial weights"), num_features=inputs.shape[1], width=64)
    PrivateHospital("audited", inputs, targets, AUDIT_NOISE, 1.0).train(
        net, AUDITED, generator=generator(seed, "training"), listen=listen)
    found = one_run_audit(scores[0], included, delta=AUDIT_DELTA, guess_fraction=GUESSED)
    return {"proved": found.epsilon}


def run_sampler(code: str, seed: int) -> dict:
    """The epsilon that many runs of a sampler prove."""
    included = torch.rand(RUNS, generator=generator(seed, "coins")) < 0.5
    scores = sampler_scores(SAMPLERS[code], included, units=SAMPLER_UNITS, steps=SAMPLER_STEPS,
                            noise_multiplier=SAMPLER_NOISE, generator=generator(seed, "runs"))
    return {"proved": many_run_audit(scores, included, delta=DELTA).epsilon}


def share(right: Tensor) -> float:
    """Of what is true."""
    return float(right.double().mean())


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """All numbers in one row."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


# --- From trials to evidence ------------------------------------------------------------------

STATEMENTS = {
    "likeliest": "Patients named behind a noisy gradient, of ten candidates, by the likeliest.",
    "nearest": "The same by dividing the record out of the first layer, then the nearest.",
    "public_auc": "AUC of LiRA on the released models.",
    "public_tpr": "True-positive rate of LiRA at 1 % false positives.",
    "server_auc": "AUC of the likelihood-ratio test of a server that saw every step.",
    "server_tpr": "True-positive rate of that test at 1 % false positives.",
    "record": "The farthest that a patient moves the sum, records clipped, in units of C.",
    "patient": "The farthest that a patient moves the sum, patients clipped, in units of C.",
    "accuracy": "Accuracy of the last global model on test patients.",
    "cost": "Accuracy without privacy less that with it, split by split.",
    "alone": "Accuracy of one model for all less that of each hospital's own, split by split.",
    "wire": "Smallest cosine of what a hospital sent and its true update.",
    "released": "Cosine of what the released model moved by and what it would have without noise.",
    "proved": "Epsilon that the audit proves.",
}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and measure, and what privacy costs split by split."""
    items, plain = [], {}
    for setting, outcomes in by_condition(results):
        items += [describe(setting, outcomes, name) for name in outcomes[0] if name != "guess"]
        if setting["part"] not in ("heart", "nodules"):
            continue
        if setting.get("how", setting.get("unit")) in ("plain", "none"):
            plain[setting["part"]] = outcomes
            continue
        paired = zip(plain[setting["part"]], outcomes, strict=True)
        costs = [{"cost": a["accuracy"] - b["accuracy"]} for a, b in paired]
        items.append(describe(setting, costs, "cost"))
    return items


def describe(setting: dict, outcomes: list[dict], name: str) -> Evidence:
    """Evidence of one measure."""
    runs = tuple(float(outcome[name]) for outcome in outcomes)
    part, unit = setting["part"], unit_of(name)
    if part in ("heart", "nodules"):
        interval = mean_interval(runs, test_to_train=TEST_TO_TRAIN)
        kind = "95 % corrected resampled t over seeds"
    else:
        interval, kind = interval_of(runs, unit)
    data = nodules() if part in ("nodules", "unit", "flower") else (
        heart.load() if part == "heart" else cleveland())
    baseline, whose = baseline_of(setting, outcomes, name)
    words = [part, *(str(v).replace(" ", "_") for k, v in setting.items() if k != "part"), name]
    return Evidence(
        name="_".join(words), statement=STATEMENTS.get(
            "alone" if (setting.get("how"), name) == ("alone", "cost") else name)
        or rebuilt_by(name),
        value=float(np.mean(runs)), unit=unit, interval=interval, interval_kind=kind,
        baseline=baseline, baseline_kind=whose, runs=runs,
        seeds=SEEDS if part in ("picked", "heart") else FEWER, data=data.provenance,
        data_sha256=data.sha256, scale="fast", version=leaklab.__version__,
        setting={**conditions_of(setting, name), **setting}, **about(setting, name))


def rebuilt_by(name: str) -> str:
    """What a measure of part ``central`` says."""
    where, who = name.split("_")
    return f"Deals in which a record is rebuilt by the {who}, noise added {where}."


def unit_of(name: str) -> str:
    """The unit of a measure."""
    if name in ("wire", "released"):
        return "cosine"
    if name in ("record", "patient"):
        return "clipping norms"
    if name == "proved":
        return "epsilon"
    if name in ("accuracy", "cost"):
        return "share of test patients"
    if "auc" in name:
        return "AUC"
    return "share of members" if "tpr" in name else "share of trials"


def baseline_of(setting: dict, outcomes: list[dict], name: str) -> tuple[float | None, str]:
    """What needs nothing that was measured."""
    if setting["part"] == "picked":
        return 1 / CANDIDATES, "one of the candidates at random"
    if name == "accuracy":
        return float(np.mean([o["guess"] for o in outcomes])), "the commoner class"
    if "auc" in name:
        return 0.5, "chance"
    if "tpr" in name:
        return FPR, "as many members as others accused"
    return None, "no guess applies"


def about(setting: dict, name: str) -> dict:
    """Who saw what, through which defence, and whom a promise is about."""
    part = setting["part"]
    if part in ("heart", "nodules", "unit"):
        private = setting.get("budget") or isinstance(setting.get("how"), float)
        return {"privacy_unit": setting.get("unit", "patient") if private else None,
                "defence": "DP-SGD at the hospital" if private else None}
    if part == "central":
        where, who = name.split("_")
        return {"view": who, "privacy_unit": {"nowhere": None, "server": "hospital",
                                              "hospital": "record"}[where],
                "defence": None if where == "nowhere" else f"clipping and noise at the {where}"}
    if part == "flower":
        return {"view": "server" if name == "wire" else "public", "privacy_unit": "hospital",
                "defence": "Flower's clipping and noise at the server"}
    who = "public" if name.startswith("public") else "server"
    bare = setting.get("mu", 0) is None
    return {"view": who, "privacy_unit": None if bare else "record",
            "defence": "clipping alone" if bare else "clipping and noise for each record"}


@functools.cache
def promised(part: str) -> float:
    """The epsilon that the accountant promises of what is audited, at the audit's own delta."""
    if part == "sampler":
        return epsilon((Spent(SAMPLER_NOISE, 1 / SAMPLER_STEPS, SAMPLER_STEPS),), DELTA,
                       units=SAMPLER_UNITS)
    units = len(patients()[0])
    spent = Spent(AUDIT_NOISE, AUDITED.batch_size / units, AUDITED.local_steps)
    return epsilon((spent,), AUDIT_DELTA, units=units)


def conditions_of(setting: dict, name: str) -> dict:
    """Everything a rerun needs, and what theory allows or an accountant promises."""
    part, mu = setting["part"], setting.get("mu")
    if part == "picked":
        return {"candidates": CANDIDATES, "trials": TRIALS, "width": WIDTH, "delta": DELTA,
                "epsilon": bounds.epsilon_of(mu, DELTA),
                "ceiling": bounds.reconstruction_robustness(1 / CANDIDATES, 1 / mu)}
    if part == "members":
        ceiling = {} if mu is None else {
            "epsilon": bounds.epsilon_of(mu, DELTA), "delta": DELTA,
            "ceiling": bounds.auc_ceiling(mu) if "auc" in name else bounds.tpr_ceiling(FPR, mu)}
        return {"models": MODELS, "steps": STEPS, "learning_rate": RATE, "width": WIDTH, **ceiling}
    if part == "heart":
        how = setting["how"]
        budget = {"budget": how} if isinstance(how, float) else {}
        return {**budget, "rounds": HEART_ROUNDS, "learning_rate": HEART.learning_rate,
                "batch_size": HEART.batch_size, "local_steps": HEART.local_steps, "delta": DELTA}
    if part == "nodules":
        return {"rounds": NODULE_ROUNDS, "learning_rate": NODULE_RATES[setting["unit"]],
                "delta": DELTA, "batch_size": NODULE_BATCH, "local_steps": NODULE_STEPS}
    if part == "audit":
        return {"canaries": CANARIES, "guessed": GUESSED, "noise_multiplier": AUDIT_NOISE,
                "steps": AUDITED.local_steps, "batch_size": AUDITED.batch_size,
                "delta": AUDIT_DELTA, "promised": promised(part)}
    if part == "sampler":
        return {"runs": RUNS, "units": SAMPLER_UNITS, "steps": SAMPLER_STEPS, "delta": DELTA,
                "noise_multiplier": SAMPLER_NOISE, "promised": promised(part)}
    return {"server_noise": SERVER_NOISE} if part in ("central", "flower") else {}
