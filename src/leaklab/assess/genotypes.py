"""The scene of chapter 13: real people's public genotypes, a synthetic disease, one update.

Each seed splits the Europeans of the 1000 Genomes sites into a public part, from which come allele
frequencies, scaling and guesses without an update, and a private part, the patients. Their disease
is drawn from their genotypes; no phenotype of a real person is known. Patients have codes and
nothing else, and relatives are made by gene dropping.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from leaklab.data.genomes import chr20, families, phenotypes, sites
from leaklab.data.genomes.panel import Panel
from leaklab.federation import SERVER_BEHIND_SECURE_AGGREGATION, train_on, update_view
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Recovered, Update, View, weighted_mean

COMMON = 0.05  # least minor allele frequency among all Europeans
PUBLIC = 200  # people
RAREST = 0.0025  # of a frequency in the public part: one copy among 200 people
STEP = LocalTraining(0.1)
WIDTH = 256


@dataclass(frozen=True)
class Cohort:
    """Patients and what is public.

    private, public
        Dosages int64, (patients, snps) and (people, snps).
    labels
        Cases of the synthetic disease, (patients,).
    panel
        The people and SNPs, for provenance; private people come first.
    """

    private: Tensor
    public: Tensor
    labels: Tensor
    panel: Panel

    @property
    def frequencies(self) -> Tensor:
        """Of the counted allele among the public people, (snps,) float64."""
        return (self.public.double().mean(0) / 2).clamp(RAREST, 1 - RAREST)

    @property
    def encoding(self) -> tuple[Tensor, Tensor]:
        """Mean and scale of each SNP, as the hospitals standardise dosages."""
        f = self.frequencies
        return 2 * f, (2 * f * (1 - f)).sqrt()

    def inputs(self, chosen: Sequence[int] | Tensor) -> Tensor:
        """What the model is given for the patients ``chosen``, (n, snps) float32."""
        mean, scale = self.encoding
        return ((self.private[chosen] - mean) / scale).float()


@functools.cache
def europeans() -> Panel:
    """503 people at 11,235 SNPs all over the genome, nearly unlinked."""
    panel = sites.load()
    panel = panel.take(people=panel.ancestries == "EUR")
    return panel.take(snps=panel.minor > COMMON)


@functools.cache
def cohort(seed: int, snps: int, people: str = "europeans") -> Cohort:
    """A split of ``people`` at ``snps`` SNPs.

    ``"europeans"``, unrelated; ``"families"``, four each, a couple and two children, whose parents
    are Europeans; ``"mixed"``, patients of five ancestries where the public part is European;
    ``"linked"``, SNPs of an array on 3 Mb of chromosome 20. Raises ``ValueError`` for others.
    """
    rng = np.random.default_rng(seed)
    if people == "linked":
        reference, targets = chr20.load()
        chosen = np.flatnonzero(chr20.array() & (reference.minor > COMMON))[:snps]
        private, public = targets.take(snps=chosen), reference.take(snps=chosen)
        private = private.take(people=rng.permutation(len(private)))
        return _cohort(private.dosages, public.dosages[rng.permutation(300)[:PUBLIC]], private, rng)
    if people not in ("europeans", "families", "mixed"):
        raise ValueError(f"people: {people!r} given, expected europeans, families, mixed or linked")
    everyone = europeans()
    chosen = np.sort(rng.permutation(everyone.snps)[:snps])
    panel = everyone.take(people=rng.permutation(len(everyone)), snps=chosen)
    private, public = panel.dosages[:-PUBLIC], panel.dosages[-PUBLIC:]
    if people == "families":
        private = _families(panel.take(people=slice(0, 200)), rng)
    if people == "mixed":
        whole = sites.load()
        common = (whole.take(people=whole.ancestries == "EUR").minor > COMMON)
        whole = whole.take(people=rng.permutation(len(whole)), snps=np.flatnonzero(common)[chosen])
        private, panel = whole.dosages[:300], whole
    return _cohort(private, public, panel, rng)


def _cohort(private: np.ndarray, public: np.ndarray, panel: Panel,
            rng: np.random.Generator) -> Cohort:
    labels = phenotypes.case_control(private, rng)
    return Cohort(torch.tensor(private).long(), torch.tensor(public).long(), torch.tensor(labels),
                  panel)


def _families(panel: Panel, rng: np.random.Generator) -> np.ndarray:
    """Mother, father and two children of each couple in turn, (people, snps)."""
    apart = families.recombination(panel)
    parents = families.random_phase(panel.dosages, rng)
    mothers, fathers = parents[0::2], parents[1::2]
    children = [families.child(mothers, fathers, apart, rng) for _ in range(2)]
    people = np.stack([mothers, fathers, *children], axis=1)
    return people.sum(axis=2, dtype=np.uint8).reshape(-1, panel.snps)


def victims(number: int, group: Cohort, seed: int) -> tuple[Tensor, Tensor]:
    """The patients of a batch, (number,), and as many others, fewer where there are no more.

    In runs of four, so that of families whole ones are drawn.
    """
    order = torch.randperm(len(group.private) // 4, generator=generator(seed, "victims"))
    order = (4 * order[:, None] + torch.arange(4)).flatten()
    return order[:number], order[number:2 * number]


def network(seed: int, snps: int, width: int = WIDTH) -> nn.Sequential:
    """A new risk model with one hidden layer."""
    return mlp(generator(seed, "weights"), num_features=snps, width=width)


def seen(net: nn.Module, group: Cohort, chosen: Tensor, training: LocalTraining = STEP, *,
         seed: int, compress: Callable[[Update], Update] | None = None) -> View:
    """What the server sees of training on the patients ``chosen``."""
    update = train_on(net, group.inputs(chosen), group.labels[chosen], training,
                      generator=generator(seed, "local"))
    return update_view(compress(update) if compress else update, Knowledge(training))


def seen_in_sum(net: nn.Module, group: Cohort, hospitals: Sequence[Tensor], *, seed: int) -> View:
    """What the server sees behind secure aggregation of hospitals that hold these patients."""
    states = [seen(net, group, chosen, seed=seed).after for chosen in hospitals]
    after = weighted_mean(states, [len(chosen) for chosen in hospitals])
    names = tuple(f"hospital {k}" for k in range(len(hospitals)))
    return View(SERVER_BEHIND_SECURE_AGGREGATION, "sum", dict(net.state_dict()), after, names,
                knowledge=Knowledge(STEP))


def likeliest(frequencies: Tensor) -> Tensor:
    """The commonest genotype of each SNP by its allele frequency (snps,): the guess of someone
    who saw no update. Under random mating, (1-f)^2, 2f(1-f) and f^2."""
    f = frequencies
    return torch.stack([(1 - f) ** 2, 2 * f * (1 - f), f**2]).argmax(0)


def found(answer: Recovered, truth: Tensor) -> Tensor:
    """Which patients of ``truth`` (n, snps) are among the rows answered, bool (n,)."""
    return (answer.guess[:, None] == truth[None]).all(2).any(0)


def false_claims(answer: Recovered, truth: Tensor) -> int:
    """How many certified rows are no patient of ``truth``."""
    right = (answer.guess[:, None] == truth[None]).all(2).any(1)
    return int((answer.certificate & ~right).sum())


def nearest_rows(answer: Recovered, truth: Tensor) -> Tensor:
    """For each patient the row that agrees with most SNPs, which only an oracle can pick."""
    agreement = torch.stack([(answer.guess == one).double().mean(1) for one in truth])
    return answer.guess[agreement.argmax(1)]
