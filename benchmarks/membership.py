"""LiRA with 64 shadow models on Cleveland's heart patients, against SACRO-ML and privacy-meter.

    make bench NAME=membership

All sides attack the same target models, each trained on its own half of the patients, are given
their records and the recipe of their training, and train 64 shadow models by it, on one thread.
The peers run in environments of their own, made on first use; what had to be done to run them
stands in benchmarks/peers/membership_peer.py. Sides:

    LiRA             `lira_online` on a stack of shadow models
    RMIA             `rmia_ratio` on the same stack
    loss threshold   no shadow model at all
    sacroml          its online LiRA
    privacy-meter    its reference attack

CPU seconds are those of one target, training of the shadow models included (LiRA and RMIA share
theirs). AUC and true-positive rate at 1 % false positives are means over the targets, each with
the standard error of its difference from our LiRA on the same targets.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from peers import Worker, python_of
from recording import record
from torch import Tensor

from leaklab.assess import membership
from leaklab.attacks.membership import lira, rmia, thresholds
from leaklab.attacks.membership.signals import logit_margin, negative_loss
from leaklab.data.download import DataUnavailable
from leaklab.metrics.roc import auc, operating_point
from leaklab.runtime import generator, seed_all
from leaklab.stack import paired_members, stack_logits, state_of

RESULT = Path(__file__).parent / "results" / "membership.json"
PEERS = {"sacroml": "sacroml==2.0.1", "privacy-meter": "privacy-meter==1.0.1"}
MODULE = "peers.membership_peer"
TARGETS, SHADOWS, RATE = 8, 64, 0.01


def ours(inputs: Tensor, targets: Tensor, logits: Tensor, seed: int) -> tuple[dict, float]:
    """Scores of our attacks on a target with these ``logits``, and seconds of those by shadows."""
    begun = time.process_time()
    members = paired_members(SHADOWS, len(inputs), generator(seed, "shadow members"))
    shadows = membership.trained(membership.network(), inputs, targets, members, seed)
    answers = stack_logits(shadows, inputs)
    margin, loss = (partial(signal, targets=targets) for signal in (logit_margin, negative_loss))
    scores = {"LiRA": lira.lira_online(margin(logits), margin(answers), members),
              "RMIA": rmia.rmia_ratio(loss(logits), loss(answers), members)}
    seconds = time.process_time() - begun
    return {**scores, "loss threshold": thresholds.loss_threshold(logits, targets)}, seconds


def rival(workers: dict[str, Worker], case: dict, seed: int) -> dict[str, dict]:
    """What the peers answer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.pt"
        torch.save(case, path)
        return {name: worker.ask({"peer": name, "case": str(path), "shadows": SHADOWS,
                                  "seed": seed}) for name, worker in workers.items()}


def attacked(workers: dict[str, Worker], seed: int) -> dict[str, dict[str, float]]:
    """Figures of every side on one target."""
    data = membership.cleveland()
    inputs, targets = torch.tensor(data.inputs), torch.tensor(data.targets)
    member = paired_members(2, len(inputs), generator(seed, "target members"))[:1]
    target = membership.trained(membership.network(), inputs, targets, member, seed + 1000)
    scores, seconds = ours(inputs, targets, stack_logits(target, inputs)[0], seed)
    spent = {"LiRA": seconds, "RMIA": seconds}
    recipe = membership.RECIPE
    answers = rival(workers, {
        "inputs": inputs, "targets": targets, "members": member[0], "state": state_of(target, 0),
        "network": {"features": inputs.shape[1], "width": membership.WIDTH},
        "batch_size": recipe.batch_size,
        "recipe": {"epochs": membership.EPOCHS, "learning_rate": recipe.learning_rate,
                   "momentum": recipe.momentum}}, seed)
    for name, answer in answers.items():
        scores[name] = torch.tensor(answer["scores"], dtype=torch.float64)
        spent[name] = answer["seconds"]
    return {name: {"AUC": auc(score, member[0]),
                   "TPR": operating_point(score, member[0], RATE).true_positive_rate,
                   "seconds": spent.get(name, 0.0)} for name, score in scores.items()}


def figures(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over the targets; of the seconds, medians."""
    table = {}
    for name in runs[0]:
        row: dict[str, float] = {}
        for what in ("AUC", "TPR"):
            values = [run[name][what] for run in runs]
            apart = [run[name][what] - run["LiRA"][what] for run in runs]
            row[what] = round(statistics.mean(values), 4)
            row[f"{what}, error against LiRA"] = round(
                statistics.stdev(apart) / len(runs) ** 0.5, 4)
        row["seconds"] = round(statistics.median(run[name]["seconds"] for run in runs), 3)
        table[name] = row
    return table


def ratio(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times as long as LiRA each peer took."""
    return {name: round(table[name]["seconds"] / table["LiRA"]["seconds"], 1) for name in PEERS}


def main() -> None:
    """Measure, print and record."""
    os.environ["LEAKLAB_PROGRESS"] = "0"
    seed_all(0)
    try:
        membership.cleveland()
    except DataUnavailable as reason:
        sys.exit(str(reason))
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(python_of(name, requirement), MODULE))
                   for name, requirement in PEERS.items()}
        # the first, to warm up, is not counted
        runs = [attacked(workers, seed) for seed in range(-1, TARGETS)]
    table = figures(runs[1:])
    result = {
        "what": "membership inference with 64 shadow models, heart patients of Cleveland",
        "sizes": {"patients": len(membership.cleveland()), "targets": TARGETS,
                  "shadow models": SHADOWS, "epochs": membership.EPOCHS, "false positives": RATE},
        "figures": {"Cleveland": table},
        "peer": ", ".join(requirement.replace("==", " ") for requirement in PEERS.values()),
        "ratio": {"Cleveland": ratio(table)},
    }
    record(RESULT, result)
    print(json.dumps(result["figures"], indent=1))


if __name__ == "__main__":
    main()
