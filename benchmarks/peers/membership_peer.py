"""SACRO-ML 2.0.1 and privacy-meter 1.0.1 on our case; each runs in its own environment.

``python -m peers.membership_peer``, started by benchmarks/membership.py, reads one request a line,
``{"peer": "sacroml", "case": path, "shadows": n, "seed": n}``, and answers with the scores of the
records and the CPU seconds that the attack took, training of its shadow models included.

The target model, its records and the recipe are given. Each side trains its own shadow models by
that recipe: with SACRO-ML through its interface for torch models; privacy-meter trains none, its
users do, so the loop below does it, on random halves of the pool.

What had to be done to run them:

* SACRO-ML takes up any shadow models it finds in its output folder, of whatever architecture: each
  attack gets an empty folder. Its report is switched off. It is asked for the online attack
  (``online-carlini``), with a variance for each record, the paper's for 64 shadows.
* privacy-meter imports tensorflow, which it neither declares nor needs here: it gets an empty
  module of that name. Version 1.0.1, the last on the package index, has neither LiRA nor RMIA; its
  strongest attack of this kind is ``ReferenceMetric`` (attack R of Ye et al. 2022,
  arXiv:2111.09679), at its defaults. That answers a record by yes or no for each of 100 rates of
  false alarms; the score is how often it said yes. It counts every reference model as one that
  did not see the record.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import time
import types
import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


class Network(nn.Sequential):
    """One hidden layer, as `leaklab.models.mlp`."""

    def __init__(self, features: int, width: int):
        super().__init__(nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, 2))


def train(model: nn.Module, dataloader: DataLoader, epochs: int, learning_rate: float,
          momentum: float) -> None:
    """The recipe, as SACRO-ML wants it."""
    optimiser = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum)
    for _ in range(epochs):
        for x, y in dataloader:
            optimiser.zero_grad()
            cross_entropy(model(x), y).backward()
            optimiser.step()


def target_of(case: dict) -> Network:
    """The model that is attacked."""
    model = Network(**case["network"])
    model.load_state_dict(case["state"])
    return model


def sacroml(case: dict, shadows: int, seed: int) -> Tensor:
    """Scores of SACRO-ML's online LiRA, members first."""
    from sacroml.attacks.likelihood_attack import LIRAAttack
    from sacroml.attacks.target import Target

    members = case["members"]
    inputs, targets = case["inputs"].numpy(), case["targets"].numpy()
    target = Target(
        model=target_of(case), model_module_path="peers/membership_peer.py",
        model_name="Network", model_params=case["network"],
        train_module_path="peers/membership_peer.py", train_params=case["recipe"],
        batch_size=case["batch_size"], X_train=inputs[members], y_train=targets[members],
        X_test=inputs[~members], y_test=targets[~members])
    with tempfile.TemporaryDirectory() as folder:
        attack = LIRAAttack(output_dir=folder, write_report=False, n_shadow_models=shadows,
                            mode="online-carlini", report_individual=True)
        attack.attack(target)
    return torch.tensor(attack.result["member_prob"], dtype=torch.float64)


def privacy_meter(case: dict, shadows: int, seed: int) -> Tensor:
    """Scores of privacy-meter's reference attack, members first."""
    sys.modules["tensorflow"] = types.ModuleType("tensorflow")
    from privacy_meter.dataset import Dataset
    from privacy_meter.hypothesis_test import linear_itp_threshold_func
    from privacy_meter.information_source import InformationSource
    from privacy_meter.information_source_signal import ModelLoss
    from privacy_meter.metric import ReferenceMetric
    from privacy_meter.model import PytorchModelTensor

    del sys.modules["tensorflow"]  # torch, too, looks whether it is there
    torch.manual_seed(seed)
    inputs, targets, members = case["inputs"], case["targets"], case["members"]
    references = [Network(**case["network"]) for _ in range(shadows)]
    for model in references:
        half = torch.randperm(len(inputs))[:int(members.sum())]
        data = TensorDataset(inputs[half], targets[half])
        train(model, DataLoader(data, batch_size=case["batch_size"], shuffle=True),
              **case["recipe"])
    pool = Dataset({"train": {"x": inputs[members], "y": targets[members]},
                    "test": {"x": inputs[~members], "y": targets[~members]}}, "x", "y")
    target, reference = (InformationSource(
        models=[PytorchModelTensor(model, nn.CrossEntropyLoss()) for model in models],
        datasets=[pool]) for models in ([target_of(case)], references))
    metric = ReferenceMetric(target, reference, [ModelLoss()], linear_itp_threshold_func)
    metric.prepare_metric()
    (result,) = metric.run_metric()
    return torch.tensor(result.predicted_labels).double().sum(0)


PEERS = {"sacroml": sacroml, "privacy-meter": privacy_meter}


def answer(request: dict) -> dict:
    """Scores in the order of the records, and CPU seconds."""
    case = torch.load(request["case"], weights_only=True)
    members = case["members"]
    begun = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        found = PEERS[request["peer"]](case, request["shadows"], request["seed"])
    seconds = time.process_time() - begun
    scores = torch.empty(len(members), dtype=torch.float64)
    scores[members], scores[~members] = found[:int(members.sum())], found[int(members.sum()):]
    return {"scores": scores.tolist(), "seconds": seconds}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for line in sys.stdin:
        logging.disable(logging.CRITICAL)
        print(json.dumps(answer(json.loads(line))), flush=True)
