"""Genotypes that were never sent: filled in from those that were, and from other people's genomes.

Neighbouring SNPs are inherited together, so that a few of them betray the rest. The victim's
genome is read as a mosaic of the haplotypes of a public panel; the hidden SNPs are copied from the
pieces. What a hospital kept out of a model is thereby not kept from who sees its update; and noise
that makes each genotype unreadable by itself is averaged out along a piece.

Threat model: whoever holds some genotypes of a person, exact or noisy (recovered from an update by
:mod:`leaklab.attacks.genotypes`, say), and a public panel of phased people with a genetic map. No
model and no further access is needed.

Sources: Li and Stephens (2003, doi:10.1093/genetics/165.4.2213) for the model; Marchini et al.
(2007, doi:10.1038/ng2088) for imputing unphased people with it; Nyholt, Yu and Visscher (2009,
doi:10.1038/ejhg.2008.198) for the privacy attack: James Watson had his APOE gene deleted from his
published genome, and they point out, without looking, that its neighbours may tell it. Wen and
Stephens (2010, doi:10.1214/10-AOAS338) for the linear method that needs no phased panel.

Where it fails: variants rarer than the panel can show, which are most of those known, and many that
make people ill; victims whose ancestry the panel lacks; SNPs far from every one that was
sent; a panel whose SNPs are out of order, from which nothing can be learnt that allele frequencies
do not tell. An answer carries no certificate, unlike a genotype read off a gradient.
"""

from leaklab.attacks.imputation.baselines import by_frequency, by_prior, by_tag
from leaklab.attacks.imputation.li_stephens import decode, diploid, haploid
from leaklab.attacks.imputation.linear import by_linear

__all__ = ["by_frequency", "by_linear", "diploid"]
