"""Study 11: what ten rounds of a federation say about who took part, to whom, and by which signal.

    looks        Cleveland heart disease, five hospitals: signals of every observer, round by round
    radiographs  the same on chest radiographs, five hospitals
    steps        more or fewer local steps between two rounds
    hospitals    two or ten hospitals in place of five
    public       fewer public records than the 74 of the other parts
    skew         hospitals that see different mixtures of the classes, beside what their labels tell
    privacy      clipping and noise on every record's gradient, beside what theory allows

A trial is one seed: it redraws the public records, the halves of the pool, the hospitals, the
weights and the batches. Both federations of a deal are attacked, and a value is the mean over their
hospitals, each judged on its members against records that lie at no hospital. Rates, ridge and
components were chosen on seeds 100 to 103.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

import leaklab
from leaklab.assess.rounds import Deal, deal, of_hospitals, tpr_at, two_layers, within_class
from leaklab.attacks.membership.rounds import (
    Views,
    end_to_end,
    fed_mia,
    loss_scores,
    so_far,
    source_inference,
    update_scores,
)
from leaklab.attacks.membership.updates import glir, update_cosine, whitened, whitened_length
from leaklab.bounds import auc_ceiling, epsilon_of
from leaklab.data import cleveland, heart, radiology
from leaklab.data.dataset import Dataset
from leaklab.defences.record_level import PrivateHospital, RecordLevel, noise_for
from leaklab.evidence import Evidence
from leaklab.federation import (
    Round,
    client_views,
    fed_avg,
    public_views,
    secure_aggregation_views,
    server_views,
)
from leaklab.federations import train_federations
from leaklab.metrics import accuracy
from leaklab.metrics.roc import auc
from leaklab.metrics.validity import blind_baseline
from leaklab.models import predict
from leaklab.runtime import generator
from leaklab.stack import Stack, new_stack, state_of
from leaklab.updates import Knowledge, LocalTraining
from studies import by_condition, interval_of

SEEDS, FEWER = tuple(range(20)), tuple(range(10))
ROUNDS, HOSPITALS = 10, 5
RATE, BATCH, STEPS = 0.05, 8, 15  # of a hospital of 22: five passes through its records
FPR = 0.01  # one false alarm among the 111 who lie nowhere
JUDGES = {"auc": auc, "tpr": tpr_at(FPR)}
SEEN = (1, 2, 3, 4, 6, 8, 10)
IMAGES, SIDE, IMAGE_STEPS = 750, 14, 35  # half of 500 in five hospitals: five passes again
CLIP, PRIVATE_RATE, PRIVATE_STEPS, DELTA = 1.0, 0.5, 3, 1e-3
MUS = (0.5, 1.0, 2.0, 4.0)
SKEW = 0.5


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [({"part": "looks"}, SEEDS), ({"part": "radiographs"}, FEWER)]
    settings += [({"part": "steps", "local_steps": steps}, FEWER) for steps in (3, 60)]
    settings += [({"part": "hospitals", "hospitals": number}, FEWER) for number in (2, 10)]
    settings += [({"part": "public", "records": number}, FEWER) for number in (5, 20)]
    settings += [({"part": "skew"}, FEWER)]
    settings += [({"part": "privacy", "mu": mu}, FEWER) for mu in (*MUS, 0.0)]
    return [{**setting, "seed": seed} for setting, seeds in settings for seed in seeds]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    seed, part = setting["seed"], setting["part"]
    if part == "looks":
        return measure_looks(seed)
    if part == "radiographs":
        return measure_radiographs(seed)
    if part == "privacy":
        return measure_privacy(seed, setting["mu"])
    return measure_variation(seed, setting.get("local_steps", STEPS),
                             setting.get("hospitals", HOSPITALS),
                             SKEW if part == "skew" else None, setting.get("records"))


# --- Federations ------------------------------------------------------------------------------


@functools.cache
def patients() -> Dataset:
    """Cleveland, 297 patients, 22 columns."""
    return cleveland.load()


def radiographs(seed: int) -> Dataset:
    """So many chest radiographs, pooled to 14 x 14."""
    images = radiology.load("chest", source="real", n=IMAGES, seed=seed)
    small = avg_pool2d(torch.from_numpy(images.inputs), 28 // SIDE)
    return replace(images, inputs=((small - 0.5) / 0.25).numpy())


def heart_deal(seed: int, hospitals: int = HOSPITALS, skew: float | None = None) -> Deal:
    """The Cleveland patients, scaled by the public's; in double precision."""
    dealt = deal(patients(), hospitals, np.random.default_rng(seed), skew=skew,
                 prepare=heart.impute_and_scale)
    pool, public = ((inputs.double(), targets) for inputs, targets in (dealt.pool, dealt.public))
    return Deal(pool, public, dealt.owners, dealt.patients)


