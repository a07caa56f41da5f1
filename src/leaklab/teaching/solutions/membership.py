"""Solutions of the exercises of chapters 10 to 12."""

from __future__ import annotations

import torch


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
    from math import erf

    mu = releases**0.5 / noise_multiplier
    return (1 + erf(mu / 2)) / 2  # Phi(mu / sqrt(2))


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
