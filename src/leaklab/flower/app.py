"""The Flower app of the course: the federation of chapter 1, one ServerApp and one ClientApp.

    in process      federate(LocalGrid(client_app, configs), ...)
    on Ray          flwr run deploy/app local --federation-config num-supernodes=5
    deployed        a SuperLink, and one SuperNode at each hospital: make federation

A hospital's records lie on its own disk and never in the app: a SuperNode is started with
``data-path``. Without it, a node takes the part ``partition-id`` of the nodules of chapter 1.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Result, Strategy
from torch import nn
from torch.nn.functional import cross_entropy

from leaklab.data import hospitals, radiology
from leaklab.federation import Hospital
from leaklab.flower.strategy import WEIGHT, CheckedFedAvg, wait_for_nodes
from leaklab.flower.wiretap import WireTap
from leaklab.models import predict, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

__all__ = ["federate", "save_hospital"]

TIMEOUT = 120.0  # seconds to wait for the hospitals' replies in one round
TEST_FRACTION = 0.25  # as in chapter 1


def initial_model(seed: int, size: int = 28) -> nn.Module:
    """The model of chapter 1, for images of ``size`` pixels, with the weights ``seed`` draws."""
    return small_cnn(generator(seed, "initial weights"), size=size)


@functools.lru_cache(maxsize=1)
def chapter_hospitals(seed: int, size: int = 28) -> tuple[Hospital, ...]:
    """The five hospitals of chapter 1, with the training patients of split ``seed``."""
    nodules = radiology.load("nodule", source="hybrid", size=size)
    train, _ = hospitals.train_test(nodules, TEST_FRACTION, np.random.default_rng(seed))
    return tuple(Hospital.of(name, part) for name, part in hospitals.by_site(train).items())


def save_hospital(hospital: Hospital, path: Path) -> None:
    """Write the records of ``hospital`` to the ``.npz`` that its SuperNode is started with."""
    with open(path, "wb") as file:
        np.savez(file, name=np.array(hospital.name), inputs=hospital.inputs.cpu().numpy(),
                 targets=hospital.targets.cpu().numpy())


def load_hospital(path: Path | str) -> Hospital:
    """What :func:`save_hospital` wrote; raises ``ValueError`` for any other file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Hospital(str(stored["name"]), torch.tensor(stored["inputs"]),
                            torch.tensor(stored["targets"]))
    except (KeyError, EOFError, OSError, ValueError, TypeError, zipfile.BadZipFile) as reason:
        raise ValueError(f"data-path: {path} given, expected a hospital's records ({reason})") \
            from None


def hospital_of(context: Context, seed: int, size: int) -> Hospital:
    """The hospital that a node stands for, by its ``data-path`` or its ``partition-id``."""
    config = context.node_config
    if path := config.get("data-path"):
        return load_hospital(str(path))
    everyone = chapter_hospitals(seed, size)
    number = int(config.get("partition-id", -1))
    if not 0 <= number < len(everyone):
        raise ValueError(f"partition-id: {number} given, expected 0 to {len(everyone) - 1}, "
                         "or a data-path")
    return everyone[number]


# --- At the hospital ---------------------------------------------------------------------------

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train the received model on the hospital's records and return it with its loss on them."""
    torch.set_num_threads(1)
    config = message.content["config"]
    seed, size, number = (int(config[key]) for key in ("seed", "image-size", "server-round"))
    hospital = hospital_of(context, seed, size)
    model = initial_model(seed, size)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    update = hospital.train(model, training_of(config), round=number,
                            generator=generator(seed, number, hospital.name))
    loss = cross_entropy(predict(model, update.after, hospital.inputs), hospital.targets)
    return Message(RecordDict({
        "arrays": ArrayRecord(dict(update.after)),
        "metrics": MetricRecord({WEIGHT: update.num_examples, "loss": float(loss)}),
        "sender": ConfigRecord({"hospital": hospital.name}),
    }), reply_to=message)


# --- At the server -----------------------------------------------------------------------------

server_app = ServerApp()


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """Run the federation that the run's settings describe, and capture it where they say so."""
    config = context.run_config
    training = LocalTraining(float(config["learning-rate"]), local_steps=int(config["local-steps"]),
                             batch_size=int(config["batch-size"]))
    federate(WireTap(grid, str(config["capture-dir"]) or None), training,
             rounds=int(config["num-server-rounds"]), seed=int(config["seed"]),
             size=int(config["image-size"]), num_hospitals=int(config["num-hospitals"]),
             min_replies=int(config["min-replies"]), timeout=float(config["round-timeout"]))


def federate(
    grid: Grid, training: LocalTraining, *, rounds: int, seed: int, num_hospitals: int,
    min_replies: int | None = None, size: int = 28, timeout: float = TIMEOUT,
    wrap: Callable[[Strategy], Strategy] = lambda strategy: strategy,
) -> Result:
    """Run federated averaging over the nodes of ``grid`` and return Flower's result.

    Waits until ``num_hospitals`` nodes are there. A round goes on without hospitals that fail, or
    that are gone, as long as ``min_replies`` (all, by default) can be averaged. Nothing is waited
    for longer than ``timeout`` seconds; where too few are left, ``RoundFailed`` is raised. On the
    same seed this is ``leaklab.federation.fed_avg`` to float tolerance. ``wrap`` puts one of
    Flower's strategies around the course's, such as one that adds noise at the server.
    """
    wait_for_nodes(grid, num_hospitals, timeout)
    strategy = wrap(CheckedFedAvg(min_replies=min_replies or num_hospitals, timeout=timeout))
    return strategy.start(
        grid=grid, initial_arrays=ArrayRecord(initial_model(seed, size).state_dict()),
        num_rounds=rounds, timeout=timeout, train_config=config_of(training, seed, size))


def config_of(training: LocalTraining, seed: int, size: int) -> ConfigRecord:
    """What the server tells the hospitals to do; ``None`` is left out, as Flower knows no null."""
    settings = {name.replace("_", "-"): value for name, value in asdict(training).items()}
    return ConfigRecord({"seed": seed, "image-size": size,
                         **{key: value for key, value in settings.items() if value is not None}})


def training_of(config: ConfigRecord) -> LocalTraining:
    """The reverse of :func:`config_of`."""
    names = {field.name.replace("_", "-"): field.name for field in fields(LocalTraining)}
    return LocalTraining(**{names[key]: config[key] for key in config if key in names})
