"""Was this person in the cohort, judged by its allele frequencies alone?

``statistics``      Homer's distance, the likelihood ratio, the inner product
``theory``          what they reach on unlinked SNPs, and how many SNPs linked ones are worth
``beacon``          the same question put to a server that says only "seen" or "not seen"
``first_gradient``  the first update of a logistic model is a table of allele counts

Threat model: a passive observer who holds the genotypes of the person it asks about, and the
frequencies of a cohort, published or read off an update; for the statistics also those of a
reference panel of the same ancestry, none of whose people is asked about. A genome is not
reconstructed, and no name is found: the answer is one bit about a person who is at hand.

Dosages are 0, 1 or 2 copies of the counted allele; frequencies are those of that allele, from 0 to
1. Which of the two alleles is counted changes no answer of ``statistics`` and ``first_gradient``; a
beacon is asked about one of them.
"""

from leaklab.attacks.frequencies.statistics import homer, inner_product, likelihood_ratio

__all__ = ["homer", "inner_product", "likelihood_ratio"]
