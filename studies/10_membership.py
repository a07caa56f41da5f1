"""Study 10: whether a model betrays who was in its training data, and who is exposed.

    heart        every attack on 64 models of Cleveland's heart patients, each the target in turn
    training     what epochs, width and wrong labels change
    radiographs  the same attacks on small convolutional networks, real and procedural images
    blind        can members be told without the model? halves of one hospital, and two hospitals
    elsewhere    the loss threshold where non-members come from another hospital

A seed redraws the halves, the weights, the batches and the attack; the patients stay the same, so
every trial also keeps its numbers for the same hundred draws of patients, and intervals are over
both. Settings were chosen on seeds 100 to 103. The attacker holds each record and its label, sees
the model's outputs, and trains shadow models on the same pool.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

import leaklab
from leaklab.assess import membership
from leaklab.attacks.membership import label_only, lira, thresholds
from leaklab.attacks.membership.shadows import in_turn
from leaklab.attacks.membership.signals import logit_margin
from leaklab.data import heart, hospitals, radiology
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.metrics import mean_interval
from leaklab.metrics.roc import (
    Pooled,
    auc,
    patient_draws,
    pooled_auc,
    pooled_tpr,
    record_auc,
)
from leaklab.metrics.validity import blind_baseline, permuted_auc
from leaklab.models import small_cnn
from leaklab.runtime import generator
from leaklab.stack import Stack, paired_members, stack_logits
from leaklab.updates import LocalTraining
from studies import by_condition

SEEDS = tuple(range(20))
FEWER = SEEDS[:8]  # of the convolutional networks
MODELS = {"heart": 64, "training": 32, "radiographs": 24, "elsewhere": 8, "blind": 2}
LEAD = "LiRA"
SHADOWS = (2, 4, 8, 16, 32, 62)
BUDGETED = ("RMIA", "LiRA", "LiRA, shared variance", "LiRA, shrunken")
EPOCHS, WIDTHS, NOISE = (5, 15, 60, 200), (16, 128, 512), (0.0, 0.1, 0.3)
IMAGES = 400
NETWORK = LocalTraining(0.05, batch_size=32, momentum=0.9)
IMAGE_EPOCHS = 30
NOISY, DEVIATION = 20, 0.5  # copies of a record for the label-only attack, in column deviations
DRAWS = 100
EXPOSED = 0.9
RATES = {"tpr_1": 0.01, "tpr_01": 0.001}
ELSEWHERE = ("hungarian", "va", "switzerland")


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "heart"}]
    settings += [{"part": "training", "epochs": epochs, "width": membership.WIDTH, "noise": 0.0}
                 for epochs in EPOCHS]
    settings += [{"part": "training", "epochs": membership.EPOCHS, "width": width, "noise": 0.0}
                 for width in WIDTHS if width != membership.WIDTH]
    settings += [{"part": "training", "epochs": membership.EPOCHS, "width": membership.WIDTH,
                  "noise": noise} for noise in NOISE if noise]
    settings += [{"part": "blind", "against": against} for against in ("halves", *ELSEWHERE)]
    settings += [{"part": "elsewhere", "against": against} for against in ELSEWHERE]
    few = [{"part": "radiographs", "source": source, "seed": seed}
           for source in ("real", "synthetic") for seed in FEWER]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS] + few


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    given = {k: v for k, v in setting.items() if k != "part"}
    return {"heart": on_hearts, "training": on_training, "radiographs": on_radiographs,
            "blind": on_blind, "elsewhere": on_elsewhere}[setting["part"]](**given)


# --- The parts --------------------------------------------------------------------------------


def on_hearts(seed: int) -> dict:
    """All attacks on the heart table, fewer shadows, exposure, and what must find nothing."""
    inputs, targets, members, draws = experiment(cleveland(), MODELS["heart"], seed)
    stack = membership.trained(membership.network(), inputs, targets, members, seed)
    logits = stack_logits(stack, inputs)
    copies = label_only.noisy_copies(inputs, DEVIATION, NOISY, generator(seed, "copies"))
    scores = attacks(logits, targets, members, seed) | by_label(stack, copies, targets, members)
    outcome = judged(scores, members, draws) | gains(scores, members, draws)
    for number in SHADOWS:
        fewer = membership.calibrated(logits, targets, members, shadows=number)
        outcome |= judged({f"{name}, {number} shadows": fewer[name] for name in BUDGETED},
                          members, draws, rates=("tpr_1",))
    new = membership.trained(membership.network(), inputs, targets, members, seed, epochs=0)
    nothing = membership.calibrated(stack_logits(new, inputs), targets, members)[LEAD]
    null = permuted_auc(scores[LEAD], members, cleveland().patients,
                        generator=generator(seed, "permuted"), draws=DRAWS)
    return outcome | exposure(logits, targets, members, draws, seed) | utility(
        logits, targets, members) | {
        "untrained, auc": kept(pooled_auc(nothing, members, draws)),
        "permuted, auc": only(null.value), "permuted, highest": only(null.interval[1])}


def on_training(epochs: int, width: int, noise: float, seed: int) -> dict:
    """The loss threshold and LiRA on models that were trained otherwise."""
    inputs, true, members, draws = experiment(cleveland(), MODELS["training"], seed)
    wrong = torch.rand(len(true), generator=generator(seed, "wrong labels")) < noise
    targets = torch.where(wrong, 1 - true, true)
    stack = membership.trained(membership.network(width), inputs, targets, members, seed,
                               epochs=epochs)
    logits = stack_logits(stack, inputs)
    scores = {"loss threshold": thresholds.loss_threshold(logits, targets),
              LEAD: membership.calibrated(logits, targets, members)[LEAD]}
    outcome = judged(scores, members, draws) | utility(logits, targets, members)
    if noise:
        each = record_auc(logit_margin(logits, targets), members)
        outcome |= {"wrong labels, auc": only(each[wrong].mean()),
                    "right labels, auc": only(each[~wrong].mean())}
    return outcome


def on_radiographs(source: str, seed: int) -> dict:
    """The attacks on convolutional networks; copies for the label-only attack are shifted."""
    inputs, targets, members, draws = experiment(radiographs(source), MODELS["radiographs"], seed)
    inputs = (inputs - inputs.mean()) / inputs.std()
    stack = membership.trained(small_cnn, inputs, targets, members, seed, training=NETWORK,
                               epochs=IMAGE_EPOCHS)
    logits = stack_logits(stack, inputs)
    scores = attacks(logits, targets, members, seed) | by_label(
        stack, label_only.shifted_copies(inputs, 1), targets, members)
    return judged(scores, members, draws) | gains(scores, members, draws) | exposure(
        logits, targets, members, draws, seed) | utility(logits, targets, members)


def on_blind(against: str, seed: int) -> dict:
    """Can a forest that never meets a model tell members from non-members?"""
    data = cleveland() if against == "halves" else two_hospitals(against)
    half = paired_members(MODELS["blind"], len(data), generator(seed, "members"))[0]
    members = half if against == "halves" else torch.tensor(data.sites == "cleveland")
    found = blind_baseline(torch.tensor(data.inputs), torch.tensor(data.targets), members,
                           data.patients, generator=generator(seed, "blind"), draws=DRAWS)
    return {"blind, auc": only(found.auc), "turned away, share": only(not found.valid)}


def on_elsewhere(against: str, seed: int) -> dict:
    """Loss threshold for members, and for strangers from the same hospital, against another's."""
    data = two_hospitals(against)
    inputs, targets = torch.tensor(data.inputs), torch.tensor(data.targets)
    home = torch.tensor(data.sites == "cleveland")
    members = torch.zeros(MODELS["elsewhere"], len(data), dtype=torch.bool)
    members[:, home] = paired_members(len(members), int(home.sum()), generator(seed, "members"))
    network = membership.network(features=inputs.shape[1])
    stack = membership.trained(network, inputs, targets, members, seed)
    score = thresholds.loss_threshold(stack_logits(stack, inputs), targets)
    strangers, away = ~members & home, ~home.expand_as(members)

    def against_each_other(ours: Tensor, theirs: Tensor) -> dict:
        return only(auc(score[ours | theirs], ours[ours | theirs]))

    return {"members against strangers from home, auc": against_each_other(members, strangers),
            "members against another hospital, auc": against_each_other(members, away),
            "strangers against another hospital, auc": against_each_other(strangers, away)}


