"""Solutions of the exercises of chapters 16 to 18."""

from __future__ import annotations

import numpy as np
import torch


def patient_gradient(gradients, C):
    """What one patient adds to the sum: the mean of the records' gradients, clipped."""
    mean = gradients.mean(0)
    return mean * min(1, C / float(mean.norm()))


def most_accused(fpr, noise_multiplier, releases):
    """The highest true positive rate that any test reaches at a false positive rate."""
    from scipy.stats import norm

    return float(norm.cdf(norm.ppf(fpr) + releases**0.5 / noise_multiplier))


def proved_epsilon(alarms, misses, delta):
    """The least epsilon that explains both error rates."""
    ratios = ((1 - misses - delta) / alarms, (1 - alarms - delta) / misses)
    return max(0.0, *(np.log(ratio) for ratio in ratios if ratio > 0))


def own_noise(mu, releases, hospitals, colluding):
    """Noise multiplier of one hospital's share, so that the sum is mu-GDP without the colluding."""
    return (releases / (hospitals - colluding)) ** 0.5 / mu


def cheapest_that_holds(exposures, accuracies, promise):
    """Place of the most accurate stack that leaves an observer no more than promised, or -1."""
    able = [k for k, exposure in enumerate(exposures) if exposure <= promise]
    return max(able, key=lambda k: accuracies[k]) if able else -1


def masked_word(number, place, masks, modulus):
    """The number with masks added for hospitals that come later, subtracted for earlier ones."""
    return (number + sum(masks[place + 1:]) - sum(masks[:place])) % modulus


def fraction_bits(hospitals, records, largest, bits):
    """The largest f at which the sum of all stays below half of the words."""
    reach = hospitals * records * largest
    return max(f for f in range(bits) if reach * 2**f < 2 ** (bits - 1))


def determined(took_part):
    """Whose update the sums determine: those of whom nothing leaks into another's equation."""
    seen = torch.linalg.pinv(took_part) @ took_part
    return (seen - torch.eye(len(seen))).abs().amax(1) < 1e-4