def models(dealt: Deal, seed: int) -> Stack:
    """Two new networks."""
    inputs = dealt.pool[0]

    def new(draw: torch.Generator) -> nn.Module:
        return two_layers(draw, num_features=inputs[0].numel()).to(inputs.dtype)

    return new_stack(new, 2, generator(seed, "weights"))


def federate(dealt: Deal, seed: int, training: LocalTraining) -> tuple[nn.Module, list]:
    """The architecture, and the rounds of both federations."""
    start = models(dealt, seed)
    return start.model, train_federations(start, *dealt.pool, dealt.owners, training,
                                          rounds=ROUNDS, generator=generator(seed, "training"))


def test_accuracy(net: nn.Module, steps: Sequence[Round], dealt: Deal, outside: Tensor) -> float:
    """Of the last global model, on the records at no hospital."""
    inputs, targets = dealt.pool
    return accuracy(predict(net, steps[-1].after, inputs[outside]), targets[outside])


# --- Signals ----------------------------------------------------------------------------------


def whitened_curve(net: nn.Module, views: Views, dealt: Deal, noise: float = 0.0,
                   clip: Callable[[Tensor], Tensor] = lambda gradients: gradients) -> Tensor:
    """The whitened filter of the rounds so far, end to end, (rounds, V, n)."""
    found = update_scores(net, views, dealt.pool, dealt.public, {
        "score": lambda g, u, p: whitened(clip(g), u, clip(p), noise=noise),
        "length": lambda g, u, p: whitened_length(clip(g), clip(p), noise=noise)[None]})
    return end_to_end(found["score"], found["length"])


def server_curves(net: nn.Module, views: Views, dealt: Deal, hospital_size: int) -> dict:
    """Scores by the number of rounds seen, from the first on, and each round by itself."""
    per_round = update_scores(net, views, dealt.pool, dealt.public, {
        "cosine": lambda g, u, p: update_cosine(g, u), "whitened": whitened,
        "length": lambda g, u, p: whitened_length(g, p)[None],
        "glir": lambda g, u, p: glir(g, u, p, records=hospital_size)})
    per_round["loss"] = loss_scores(net, views, dealt.pool)
    per_round["drop"] = loss_scores(net, views, dealt.pool, drop=True)
    length = per_round.pop("length")
    curves = {name: so_far(scores) for name, scores in per_round.items()}
    curves["whitened_mean"] = curves["whitened"]
    curves["whitened"] = end_to_end(per_round["whitened"], length)
    for name, base in (("fedmia_loss", "loss"), ("fedmia_cosine", "cosine")):
        curves[name] = torch.stack([fed_mia(per_round[base][:r + 1]) for r in range(ROUNDS)])
        per_round[name] = torch.stack([fed_mia(step[None]) for step in per_round[base]])
    backwards = end_to_end(per_round["whitened"].flip(0), length.flip(0))
    return {"curves": curves, "each": per_round, "backwards": backwards}


def judged(curves: Mapping[str, Tensor], owners: Tensor) -> dict:
    """AUC and true-positive rate of every curve, at every number of rounds in SEEN."""
    return {f"{name}_{kind}_{seen:02d}": of_hospitals(judge, curve[seen - 1], owners)
            for name, curve in curves.items() for kind, judge in JUDGES.items() for seen in SEEN}


def mixed(curves: Mapping[str, Tensor], members: Tensor, asked: Tensor) -> dict:
    """The same for observers with one view a round, on the records that are ``asked`` about."""
    return {f"{name}_{kind}_{seen:02d}": judge(curve[seen - 1, 0][asked], members[asked])
            for name, curve in curves.items() for kind, judge in JUDGES.items() for seen in SEEN}


def mean_of(outcomes: Sequence[Mapping[str, float]]) -> dict:
    """Over the two federations of a deal."""
    return {name: float(np.mean([outcome[name] for outcome in outcomes])) for name in outcomes[0]}


