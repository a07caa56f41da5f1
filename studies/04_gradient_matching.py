"""Study 4: from one update to the images behind it, by search.

    search     one radiograph; DLG and inverting gradients on a network with ReLU and with GELU;
               real radiographs beside procedural ones; and the control, in which the update of
               another patient is attacked
    batch      1, 4 and 8 radiographs, with the two labels of the task and with labels that all
               differ, as papers have them; features demixed from the last layer and inverted
    steps      one radiograph, 1 and 5 local steps; the walk taken for one step, or unrolled
    film       one real radiograph at 64 pixels
    capture    a message of the Flower federation of chapter 2, where a hospital takes one step on
               one record

A seed redraws the weights, the split of patients, the victims and the attack's start. The attacker
knows the training and the labels, and has the public half of the patients. Settings of the attacks
were chosen on phantoms of other seeds (100 to 103), and on none of these.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

import leaklab
from leaklab.assess.inversion import GALLERY, halves, judge, sent
from leaklab.attacks.dense_layer import last_layer_features
from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.gradient_matching import deep_leakage, inverting_gradients
from leaklab.attacks.labels import sign_rule
from leaklab.attacks.search import Budget
from leaklab.data import film, radiology
from leaklab.data.dataset import Dataset
from leaklab.evidence import Evidence
from leaklab.federation import draw_batches, update_view
from leaklab.metrics import reconstruction
from leaklab.models import conv_net
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Recovered, View
from studies import by_condition, interval_of

SEEDS = tuple(range(20))
IMAGES = 2000  # procedural radiographs, or as many of the real ones
EVALUATIONS = 300
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
ATTACKS = {"dlg": deep_leakage, "ig": inverting_gradients}
CLASSES = {"two": 2, "distinct": 20}
HEAD = "7"  # the last layer of the network
RATE = 0.1  # of local training over several steps; one step is sent as a gradient
MILESTONE = 30.0  # dB


def trials() -> list[dict]:
    """Every setting of the study, for every seed."""
    settings = [{"part": "search", "activation": activation, "attack": attack, "data": data,
                 "other": False}
                for activation in ACTIVATIONS for attack in ATTACKS
                for data in ("synthetic", "real")]
    settings += [{"part": "search", "activation": activation, "attack": attack,
                  "data": "synthetic", "other": True}
                 for activation, attack in (("relu", "ig"), ("gelu", "dlg"))]
    settings += [{"part": "batch", "labels": labels, "records": records, "how": how}
                 for labels in CLASSES for records in (1, 4, 8)
                 for how in ("relu ig", "relu dlg", "gelu dlg", "features")]
    settings += [{"part": "steps", "local_steps": steps, "unrolled": unrolled, "how": how}
                 for steps, unrolled in ((1, True), (5, False), (5, True))
                 for how in ("relu ig", "gelu dlg")]
    settings += [{"part": "film", "activation": activation} for activation in ACTIVATIONS]
    settings += [{"part": "capture"}]
    return [{**setting, "seed": seed} for setting in settings for seed in SEEDS]


def run(setting: Mapping) -> dict:
    """Measure one trial."""
    parts = {"search": run_search, "batch": run_batch, "steps": run_steps, "film": run_film,
             "capture": run_capture}
    return parts[setting["part"]](**{k: v for k, v in setting.items() if k != "part"})


@functools.cache
def radiographs(source: str) -> Dataset:
    """Normal chests and chests with opacities, 28 x 28."""
    return radiology.load("chest", source=source, n=IMAGES)


def model(seed: int, activation: str, classes: int, size: int = 28) -> nn.Sequential:
    """Untrained, three convolutions and a dense layer."""
    return conv_net(generator(seed, "initial weights"), num_classes=classes, size=size,
                    activation=ACTIVATIONS[activation])


def reconstruct(how: str, net: nn.Sequential, view: View, shape: tuple[int, ...], seed: int,
           **more) -> Recovered:
    """Run an attack of :data:`ATTACKS` from a start that the seed draws."""
    return ATTACKS[how](net, view, shape=shape, generator=generator(seed, "start of the attack"),
                        budget=Budget(EVALUATIONS), **more)


def scores(guess: Tensor, victims: Tensor, labels: Tensor, known) -> dict[str, float]:
    """Means over the victims of one trial, as :func:`judge` gives them."""
    judged = judge(guess, victims, labels, known)
    return {name: float(value.mean()) for name, value in vars(judged).items()}


def run_search(activation: str, attack: str, data: str, other: bool, seed: int) -> dict:
    """One radiograph; ``other``: the update attacked is that of another patient."""
    known, net = halves(radiographs(data), seed), model(seed, activation, 2)
    victim, label = known.private[:1], known.private_labels[:1]
    trained = slice(1, 2) if other else slice(0, 1)
    view = sent(net, known.private[trained], known.private_labels[trained], LocalTraining(1.0),
                seed)
    reached: list[int] = []

    def callback(evaluation: int, guess: Tensor, loss: float) -> None:
        if not reached and reconstruction.psnr(guess.clamp(0, 1), victim) > MILESTONE:
            reached.append(evaluation)

    found = reconstruct(attack, net, view, victim.shape, seed, callback=callback)
    return {**scores(found.guess, victim, label, known), "loss": -float(found.score[0]),
            "evaluations": float(reached[0] if reached else EVALUATIONS + 1)}


def run_batch(labels: str, records: int, how: str, seed: int) -> dict:
    """Several radiographs; labels that all differ stand for no diagnosis."""
    known = halves(radiographs("synthetic"), seed)
    victims, own = known.private[:records], known.private_labels[:records]
    given = own if labels == "two" else torch.arange(records)
    activation, _, search = how.partition(" ")
    net = model(seed, "relu" if how == "features" else activation, CLASSES[labels])
    view = sent(net, victims, given, LocalTraining(1.0), seed)
    if how == "features":
        features = last_layer_features(net, view)
        found = invert_features(net, view, (HEAD, features.guess), shape=victims.shape,
                                generator=generator(seed, "start of the attack"))
        certain = float(features.certificate.all())
        return {**scores(found.guess, victims, own, known), "certain": certain}
    return scores(reconstruct(search, net, view, victims.shape, seed).guess, victims, own, known)


def run_steps(local_steps: int, unrolled: bool, how: str, seed: int) -> dict:
    """One radiograph and several local steps, which a naive attacker takes for a long one."""
    known = halves(radiographs("synthetic"), seed)
    victim, label = known.private[:1], known.private_labels[:1]
    activation, _, search = how.partition(" ")
    net = model(seed, activation, 2)
    view = sent(net, victim, label, LocalTraining(RATE, local_steps=local_steps), seed)
    if not unrolled:
        one = LocalTraining(RATE * local_steps)
        view = replace(view, knowledge=replace(view.knowledge, training=one))
    return scores(reconstruct(search, net, view, victim.shape, seed).guess, victim, label, known)


def run_film(activation: str, seed: int) -> dict:
    """The real radiograph at 64 pixels, in the class of the opacities it may or may not show."""
    image, label = torch.tensor(film.chest_film(64).inputs), torch.tensor([1])
    net = model(seed, activation, 2, size=64)
    view = sent(net, image, label, LocalTraining(1.0), seed)
    found = reconstruct("ig" if activation == "relu" else "dlg", net, view, image.shape, seed)
    public = torch.tensor(radiology.load("chest", source="synthetic", n=200, size=64).inputs)
    psnr = reconstruction.psnr(found.guess, image)
    prior = reconstruction.psnr(reconstruction.mean_image(public), image)
    return {"psnr": float(psnr), "prior": float(prior), "uplift": float(psnr - prior),
            "ssim": float(reconstruction.ssim(found.guess, image))}


def run_capture(seed: int) -> dict:
    """A captured message of chapter 2's federation; the label is read off the update too."""
    from leaklab.flower import app, capture, local_grid, wiretap

    training = LocalTraining(0.1, batch_size=1)
    grid = local_grid.LocalGrid(app.client_app, [{"partition-id": k} for k in range(5)])
    tap = wiretap.WireTap(grid)
    app.federate(tap, training, rounds=1, seed=seed, num_hospitals=5)
    hospital, net = app.chapter_hospitals(seed)[0], app.initial_model(seed)
    (update,) = (u for u in capture.updates(tap.log) if u.hospital == hospital.name)
    (batch,) = draw_batches(len(hospital), training, generator(seed, 1, hospital.name))
    view = update_view(update, Knowledge(training))
    label = sign_rule(net, view).labels
    found = reconstruct("ig", net, view, hospital.inputs[batch].shape, seed, labels=label)
    public = hospital.inputs[torch.arange(len(hospital)) != batch]
    victim = hospital.inputs[batch]
    psnr = reconstruction.psnr(found.guess, victim)
    prior = reconstruction.psnr(reconstruction.mean_image(public), victim)
    return {"psnr": float(psnr), "prior": float(prior), "uplift": float(psnr - prior),
            "label": float((label == hospital.targets[batch]).all())}


