"""Solutions of the exercises of chapters 3 to 9."""

from __future__ import annotations

import torch


def divide_out(weight_gradient, bias_gradient):
    """The one record behind the gradient of a dense layer, by the row of least rounding."""
    row = bias_gradient.abs().argmax()
    return weight_gradient[row] / bias_gradient[row]


def agreement(records, slopes, weights, bias):
    """Share of pairs of record and neuron that are on where the slope is not zero, else off."""
    on = records @ weights.T + bias > 0
    return (on == (slopes != 0)).double().mean()


def whole_counts(said, bias_gradient, batch_size):
    """Records of each class, by largest remainder, so that they sum to the batch."""
    exact = batch_size * (said - bias_gradient)
    counts = exact.floor()
    rest = batch_size - int(counts.sum())
    counts[(exact - counts).argsort(descending=True)[:rest]] += 1
    return counts


def cosine_distance(mine, observed):
    """One minus the cosine over all tensors together."""
    dot = sum((a * b).sum() for a, b in zip(mine, observed, strict=True))
    squares = [sum(t.square().sum() for t in gradient) for gradient in (mine, observed)]
    return 1 - dot / (squares[0] * squares[1]).sqrt()


def total_variation(image):
    """The mean length of the slope."""
    down = image[1:, :-1] - image[:-1, :-1]
    right = image[:-1, 1:] - image[:-1, :-1]
    return (down.square() + right.square()).sqrt().mean()


def uplift(scores, priors):
    """Scores less those of the best prior."""
    return scores - max(priors, key=lambda prior: prior.mean())


def independent_numbers(records, classes, features):
    """Numbers that fix the last layer's gradient."""
    rows = classes - 1  # the columns sum to zero, so one row follows from the others
    rank = min(records, rows, features)
    return rank * (rows + features - rank)


def leak_shown(uplift, identified, gallery):
    """Whether the intervals show a leak."""
    return uplift[0] > 0 or identified[0] > 1 / gallery


def moved_tokens(before, after):
    """Numbers of the rows that changed."""
    return (before != after).any(1).nonzero()[:, 0]


def words_in_order(places, rows):
    """For each place the token whose row holds the gradient of that place."""
    share = torch.linalg.lstsq(places.T, rows.T).solution
    return share.argmax(1)


def outside_span(gradient, inputs):
    """The share of an input's length that is no combination of the gradient's rows."""
    inside = gradient.T @ torch.linalg.pinv(gradient.T) @ inputs
    return (inputs - inside).norm() / inputs.norm()


def neighbours(weight_gradient, bias_gradient):
    """The records of the bins that are not empty, by subtraction of neighbours."""
    weight, bias = weight_gradient.clone(), bias_gradient.clone()
    weight[:-1] -= weight_gradient[1:]
    bias[:-1] -= bias_gradient[1:]
    full = bias != 0
    return weight[full] / bias[full, None]


def bins_needed(records, share):
    """The least number of equally likely bins in which a record is alone with this chance."""
    exact = 1 / (1 - share ** (1 / (records - 1)))
    return int(-(-exact // 1))  # rounded up


def alarm_bound(models):
    """The highest false-alarm rate at which so many models are all silent once in twenty times."""
    return 1 - 0.05 ** (1 / models)


def rest_of(after, total, parts):
    """The mean of what the hospitals outside ``parts`` sent."""
    taken = sum(count for _, count in parts)
    return (total * after - sum(count * state for state, count in parts)) / (total - taken)


def owner_chance(counts):
    """How often the best guess names a record's hospital."""
    return max(counts) / sum(counts)


def kalman_update(mean, variance, measured, noise_std):
    """The mean of a Gaussian unknown after one noisy measurement of it."""
    return mean + variance / (variance + noise_std**2) * (measured - mean)


def reconstruction_bound(candidates, noise_multiplier):
    """The highest chance to name one of equally likely records after one Gaussian release."""
    from scipy.stats import norm

    return float(norm.cdf(norm.ppf(1 / candidates) + 1 / noise_multiplier))
