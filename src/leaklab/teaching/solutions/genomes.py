"""Solutions of the exercises of chapters 13 to 15."""

from __future__ import annotations

import torch


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