# --- From trials to evidence ------------------------------------------------------------------

STATEMENTS = {
    "psnr": ("PSNR of the reconstruction.", "dB"),
    "uplift": ("PSNR of the reconstruction less that of the better public mean image.", "dB"),
    "nearest": ("PSNR of the public image that an oracle picks as nearest.", "dB"),
    "ssim": ("Structural similarity of the reconstruction.", "SSIM"),
    "identified": ("Share of reconstructions nearer to their own record than to any other of 200.",
                   "share of records"),
    "evaluations": ("Gradient evaluations until 30 dB; 301 where it was not reached.",
                    "evaluations"),
    "loss": ("Loss of the guess returned.", "loss"),
    "certain": ("Share of trials in which the demixed features certify themselves.",
                "share of trials"),
    "label": ("Share of labels read rightly off the update.", "share of records"),
}
ORDER = {"search": ("attack", "activation", "data"), "batch": ("labels", "records", "how"),
         "steps": ("how", "local_steps"), "film": ("activation",), "capture": ()}


def summarise(results: list[tuple[dict, dict]]) -> list[Evidence]:
    """One statement a condition and score, from the trials of all seeds."""
    return [describe(setting, outcomes, score) for setting, outcomes in by_condition(results)
            for score in outcomes[0] if score != "prior"]