# --- Trials -----------------------------------------------------------------------------------


def measure_looks(seed: int) -> dict:
    """Every observer and signal, both federations, with the controls."""
    dealt = heart_deal(seed)
    training = LocalTraining(RATE, local_steps=STEPS, batch_size=BATCH)
    net, federations = federate(dealt, seed, training)
    outcomes = [observe(net, steps, dealt, dealt.owners[f], training, seed)
                for f, steps in enumerate(federations)]
    blind = blind_baseline(*dealt.pool, dealt.members[0], dealt.patients, trees=100, draws=2,
                           generator=generator(seed, "blind"))
    return {**mean_of(outcomes), "blind_auc": blind.auc}


def observe(net: nn.Module, steps: Sequence[Round], dealt: Deal, owners: Tensor,
            training: LocalTraining, seed: int) -> dict:
    """One federation through the eyes of its observers."""
    known, inside = Knowledge(training=training), owners >= 0
    found = server_curves(net, [server_views(step, known) for step in steps], dealt,
                          int((owners == 0).sum()))
    result = judged({f"server_{name}": curve for name, curve in found["curves"].items()}, owners)
    result |= {f"server_{name}_last_{kind}": of_hospitals(judge, scores[-1], owners)
               for name, scores in found["each"].items()
               for kind, judge in JUDGES.items()}
    result |= {f"server_whitened_each_auc_{r:02d}": of_hospitals(auc, scores, owners)
               for r, scores in enumerate(found["each"]["whitened"], start=1)}
    result |= judged({"late_whitened": found["backwards"]}, owners)
    total = [secure_aggregation_views(step, known) for step in steps]
    everyone = torch.ones_like(inside)
    cosine = update_scores(net, total, dealt.pool, dealt.public,
                           {"cosine": lambda g, u, p: update_cosine(g, u)})["cosine"]
    result |= mixed({"sum_whitened": whitened_curve(net, total, dealt),
                     "sum_cosine": so_far(cosine)}, inside, everyone)
    client = [client_views(step, "Hospital 1", known) for step in steps]
    result |= mixed({"client_whitened": whitened_curve(net, client, dealt)}, owners > 0,
                    owners != 0)
    released = loss_scores(net, [public_views(step) for step in steps], dealt.pool)
    result |= mixed({"global_loss": so_far(released)}, inside, everyone)
    result["public_loss_auc"] = auc(released[-1, 0], inside)
    result["public_loss_tpr"] = tpr_at(FPR)(released[-1, 0], inside)
    result |= sources(found, owners)
    anew = owners[torch.randperm(len(owners), generator=generator(seed, "anew"))]
    result["permuted_auc"] = of_hospitals(auc, found["curves"]["whitened"][-1], anew)
    result["accuracy"] = test_accuracy(net, steps, dealt, ~inside)
    return result


def sources(found: Mapping, owners: Tensor) -> dict:
    """How often the hospital of a member is named, by signal, last round and all rounds."""
    inside = owners >= 0
    return {f"source_{name}_{when}": float((source_inference(scores[-1])[inside]
                                            == owners[inside]).double().mean())
            for when, table in (("last", found["each"]), ("all", found["curves"]))
            for name, scores in table.items() if name in ("loss", "cosine", "whitened")}


def measure_radiographs(seed: int) -> dict:
    """The server's view on images, one federation."""
    dealt = deal(radiographs(seed), HOSPITALS, np.random.default_rng(seed), public=1 / 3)
    training = LocalTraining(RATE, local_steps=IMAGE_STEPS, batch_size=BATCH)
    net, federations = federate(dealt, seed, training)
    steps, owners, known = federations[0], dealt.owners[0], Knowledge(training=training)
    views = [server_views(step, known) for step in steps]
    per_round = update_scores(net, views, dealt.pool, dealt.public, {
        "cosine": lambda g, u, p: update_cosine(g, u), "whitened": whitened,
        "length": lambda g, u, p: whitened_length(g, p)[None]})
    loss, drop = (loss_scores(net, views, dealt.pool, drop=way) for way in (False, True))
    length = per_round["length"]
    curves = {"server_whitened": end_to_end(per_round["whitened"], length),
              "late_whitened": end_to_end(per_round["whitened"].flip(0), length.flip(0)),
              "server_cosine": so_far(per_round["cosine"]), "server_loss": so_far(loss),
              "server_drop": so_far(drop)}
    released = loss_scores(net, [public_views(steps[-1])], dealt.pool)[0, 0]
    anew = owners[torch.randperm(len(owners), generator=generator(seed, "anew"))]
    return {**judged(curves, owners), "public_loss_auc": auc(released, owners >= 0),
            "permuted_auc": of_hospitals(auc, curves["server_whitened"][-1], anew),
            "accuracy": test_accuracy(net, steps, dealt, owners < 0)}


