"""The protocol by which every reconstruction of an image in the course is judged.

Patients are split into a private half, from which the victims come, and a public half, which is
all that an attacker knows of such images. A reconstruction is scored against the victims, and
beside it stand guesses that saw no update, all made from the public half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from leaklab.data import hospitals
from leaklab.data.dataset import Dataset
from leaklab.federation import train_on, update_view
from leaklab.metrics import reconstruction
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View

GALLERY = 200
"""Private images among which a reconstruction has to find its own; chance is one in so many."""


@dataclass(frozen=True)
class Halves:
    """Images of two disjoint groups of patients; shapes (n, channels, height, width) and (n,)."""

    private: Tensor
    private_labels: Tensor
    public: Tensor
    public_labels: Tensor


@dataclass(frozen=True)
class Judgement:
    """Scores of a reconstruction, one a victim, in the order of the victims; dB, or shares.

    psnr, ssim
        Of the reconstruction.
    prior
        PSNR of the better of two guesses without the update: the mean public image, and that of
        the victim's class.
    nearest
        PSNR of the public image nearest to the victim, which an oracle picks.
    uplift
        ``psnr - prior``: what the update added.
    identified
        Whether the reconstruction is nearer to its victim than to any other of the gallery.
    """

    psnr: Tensor
    ssim: Tensor
    prior: Tensor
    nearest: Tensor
    uplift: Tensor
    identified: Tensor


def halves(dataset: Dataset, seed: int, device: torch.device | str = "cpu") -> Halves:
    """Split the patients of ``dataset`` in two; each seed another split."""
    private, public = hospitals.train_test(dataset, 0.5, np.random.default_rng(seed))
    order = np.random.default_rng((seed, 1)).permutation(len(private))
    private = private.take(order)  # the first ones are the victims
    return Halves(*(torch.tensor(part).to(device) for part in (
        private.inputs, private.targets, public.inputs, public.targets)))


def sent(
    model: nn.Module, inputs: Tensor, labels: Tensor, training: LocalTraining, seed: int
) -> View:
    """What a server sees of a hospital that trains on these records and no others."""
    update = train_on(model, inputs, labels, training, generator=generator(seed, "local training"))
    return update_view(update, Knowledge(training, labels))


def judge(guess: Tensor, victims: Tensor, labels: Tensor, known: Halves) -> Judgement:
    """Score ``guess`` against ``victims``, both (n, channels, height, width), in any order.

    ``labels`` are the victims' own classes, (n,), as the dataset gives them. Victims must be
    among the first :data:`GALLERY` private images.
    """
    guess = guess.clamp(0, 1)
    guess = guess[reconstruction.match(guess, victims)]
    flat = reconstruction.mean_image(known.public, len(victims))
    by_class = reconstruction.class_mean_images(known.public, known.public_labels, labels)
    by_class = by_class[reconstruction.match(by_class, victims)]  # as favourable as to the guess
    priors = [reconstruction.psnr(prior, victims) for prior in (flat, by_class)]
    nearest = reconstruction.nearest_public(victims, known.public)
    score = reconstruction.psnr(guess, victims)
    gain = reconstruction.uplift(score, *priors)
    return Judgement(
        psnr=score, ssim=reconstruction.ssim(guess, victims), prior=score - gain,
        nearest=reconstruction.psnr(nearest, victims), uplift=gain,
        identified=reconstruction.identified(guess, victims, known.private[:GALLERY]))
