"""Study 9: five hospitals train a model of lung nodules, and one of them is compromised.

    round    hospitals take one step on a few records each, and an observer attacks what it sees.
             "client 2" to "client 10" are the compromised hospital among so many: global models
             only, its own part taken out. "sum 5" is the server behind secure aggregation. The
             view of a client among two is that of a server, or of someone on a plain line
    clinic   20 steps on all of a hospital's records: seen by the server, who unrolls the walk, and
             by a client among five, who takes the four walks for one long step
    real     the rounds again, on real chest radiographs
    without  images drawn from the diffusion prior alone, which no update enters
    same     how far the view of a client among two is from the server's, to float rounding

Attacks: the algebra (a search takes over where it refuses), the search, and samples of a diffusion
prior that fit the gradient. That prior is of procedural nodules, or of procedural radiographs; the
victims carry outlines of real nodules, or are real. Patients, models and scores are those of
:mod:`leaklab.assess.case_study`. All records behind a view are attacked together; only the four
victims are scored, after guesses and records are paired. Settings were chosen on seeds 100 to 103.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

import leaklab
from leaklab.assess import case_study
from leaklab.assess.case_study import OWN, VICTIMS, dealt, judged, known, model, views_of
from leaklab.assess.inversion import GALLERY
from leaklab.assess.observers import one_round, views_by_observer
from leaklab.attacks.dense_images import dense_images
from leaklab.attacks.diffusion_prior import diffusion_prior
from leaklab.attacks.gradient_matching import inverting_gradients
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.evidence import Evidence
from leaklab.metrics import accuracy, mean_interval
from leaklab.metrics.clustered import share_interval
from leaklab.models import predict
from leaklab.prior.checkpoint import chest_prior
from leaklab.prior.diffusion import prior_samples
from leaklab.prior.nodules import nodule_prior
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, View
from studies import by_condition

CLINIC = LocalTraining(0.1, local_steps=20)  # on all records in each step: no order to guess
LONG_STEP = LocalTraining(CLINIC.learning_rate * CLINIC.local_steps)
EVALUATIONS = {"algebra": 300, "search": 300, "unrolled": 120, "long step": 100}
WALK = Budget(evaluations=25, restarts=2)  # of the diffusion prior: steps of a walk, and samples
ITERATIONS = 15  # of conjugate gradients in each step of it: little noise calls for many
NOISE = 0.03  # that it takes the gradient to have, over its root mean square
PRIORS = {"nodule": nodule_prior, "chest": chest_prior}


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"round": run_round, "clinic": run_round, "real": run_round, "same": run_same,
             "without": run_without}
    return parts[setting["part"]](**setting)


def attacked(attack: str, net: nn.Sequential, view: View, shape: torch.Size, seed: int,
             task: str) -> tuple[Tensor, bool, bool]:
    """A guess at the records; whether the algebra took itself to have worked, and had proof."""
    start = generator(seed, "start of the attack")
    if attack == "algebra":
        found = dense_images(net, view, shape=shape, generator=start)
        if found is not None:
            return found.guess, True, bool(found.certificate.all())
    if attack == "diffusion":
        sizes = torch.cat([g.flatten() for g in mean_gradient(net, view).values()])
        guess = diffusion_prior(
            net, view, PRIORS[task](), shape=shape, budget=WALK, iterations=ITERATIONS,
            generator=start, noise_std=NOISE * float(sizes.square().mean().sqrt())).guess
        return guess, False, False
    return inverting_gradients(net, view, shape=shape, generator=start,
                               budget=Budget(EVALUATIONS[attack])).guess, False, False


def run_round(part: str, records: int, stage: str, observer: str, attack: str, seed: int) -> dict:
    """Every hospital trains on its records, and an attack on what one observer sees."""
    task = "chest" if part == "real" else "nodule"
    training = CLINIC if part == "clinic" else case_study.ONE_STEP
    assumed = LONG_STEP if attack == "long step" else training
    net, outcomes = model(stage, seed, task), []
    for view, truth in views_of(observer, records, stage, seed, task, training, assumed):
        guess, read, proven = attacked(attack, net, view, truth.shape, seed, task)
        scores = judged(guess, truth, view.knowledge.labels, seed, task)
        outcomes.append({**scores, "read": torch.tensor([float(read)]),
                         "proven": torch.tensor([float(proven)]),
                         "mistaken": torch.tensor([float(read and scores["rebuilt"].min() < 1)])})
    numbers = {name: float(torch.cat([o[name] for o in outcomes]).mean()) for name in outcomes[0]}
    public, labels = known(seed, task).public, known(seed, task).public_labels
    return {**numbers, "accuracy": accuracy(predict(net, net.state_dict(), public), labels)}


def run_without(part: str, task: str, seed: int) -> dict:
    """What the prior draws by itself, as a guess at the victims."""
    guess = prior_samples(PRIORS[task](), VICTIMS, generator=generator(seed, "prior only"))
    truth, labels = known(seed, task).private[:VICTIMS], known(seed, task).private_labels[:VICTIMS]
    return {name: float(value.mean())
            for name, value in judged(guess, truth, labels, seed, task).items()}


def run_same(part: str, seed: int) -> dict:
    """The client among two against the server, and the plain line: relative distance of views."""
    members = dealt(2, 1, seed)
    step = one_round(model("new", seed), members, case_study.ONE_STEP, seed)
    seen = views_by_observer(step, OWN, members, case_study.ONE_STEP)

    def flat(view: View) -> Tensor:
        return torch.cat([g.flatten() for g in mean_gradient(model("new", seed), view).values()])

    client, server, line = (flat(seen[who][-1])
                            for who in ("client", "server", "eavesdropper, plain line"))
    return {"gap": float((client - server).norm() / server.norm()),
            "line_gap": float((line - server).norm() / server.norm())}


# --- From trials to evidence ------------------------------------------------------------------

SEEDS = tuple(range(15))
FEW = SEEDS[:5]  # 20 victims: where a trial takes long
SEATS = ("client 2", "client 3", "client 5", "client 10", "sum 5")


def conditions() -> list[tuple[dict, tuple[int, ...]]]:
    """Every setting of the study but the seed, and its seeds; cheap ones first."""
    def cells(part, attack, seeds, seats, records=(1,), stages=("new", "late")):
        return [({"part": part, "records": number, "stage": stage, "observer": seat,
                  "attack": attack}, seeds)
                for number in records for seat in seats for stage in stages]

    late = ("late",)
    return [
        *cells("round", "algebra", SEEDS, SEATS),
        *cells("round", "algebra", SEEDS, ("client 2", "client 5"), records=(4,)),
        *cells("round", "algebra", FEW, ("client 2",), records=(32,), stages=late),
        ({"part": "same"}, SEEDS),
        *[({"part": "without", "task": task}, SEEDS) for task in PRIORS],
        *cells("real", "algebra", FEW, ("client 2", "client 5", "sum 5")),
        *cells("round", "search", FEW, SEATS),
        *cells("clinic", "unrolled", FEW, ("client 2",), records=(1, 4, 32), stages=late),
        *cells("clinic", "long step", FEW, ("client 5",), records=(32,), stages=late),
        *cells("real", "search", FEW, ("client 2", "client 5"), stages=late),
        *cells("round", "diffusion", FEW, SEATS),
        *cells("real", "diffusion", FEW, ("client 5",), stages=late),
    ]


def trials() -> list[dict]:
    """Every setting of the study, for each of its seeds."""
    return [{**setting, "seed": seed} for setting, seeds in conditions() for seed in seeds]


STATEMENTS = {
    **case_study.STATEMENTS,
    "control_uplift": ("Uplift of the same guesses on patients who sent nothing.", "dB"),
    "nearest": ("PSNR of the public image that an oracle picks as nearest.", "dB"),
    "read": ("Share of attacks in which the algebra takes itself to have worked.",
             "share of attacks"),
    "proven": ("Share of attacks in which the algebra has proof of it.", "share of attacks"),
    "mistaken": ("Share of attacks in which the algebra takes itself to have worked and a victim "
                 "is not rebuilt.", "share of attacks"),
    "accuracy": ("Accuracy of the model received, on public patients.", "accuracy"),
    "gap": ("Distance of the gradient that a client among two computes from the server's, over "
            "the norm.", "relative distance"),
    "line_gap": ("The same for an eavesdropper on a plain line.", "relative distance"),
    "over_search": ("PSNR less that of the search without a prior, draw by draw.", "dB"),
    "below_server": ("PSNR less that of who sees each update alone, draw by draw.", "dB"),
    "by_training": ("PSNR on the trained model less that on the new one, draw by draw.", "dB"),
}
SCORES = ("psnr", "ssim", "uplift", "identified", "rebuilt", "control_identified", "control_uplift")
KEPT = {"round": (*SCORES, "accuracy"), "clinic": (*SCORES, "accuracy"),
        "real": (*SCORES, "accuracy"), "without": (*SCORES, "nearest"),
        "same": ("gap", "line_gap")}
OF_ALGEBRA = ("read", "proven", "mistaken")
CONTRASTS = {"over_search": {"attack": "search"}, "below_server": {"observer": "client 2"},
             "by_training": {"stage": "new"}}
WHO = {"client 2": "client; server; eavesdropper without TLS",
       "sum 5": "server behind secure aggregation"}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and score, and the contrasts between conditions, draw by draw."""
    found = {name_of(setting): (setting, outcomes) for setting, outcomes in by_condition(results)}
    items = []
    for setting, outcomes in found.values():
        kept = KEPT[setting["part"]] + (OF_ALGEBRA if setting.get("attack") == "algebra" else ())
        items += [describe(setting, outcomes, score, [o[score] for o in outcomes])
                  for score in kept]
        for score, change in CONTRASTS.items():
            other = found.get(name_of({**setting, **change}))
            if change.keys() <= setting.keys() and other and other[0] != setting:
                pairs = zip(outcomes, other[1], strict=False)  # the fewer seeds of the two
                items.append(describe(setting, outcomes, score,
                                      [a["psnr"] - b["psnr"] for a, b in pairs]))
    return items


