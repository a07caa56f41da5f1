"""Study 5: where gradient inversion dies, as uplift over what needs no update.

    map        1 to 16 radiographs in one update, under conditions from the papers' to the clinic's
    training   one radiograph and more and more training of the model
    norm       BatchNorm: in evaluation mode, new and trained; in training mode
    effort     ten times the evaluations, and eight starts, where the map says that it failed

Every trial keeps the loss of the guess and what ``diagnose`` said before the search. A seed redraws
the weights, the split of patients, the victims and the attack's start. Models are trained on public
patients. The attacker knows the training and the labels, and the public half. Settings of the
attacks are those of study 4.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

import leaklab
from leaklab.assess.inversion import GALLERY, halves, judge, sent
from leaklab.attacks import spear
from leaklab.attacks.dense_layer import last_layer_features
from leaklab.attacks.diagnose import diagnose
from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.gradient_matching import deep_leakage, inverting_gradients
from leaklab.attacks.search import Budget
from leaklab.data import radiology
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import train_on
from leaklab.metrics import accuracy
from leaklab.models import conv_net, mlp, predict
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, Recovered, View
from studies import by_condition, interval_of

SEEDS = tuple(range(10))
DEFAULT = Budget()
IMAGES = 2000
RECORDS = (1, 2, 4, 8, 16)
HEAD = "7"  # the last layer of conv_net
BATCH, RATE = 32, 0.1  # of the training before the update, and of several local steps


@dataclass(frozen=True)
class Condition:
    """Which network, what it went through before, how the hospital trains, who attacks.

    ``distinct``: labels all differ, in a task of twenty classes; otherwise they are the two of
    the task. ``most``: the largest batch that is measured.
    """

    network: str = "relu"
    distinct: bool = False
    trained: int = 0
    local_steps: int = 1
    mode: str = "eval"
    attack: str = "ig"
    most: int = 16


MAP = {
    "distinct labels": Condition(distinct=True, attack="features"),
    "two classes": Condition(),
    "two classes, GELU": Condition("gelu", attack="dlg"),
    "dense first layer": Condition("dense", attack="spear"),
    "trained, 500 steps": Condition(trained=500, most=8),
    "BatchNorm, training mode": Condition("norm", mode="train", most=8),
    "5 local steps": Condition(local_steps=5, most=4),
}
STAGES = (0, 100, 500, 1000)
LEARNERS = {"relu": "ig", "gelu": "dlg", "dense": "spear"}
EFFORTS = {"two classes": ((3000, 1), (300, 8)), "two classes, GELU": ((3000, 1),)}


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "map", "condition": name, "records": records, "data": "synthetic"}
                for name, condition in MAP.items() for records in RECORDS
                if records <= condition.most]
    settings += [{"part": "map", "condition": name, "records": records, "data": "real"}
                 for name in ("two classes", "dense first layer") for records in (1, 4)]
    settings += [{"part": "training", "network": network, "trained": trained}
                 for network in LEARNERS for trained in STAGES]
    settings += [{"part": "norm", "mode": mode, "trained": trained, "records": records}
                 for mode, trained in (("eval", 0), ("eval", 500), ("train", 0), ("train", 500))
                 for records in (1, 4)]
    settings += [{"part": "effort", "condition": name, "evaluations": evaluations,
                  "restarts": restarts}
                 for name, efforts in EFFORTS.items() for evaluations, restarts in efforts]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    given = {k: v for k, v in setting.items() if k != "part"}
    seed = given.pop("seed")
    if setting["part"] == "map":
        return measure(MAP[given["condition"]], given["records"], seed, given["data"])
    if setting["part"] == "training":
        network = given["network"]
        return measure(Condition(network, trained=given["trained"], attack=LEARNERS[network]),
                       1, seed)
    if setting["part"] == "norm":
        return measure(Condition("norm", trained=given["trained"], mode=given["mode"]),
                       given["records"], seed)
    return measure(MAP[given["condition"]], 4, seed,
                   budget=Budget(given["evaluations"], given["restarts"]))


@functools.cache
def radiographs(source: str) -> Dataset:
    """Normal chests and chests with opacities, 28 x 28."""
    return radiology.load("chest", source=source, n=IMAGES)


@functools.lru_cache(maxsize=4)
def model(network: str, classes: int, trained: int, seed: int, data: str) -> nn.Sequential:
    """A network, new or trained for so many steps on public radiographs."""
    weights = generator(seed, "initial weights")
    if network == "dense":
        net = mlp(weights, num_features=28 * 28, num_classes=classes)
    else:
        net = conv_net(weights, num_classes=classes, batch_norm=network == "norm",
                       activation=nn.GELU if network == "gelu" else nn.ReLU)
    if trained:
        known = halves(radiographs(data), seed)
        update = train_on(net, known.public, known.public_labels,
                          LocalTraining(RATE, local_steps=trained, batch_size=BATCH),
                          generator=generator(seed, "training before"))
        net.load_state_dict(update.after)
    return net


def measure(condition: Condition, records: int, seed: int, data: str = "synthetic",
            budget: Budget = DEFAULT) -> dict:
    """Attack one update and judge the outcome."""
    known = halves(radiographs(data), seed)
    victims, own = known.private[:records], known.private_labels[:records]
    given = torch.arange(records) if condition.distinct else own
    net = model(condition.network, 20 if condition.distinct else 2, condition.trained, seed, data)
    training = LocalTraining(RATE if condition.local_steps > 1 else 1.0,
                             local_steps=condition.local_steps, mode=condition.mode)
    view = sent(net, victims, given, training, seed)
    found = attack(condition, net, view, victims.shape, seed, budget)
    judged = judge(found.guess, victims, own, known)
    warned = {finding.severity for finding in
              diagnose(net, view, input_shape=victims.shape[1:], batch_size=records)}
    certain = found.certificate is not None and bool(found.certificate.all())
    return {**{name: float(value.mean()) for name, value in vars(judged).items()},
            "worst_off": float(judged.uplift.max()),
            "loss": max(0.0, -float(found.score.min())),  # algebra has a share for a score
            "warned": float(bool(warned & {"blocks", "misleads"})), "certain": float(certain),
            "accuracy": float(accuracy(predict(net, view.before, known.private),
                                       known.private_labels)) if not condition.distinct else 0.0}


def attack(condition: Condition, net: nn.Sequential, view: View, shape: tuple[int, ...],
           seed: int, budget: Budget) -> Recovered:
    """The attack that fits the condition; where algebra certifies nothing, search takes over."""
    start = generator(seed, "start of the attack")
    if condition.attack == "spear":
        read = spear.batch(net, view, generator=start)
        if read.certificate.all() and len(read.guess) == shape[0]:
            return replace(read, guess=read.guess.reshape(shape))
    if condition.attack == "features":
        read = last_layer_features(net, view)
        if read.certificate.all():
            found = invert_features(net, view, (HEAD, read.guess), shape=shape, generator=start,
                                    budget=budget)
            return replace(found, certificate=read.certificate)
    search = deep_leakage if condition.attack == "dlg" else inverting_gradients
    return search(net, view, shape=shape, generator=start, budget=budget)


# --- From trials to evidence ------------------------------------------------------------------

STATEMENTS = {
    "uplift": ("PSNR of the reconstruction less that of the better public mean image.", "dB"),
    "psnr": ("PSNR of the reconstruction.", "dB"),
    "ssim": ("Structural similarity of the reconstruction.", "SSIM"),
    "worst_off": ("Uplift of the victim that was rebuilt best.", "dB"),
    "identified": ("Share of reconstructions nearer to their own record than to any other of 200.",
                   "share of records"),
    "loss": ("Loss of the guess returned.", "loss"),
    "warned": ("Share of trials in which diagnose finds what blocks or misleads.",
               "share of trials"),
    "certain": ("Share of trials in which the attack knows that it succeeded.", "share of trials"),
    "accuracy": ("Accuracy of the model received, on private patients.", "share of records"),
}
KEPT = {"map": ("uplift", "psnr", "ssim", "worst_off", "identified", "loss", "warned", "certain"),
        "training": ("uplift", "psnr", "identified", "warned", "accuracy"),
        "norm": ("uplift", "identified", "warned"), "effort": ("uplift", "identified", "loss")}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and score, from the trials of all seeds."""
    return [describe(setting, outcomes, score) for setting, outcomes in by_condition(results)
            for score in KEPT[setting["part"]]]


