"""breaching 0.1.2 (Geiping et al.) under the same measurement; runs in its own environment.

``python -m peers.breaching_peer``, started by benchmarks/gradient_matching.py, reads one request a
line, ``{"case": path, "setting": {...}, "budget": n, "seed": n}``, runs the attack on the gradient
in that file, and answers with a line of figures.

A setting names an attack of the package and overrides of its configuration. ``"start": "grey"``
hands it a nearly grey start through its own argument ``initial_data``. Its ``init=zeros`` is grey
to the last bit: equal images with equal labels would never part.

What had to be done to run it at all, with torch 2.13 and grey images:

* the compiled operators of the torchvision on PyPI do not load beside a torch built for the CPU:
  the two that it looks up on import are declared without a body (nothing here calls them);
* its ``TotalVariation`` is written for three channels: the class is given a constructor that takes
  one, with the same filters and the same formula;
* ``reconstruct`` fails at the end without ``server_secrets``: an empty dictionary is given.

It expects inputs with mean 0 and spread 1, and so starts from normal noise and steps by 0.1. The
network here takes grey values from 0 to 1, so a layer before it maps back, x = std z + mean, and
the package is told both numbers, by which it also keeps its guess within the grey values.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import warnings

import torch
from torch import nn

from leaklab.models import conv_net
from peers.stopwatch import Trace

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
NOISE = 0.0025  # of a grey start, in grey values, as ours
MEAN, STD = 0.5, 0.25
L_BFGS_STEPS = 20  # evaluations within one iteration of its L-BFGS


class Denormalise(nn.Module):
    """From inputs of mean 0 and spread 1 to grey values."""

    def __init__(self, mean: float, std: float):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, z):
        return z * self.std + self.mean


def load_breaching():
    """The package, ready for one channel."""
    try:
        import torchvision  # noqa: F401
        operators = None
    except RuntimeError:  # "operator torchvision::nms does not exist"
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    import breaching
    from breaching.attacks.auxiliaries.regularizers import TotalVariation

    breaching.operators = operators  # a library that is collected takes its operators along

    def one_channel(self, setup, scale=0.1, inner_exp=1, outer_exp=1, double_opponents=False,
                    eps=1e-8):
        nn.Module.__init__(self)
        self.setup, self.scale, self.eps = setup, scale, eps
        self.inner_exp, self.outer_exp = inner_exp, outer_exp
        self.double_opponents, self.groups = False, 1
        across = torch.tensor([[0, 0, 0], [0, -1, 1], [0, 0, 0]], **setup)[None, None]
        self.register_buffer("weight", torch.cat([across.transpose(2, 3), across]))

    TotalVariation.__init__ = one_channel
    return breaching


def attack(breaching, case: dict, setting: dict, budget: int, seed: int) -> dict:
    """Run one attack on one gradient, and measure it."""
    from omegaconf import OmegaConf

    truth, labels = case["inputs"], case["labels"]
    mean, std = setting.get("mean", MEAN), setting.get("std", STD)
    network = conv_net(torch.Generator(), num_classes=case["num_classes"],
                       activation=ACTIVATIONS[case["activation"]])
    network.load_state_dict(case["state"])
    network.eval()
    model = nn.Sequential(Denormalise(mean, std), network)
    config = breaching.get_attack_config(setting["attack"], overrides=setting["overrides"])
    lbfgs = config.optim.optimizer == "L-BFGS"
    config.optim.max_iterations = budget // L_BFGS_STEPS if lbfgs else budget
    joint = config.attack_type == "joint-optimization"
    metadata = OmegaConf.create({
        "modality": "vision", "task": "classification", "classes": case["num_classes"],
        "shape": list(truth.shape[1:]), "mean": [mean], "std": [std]})
    payload = [{"parameters": list(model.parameters()), "buffers": [], "metadata": metadata}]
    shared = [{"gradients": list(case["gradient"].values()), "buffers": None, "metadata": {
        "num_data_points": len(truth), "labels": None if joint else labels,
        "local_hyperparams": None}}]
    torch.manual_seed(seed)
    start = None
    if setting.get("start") == "grey":
        start = (0.5 + NOISE * torch.randn(truth.shape) - mean) / std
    trace = Trace(truth, budget)
    trace.follow(network)  # the attacker copies the network, and with it what follows it
    attacker = breaching.attacks.prepare_attack(model, nn.CrossEntropyLoss(), config)
    found, _ = attacker.reconstruct(payload, shared, {}, initial_data=start)
    return trace.figures(found["data"] * std + mean)


def main() -> None:
    """Answer requests until the input ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        breaching = load_breaching()
    warm: set[tuple] = set()
    for line in sys.stdin:
        request = json.loads(line)
        case = torch.load(request.pop("case"), weights_only=True)
        with contextlib.redirect_stdout(io.StringIO()):
            if (kind := (request["setting"]["attack"], *case["inputs"].shape)) not in warm:
                attack(breaching, case, request["setting"], L_BFGS_STEPS, 0)  # compiles its loss
                warm.add(kind)
            answer = attack(breaching, case, **request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
