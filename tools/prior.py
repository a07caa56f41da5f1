"""Train a diffusion prior anew: ``make prior``, about four minutes on one processor.

    python tools/prior.py [--of chest|nodule] [--to FILE]

Writes ``_build/chest_28.pt`` or ``_build/nodule_28.pt`` and compares it with the one that ships.
The same processor and version of torch give the same bytes; others give a network that is as good.
``LEAKLAB_SCALE=full`` trains a wider network for longer, for a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from leaklab.prior import checkpoint, nodules
from leaklab.prior.training import Recipe, held_out_loss, train
from leaklab.runtime import generator, pick_device, scale

ROOT = Path(__file__).resolve().parents[1]
RECIPE = scale(fast=Recipe(), full=Recipe(steps=40_000, batch_size=256, width=48))
IMAGES = scale(fast=10_000, full=60_000)


def main() -> None:
    """Train, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--of", choices=("chest", "nodule"), default="chest",
                        help="what the images show (default: %(default)s)")
    parser.add_argument("--to", type=Path, metavar="FILE", help="where to write")
    asked = parser.parse_args()
    shipped, public_images, key = {
        "chest": (checkpoint, checkpoint.public_images, ("prior",)),
        "nodule": (nodules, nodules.public_nodules, ("prior", "nodule")),
    }[asked.of]
    path = asked.to or ROOT / "_build" / shipped.SHIPPED
    torch.set_num_threads(1)
    device = pick_device()
    images = public_images(IMAGES).to(device)
    network = train(images, RECIPE, generator=generator(*key))
    digest = checkpoint.save(network, path)
    held_out = public_images(1000, checkpoint.HELD_OUT_SEED).to(device)
    loss = held_out_loss(network, held_out, generator=generator("held out"))
    same = "the same bytes as" if digest == shipped.SHA256 else "not the bytes of"
    print(f"{path}: {same} the prior that ships\n"
          f"SHA-256 {digest}\nloss on images not trained on {loss:.4f}")


if __name__ == "__main__":
    main()
