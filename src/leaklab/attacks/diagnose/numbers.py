"""Whether the numbers of an update suffice to tell its records.

Thresholds are uplifts of PSNR over the mean image, measured as the package says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from leaklab.attacks.diagnose.counting import (
    answer_spread,
    gradient_and_rounding,
    independent_numbers,
    noise_gradient_norm,
    norm,
)
from leaklab.attacks.diagnose.finding import Finding, listed
from leaklab.updates import View

DROWNED, NOISY = 0.1, 10.0
"""Norm of the gradient over that of its rounding.

72 reconstructions (B = 1 and 4, ReLU and GELU, learning rates 3e-6 to 1e-8 in float32): all below
0.1 ended below the mean image, the first that did not was at 0.14. Above 10, ReLU lost 2 dB or
less, and L-BFGS on GELU, which is exact without rounding, still reached 46 dB.
"""
UNDETERMINED, TIGHT = 1.0, 2.0
"""Independent numbers per unknown pixel.

80 settings of small GELU networks on 8 x 8 digits, B = 1 to 8, three seeds: below 1 nothing came
above 23 dB, though the loss went down to 1e-32; between 1 and 2 it depends; above 2.3 all came
above 38 dB. A count of entries instead puts failures at 5.5 and successes at 0.8.
"""
APART = 0.5
"""Spread of the answers to noise, in logits.

Fresh models have 0.004 (convolutional) to 0.43 (logistic regression); DLG's LeNet 0.2 to 0.3. From
0.5 on between a quarter and all of the uplift was gone.
"""
FITTED = 0.1
"""Norm of the gradient over that of noise records under the same labels.

Fresh models have 0.7 to 4. Below 0.1 the uplift on chest phantoms was 2 dB or less, of 11; on
digits in float64, where nothing is rounded off, one record still gave 4 to 14 dB, of 20.
"""


def number_findings(
    model: nn.Module, view: View, shape: tuple[int, ...] | None, records: int | None
) -> Iterator[Finding]:
    """Whether anything moved, above rounding, and in enough directions."""
    gradient, noise = gradient_and_rounding(model, view)
    still = [name for name, t in gradient.items() if not bool(t.any())]
    if len(still) == len(gradient):
        yield Finding("no_update", "blocks", "No parameter moved.",
                      "The client did not train, or all it learnt was rounded off.")
        return
    if still:
        yield Finding("frozen", "weakens", f"{len(still)} of {len(gradient)} tensors did not move: "
                      f"{listed(still)}.", "Freeze them in the simulation too, if the client did.")
    ratio = norm(gradient) / norm(noise)
    if ratio < NOISY:
        yield Finding("rounding", "blocks" if ratio < DROWNED else "weakens", "The gradient is "
                      f"{ratio:.2g} times as long as what rounding the weights may have done.",
                      "What is rounded off is gone. Take an update with a higher learning rate, or "
                      "one stored with more digits.")
    unknown = 0 if shape is None or records is None else records * math.prod(shape)
    if not unknown:
        return
    share = independent_numbers(gradient, noise) / unknown
    if share < TIGHT:
        lacking = share < UNDETERMINED
        yield Finding("few_numbers", "misleads" if lacking else "weakens", f"The gradient holds "
                      f"{share:.2f} independent numbers for each of {unknown:,} unknown inputs.",
                      "Many batches have exactly this gradient: a low loss proves nothing, a prior "
                      "decides." if lacking else "Barely enough: expect a longer search.")


def answer_findings(
    model: nn.Module, view: View, shape: tuple[int, ...], records: int | None
) -> Iterator[Finding]:
    """What the model's answers to noise say about how well it can be inverted."""
    try:
        classes, spread = answer_spread(model, view, shape)
    except Exception as flaw:  # whatever the caller's model raises on the caller's shape
        reason = next(iter(str(flaw).splitlines()), type(flaw).__name__)
        yield Finding("input_shape", "blocks", f"The model takes no records of shape "
                      f"{tuple(shape)}: {reason}", "Give the shape of one record, without batch.")
        return
    if spread > APART:
        yield Finding("trained_model", "weakens", f"Its answers to noise lie {spread:.2g} logits "
                      "apart: the model is trained.", "Take an earlier round.")
    if records is None:
        return
    labels = view.knowledge.labels
    hard = torch.arange(records) % classes if labels is None else _classes(labels)
    if not 0 <= int(hard.min()) <= int(hard.max()) < classes:
        yield Finding("other_labels", "blocks", f"Labels {int(hard.min())} to {int(hard.max())} "
                      f"are known, and the model has {classes} classes.", "Number them from 0.")
        return
    yield from _shared(hard, records, classes, labels is not None)
    training = view.knowledge.training
    if training is None or (training.optimiser, training.local_steps) != ("sgd", 1):
        return
    usual = noise_gradient_norm(model, view, shape, hard)
    ratio = norm(gradient_and_rounding(model, view)[0]) / usual if usual else math.inf
    if 0 < ratio < FITTED:
        yield Finding("small_gradient", "weakens", f"The gradient is {ratio:.1g} times as long as "
                      "that of noise under these labels: the model fits the records already.",
                      "Take an earlier round.")


def _classes(labels: Tensor) -> Tensor:
    return (labels.argmax(1) if labels.ndim == 2 else labels).long().cpu()


def _shared(labels: Tensor, records: int, classes: int, known: bool) -> Iterator[Finding]:
    """Records that push the last layer one way, or against each other, can hardly be parted."""
    distinct = len(labels.unique())
    # Fresh model, phantoms, B = 2 and 4. Ten classes, distinct labels: uplift 10 to 20 dB (ReLU),
    # 79 to 100 (GELU); with duplicates -2 to 4 and -2 to 7. Two classes, one record each: -9 to 5.
    if records > 1 and min(distinct, classes - 1) < records:
        yield Finding("shared_labels", "misleads", f"{records} records have "
                      f"{'' if known else 'at most '}{distinct} distinct labels, of {classes} "
                      "classes: their gradients go the same way or cancel, and mixtures of their "
                      "images fit as well.", "Where a dense layer comes first, invert that one "
                      "(leaklab.attacks.dense_layer): it can part them.")
