"""Study 9, second part: what a diffusion prior adds for a compromised hospital.

    round    the compromised hospital among two or five, each with one step on one record, attacks
             with samples that fit both the gradient and a prior of procedural nodules
    without  images drawn from the prior alone, which no update enters

Patients, models, seeds and scores are those of study 09_radiology_case_study, whose search these
attacks are to be compared with. The victims carry outlines of real nodules; the prior has seen
none. Steps, iterations and noise were chosen on seeds 100 to 103.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

import leaklab
from leaklab.assess import case_study
from leaklab.assess.case_study import VICTIMS, judged, known, model, nodules, views_of
from leaklab.assess.inversion import GALLERY
from leaklab.attacks.diffusion_prior import diffusion_prior
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.evidence import Evidence
from leaklab.prior.diffusion import prior_samples
from leaklab.prior.nodules import nodule_prior
from leaklab.runtime import generator
from studies import by_condition, interval_of

SEEDS = tuple(range(15))
WALK = Budget(evaluations=25, restarts=2)  # steps of a walk, and samples
ITERATIONS = 15  # of conjugate gradients in each step: little noise calls for many
NOISE = 0.03  # that the gradient is taken to have, over its root mean square
OBSERVERS = ("client 2", "client 5")


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "round", "records": 1, "stage": stage, "observer": observer,
                 "attack": "diffusion"}
                for observer in OBSERVERS for stage in ("new", "late")]
    settings += [{"part": "without"}]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    if setting["part"] == "without":
        return run_without(setting["seed"])
    return run_round(setting["records"], setting["stage"], setting["observer"], setting["seed"])


def run_round(records: int, stage: str, observer: str, seed: int) -> dict:
    """An attack on what one observer sees of a round; labels known."""
    net, outcomes = model(stage, seed), []
    for view, truth in views_of(observer, records, stage, seed):
        sizes = torch.cat([g.flatten() for g in mean_gradient(net, view).values()])
        guess = diffusion_prior(
            net, view, nodule_prior(), shape=truth.shape, budget=WALK,
            iterations=ITERATIONS,
            generator=generator(seed, "start of the attack"),
            noise_std=NOISE * float(sizes.square().mean().sqrt())).guess
        outcomes.append(judged(guess, truth, view.knowledge.labels, seed))
    return {name: float(torch.cat([o[name] for o in outcomes]).mean()) for name in outcomes[0]}


def run_without(seed: int) -> dict:
    """What the prior draws by itself, as a guess at the victims."""
    guess = prior_samples(nodule_prior(), VICTIMS, generator=generator(seed, "prior only"))
    truth, labels = known(seed).private[:VICTIMS], known(seed).private_labels[:VICTIMS]
    return {name: float(value.mean()) for name, value in judged(guess, truth, labels, seed).items()}


# --- From trials to evidence ------------------------------------------------------------------

STATEMENTS = {
    **case_study.STATEMENTS,
    "nearest": ("PSNR of the public image that an oracle picks as nearest.", "dB"),
}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and score."""
    return [describe(setting, outcomes, score) for setting, outcomes in by_condition(results)
            for score in STATEMENTS]


def describe(setting: dict, outcomes: list[dict], score: str) -> Evidence:
    """Evidence of one score; a trial is one draw of weights, split, victims and start."""
    runs = tuple(float(outcome[score]) for outcome in outcomes)
    statement, unit = STATEMENTS[score]
    interval, kind = interval_of(runs, unit)
    baseline, whose = {
        "psnr": (float(np.mean([o["prior"] for o in outcomes])), "the better public mean image"),
        "uplift": (0.0, "the better public mean image"),
        "identified": (1 / GALLERY, "chance for one record; see control_identified for sums"),
        "rebuilt": (0.0, "the better public mean image"),
    }.get(score, (None, "no guess applies"))
    name = "_".join(str(v) for v in setting.values()).replace(" ", "_")
    number = setting.get("observer", "").partition(" ")[2]
    return Evidence(
        name=f"{name}_{score}", statement=statement, value=float(np.mean(runs)), unit=unit,
        interval=interval, interval_kind=kind, baseline=baseline, baseline_kind=whose, runs=runs,
        seeds=SEEDS, data=nodules().provenance, data_sha256=nodules().sha256, scale="fast",
        version=leaklab.__version__, view="client" if number else None, privacy_unit="record",
        setting={**setting, "victims": VICTIMS, "steps": WALK.evaluations,
                 "samples": WALK.restarts, "noise": NOISE, "iterations": ITERATIONS,
                 **({"hospitals": int(number)} if number else {})},
        clusters=len(np.unique(nodules().patients)))
