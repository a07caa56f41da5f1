"""The case of chapter 9: hospitals that train a model of lung nodules, one of them compromised.

Four patients are the same behind every observer of a seed: one of each of four hospitals, or the
four of one hospital where each takes a step on four. The model is new, or trained by the five
hospitals for twenty rounds. A seed redraws the weights, the split of patients and the victims.

The same can be asked about real chest radiographs (``task="chest"``), which come from one place:
five hospitals are then dealt at random.
"""

from __future__ import annotations

import functools

import numpy as np
from torch import Tensor, nn

from leaklab.assess.inversion import GALLERY, Halves, halves, judge
from leaklab.assess.observers import Records, inputs_behind, one_round, views_by_observer
from leaklab.data import hospitals, radiology
from leaklab.data.dataset import Dataset
from leaklab.federation import Hospital, fed_avg
from leaklab.models import small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, View

OWN = "Hospital 1"
"""The compromised one."""
VICTIMS = 4
ROUNDS = 20  # of training before the late round
RECIPE = LocalTraining(0.1, local_steps=20, batch_size=32)  # that of chapter 1
ONE_STEP = LocalTraining(0.1)
REBUILT = 10.0
"""Decibels above the mean image from which an image counts as rebuilt: a tenth of its error."""

SOURCES = {"nodule": "hybrid", "chest": "real"}
"""Real outlines over procedural tissue; real radiographs (PneumoniaMNIST)."""

STATEMENTS = {
    "psnr": ("PSNR of the victims' reconstructions.", "dB"),
    "ssim": ("Structural similarity of the victims' reconstructions.", "SSIM"),
    "uplift": ("PSNR of the victims' reconstructions less that of the better public mean image.",
               "dB"),
    "identified": ("Share of victims whose reconstruction is nearer to them than to any other of "
                   "200.", "share of records"),
    "rebuilt": ("Share of victims rebuilt 10 dB or more above the better public mean image.",
                "share of records"),
    "control_identified": ("Share of patients who sent nothing that the same guesses identify.",
                           "share of records"),
}
"""What the scores of :func:`judged` say, and their units."""


@functools.cache
def images(task: str = "nodule") -> Dataset:
    """Benign and malignant nodules, or normal and pneumonic chests, 28 x 28.

    Raises ``ValueError`` for another task.
    """
    if task not in SOURCES:
        raise ValueError(f"task: {task!r} given, expected one of {tuple(SOURCES)}")
    return radiology.load(task, source=SOURCES[task])


@functools.lru_cache(maxsize=32)
def known(seed: int, task: str = "nodule") -> Halves:
    """Private and public patients; the first private ones are the victims."""
    return halves(images(task), seed)


@functools.lru_cache(maxsize=64)
def model(stage: str, seed: int, task: str = "nodule") -> nn.Sequential:
    """The model of chapter 1, ``"new"`` or ``"late"``: after the rounds of the five hospitals.

    Raises ``ValueError`` for another stage.
    """
    if stage not in ("new", "late"):
        raise ValueError(f"stage: {stage!r} given, expected 'new' or 'late'")
    net = small_cnn(generator(seed, "initial weights"))
    if stage == "late":
        private, _ = hospitals.train_test(images(task), 0.5, np.random.default_rng(seed))
        parts = (hospitals.by_site(private) if task == "nodule" else
                 hospitals.label_skew(private, 5, 100.0, np.random.default_rng((seed, 2))))
        members = [Hospital.of(name, part) for name, part in parts.items()]
        *_, last = fed_avg(net, members, RECIPE, rounds=ROUNDS, seed=seed)
        net.load_state_dict(last.after)
    return net


def dealt(number: int, records: int, seed: int, first: int = 0, task: str = "nodule") -> Records:
    """``number`` hospitals of ``records`` records each; the others' begin at private ``first``."""
    private, labels = known(seed, task).private, known(seed, task).private_labels
    parts = {OWN: slice(GALLERY - records, GALLERY)}
    for k in range(number - 1):
        parts[f"Hospital {k + 2}"] = slice(first + k * records, first + (k + 1) * records)
    return {name: (private[part], labels[part]) for name, part in parts.items()}


def views_of(
    observer: str, records: int, stage: str, seed: int, task: str = "nodule",
    training: LocalTraining = ONE_STEP, assumed: LocalTraining | None = None,
) -> list[tuple[View, Tensor]]:
    """What an observer holds after each hospital has trained, each view with the records behind it.

    ``observer`` is ``"client N"``, the compromised hospital among N, or ``"sum N"``, the server
    behind secure aggregation; it takes the training to be ``assumed``, by default what it was.
    Every victim is behind exactly one of the views.
    """
    who, number = observer.split()
    size = records * (int(number) - (who == "client"))
    found = []
    for first in range(0, VICTIMS, min(VICTIMS, size)):
        members = dealt(int(number), records, seed, first, task)
        seen = views_by_observer(one_round(model(stage, seed, task), members, training, seed), OWN,
                                 members, assumed or training)
        (view,) = seen["client" if who == "client" else "server behind secure aggregation"]
        found.append((view, inputs_behind(view, members)))
    return found


def judged(
    guess: Tensor, truth: Tensor, labels: Tensor, seed: int, task: str = "nodule"
) -> dict[str, Tensor]:
    """Scores of the victims among ``truth``, and of patients of the gallery who sent nothing.

    As :func:`leaklab.assess.inversion.judge` gives them, and ``rebuilt``; the guesses are paired
    with the strangers as favourably as with the victims (``control_identified`` and
    ``control_uplift``).
    """
    private = known(seed, task)
    gallery, their_labels = private.private[:GALLERY], private.private_labels[:GALLERY]
    absent = ~same_images(gallery, truth).any(1)
    others, other_labels = (part[absent][:len(truth)] for part in (gallery, their_labels))
    shown = judge(guess, truth, labels, private)
    control = judge(guess[:len(others)], others, other_labels, private)
    is_victim = same_images(truth, gallery[:VICTIMS]).any(1)
    scores = {name: value[is_victim] for name, value in vars(shown).items()}
    return {**scores, "rebuilt": (scores["uplift"] >= REBUILT).double(),
            "control_identified": control.identified, "control_uplift": control.uplift}


def same_images(a: Tensor, b: Tensor) -> Tensor:
    """Which images of ``a`` equal which of ``b``, shape (len(a), len(b))."""
    return (a.flatten(1)[:, None] == b.flatten(1)).all(2)
