"""The protocol by which attacks that pick records out of a batch are judged.

Such an attack answers with as many images as it finds, some of them mixtures. A record counts as
read where some answer is the record to 60 dB; study 7 records that no public image came that near
to a victim. A claim is false where the image claimed is that of no record.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.updates import Recovered

EXACT = 60.0
"""PSNR in dB from which an image counts as read: an error of a thousandth of the range."""


def best_psnr(guess: Tensor, records: Tensor) -> Tensor:
    """PSNR of the guess nearest to each record, shape (n,); minus infinity where none was made.

    Shapes: guess (m, ...), records (n, ...), values in [0, 1]; guesses are clipped to that.
    """
    if len(guess) == 0:
        return torch.full((len(records),), -torch.inf, dtype=torch.float64, device=records.device)
    near, far = (part.flatten(1).double() for part in (guess.clamp(0, 1), records))
    # by differences: the expansion into products loses the small distances that matter here
    apart = torch.cdist(far, near, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    return -20 * torch.log10((apart / far.shape[1] ** 0.5).clamp_min(1e-8))


def read(guess: Tensor, records: Tensor) -> Tensor:
    """Which of the records are among the guesses, shape (n,); shapes as :func:`best_psnr`."""
    return best_psnr(guess, records) > EXACT


def claims(answer: Recovered, records: Tensor) -> tuple[int, int]:
    """How many guesses the certificate claims, and how many of those are none of the records.

    Raises ``ValueError`` where the answer has no certificate.
    """
    if answer.certificate is None:
        raise ValueError("answer: no certificate given, expected one for each guess")
    claimed = answer.guess[answer.certificate].reshape(-1, *records.shape[1:])
    return len(claimed), int((~read(records, claimed)).sum()) if len(claimed) else 0
