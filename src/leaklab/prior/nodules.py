"""The prior of lung nodules: trained on procedural nodules, used in the case study of chapter 9.

The victims there carry outlines of real nodules over procedural tissue. The prior has seen the
tissue's program, and no outline that was ever drawn on a patient. Its images bear the numbers of
the chests in :mod:`leaklab.prior.checkpoint`: each kind is a series of its own.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from leaklab.data import radiology
from leaklab.prior.checkpoint import PUBLIC_SEED, load
from leaklab.prior.diffusion import Prior

SHIPPED = "nodule_28.pt"
SHA256 = "d7ed3dc1de82dad5179ae099567e1c1d92df462b06e96e080a22e9dc405939cc"


def public_nodules(n: int = 10_000, seed: int = PUBLIC_SEED) -> Tensor:
    """What the prior was trained on: procedural lung nodules, (n, 1, 28, 28) in [0, 1]."""
    return torch.tensor(radiology.load("nodule", source="synthetic", n=n, seed=seed).inputs)


def nodule_prior(device: torch.device | str = "cpu") -> Prior:
    """The prior that ships with the package, of lung nodules at 28 x 28.

    Raises ``ValueError`` where the file is not the one that was tested.
    """
    return load(Path(str(resources.files("leaklab.prior") / SHIPPED)), sha256=SHA256, device=device)
