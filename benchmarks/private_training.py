"""A private step against a plain one on the course's CNN: what gradients of single records cost.

    make bench NAME=private_training

All sides take the same optimiser steps on the same batches, one thread, in turns within each
repeat:

    plain      SGD, no privacy
    vmap       gradients of single records by `torch.func.vmap`, clipped and added by hand
    book-keeping
               `leaklab.gradients.clipped_sum`: norms from what a pass leaves, then one product
    hooks      Opacus, default: layer by layer, from activations and their slopes
    ew         Opacus by torch's expanded weights
    functorch  Opacus by `torch.func`
    ghost      Opacus' ghost clipping: norms first, then a second backward pass on scaled losses

CPU time of the process for all steps; the ratios are to `plain` within a repeat, medians over the
repeats. Inputs are noise: nothing here depends on what is learnt.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from opacus import PrivacyEngine
from recording import record
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from leaklab.defences.record_level import RecordLevel
from leaklab.gradients import clipped_sum, record_gradients
from leaklab.models import small_cnn
from leaklab.runtime import generator, seed_all

RESULT = Path(__file__).parent / "results" / "private_training.json"
REPEATS, STEPS, BATCHES = 7, 10, (64, 256)
NOISE, NORM, RATE = 1.0, 1.0, 0.1
MODES = ("hooks", "ew", "functorch", "ghost")
GOAL = 2.5
Step = Callable[[Tensor, Tensor], None]


def plain(model: nn.Module) -> Step:
    """A step of SGD."""
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimiser.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimiser.step()

    return step


def by_vmap(model: nn.Module) -> Step:
    """A private step by the library's functions, without Opacus."""
    private, noise = RecordLevel(NORM, NOISE), generator("noise")
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
    sizes = [p.numel() for p in model.parameters()]

    def step(inputs: Tensor, targets: Tensor) -> None:
        rows = record_gradients(model, model.state_dict(), inputs, targets)
        for p, part in zip(model.parameters(), private.mean(rows, noise).split(sizes), strict=True):
            p.grad = part.view_as(p)
        optimiser.step()

    return step


def by_book_keeping(model: nn.Module) -> Step:
    """A private step in one pass, which holds no record's gradient of a dense layer."""
    noise = generator("noise")
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def step(inputs: Tensor, targets: Tensor) -> None:
        for p, total in zip(model.parameters(), clipped_sum(model, inputs, targets, NORM),
                            strict=True):
            drawn = torch.randn(p.shape, generator=noise)
            p.grad = (total + NOISE * NORM * drawn) / len(inputs)
        optimiser.step()

    return step


def by_opacus(mode: str, model: nn.Module, noise: float = NOISE) -> Step:
    """A private step by Opacus in one of its modes."""
    def parts(batch: int) -> tuple:
        data = TensorDataset(torch.zeros(batch, 1, 28, 28), torch.zeros(batch).long())
        engine = PrivacyEngine(accountant="rdp")
        made = engine.make_private(
            module=model, optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
            criterion=nn.CrossEntropyLoss(), data_loader=DataLoader(data, batch_size=batch),
            noise_multiplier=noise, max_grad_norm=NORM, poisson_sampling=False,
            grad_sample_mode=mode, noise_generator=generator("noise"))
        return made[:3] if mode == "ghost" else (*made[:2], cross_entropy)

    made: list[tuple] = []

    def step(inputs: Tensor, targets: Tensor) -> None:
        if not made:  # the batch is the expected one, which the noisy sum is divided by
            made.append(parts(len(inputs)))
        private, optimiser, loss = made[0]
        optimiser.zero_grad()
        loss(private(inputs), targets).backward()
        optimiser.step()

    return step


SIDES: dict[str, Callable[[nn.Module], Step]] = {
    "plain": plain, "vmap": by_vmap, "book-keeping": by_book_keeping,
    **{mode: partial(by_opacus, mode) for mode in MODES}}


def compare(batch: int) -> dict:
    """CPU seconds of each side for all steps (medians), and medians of its ratio to ``plain``."""
    rng = generator("data", batch)
    inputs, targets = torch.randn(batch, 1, 28, 28, generator=rng), torch.arange(batch) % 2
    steps = {name: make(small_cnn(generator("weights"))) for name, make in SIDES.items()}
    runs: list[dict[str, float]] = []
    for _ in range(REPEATS + 1):
        runs.append({})
        for name, step in steps.items():
            begun = time.process_time()
            for _ in range(STEPS):
                step(inputs, targets)
            runs[-1][name] = time.process_time() - begun
    runs = runs[1:]  # the first repeat, to warm up, is not counted
    return {"seconds": {name: round(statistics.median(run[name] for run in runs), 4)
                        for name in SIDES},
            "ratio": {name: round(statistics.median(run[name] / run["plain"] for run in runs), 2)
                      for name in SIDES if name != "plain"}}


def main() -> None:
    """Measure, print and record."""
    warnings.simplefilter("ignore")
    seed_all(0)
    found = {}
    for batch in BATCHES:
        found[f"CNN 28 x 28, batch {batch}"] = compare(batch)
        print(batch, found[f"CNN 28 x 28, batch {batch}"], flush=True)
    result = {
        "what": "CPU seconds of private steps and of plain ones, one thread",
        "sizes": {name: {"steps": STEPS, "repeats": REPEATS} for name in found},
        "figures": {name: figure["seconds"] for name, figure in found.items()},
        "peer": f"plain SGD; the modes of Opacus {version('opacus')}",
        "ratio": {name: figure["ratio"] for name, figure in found.items()},
    }
    record(RESULT, result)


if __name__ == "__main__":
    main()