def describe(setting: dict, outcomes: list[dict], score: str) -> Evidence:
    """Evidence of one score; a trial is one draw of weights, split, victims and start."""
    runs = tuple(float(outcome[score]) for outcome in outcomes)
    statement, unit = STATEMENTS[score]
    interval, kind = interval_of(runs, unit)
    single = kind.startswith("95 % Clopper-Pearson")
    baseline, whose = prior_of(setting["part"], score, outcomes)
    data = data_of(setting)
    return Evidence(
        name=f"{name_of(setting)}_{score}", statement=statement, value=float(np.mean(runs)),
        unit=unit, interval=interval, interval_kind=kind, baseline=baseline, baseline_kind=whose,
        runs=runs, seeds=SEEDS, data=data.provenance, data_sha256=data.sha256, scale="fast",
        version=leaklab.__version__, view="server", privacy_unit="record",
        setting={**setting, "steps_max": EVALUATIONS},
        successes=round(sum(runs)) if single else None, trials=len(runs) if single else None,
        clusters=len(np.unique(data.patients)))


def prior_of(part: str, score: str, outcomes: list[dict]) -> tuple[float | None, str]:
    """What needs no update, in the unit of ``score``."""
    whose = {"film": "the mean of procedural radiographs",
             "capture": "the mean of the hospital's other images"}.get(
                 part, "the better public mean image")
    if score == "psnr":
        return float(np.mean([o["prior"] for o in outcomes])), whose
    if score == "identified":
        return 1 / GALLERY, "chance"
    if score == "label":
        return 0.5, "a coin"
    return (0.0, whose) if score == "uplift" else (None, "no guess applies")


def name_of(setting: dict) -> str:
    """A word for a condition: its part, then its settings."""
    words = [setting["part"], *(str(setting[key]) for key in ORDER[setting["part"]])]
    words += ["other"] * setting.get("other", False)
    if "unrolled" in setting:
        words.append("unrolled" if setting["unrolled"] else "naive")
    return "_".join(words).replace(" ", "_")


def data_of(setting: dict) -> Dataset:
    """The images of a condition."""
    if setting["part"] == "film":
        return film.chest_film(64)
    if setting["part"] == "capture":
        return radiology.load("nodule", source="hybrid")
    return radiographs(setting.get("data", "synthetic"))
