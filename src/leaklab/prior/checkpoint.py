"""The prior that ships with the package: trained on procedural radiographs that nobody attacks.

Images are drawn by number, and each seed is another infinite series: that of :data:`PUBLIC_SEED` is
used for nothing but this. ``make prior`` trains the network again.
"""

from __future__ import annotations

import hashlib
import io
import os
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from leaklab.data import radiology
from leaklab.prior.diffusion import Prior
from leaklab.prior.network import UNet

__all__ = ["chest_prior"]

PUBLIC_SEED = 20_221
HELD_OUT_SEED = PUBLIC_SEED + 1  # images that say how good the prior is
SHIPPED = "chest_28.pt"
SHA256 = "11b8d96cd9d0b8a2dc2ee9c326efee6b8daa7da32982b1b88a8eee47f2a91361"
LARGEST = 1_500_000
"""Bytes that a checkpoint may have."""


def public_images(n: int = 10_000, seed: int = PUBLIC_SEED) -> Tensor:
    """What the prior was trained on: procedural chest radiographs, (n, 1, 28, 28) in [0, 1]."""
    return torch.tensor(radiology.load("chest", source="synthetic", n=n, seed=seed).inputs)


def chest_prior(device: torch.device | str = "cpu") -> Prior:
    """The prior that ships with the package, of chest radiographs at 28 x 28.

    Raises ``ValueError`` where the file is not the one that was tested.
    """
    return load(Path(str(resources.files("leaklab.prior") / SHIPPED)), sha256=SHA256, device=device)


def load(path: Path | str, *, sha256: str | None = None,
         device: torch.device | str = "cpu") -> Prior:
    """The prior in the file ``path``, as :func:`save` wrote it.

    Nothing in the file is executed. Raises ``ValueError`` for a file that is too large, has another
    hash than ``sha256``, or does not hold such a network; ``OSError`` where it cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"path: {path.name} of {size} bytes given, expected at most {LARGEST}")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"path: {path.name} with SHA-256 {found} given, expected {sha256}")
    return prior_of(_network(data, path.name).to(device))


def _network(data: bytes, name: str) -> UNet:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        state = {key: tensor.float() for key, tensor in state.items()}
        network = UNet(state["mean"], width=state["enter.weight"].shape[0])
        network.load_state_dict(state)
    except Exception as error:  # torch passes on whatever its unpickler raises
        raise ValueError(f"path: {name} given, expected the checkpoint of a prior: "
                         f"{error}") from error
    return network.eval().requires_grad_(False)


def prior_of(network: UNet) -> Prior:
    """The network as a prior, with its own mean image and spread."""
    return Prior(network.denoise, network.mean, float(network.spread))


def save(network: UNet, path: Path | str) -> str:
    """Write the weights, in half precision, and return the SHA-256; all of it or nothing.

    The same network gives the same bytes under one version of torch.
    """
    buffer = io.BytesIO()
    torch.save({key: tensor.half().cpu() for key, tensor in network.state_dict().items()}, buffer)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(buffer.getvalue())
    os.replace(part, path)
    return hashlib.sha256(buffer.getvalue()).hexdigest()
