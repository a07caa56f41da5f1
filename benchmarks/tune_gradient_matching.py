"""Choose the peer's settings for the benchmark gradient_matching, on images it does not report.

    .venv/bin/python benchmarks/tune_gradient_matching.py ["relu, 10 classes, batch 4" ...]

For each condition, one knob after the other is turned and left where it was best. Two searches
are walked, from its `deepleakage` and, where the activation is ReLU, from its `invertinggradients`
(with GELU the former is far ahead), by two criteria: the fewest evaluations to 30 dB (geometric
mean; a run that never gets there counts as twice the budget), and the highest final PSNR (mean).
Writes benchmarks/peers/breaching_settings.json.
"""

from __future__ import annotations

import inspect
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

import torch
from gradient_matching import (
    CONDITIONS,
    EVALUATIONS,
    SETTINGS,
    SOURCES,
    Case,
    images,
    kept,
    name_of,
    start_peer,
    theirs,
    victim,
)
from peers import breaching_peer, stopwatch

from leaklab import models

HELD_OUT = {1: 3, 4: 1, 8: 1}  # batches of each source
Knobs = dict[str, object]
Score = tuple[float, float]

SCALE = "regularization.total_variation.scale"
FEATURES = "+regularization.features.scale"
ISOTROPIC = {"regularization.total_variation.inner_exp": 2,
             "regularization.total_variation.outer_exp": 0.5}
COSINE = {"attack": "invertinggradients", "optim.step_size_decay": "cosine-decay", SCALE: 0.003}
TUNED_TURNS: list[Knobs] = [{SCALE: scale} for scale in (0.01, 0.001, 0.0003)]
COSINE_TURNS: list[Knobs] = [
    {"start": "grey"}, {FEATURES: 10}, {FEATURES: 1000},
    *({SCALE: scale} for scale in (0.01, 0.003, 0.001, 0.0003)),
    {"optim.step_size": 0.2}, {"optim.signed": "soft"}, ISOTROPIC,
]
L_BFGS = {"attack": "deepleakage", "attack_type": "optimization", "start": "grey"}
L_BFGS_TURNS: list[Knobs] = [
    {"objective.scale": 10_000}, {"regularization": "{features:{scale:100}}"},
    {"regularization": "{total_variation:{scale:0.01,inner_exp:2,outer_exp:0.5}}"},
]
NOT_OVERRIDES = ("attack", "start", "mean", "std")


def setting(knobs: Knobs) -> dict:
    """Knobs as the peer's process takes them."""
    overrides = [f"{knob}={value}" for knob, value in knobs.items() if knob not in NOT_OVERRIDES]
    return {**{knob: knobs[knob] for knob in NOT_OVERRIDES if knob in knobs},
            "overrides": overrides}


def held_out(activation: str, size: int, classes: int) -> Iterator[Case]:
    """The batches to choose on."""
    for source in SOURCES:
        for batch in range(HELD_OUT[size]):
            yield Case(source, activation, size, classes, batch, 100 + batch, held_out=True)


def to_30(runs: list[dict]) -> float:
    """Geometric mean of evaluations to 30 dB."""
    counts = [run["reached"].get("30", {"evaluations": 2 * EVALUATIONS})["evaluations"]
              for run in runs]
    return math.exp(statistics.fmean(map(math.log, counts)))


def final(runs: list[dict]) -> float:
    """Mean final PSNR."""
    return statistics.fmean(run["final"] for run in runs)


CRITERIA: dict[str, Callable[[list[dict]], Score]] = {
    "fairest": lambda runs: (to_30(runs), -final(runs)),
    "sharpest": lambda runs: (-final(runs), to_30(runs)),
}


def walk(start: Knobs, turns: list[Knobs], score: Callable[[Knobs], Score]) -> Knobs:
    """Turn one knob after the other and keep what is better."""
    best = dict(start)
    for turn in turns:
        best = min(best, {**best, **turn}, key=score)
    return best


def choose(activation: str, run: Callable[[dict], list[dict]]) -> dict[str, dict]:
    """The settings of one condition; ``run`` answers a setting with the runs held out."""
    def score(criterion: str) -> Callable[[Knobs], Score]:
        return lambda knobs: CRITERIA[criterion](run(setting(knobs)))

    sides = {"default": {"attack": "invertinggradients"}, "l_bfgs": {"attack": "deepleakage"}}
    sides["tuned"] = walk(COSINE, TUNED_TURNS, score("fairest"))
    for criterion in CRITERIA:
        ends = [walk(L_BFGS, L_BFGS_TURNS, score(criterion)), *sides.values()]
        if activation == "relu":
            ends += [walk(sides["tuned"], COSINE_TURNS, score(criterion))]
        sides[criterion] = min(ends, key=score(criterion))
    return {side: setting(knobs) for side, knobs in sides.items()}


CODE = "".join(map(inspect.getsource, (images, victim, breaching_peer, stopwatch, models)))


def main() -> None:
    """Choose for the conditions named on the command line, or for all; record and print."""
    torch.set_num_threads(1)
    asked = sys.argv[1:] or [name_of(*condition) for condition in CONDITIONS]
    with start_peer() as peer:
        for activation, size, classes in CONDITIONS:
            name = name_of(activation, size, classes)
            if name not in asked or classes == 2:
                continue

            def run(setting: dict, condition=(activation, size, classes)) -> list[dict]:
                return [kept([asdict(case), setting], CODE, partial(theirs, peer, case, setting))
                        for case in held_out(*condition)]

            chosen = choose(activation, run)
            for side, found in chosen.items():
                runs = run(found)
                print(f"{name}: {side} {to_30(runs):.1f} evaluations, {final(runs):.1f} dB, "
                      f"{found}", flush=True)
            every = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
            SETTINGS.write_text(json.dumps({**every, name: chosen}, indent=1) + "\n")


if __name__ == "__main__":
    main()
