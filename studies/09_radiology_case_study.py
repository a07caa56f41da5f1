"""Study 9: five hospitals train a model of lung nodules, and one of them is compromised.

    round    hospitals take one step on one or on four records, and an observer attacks what it
             sees. "client 2" to "client 10" are the compromised hospital among so many: global
             models only, its own part taken out. "sum 5" is the server behind secure aggregation.
             The view of a client among two is that of a server, or of someone on a plain line.
    clinic   20 steps on 32 records each: seen by the server, who unrolls the walk, and by a client
             among five, who takes the four walks for one long step
    same     how far the view of a client among two is from the server's, to float rounding

Patients, models and scores are those of :mod:`leaklab.assess.case_study`. All records behind a view
are attacked together; only the four victims are scored, after guesses and records are paired. The
algebra hands over to the search where it refuses. Settings were chosen on seeds 100 to 103. What a
diffusion prior adds is study 09_radiology_prior.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

import leaklab
from leaklab.assess import case_study
from leaklab.assess.case_study import OWN, VICTIMS, dealt, judged, known, model
from leaklab.assess.inversion import GALLERY
from leaklab.assess.observers import inputs_behind, one_round, views_by_observer
from leaklab.attacks.dense_images import dense_images
from leaklab.attacks.gradient_matching import inverting_gradients
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.evidence import Evidence
from leaklab.metrics import accuracy
from leaklab.models import predict
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, View
from studies import by_condition, interval_of

SEEDS = tuple(range(15))
CLINIC = LocalTraining(0.1, local_steps=20)  # on all of 32 records: no order is to be guessed
EVALUATIONS = 300
CLINIC_EVALUATIONS = {"unrolled": 40, "long step": 100}  # each unrolled one takes 20 steps
SUMS = ("client 2", "client 3", "client 5", "client 10", "sum 5")


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "round", "records": 1, "stage": stage, "observer": observer,
                 "attack": attack}
                for attack, observers in (("algebra", SUMS), ("search", ("client 2", "client 5")))
                for observer in observers for stage in ("new", "late")]
    settings += [{"part": "round", "records": 4, "stage": stage, "observer": observer,
                  "attack": "algebra"}
                 for observer in ("client 2", "client 5") for stage in ("new", "late")]
    settings += [{"part": "clinic", "observer": observer, "way": way}
                 for observer, way in (("server", "unrolled"), ("client 5", "long step"))]
    settings += [{"part": "same"}]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"round": run_round, "clinic": run_clinic, "same": run_same}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


def attacked(attack: str, net: nn.Sequential, view: View, shape: torch.Size, seed: int,
             evaluations: int) -> tuple[Tensor, bool]:
    """A guess at the records, and whether the algebra took itself to have worked."""
    start = generator(seed, "start of the attack")
    if attack == "algebra":
        found = dense_images(net, view, shape=shape, generator=start)
        if found is not None:
            return found.guess, True
    return inverting_gradients(net, view, shape=shape, generator=start,
                               budget=Budget(evaluations)).guess, False


def run_round(records: int, stage: str, observer: str, attack: str, seed: int) -> dict:
    """One step of each hospital on its records, and an attack on what one observer sees."""
    net, outcomes = model(stage, seed), []
    for view, truth in case_study.views_of(observer, records, stage, seed):
        guess, read = attacked(attack, net, view, truth.shape, seed, EVALUATIONS)
        outcomes.append({**judged(guess, truth, view.knowledge.labels, seed),
                         "read": torch.tensor([float(read)])})
    numbers = {name: float(torch.cat([o[name] for o in outcomes]).mean()) for name in outcomes[0]}
    public, labels = known(seed).public, known(seed).public_labels
    return {**numbers, "accuracy": accuracy(predict(net, net.state_dict(), public), labels)}


def run_clinic(observer: str, way: str, seed: int) -> dict:
    """Twenty steps on 32 records; of several hospitals' walks the client makes one."""
    members = dealt(2 if observer == "server" else 5, 32, seed)
    net = model("new", seed)
    step = one_round(net, members, CLINIC, seed)
    assumed = CLINIC if way == "unrolled" else LocalTraining(
        CLINIC.learning_rate * CLINIC.local_steps)
    view = views_by_observer(step, OWN, members, assumed)[observer.split()[0]][-1]
    truth = inputs_behind(view, members)
    guess, _ = attacked("search", net, view, truth.shape, seed, CLINIC_EVALUATIONS[way])
    return {name: float(value.mean())
            for name, value in judged(guess, truth, view.knowledge.labels, seed).items()}