def measure_variation(seed: int, local_steps: int, hospitals: int, skew: float | None,
                      public_records: int | None) -> dict:
    """The whitened filter and what it is compared with, where one thing differs."""
    dealt = heart_deal(seed, hospitals, skew)
    public = tuple(part[:public_records] for part in dealt.public)  # the first in the file
    dealt = replace(dealt, public=public)
    training = LocalTraining(RATE, local_steps=local_steps, batch_size=BATCH)
    net, federations = federate(dealt, seed, training)
    outcomes = []
    for f, steps in enumerate(federations):
        owners, known = dealt.owners[f], Knowledge(training=training)
        curve = whitened_curve(net, [server_views(s, known) for s in steps], dealt)
        last = whitened_curve(net, [server_views(steps[-1], known)], dealt)
        total = whitened_curve(net, [secure_aggregation_views(s, known) for s in steps], dealt)
        prior = label_shares(owners, dealt.pool[1], hospitals)
        released = loss_scores(net, [public_views(steps[-1])], dealt.pool)[0, 0]

        outcomes.append({
            "server_whitened_auc": of_hospitals(auc, curve[-1], owners),
            "server_whitened_tpr": of_hospitals(tpr_at(FPR), curve[-1], owners),
            "server_whitened_first_auc": of_hospitals(auc, curve[0], owners),
            "server_whitened_last_auc": of_hospitals(auc, last[-1], owners),
            "server_whitened_class_auc": per_class(curve[-1], owners, dealt.pool[1]),
            "sum_whitened_auc": auc(total[-1, 0], owners >= 0),
            "labels_auc": of_hospitals(auc, prior, owners),
            "public_loss_auc": auc(released, owners >= 0),
            "accuracy": test_accuracy(net, steps, dealt, owners < 0)})
    return mean_of(outcomes)


def label_shares(owners: Tensor, targets: Tensor, hospitals: int) -> Tensor:
    """For each hospital and record, how common the record's label is there, (C, n).

    What an attacker reaches who knows every hospital's mixture and has seen no model.
    """
    return torch.stack([(targets[owners == k][:, None] == targets).double().mean(0)
                        for k in range(hospitals)])


def per_class(scores: Tensor, owners: Tensor, targets: Tensor) -> float:
    """The mean over hospitals of the AUC among records of one class."""
    outside = owners < 0
    kept = [(owners == k) | outside for k in range(len(scores))]
    return float(np.mean([within_class(own[keep], (owners == k)[keep], targets[keep])
                          for k, (own, keep) in enumerate(zip(scores, kept, strict=True))]))


def measure_privacy(seed: int, mu: float) -> dict:
    """Record-level privacy at each hospital of one federation; ``mu`` 0 only clips."""
    dealt = heart_deal(seed)
    owners, (inputs, targets) = dealt.owners[0], dealt.pool
    noise = noise_for(mu, ROUNDS * PRIVATE_STEPS) if mu else 0.0
    defence = RecordLevel(CLIP, noise)
    clinics = [PrivateHospital(f"Hospital {k + 1}", inputs[owners == k], targets[owners == k],
                               defence) for k in range(HOSPITALS)]
    training = LocalTraining(PRIVATE_RATE, local_steps=PRIVATE_STEPS)
    start = models(dealt, seed)
    net = start.model
    net.load_state_dict(state_of(start, 0))
    steps = list(fed_avg(net, clinics, training, rounds=ROUNDS, seed=seed))
    known = Knowledge(training=training, defence=defence)
    size = int((owners == 0).sum())
    curve = whitened_curve(net, [server_views(s, known) for s in steps], dealt,
                           defence.noise_in_update(size, PRIVATE_STEPS), defence.clip)
    return {"server_whitened_auc": of_hospitals(auc, curve[-1], owners),
            "server_whitened_tpr": of_hospitals(tpr_at(FPR), curve[-1], owners),
            "accuracy": test_accuracy(net, steps, dealt, owners < 0)}


