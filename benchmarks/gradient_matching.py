"""Our search for images behind an update against that of breaching, on the same gradients.

    make bench NAME=gradient_matching

Both sides are given the same mean gradient, the labels, the same number of evaluations and one
thread, and are measured by the same hook on the network (benchmarks/peers/stopwatch.py): CPU time
of the process without the time that scoring takes. The peer runs in an environment of its own,
made on first use; what had to be done to run it stands in benchmarks/peers/breaching_peer.py.

Sides. Ours are the library at its defaults, one setting for all rows:

    ours           `inverting_gradients` for ReLU, with features demixed from the last layer where
                   they are certain; `deep_leakage` for GELU
    ours_features  `invert_features`, where they are certain: no gradient is simulated at all
    ours_l_bfgs    `deep_leakage` for ReLU, for which it is not meant

The peer has several:

    default    its `invertinggradients`
    l_bfgs     for GELU, its `deepleakage`, which is not given the labels but searches for them
    tuned      `invertinggradients` with a falling learning rate and the best prior weight
    fairest    of all that was tried, what got to 30 dB in the fewest evaluations
    sharpest   of all that was tried, what ended with the highest PSNR

The last three were chosen for each activation and batch size by themselves, on images that are
not reported here (benchmarks/tune_gradient_matching.py).

Labels are distinct, drawn at random from ten classes, but for the rows of two classes: there they
are those of the data, so that they repeat; the settings are those of ten. Writes
benchmarks/results/gradient_matching.json after each row. One finished batch after the other is
kept under .bench, so an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from figures import ratio, row, spread
from peers import BENCH, Worker, breaching_peer, python_of
from peers.stopwatch import Trace, decibels
from recording import record
from torch import Tensor, nn

from leaklab.assess.inversion import sent
from leaklab.attacks.dense_layer import feature_target
from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.gradient_matching import deep_leakage, inverting_gradients
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.data import radiology
from leaklab.data.download import DataUnavailable
from leaklab.metrics.reconstruction import mean_image
from leaklab.models import conv_net
from leaklab.runtime import generator, progress
from leaklab.updates import LocalTraining, View

Answer = TypeVar("Answer")
RESULT = Path(__file__).parent / "results" / "gradient_matching.json"
SETTINGS = Path(__file__).parent / "peers" / "breaching_settings.json"
KEPT = BENCH / "gradient_matching"
PEER = "breaching==0.1.2"

EVALUATIONS = 300
BATCHES = {1: 10, 4: 3, 8: 2}  # number of batches of each size: 10 images or more
SEEDS = (0, 1, 2)  # of the network, the labels and the start
SOURCES = ("synthetic", "real")
CONDITIONS = tuple((activation, size, classes)  # in order of what matters most
                   for size, classes in ((1, 10), (4, 10), (8, 10), (4, 2))
                   for activation in ("relu", "gelu"))
ROWS = tuple((source, *condition) for condition in CONDITIONS for source in SOURCES
             if condition[-1] > 2 or source == "synthetic")
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
IMAGES, PUBLIC = 24, 200  # drawn for victims, and for the mean image, of each source
TRAINING = LocalTraining(learning_rate=0.1)
OURS = {"relu": {"ours": inverting_gradients, "ours_features": invert_features,
                 "ours_l_bfgs": deep_leakage},
        "gelu": {"ours": deep_leakage, "ours_features": invert_features}}
WARM_UP = 5  # evaluations before what is measured


@dataclass(frozen=True)
class Case:
    """One batch of images and one untrained network."""

    source: str
    activation: str
    size: int
    classes: int
    batch: int
    seed: int
    held_out: bool = False


# --- What is attacked -------------------------------------------------------------------------


@cache
def images(source: str, held_out: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Victims' images and labels, and public images; held-out images are others of the source."""
    count = 2 * (IMAGES + PUBLIC)
    data = radiology.load("chest", source=source, n=None if source == "real" else count, seed=0)
    rows = np.random.default_rng(0).permutation(len(data))[:count]
    rows = rows[count // 2:] if held_out else rows[:count // 2]
    inputs, targets = torch.tensor(data.inputs[rows]), torch.tensor(data.targets[rows])
    return inputs[:IMAGES], targets[:IMAGES], inputs[IMAGES:]


def victim(case: Case) -> tuple[nn.Module, View, Tensor]:
    """The network, what the server sees of one full step on the batch, and the true images."""
    inputs, targets, _ = images(case.source, case.held_out)
    rows = slice(case.batch * case.size, (case.batch + 1) * case.size)
    key = ("benchmark", case.held_out, case.seed)
    network = conv_net(generator(*key, "network"), num_classes=case.classes,
                       activation=ACTIVATIONS[case.activation])
    labels = targets[rows]
    if case.classes > 2:
        draw = generator(*key, "labels", case.batch)
        labels = torch.randperm(case.classes, generator=draw)[:case.size]
    return network, sent(network, inputs[rows], labels, TRAINING, case.seed), inputs[rows]


# --- The sides --------------------------------------------------------------------------------


def ours(case: Case, attack: Callable, evaluations: int = EVALUATIONS) -> dict | None:
    """Figures of one of our attacks on ``case``; ``None`` where it needs features and has none."""
    network, view, truth = victim(case)
    arguments = {"shape": tuple(truth.shape), "generator": generator("start", case.seed),
                 "budget": Budget(evaluations)}
    trace = Trace(truth, evaluations)
    trace.follow(network)  # the attack copies the network, and with it what follows it
    if attack is deep_leakage:
        return trace.figures(deep_leakage(network, view, **arguments).guess)
    features = feature_target(network, view)
    if attack is inverting_gradients:
        answer = inverting_gradients(network, view, features=features, **arguments)
    elif features is None:
        return None
    else:
        answer = invert_features(network, view, features, **arguments)
    return trace.figures(answer.guess)


def theirs(peer: Worker, case: Case, setting: dict) -> dict:
    """Figures of the peer on ``case`` with one of its settings."""
    network, view, truth = victim(case)
    file = BENCH / f"case-{os.getpid()}.pt"
    torch.save({"state": dict(view.before), "gradient": mean_gradient(network, view),
                "inputs": truth, "labels": view.knowledge.labels,
                "activation": case.activation, "num_classes": case.classes}, file)
    answer = peer.ask({"case": str(file), "setting": setting, "budget": EVALUATIONS,
                       "seed": case.seed})
    file.unlink()
    return answer


def start_peer() -> Worker:
    """The process that :func:`theirs` asks; its environment is made where it is missing."""
    return Worker(python_of("breaching", PEER), breaching_peer.__name__)


def name_of(activation: str, size: int, classes: int) -> str:
    """A condition in words, as the settings and the results name it."""
    return f"{activation}, {classes} classes, batch {size}"


def row_name(source: str, *condition: object) -> str:
    """A row of the results in words."""
    return f"{source}, {name_of(*condition)}"


def sides_of(condition: Sequence, chosen: dict[str, dict]) -> dict[str, dict]:
    """The peer's settings for a condition; `l_bfgs` is tried for smooth activations alone."""
    activation, size, _ = condition
    settings = chosen[name_of(activation, size, 10)]
    return {side: setting for side, setting in settings.items()
            if side != "l_bfgs" or activation == "gelu"}


def measure(peer: Worker, case: Case, settings: dict[str, dict]) -> dict:
    """Figures of every side on ``case``, one after the other; equal settings run once."""
    _, _, truth = victim(case)
    figures = {}
    for side, attack in OURS[case.activation].items():
        ours(case, attack, WARM_UP)
        figures[side] = ours(case, attack)
    done: dict[str, dict] = {}
    for side, setting in settings.items():
        key = json.dumps(setting, sort_keys=True)
        if key not in done:
            done[key] = theirs(peer, case, setting)
        figures[side] = done[key]
    public = images(case.source, case.held_out)[2]
    reference = decibels(mean_image(public, len(truth)), truth)
    return {"sides": figures, "mean_image": round(reference, 2)}


# --- From runs to figures ---------------------------------------------------------------------


def kept(key: object, code: str, run: Callable[[], Answer]) -> Answer:
    """What ``run`` answers; or what it answered before under the same key, with the same code."""
    digest = hashlib.sha256(json.dumps([key, code], sort_keys=True).encode()).hexdigest()
    file = KEPT / f"{digest[:20]}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(run()))
    return json.loads(file.read_text())


def compare(peer: Worker, source: str, condition: Sequence, settings: dict[str, dict]) -> dict:
    """Figures of all sides over the batches and seeds of one condition."""
    attacks = [module for name, module in sorted(sys.modules.items())
               if name.startswith(("leaklab.attacks.", "leaklab.models", "peers."))]
    code = "".join(map(inspect.getsource, (*attacks, images, victim, ours, theirs, measure)))
    cases = [Case(source, *condition, batch, seed)
             for seed in SEEDS for batch in range(BATCHES[condition[1]])]
    runs = [kept([asdict(case), settings], code, partial(measure, peer, case, settings))
            for case in progress(cases, name_of(*condition))]
    sides = [row(side, [run["sides"][side] for run in runs]) for side in runs[0]["sides"]
             if all(run["sides"][side] for run in runs)]
    return {"mean image dB": spread([run["mean_image"] for run in runs]), "sides": sides}


def result(figures: dict, missing: dict, chosen: dict) -> dict:
    """All that is recorded."""
    return {
        "what": "images from one gradient: CPU seconds and evaluations to 20 and 30 dB, final PSNR",
        "sizes": {"pixels": "28 x 28", "evaluations": EVALUATIONS, "seeds": len(SEEDS),
                  "images": {f"batch {size}": size * count for size, count in BATCHES.items()},
                  "weights": "87,000, untrained",
                  "spreads": "median, smallest, largest; null: never"},
        "figures": figures,
        "peer": PEER.replace("==", " ") + " from PyPI, total variation rewritten for one channel",
        "peer settings": chosen,
        "ratio": {name: ratio(found["sides"]) for name, found in figures.items()},
        "ratio of": "the peer's median CPU time to 30 dB over ours",
        "rows missing": missing,
        "not planned": "two classes: on real images, and in batches of 1 and 8; the peer's l_bfgs "
                       "behind ReLU; ours_features where labels repeat, since none are certain",
    }


def main() -> None:
    """Measure, print and record."""
    os.environ["LEAKLAB_PROGRESS"] = "0"
    torch.set_num_threads(1)
    chosen = json.loads(SETTINGS.read_text())
    figures, missing = {}, {row_name(*planned): "not run" for planned in ROWS}
    with start_peer() as peer:
        for source, *condition in ROWS:
            name = row_name(source, *condition)
            if name_of(condition[0], condition[1], 10) not in chosen:
                missing[name] = "no settings of the peer chosen yet"
                continue
            try:
                figures[name] = compare(peer, source, condition, sides_of(condition, chosen))
                del missing[name]
                print(name, json.dumps(ratio(figures[name]["sides"])), flush=True)
            except DataUnavailable as reason:
                missing[name] = str(reason).splitlines()[0]
            record(RESULT, result(figures, missing, chosen))


if __name__ == "__main__":
    main()
