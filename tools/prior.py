"""Train the diffusion prior anew: ``make prior``, about four minutes on one processor.

    python tools/prior.py [--to FILE]

Writes ``_build/chest_28.pt`` and compares it with the one that ships. The same processor and
version of torch give the same bytes; others give a network that is as good.
``LEAKLAB_SCALE=full`` trains a wider network for longer, for a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from leaklab.prior import checkpoint
from leaklab.prior.training import Recipe, held_out_loss, train
from leaklab.runtime import generator, pick_device, scale

ROOT = Path(__file__).resolve().parents[1]
RECIPE = scale(fast=Recipe(), full=Recipe(steps=40_000, batch_size=256, width=48))
IMAGES = scale(fast=10_000, full=60_000)


def main() -> None:
    """Train, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=ROOT / "_build" / checkpoint.SHIPPED,
                        metavar="FILE", help="where to write (default: %(default)s)")
    path = parser.parse_args().to
    torch.set_num_threads(1)
    device = pick_device()
    images = checkpoint.public_images(IMAGES).to(device)
    network = train(images, RECIPE, generator=generator("prior"))
    digest = checkpoint.save(network, path)
    held_out = checkpoint.public_images(1000, checkpoint.HELD_OUT_SEED).to(device)
    loss = held_out_loss(network, held_out, generator=generator("held out"))
    same = "the same bytes as" if digest == checkpoint.SHA256 else "not the bytes of"
    print(f"{path}: {same} the prior that ships\n"
          f"SHA-256 {digest}\nloss on images not trained on {loss:.4f}")


if __name__ == "__main__":
    main()