def interval(score: str, runs: tuple[float, ...]) -> tuple[tuple[float, float], str]:
    """One kind of interval for one kind of quantity; a trial is a cluster of four victims."""
    unit = STATEMENTS[score][1]
    if unit == "relative distance":
        return (min(runs), max(runs)), "smallest and largest trial"
    if unit.startswith("share"):
        size = VICTIMS if unit == "share of records" else 1
        return share_interval(runs, size), f"95 % Korn-Graubard over trials of {size}"
    return mean_interval(runs), "95 % t over trials"


def describe(setting: dict, outcomes: list[dict], score: str, values: list[float]) -> Evidence:
    """Evidence of one score; a trial is one draw of weights, split, victims and start."""
    runs = tuple(map(float, values))
    statement, unit = STATEMENTS[score]
    bounds, kind = interval(score, runs)
    baseline, whose = {
        "psnr": (float(np.mean([o.get("prior", 0.0) for o in outcomes])),
                 "the better public mean image"),
        "uplift": (0.0, "the better public mean image"),
        "identified": (1 / GALLERY, "chance for one record; see control_identified for sums"),
        "rebuilt": (0.0, "the better public mean image"), "over_search": (0.0, "the search"),
        "below_server": (0.0, "who sees each update alone"), "by_training": (0.0, "the new model"),
    }.get(score, (None, "no guess applies"))
    is_chest = setting["part"] == "real" or setting.get("task") == "chest"
    data = case_study.images("chest" if is_chest else "nodule")
    observer = setting.get("observer", "client 2")
    view = None if setting["part"] == "without" else WHO.get(observer, observer.split()[0])
    return Evidence(
        name=f"{name_of(setting)}_{score}", statement=statement, value=float(np.mean(runs)),
        unit=unit, interval=bounds, interval_kind=kind, baseline=baseline, baseline_kind=whose,
        runs=runs, seeds=SEEDS[:len(runs)], data=data.provenance, data_sha256=data.sha256,
        scale="fast", version=leaklab.__version__, privacy_unit="record", view=view,
        setting={**setting, "victims": VICTIMS, "rounds": case_study.ROUNDS, **effort(setting),
                 **hospitals_of(setting)},
        clusters=len(runs))


def effort(setting: dict) -> dict:
    """What an attack may spend."""
    if setting.get("attack") == "diffusion":
        return {"steps": WALK.evaluations, "samples": WALK.restarts, "noise": NOISE,
                "iterations": ITERATIONS}
    return {"evaluations": EVALUATIONS[setting["attack"]]} if "attack" in setting else {}


def hospitals_of(setting: dict) -> dict:
    """The number of hospitals, for axes."""
    _, _, number = setting.get("observer", "").partition(" ")
    return {"hospitals": int(number)} if number else {}


def name_of(setting: dict) -> str:
    """A word for a condition: the values of its settings in their order."""
    return "_".join(str(v) for v in setting.values()).replace(" ", "_")