# --- What the parts share ---------------------------------------------------------------------


@functools.cache
def cleveland() -> Dataset:
    """The pool of the heart parts."""
    return membership.cleveland()


@functools.cache
def radiographs(source: str) -> Dataset:
    """Normal chests and chests with opacities, 28 x 28."""
    return radiology.load("chest", source=source, n=IMAGES)


@functools.cache
def two_hospitals(other: str) -> Dataset:
    """Cleveland and another hospital of the same table, gaps filled alike."""
    table = heart.load()
    (data,) = heart.impute_and_scale(hospitals.drop_duplicates(
        table.take((table.sites == "cleveland") | (table.sites == other))))
    return data


def experiment(data: Dataset, models: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, targets, who is a member of which model, and the draws of patients."""
    members = paired_members(models, len(data), generator(seed, "members"))
    draws = patient_draws(data.patients, DRAWS, generator("draws of patients"))
    return torch.tensor(data.inputs), torch.tensor(data.targets), members, draws


def attacks(logits: Tensor, targets: Tensor, members: Tensor, seed: int) -> dict[str, Tensor]:
    """Scores of every attack that sees the model's outputs."""
    return (membership.uncalibrated(logits, targets, members, seed)
            | membership.calibrated(logits, targets, members))


def by_label(stack: Stack, copies: Iterable[Tensor], targets: Tensor, members: Tensor
             ) -> dict[str, Tensor]:
    """The label-only attack, as it is and calibrated by shadow models."""
    share = label_only.votes(lambda x: stack_logits(stack, x).argmax(-1), copies, targets)
    shared = functools.partial(lira.lira_online, variance="shared")
    return {"labels only": share, "labels only, calibrated": in_turn(shared, share, members)}


def judged(scores: Mapping[str, Tensor], members: Tensor, draws: Tensor,
           rates: Iterable[str] = tuple(RATES)) -> dict:
    """Rates of each attack, pooled over targets."""
    outcome = {}
    for name, score in scores.items():
        outcome[f"{name}, auc"] = kept(pooled_auc(score, members, draws))
        for rate in rates:
            outcome[f"{name}, {rate}"] = kept(pooled_tpr(score, members, draws, RATES[rate]))
    return outcome


def gains(scores: Mapping[str, Tensor], members: Tensor, draws: Tensor) -> dict:
    """How far LiRA is ahead of each other attack, patient draw by patient draw."""
    areas = {name: pooled_auc(score, members, draws) for name, score in scores.items()}
    lead = areas.pop(LEAD)
    return {f"over {name}, gain": kept(Pooled(lead.value - other.value, lead.draws - other.draws))
            for name, other in areas.items()}


def kept(pooled: Pooled) -> dict:
    """What a trial keeps of a pooled rate."""
    return {"value": pooled.value, "draws": [round(d, 6) for d in pooled.draws.tolist()]}


def only(value: float | Tensor) -> dict:
    """A number without draws of patients."""
    return {"value": float(value), "draws": []}


def exposure(logits: Tensor, targets: Tensor, members: Tensor, draws: Tensor, seed: int) -> dict:
    """Share of patients whom the margin gives away, and whether models get them right unseen."""
    margin = logit_margin(logits, targets)
    exposed = record_auc(margin, members) > EXPOSED
    other = paired_members(len(members), len(targets), generator(seed, "masks of no training"))
    chance = record_auc(margin, other) > EXPOSED
    right = (((margin > 0) & ~members).sum(0) / (~members).sum(0)).double()
    shares = (draws * exposed).sum(1) / draws.sum(1)
    found = {"exposed, share": kept(Pooled(float(exposed.double().mean()), shares)),
             "exposed by chance, share": only(chance.double().mean())}
    if exposed.any():
        found |= {"exposed, accuracy": only(right[exposed].mean()),
                  "not exposed, accuracy": only(right[~exposed].mean())}
    return found


def utility(logits: Tensor, targets: Tensor, members: Tensor) -> dict:
    """Accuracy on members and on the others."""
    right = (logits.argmax(-1) == targets).double()
    return {"members, accuracy": only(right[members].mean()),
            "non-members, accuracy": only(right[~members].mean())}


# --- From trials to evidence ------------------------------------------------------------------

UNITS = {
    "auc": ("Chance that a member scores above a non-member, over all targets", "AUC"),
    "tpr_1": ("Share of members named at 1 % false alarms, over all targets", "share of members"),
    "tpr_01": ("Share of members named at 0.1 % false alarms, over all targets",
               "share of members"),
    "gain": ("AUC of LiRA less that of another attack", "AUC"),
    "share": ("Share of patients, or of checks turned away", "share"),
    "accuracy": ("Share of records the model gets right", "share of records"),
    "highest": ("Highest AUC that memberships dealt anew reach in 97.5 of 100 draws", "AUC"),
}
GUESSES = {"auc": 0.5, "tpr_1": 0.01, "tpr_01": 0.001, "gain": 0.0}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and number, from the trials of all seeds."""
    return [describe(setting, what, outcomes) for setting, outcomes in by_condition(results)
            for what in outcomes[0] if all(what in outcome for outcome in outcomes)]


def describe(setting: dict, what: str, outcomes: list[dict]) -> Evidence:
    """Evidence of one number; a trial is one draw of halves, weights and batches."""
    runs = tuple(float(outcome[what]["value"]) for outcome in outcomes)
    subject, _, kind = what.rpartition(", ")
    statement, unit = UNITS[kind]
    draws = np.array([outcome[what]["draws"] for outcome in outcomes])
    data, guess = data_of(setting), GUESSES.get(kind)
    words = [*(str(value) for value in setting.values()), what]
    name = "_".join(words).replace(", ", "_").replace(" ", "_")
    low, high = interval(np.array(runs), draws)
    if kind != "gain":
        low, high = max(0.0, low), min(1.0, high)
    return Evidence(
        name=name, statement=f"{statement}: {subject}.", value=float(np.mean(runs)), unit=unit,
        interval=(low, high), interval_kind=(
            "95 %, normal, by draws of patients and seeds" if draws.size else "95 % t over seeds"),
        baseline=guess, baseline_kind="a coin" if guess is not None else "no guess applies",
        runs=runs, seeds=SEEDS[:len(runs)], data=data.provenance, data_sha256=data.sha256,
        scale="fast", version=leaklab.__version__, view="public", privacy_unit="record",
        setting={"models": MODELS[setting["part"]], **setting, **budget(what)},
        clusters=len(np.unique(data.patients)))


def budget(what: str) -> dict:
    """The number of shadow models that a name mentions."""
    named = [word.split()[0] for word in what.split(", ") if word.endswith(" shadows")]
    return {"shadows": int(named[0])} if named else {}


def interval(runs: np.ndarray, draws: np.ndarray) -> tuple[float, float]:
    """Around the mean of ``runs`` (seeds,): by ``draws`` (seeds, draws) of patients, if there are.

    All seeds saw the same draws of patients, and seeds are drawn with replacement too: the
    deviation over both estimates that of the mean (the pigeonhole bootstrap; Owen, 2007,
    doi:10.1214/07-AOAS122). Of few seeds it takes their part too small, by (J - 1) / J.
    """
    if not draws.size:
        return mean_interval(runs)
    rng = np.random.default_rng(0)
    means = [draws[rng.integers(len(runs), size=len(runs)), k % draws.shape[1]].mean()
             for k in range(20 * draws.shape[1])]
    half = 1.96 * np.std(means)
    return float(runs.mean() - half), float(runs.mean() + half)


def data_of(setting: dict) -> Dataset:
    """The pool of a condition."""
    if setting["part"] == "radiographs":
        return radiographs(setting["source"])
    other = setting.get("against", "halves")
    return cleveland() if other == "halves" else two_hospitals(other)
