"""Deals of real people into a cohort, a reference and others, and what an attack makes of them.

All come from one group of one panel, dealt at random, so that nothing but having been in the cohort
tells members from others; the reference is nobody who is asked about. Matching is within the coded
panel: no one is looked up anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from leaklab.data.genomes import chr20, sites
from leaklab.data.genomes.panel import Panel, aligned
from leaklab.federation import Hospital, fed_avg, secure_aggregation_views, server_views
from leaklab.metrics.roc import auc, operating_point
from leaklab.models import logistic_regression
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View

COMMON = 0.05
"""Least minor allele frequency of the SNPs that count as common."""
STEP = LocalTraining(0.1)


@cache
def group(ancestry: str = "EUR") -> Panel:
    """People of one ancestry at the 11,235 sites that are common among the Europeans."""
    panel = sites.load()
    shown = panel.take(people=panel.ancestries == "EUR").minor > COMMON
    return panel.take(people=panel.ancestries == ancestry, snps=shown)


@cache
def linked() -> tuple[Panel, np.ndarray]:
    """The European panel on three megabases of chromosome 20 and the dosages of all 503, in which
    every SNP is common."""
    reference, targets = chr20.load()
    both = np.concatenate([reference.dosages, aligned(targets, reference).dosages])
    share = both.mean(axis=0, dtype=np.float64) / 2
    common = np.minimum(share, 1 - share) > COMMON
    return reference.take(snps=common), both[:, common]


@dataclass(frozen=True)
class Deal:
    """Dosages uint8 of the members of a cohort, of a reference panel and of everybody else."""

    members: Tensor
    reference: Tensor
    others: Tensor

    @property
    def cohort_frequencies(self) -> Tensor:
        """What the cohort publishes; float64, (snps,)."""
        return frequencies(self.members)

    @property
    def reference_frequencies(self) -> Tensor:
        """What the attacker compares it with; float64, (snps,)."""
        return frequencies(self.reference)


def deal(dosages: np.ndarray, seed: int, *, members: int, reference: int,
         snps: int | None = None) -> Deal:
    """Deal the people of ``dosages`` (n, m) at random, on ``snps`` random SNPs of theirs.

    Raises ``ValueError`` where nobody is left over or there are too few SNPs.
    """
    n, m = dosages.shape
    snps = m if snps is None else snps
    if members + reference >= n or snps > m:
        raise ValueError(f"members, reference, snps: {members}, {reference}, {snps} given, "
                         f"expected fewer than {n} people and at most {m} SNPs")
    draw = generator(seed, "deal", members, reference, snps)
    people, columns = torch.randperm(n, generator=draw), torch.randperm(m, generator=draw)[:snps]
    shown = torch.from_numpy(dosages)[people][:, columns]
    return Deal(*shown.split([members, reference, n - members - reference]))


def simulated(seed: int, *, members: int, reference: int, others: int, snps: int) -> Deal:
    """The same with made-up people: unlinked SNPs of known frequency from 5 to 50 %."""
    draw = generator(seed, "simulated", members, reference, snps)
    share = COMMON + (0.5 - COMMON) * torch.rand(snps, generator=draw)
    return Deal(*(unlinked(share, number, draw) for number in (members, reference, others)))


def unlinked(share: Tensor, number: int, draw: torch.Generator) -> Tensor:
    """Dosages uint8 of ``number`` people whose alleles are drawn one by one."""
    return sum((torch.rand(number, len(share), generator=draw) < share).to(torch.uint8)
               for _ in range(2))


def frequencies(dosages: Tensor) -> Tensor:
    """Share of the counted allele at each SNP; float64."""
    return dosages.double().mean(0) / 2


def rates(members: Tensor, others: Tensor, fpr: float = 0.01) -> dict[str, float]:
    """AUC, and the share of members named at ``fpr``, from the scores of both sides."""
    scores = torch.cat([members, others])
    truth = torch.arange(len(scores), device=scores.device) < len(members)
    return {"auc": auc(scores, truth),
            "named": operating_point(scores, truth, fpr).true_positive_rate}


def zero_model(snps: int) -> nn.Module:
    """The logistic model of a federation that starts from zero."""
    model = logistic_regression(generator("weights"), num_features=snps)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def first_view(dosages: Tensor, labels: Tensor, hospitals: int = 1) -> View:
    """What a server sees of the first round: one hospital's update, or the sum of several.

    Patients are dealt to the hospitals in order, as evenly as can be; their raw dosages are the
    inputs. Several hospitals hide behind secure aggregation.
    """
    parts = zip(dosages.float().tensor_split(hospitals), labels.tensor_split(hospitals),
                strict=True)
    clinics = [Hospital(f"hospital {k}", *part) for k, part in enumerate(parts, 1)]
    step = next(fed_avg(zero_model(dosages.shape[1]), clinics, STEP, rounds=1, seed=0))
    views = server_views if hospitals == 1 else secure_aggregation_views
    (view,) = views(step, Knowledge(training=STEP))
    return view
