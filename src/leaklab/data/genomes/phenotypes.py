"""Diseases drawn from genotypes: no phenotype of a real person is known here, or used."""

from __future__ import annotations

import numpy as np

from leaklab.data.genomes.panel import standardised


def case_control(
    dosages: np.ndarray, rng: np.random.Generator, *, heritability: float = 0.3,
    prevalence: float = 0.5, causal: float = 1.0,
) -> np.ndarray:
    """int64 (n,), 1 for a case: a polygenic disease under the liability-threshold model.

    Effects of a ``causal`` share of the SNPs that vary among the n people are drawn from a normal
    distribution. Genetic liability, scaled to variance ``heritability`` among them, and normal
    noise make up the rest of variance 1; the ``prevalence`` share with the highest liability are
    cases. Raises ``ValueError`` for shares out of range or when no SNP varies. Source: Falconer
    (1965), Annals of Human Genetics 29:51-76.
    """
    for name, share in (("heritability", heritability), ("prevalence", prevalence),
                        ("causal", causal)):
        if not 0 < share <= 1 or (name == "prevalence" and share == 1):
            raise ValueError(f"{name}: {share!r} given, expected a number above 0 and up to 1"
                             + " (prevalence below 1)" * (name == "prevalence"))
    frequencies = dosages.mean(axis=0, dtype=np.float64) / 2
    varies = np.flatnonzero(dosages.min(axis=0) < dosages.max(axis=0))
    if not len(varies):
        raise ValueError("dosages: no SNP that varies given, expected at least one")
    number = max(1, round(causal * len(varies)))
    chosen = rng.permutation(varies)[:number]
    genetic = standardised(dosages[:, chosen], frequencies[chosen]) @ rng.standard_normal(number)
    genetic = genetic / genetic.std() * np.sqrt(heritability)
    liability = genetic + np.sqrt(1 - heritability) * rng.standard_normal(len(dosages))
    return (liability > np.quantile(liability, 1 - prevalence)).astype(np.int64)
