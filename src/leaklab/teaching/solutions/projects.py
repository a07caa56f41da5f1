"""Parts of the projects' starters, filled in. No starter shows them; the tests run them."""

from __future__ import annotations

import math

import torch


def gain_interval(together, alone):
    """Mean gain over the seeds, and the ends of its 95 % interval by Student's t."""
    from scipy.stats import t

    gains = torch.tensor(together, dtype=torch.float64) - torch.tensor(alone, dtype=torch.float64)
    mean, n = float(gains.mean()), len(gains)
    half = t.ppf(0.975, n - 1) * float(gains.std()) / math.sqrt(n)
    return [mean, float(mean - half), float(mean + half)]


def commoner_share(targets):
    """The share of the commonest class: what who knows nothing else gets right."""
    return float(targets.bincount().max() / len(targets))


def unusualness(records, public):
    """Distance of each record from the public mean, in public deviations a column."""
    z = (records - public.mean(0)) / public.std(0, correction=0)
    return z.square().mean(1).sqrt()


def read_rate(patients, read):
    """How often a patient is read, each patient counted once."""
    rates = [read[patients == patient].double().mean() for patient in patients.unique()]
    return float(torch.stack(rates).mean())


def exposure(inside, outside):
    """The chance that a model that saw the patient scores above one that did not."""
    difference = inside[:, None] - outside
    return float(((difference > 0).double() + 0.5 * (difference == 0)).mean())


def foretold_share(foretold, exposed, k):
    """Share of the k patients foretold as most exposed who are among the k most exposed."""
    first, second = (set(values.topk(k).indices.tolist()) for values in (foretold, exposed))
    return len(first & second) / k


def most_snps(people, reference, fpr, power):
    """The most unlinked SNPs with which the formula's attacker finds no more than ``power``."""
    from scipy.stats import norm

    distance = max(0.0, norm.isf(fpr) - norm.isf(power))
    return math.floor(distance**2 * people * (people + reference) / reference)


def accused_share(scores, strangers, fpr):
    """Share of ``scores`` above the least threshold that accuses at most ``fpr`` of strangers."""
    threshold = strangers.sort(descending=True).values[math.floor(fpr * len(strangers))]
    return float((scores > threshold).double().mean())


def read_share(guesses, truths, steps):
    """Share of records of which every entry is within half a digit."""
    return float(((guesses - truths).abs() <= steps / 2).all(1).double().mean())


def named_share(own, strangers):
    """Share of rounds in which the patient fits better than every stranger."""
    return float((own[:, None] > strangers).all(1).double().mean())


def still_possible(hits, trials, level):
    """The exact one-sided upper limit of a rate (Clopper and Pearson)."""
    from scipy.stats import beta

    return 1.0 if hits == trials else float(beta.ppf(level, hits + 1, trials - hits))


def accusations(people, prior, tpr, fpr):
    """How many are accused rightly, and how many wrongly."""
    return [people * prior * tpr, people * (1 - prior) * fpr]
