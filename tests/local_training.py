"""A hospital's local training in plain torch, and the server's view of it, for tests of attacks.

Written out once more, so that an attack's simulated hospital is compared with something else. It
also trains on a single record, which a ``Hospital`` refuses.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaklab.federation import SERVER
from leaklab.updates import Knowledge, LocalTraining, View, copy_state

STEP = LocalTraining(1.0, mode="eval")
"""One step on all records: the plainest update there is."""


def view_of(net: nn.Module, inputs: Tensor, labels: Tensor, training: LocalTraining = STEP,
            defence: object | None = None) -> View:
    """What the server sees of training on ``inputs`` in the order they are stored."""
    local = copy.deepcopy(net).train(training.mode == "train")
    optimiser = torch.optim.SGD(local.parameters(), lr=training.learning_rate)
    batches = torch.arange(len(inputs)).split(training.batch_size or len(inputs))
    for step in range(training.local_steps):
        batch = batches[step % len(batches)]
        optimiser.zero_grad()
        cross_entropy(local(inputs[batch]), labels[batch]).backward()
        optimiser.step()
    return View(SERVER, "update", copy_state(net.state_dict()), copy_state(local.state_dict()),
                ("A",), (len(inputs),), Knowledge(training, labels, defence))


def smooth_images(generator: torch.Generator, n: int, size: int, channels: int = 1) -> Tensor:
    """Blurred noise in [0, 1], shape (n, channels, size, size): as smooth as a radiograph."""
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