# --- From trials to evidence ------------------------------------------------------------------

OBSERVERS = {"server": "server", "late": "server that starts late",
             "sum": "server behind secure aggregation", "client": "client",
             "global": "client", "public": "public", "source": "server"}
SIGNALS = {"whitened": "whitened filter", "whitened_mean": "whitened filter, mean over rounds",
           "cosine": "cosine of update and gradient", "glir": "GLiR", "loss": "loss",
           "drop": "drop of the loss in a round", "fedmia_loss": "FedMIA on losses",
           "fedmia_cosine": "FedMIA on cosines", "labels": "how common the label is"}
NO_ATTACK = {"accuracy": "accuracy of the last global model on records at no hospital",
             "blind_auc": "AUC of a random forest that saw no model, members against others",
             "permuted_auc": "AUC of the whitened filter, memberships dealt anew",
             "labels_auc": "AUC of how common a record's label is at the hospital, no model seen"}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and measure, from the trials of all seeds."""
    return [describe(setting, outcomes, name) for setting, outcomes in by_condition(results)
            for name in outcomes[0]]


def describe(setting: dict, outcomes: list[dict], name: str) -> Evidence:
    """Evidence of one measure."""
    runs = tuple(float(outcome[name]) for outcome in outcomes)
    unit = ("share of records" if name == "accuracy" else "share of members"
            if "tpr" in name or "source" in name else "AUC")
    interval, kind = interval_of(runs, unit)
    data = patients() if setting["part"] != "radiographs" else radiographs(0)
    words = [setting["part"], *(str(v) for k, v in setting.items() if k != "part"), name]
    baseline, whose = baseline_of(data, name)
    return Evidence(
        name="_".join(words), statement=statement_of(name), value=float(np.mean(runs)), unit=unit,
        interval=interval, interval_kind=kind, baseline=baseline, baseline_kind=whose, runs=runs,
        seeds=(SEEDS if setting["part"] == "looks" else FEWER), data=data.provenance,
        data_sha256=data.sha256, scale="fast", version=leaklab.__version__,
        setting=conditions_of(setting, name),
        view=None if name in NO_ATTACK else OBSERVERS[name.split("_")[0]],
        privacy_unit=None if name in NO_ATTACK else "record",
        defence="clipping and noise for each record" if setting["part"] == "privacy" else None)


def statement_of(name: str) -> str:
    """A sentence for one measure."""
    if name in NO_ATTACK:
        return NO_ATTACK[name].capitalize() + "."
    observer, *rest = name.split("_")
    words = "_".join(rest)
    for part in ("_auc", "_tpr", "_last", "_first", "_each", "_class", "_all"):
        words = words.split(part)[0]
    what = ("members whose hospital is named" if observer == "source" else
            f"true-positive rate at a false-positive rate of at most {FPR:g}" if "tpr" in name
            else "AUC, members against records at no hospital")
    return f"{SIGNALS[words].capitalize()} to the {OBSERVERS[observer]}: {what}."


def baseline_of(data: Dataset, name: str) -> tuple[float | None, str]:
    """What needs no update."""
    if name == "accuracy":
        return float(np.bincount(data.targets).max() / len(data)), "the commoner class"
    if name.startswith("source"):
        return 1 / HOSPITALS, "one of the hospitals at random"
    return (FPR, "as many members as others accused") if "tpr" in name else (0.5, "chance")


def conditions_of(setting: dict, name: str) -> dict:
    """Everything a rerun needs, and for private training what theory allows."""
    images = setting["part"] == "radiographs"
    conditions = {"rounds": ROUNDS, "hospitals": HOSPITALS, "learning_rate": RATE,
                  "batch_size": BATCH, "local_steps": IMAGE_STEPS if images else STEPS}
    if name[-3:-2] == "_" and name[-2:].isdigit():
        conditions["seen"] = int(name[-2:])
    if setting["part"] == "privacy":
        mu = setting["mu"]
        conditions |= {"learning_rate": PRIVATE_RATE, "batch_size": None,
                       "local_steps": PRIVATE_STEPS, "max_grad_norm": CLIP, "delta": DELTA}
        conditions |= {"ceiling": auc_ceiling(mu), "epsilon": epsilon_of(mu, DELTA)} if mu else {}
    if setting["part"] == "skew":
        conditions["skew"] = SKEW
    return {**conditions, **setting}
