"""Solutions of the exercises; each lab shows its own, folded, below the exercise.

A solution is read from here when the labs are generated, so it is the very code that the tests
run through the checks.
"""

from __future__ import annotations

import math

import torch


def fedprox_gradient(gradient, weights, global_weights, mu):
    """Gradient of the local loss plus ``mu / 2 * ||weights - global_weights||^2``."""
    return gradient + mu * (weights - global_weights)


def weighted_mean(states, num_examples):
    """Mean of the hospitals' states, each weighted by its number of examples."""
    total = sum(num_examples)
    return {
        name: sum(n / total * state[name] for state, n in zip(states, num_examples, strict=True))
        for name in states[0]
    }


def bytes_per_round(model, hospitals):
    """Bytes on the wire in one round: the state goes out to each hospital and comes back."""
    tensors = model.state_dict().values()
    return 2 * hospitals * sum(t.numel() * t.element_size() for t in tensors)


def other_hospital(global_weights, own_weights, own_records, other_records):
    """What the other of two hospitals returned, from the weighted mean of both."""
    total = own_records + other_records
    return (total * global_weights - own_records * own_weights) / other_records


def mean_gradient(before, after, learning_rate, local_steps):
    """The mean gradient over the local steps of plain SGD, from the states around them."""
    return (before - after) / (learning_rate * local_steps)


def class_share(said, before, after, learning_rate):
    """Share of a class, from what the model says on average and how its last bias moved."""
    return said + (after - before) / learning_rate


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


def certainty(prior, tpr, fpr):
    """Share of the accused who are members."""
    rightly, wrongly = prior * tpr, (1 - prior) * fpr
    return rightly / (rightly + wrongly)


def named_members(scores, members, false_alarms):
    """Number of members at or above the threshold."""
    allowed = [members[scores >= t].sum() for t in scores.unique()
               if (~members)[scores >= t].sum() <= false_alarms]
    return int(max(allowed, default=0))


def above_strangers(margin, outside):
    """One-sided score from the margins ``outside`` (models,)."""
    return (margin - outside.mean()) / outside.std(correction=0)


def rounds_together(scores, lengths):
    """The matched filter of all rounds put end to end, from that of each."""
    weighed = sum(s * d for s, d in zip(scores, lengths, strict=True))
    return weighed / sum(d**2 for d in lengths) ** 0.5


def against_others(scores, hospital):
    """How many standard deviations of the other hospitals' scores one lies above their mean."""
    others = [s for k, s in enumerate(scores) if k != hospital]
    mean = sum(others) / len(others)
    spread = (sum((s - mean) ** 2 for s in others) / len(others)) ** 0.5
    return (scores[hospital] - mean) / spread


def best_area(noise_multiplier, releases):
    """The largest AUC that any attack on so many releases of the Gaussian mechanism reaches."""
    mu = math.sqrt(releases) / noise_multiplier
    return (1 + math.erf(mu / 2)) / 2  # Phi(mu / sqrt(2))


def most_fitting(gradients, update):
    """The number of the completion whose gradient has the largest cosine with the update."""
    return int((gradients @ update / gradients.norm(dim=1)).argmax())


def break_even(members, strangers, filled_in):
    """The chance of having taken part from which on the update beats filling in."""
    return (filled_in - strangers) / (members - strangers)


def even_out(columns, groups):
    """The columns with the mean of each patient's group taken out."""
    means = torch.stack([columns[groups == group].mean(0) for group in groups])
    return columns - means


def snps_needed(distance, cohort, reference):
    """How many unlinked SNPs put a member so many deviations above strangers."""
    return distance**2 * cohort * (cohort + reference) / reference


def worth(correlation):
    """How many unlinked SNPs these are worth: m^2 over the sum of squared correlations."""
    return len(correlation) ** 2 / correlation.square().sum()


def beacon_evidence(said, frequencies, people, mismatch):
    """Log-likelihood ratio of a member over a stranger, from yes (True) and no."""
    stranger = (1 - frequencies) ** (2 * people)  # nobody carries it
    member = mismatch * (1 - frequencies) ** (2 * (people - 1))  # nor do others, and a wrong call
    yes, no = (1 - member) / (1 - stranger), member / stranger
    return torch.where(said, yes, no).log().sum()


def patient_gradient(gradients, C):
    """What one patient adds to the sum: the mean of the records' gradients, clipped."""
    mean = gradients.mean(0)
    return mean * min(1, C / float(mean.norm()))


def most_accused(fpr, noise_multiplier, releases):
    """The highest true-positive rate that any test reaches at a false-positive rate."""
    from scipy.stats import norm

    return float(norm.cdf(norm.ppf(fpr) + math.sqrt(releases) / noise_multiplier))


def proved_epsilon(alarms, misses, delta):
    """The least epsilon that explains both error rates."""
    ratios = ((1 - misses - delta) / alarms, (1 - alarms - delta) / misses)
    return max(0.0, *(math.log(ratio) for ratio in ratios if ratio > 0))


def switch_chance(centimorgans, haplotypes):
    """How likely the copying starts anew between two SNPs."""
    from math import exp

    return 1 - exp(-4 * 10_000 * centimorgans / 100 / haplotypes)


def carriers_right(guess, truth):
    """Non-reference concordance."""
    counted = (guess > 0) | (truth > 0)
    return (guess == truth)[counted].float().mean()


def kinship_of(ancestors, up, down):
    """Each ancestor's two copies are one chance in two the same, then halved a generation."""
    return ancestors * 0.5 ** (up + down + 1)


def whole_rows(rows, tolerance):
    """Which rows have all entries within the tolerance of a dosage."""
    return ((rows - rows.round().clamp(0, 2)).abs() <= tolerance).all(1)


def guess_right(frequencies):
    """The share of genotypes that the commonest genotype of each SNP gets right."""
    f = frequencies
    return torch.stack([(1 - f) ** 2, 2 * f * (1 - f), f**2]).amax(0).mean()


def luck(heterozygosity):
    """How unlikely it is, in bits, that the mean of two people is whole at all SNPs."""
    h = heterozygosity
    return -(h**2 + (1 - h) ** 2).log2().sum()


def own_noise(mu, releases, hospitals, colluding):
    """Noise multiplier of one hospital's share, so that the sum is mu-GDP without the colluding."""
    return math.sqrt(releases / (hospitals - colluding)) / mu


def cheapest_that_holds(exposures, accuracies, promise):
    """Place of the most accurate stack that leaves an observer no more than promised, or -1."""
    able = [k for k, exposure in enumerate(exposures) if exposure <= promise]
    return max(able, key=lambda k: accuracies[k]) if able else -1


def excluded_rate(trials, level):
    """The rate above which so many trials without a hit are too unlikely."""
    return 1 - (1 - level) ** (1 / trials)


def finding(low, high, baseline, tolerated):
    """0: no failure seen; 1: none seen, in too few trials; 2: further analysis required."""
    if low > baseline:
        return 2
    return 1 if high - baseline > tolerated else 0


def told(people, largest_state):
    """Whether individuals, the media and, at the same time, the Secretary are notified."""
    return [True, largest_state > 500, people >= 500]


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
