"""A stack of shadow models trained at once, against the same models trained one after another.

    make bench NAME=shadow_models

Three sides train the same architecture on the same records, batch size and optimiser, on one
thread, in turns within each repeat:

    stack    `leaklab.stack.train_stack`
    loop     one model after another, as fast as we could make it: records of a model indexed once,
             batches as index tensors, a fused optimiser, one module for all
    loader   one model after another, as published attack code has it: a `Subset` behind a
             `DataLoader`, a new module for each

CPU time of the process. The two peers take the same time for every model, so they train `SAMPLE`
of them and the time is scaled up. Half of the records are members of a model. Inputs are noise:
nothing here depends on what is learnt.

What a stack saves is the time in which a small model leaves the processor waiting for Python, so
dense networks gain most. A convolutional network keeps one thread of a processor busy by itself,
and there the stack gains little, or nothing at larger batches.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from recording import record
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset, TensorDataset

from leaklab.models import mlp, small_cnn
from leaklab.runtime import generator, isolated_rng, seed_all
from leaklab.schedule import generators, padded_batches
from leaklab.stack import Stack, new_stack, paired_members, state_of, train_stack
from leaklab.updates import LocalTraining

RESULT = Path(__file__).parent / "results" / "shadow_models.json"
REPEATS, SAMPLE = 7, 8


def deep_mlp(rng: torch.Generator) -> nn.Sequential:
    """22-64-64-2: the heart table with its categories in columns of their own."""
    with isolated_rng(rng):
        return nn.Sequential(nn.Linear(22, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                             nn.Linear(64, 2))


@dataclass(frozen=True)
class Row:
    """What is trained: ``models`` of one architecture on ``records`` of one shape."""

    make: Callable[[torch.Generator], nn.Module]
    shape: tuple[int, ...]
    records: int
    models: int
    training: LocalTraining
    epochs: int


def sgd(batch_size: int) -> LocalTraining:
    """SGD with momentum."""
    return LocalTraining(0.05, batch_size=batch_size, momentum=0.9)


ROWS = {
    "MLP 22-64-64-2, batch 16": Row(deep_mlp, (22,), 238, 64, sgd(16), 30),
    "MLP 10-128-2, batch 32": Row(partial(mlp, num_features=10, width=128), (10,), 302, 64,
                                  sgd(32), 30),
    "CNN 28 x 28, batch 16": Row(small_cnn, (1, 28, 28), 400, 32, sgd(16), 2),
    "CNN 28 x 28, batch 32": Row(small_cnn, (1, 28, 28), 400, 32, sgd(32), 2),
}


def in_stack(row: Row, stack: Stack, inputs: Tensor, targets: Tensor, members: Tensor) -> None:
    """Ours."""
    train_stack(stack, inputs, targets, members, row.training, generator("training"),
                epochs=row.epochs)


def in_loop(row: Row, stack: Stack, inputs: Tensor, targets: Tensor, members: Tensor) -> None:
    """One after another, tuned."""
    model = stack.model
    for k, rng in enumerate(generators(SAMPLE, generator("training"))):
        model.load_state_dict(state_of(stack, k))
        x, y = inputs[members[k]], targets[members[k]]
        optimiser = torch.optim.SGD(model.parameters(), lr=row.training.learning_rate,
                                    momentum=row.training.momentum, fused=True)
        for batch in padded_batches(len(x), row.training, row.epochs, rng):
            batch = batch[batch >= 0]
            optimiser.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()


def by_loader(row: Row, stack: Stack, inputs: Tensor, targets: Tensor, members: Tensor) -> None:
    """One after another, as published."""
    data = TensorDataset(inputs, targets)
    for k in range(SAMPLE):
        model = row.make(generator("weights", k))
        loader = DataLoader(Subset(data, members[k].nonzero()[:, 0].tolist()), shuffle=True,
                            batch_size=row.training.batch_size, generator=generator(k))
        optimiser = torch.optim.SGD(model.parameters(), lr=row.training.learning_rate,
                                    momentum=row.training.momentum)
        for _ in range(row.epochs):
            for x, y in loader:
                optimiser.zero_grad()
                cross_entropy(model(x), y).backward()
                optimiser.step()


def seconds(side: Callable, row: Row) -> float:
    """CPU seconds of one side for all models of the row."""
    rng = generator("data", *row.shape)
    inputs = torch.randn(row.records, *row.shape, generator=rng)
    targets = torch.randint(2, (row.records,), generator=rng)
    members = paired_members(row.models, row.records, rng)
    stack = new_stack(row.make, row.models, rng)
    begun = time.process_time()
    side(row, stack, inputs, targets, members)
    return (time.process_time() - begun) * (1 if side is in_stack else row.models / SAMPLE)


def compare(row: Row) -> dict[str, float]:
    """CPU seconds of each side (medians), and medians of the ratios within a repeat."""
    sides = (in_stack, in_loop, by_loader)
    # the first repeat, to warm up, is not counted
    runs = [[seconds(side, row) for side in sides] for _ in range(REPEATS + 1)][1:]
    ours, loop, loader = (statistics.median(side) for side in zip(*runs, strict=True))
    return {"stack": round(ours, 3), "loop": round(loop, 2), "loader": round(loader, 2),
            "loop / stack": round(statistics.median(run[1] / run[0] for run in runs), 2),
            "loader / stack": round(statistics.median(run[2] / run[0] for run in runs), 2)}


def main() -> None:
    """Measure, print and record."""
    os.environ["LEAKLAB_PROGRESS"] = "0"
    seed_all(0)
    figures = {}
    for name, row in ROWS.items():
        figures[name] = compare(row)
        print(name, figures[name], flush=True)
    result = {
        "what": "CPU seconds to train shadow models, one thread",
        "sizes": {name: {"models": row.models, "records of a model": row.records // 2,
                         "epochs": row.epochs, "repeats": REPEATS} for name, row in ROWS.items()},
        "figures": figures,
        "peer": "loop: one model after another, tuned; loader: the same with a DataLoader",
        "ratio": {name: {side: figure[f"{side} / stack"] for side in ("loop", "loader")}
                  for name, figure in figures.items()},
    }
    record(RESULT, result)


if __name__ == "__main__":
    main()