def describe(setting: dict, outcomes: list[dict], score: str) -> Evidence:
    """Evidence of one score; a trial is one draw of weights, split, victims and start."""
    runs = tuple(float(outcome[score]) for outcome in outcomes)
    statement, unit = STATEMENTS[score]
    interval, kind = interval_of(runs, unit)
    baselines = {"psnr": (float(np.mean([o["prior"] for o in outcomes])),
                          "the better public mean image"),
                 "uplift": (0.0, "the better public mean image"),
                 "identified": (1 / GALLERY, "chance")}
    baseline, whose = baselines.get(score, (None, "no guess applies"))
    data = radiographs(setting.get("data", "synthetic"))
    words = [setting["part"], *(str(v) for k, v in setting.items() if k != "part")]
    return Evidence(
        name="_".join([*words, score]).replace(", ", "_").replace(" ", "_"),
        statement=statement, value=float(np.mean(runs)), unit=unit, interval=interval,
        interval_kind=kind, baseline=baseline, baseline_kind=whose, runs=runs,
        seeds=SEEDS, data=data.provenance, data_sha256=data.sha256, scale="fast",
        version=leaklab.__version__, view="server", privacy_unit="record",
        setting={"evaluations": DEFAULT.evaluations, "restarts": DEFAULT.restarts,
                 **conditions_of(setting), **setting},
        clusters=len(np.unique(data.patients)))


def conditions_of(setting: dict) -> dict:
    """The condition that a name stands for, spelt out."""
    return vars(MAP[setting["condition"]]) if "condition" in setting else {}