def run_same(seed: int) -> dict:
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

STATEMENTS = {
    **case_study.STATEMENTS,
    "control_uplift": ("Uplift of the same guesses on patients who sent nothing.", "dB"),
    "read": ("Share of attacks in which the algebra takes itself to have worked.",
             "share of attacks"),
    "accuracy": ("Accuracy of the model received, on public patients.", "share of records"),
    "gap": ("Distance of the gradient that a client among two computes from the server's, over "
            "the norm.", "relative distance"),
    "line_gap": ("The same for an eavesdropper on a plain line.", "relative distance"),
    "gain": ("PSNR less that of the search, draw by draw.", "dB"),
    "loss_by_sum": ("PSNR less that of a client among two, draw by draw.", "dB"),
}
KEPT = {"round": ("psnr", "ssim", "uplift", "identified", "rebuilt", "control_identified",
                  "control_uplift", "read", "accuracy"),
        "clinic": ("psnr", "uplift", "identified", "rebuilt", "control_identified"),
        "same": ("gap", "line_gap")}
WHO = {"client 2": "client; server; eavesdropper without TLS",
       "sum 5": "server behind secure aggregation"}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and score, and the contrasts between conditions, draw by draw."""
    conditions = {name_of(setting): (setting, outcomes)
                  for setting, outcomes in by_condition(results)}
    items = [describe(setting, outcomes, score, [o[score] for o in outcomes])
             for setting, outcomes in conditions.values() for score in KEPT[setting["part"]]]
    for setting, outcomes in conditions.values():
        for score, change in (("gain", {"attack": "search"}),
                              ("loss_by_sum", {"observer": "client 2"})):
            other = conditions.get(name_of({**setting, **change}))
            if setting["part"] == "round" and other and other[0] != setting:
                gaps = [a["psnr"] - b["psnr"] for a, b in zip(outcomes, other[1], strict=True)]
                items.append(describe(setting, outcomes, score, gaps))
    return items


def describe(setting: dict, outcomes: list[dict], score: str, values: list[float]) -> Evidence:
    """Evidence of one score; a trial is one draw of weights, split, victims and start."""
    runs = tuple(map(float, values))
    statement, unit = STATEMENTS[score]
    interval, kind = interval_of(runs, "loss" if score.endswith("gap") else unit)
    baseline, whose = {
        "psnr": (float(np.mean([o.get("prior", 0.0) for o in outcomes])),
                 "the better public mean image"),
        "uplift": (0.0, "the better public mean image"),
        "identified": (1 / GALLERY, "chance for one record; see control_identified for sums"),
        "rebuilt": (0.0, "the better public mean image"), "gain": (0.0, "the search"),
        "loss_by_sum": (0.0, "a client among two"),
    }.get(score, (None, "no guess applies"))
    observer, data = setting.get("observer", "client 2"), case_study.nodules()
    return Evidence(
        name=f"{name_of(setting)}_{score}", statement=statement, value=float(np.mean(runs)),
        unit=unit, interval=interval, interval_kind=kind, baseline=baseline, baseline_kind=whose,
        runs=runs, seeds=SEEDS, data=data.provenance, data_sha256=data.sha256,
        scale="fast", version=leaklab.__version__, privacy_unit="record",
        view=WHO.get(observer, observer.split()[0]),
        setting={**setting, "victims": VICTIMS, "evaluations": EVALUATIONS,
                 "rounds": case_study.ROUNDS, **hospitals_of(setting)},
        clusters=len(np.unique(data.patients)))


def hospitals_of(setting: dict) -> dict:
    """The number of hospitals, for axes."""
    _, _, number = setting.get("observer", "").partition(" ")
    return {"hospitals": int(number)} if number else {}


def name_of(setting: dict) -> str:
    """A word for a condition: the values of its settings in their order."""
    return "_".join(str(v) for v in setting.values()).replace(" ", "_")
