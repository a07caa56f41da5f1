"""Deal patients to hospitals, and to the two sides of an experiment; never cut through a patient.

All randomness comes from the ``numpy.random.Generator`` given. Patients are dealt in the order of
their names, so a split depends on who is in the dataset and not on the order of its rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from leaklab.data.dataset import Dataset

__all__ = ["by_site", "label_skew", "members", "quantity_skew", "train_test"]


def drop_duplicates(dataset: Dataset) -> Dataset:
    """Without exact copies: of examples whose inputs are equal, the first is kept.

    If the copies disagree on the label all of them go, since no one can say which is right. A copy
    that sat on both sides of a split would pass for memory in a membership experiment.
    """
    rows = np.ascontiguousarray(dataset.inputs) + 0.0  # makes -0.0, which equals 0.0, look like it
    first: dict[bytes, int] = {}
    torn: set[int] = set()
    for k, row in enumerate(rows):
        seen = first.setdefault(hashlib.blake2b(row.tobytes()).digest(), k)
        if dataset.targets[seen] != dataset.targets[k]:
            torn.add(seen)
    return dataset.take(np.array(sorted(set(first.values()) - torn), dtype=np.int64))


def by_site(dataset: Dataset) -> dict[str, Dataset]:
    """The examples of each site, sites in alphabetical order: the hospitals that there really were.

    A table of one site gives one part; deal it with :func:`label_skew` or :func:`quantity_skew`.
    """
    return {str(name): dataset.take(dataset.sites == name) for name in np.unique(dataset.sites)}


def same_size(parts: Mapping[str, Dataset], rng: np.random.Generator) -> dict[str, Dataset]:
    """Each part cut to the size of the smallest, by examples drawn at random.

    For experiments in which the number of examples must not tell one hospital from another.
    """
    size = min(map(len, parts.values()))
    return {name: part.take(np.sort(rng.permutation(len(part))[:size]))
            for name, part in parts.items()}


def train_test(
    dataset: Dataset, test_fraction: float, rng: np.random.Generator
) -> tuple[Dataset, Dataset]:
    """Training and test examples; each patient on one side.

    Stratified by site and label: patients stand in line sorted by the site and label most of
    their examples have, in random order within each, and every ``1 / test_fraction``-th is taken
    (systematic sampling), so each stratum gives its share to within one patient. Raises
    ``ValueError`` unless ``0 < test_fraction < 1`` and there are two patients.
    """
    people, owner = np.unique(dataset.patients, return_inverse=True)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction: {test_fraction} given, expected between 0 and 1")
    if len(people) < 2:
        raise ValueError(f"dataset: {len(people)} patients given, expected at least 2 to split")
    wanted = int(np.clip(round(test_fraction * len(people)), 1, len(people) - 1))
    strata = _commonest(owner, dataset.sites), _commonest(owner, dataset.targets)
    line = np.lexsort((rng.permutation(len(people)), strata[1], strata[0]))
    ticks = (np.arange(len(people) + 1) * wanted + rng.integers(len(people))) // len(people)
    chosen = np.zeros(len(people), dtype=bool)
    chosen[line] = np.diff(ticks) > 0
    return dataset.take(~chosen[owner]), dataset.take(chosen[owner])


def members(dataset: Dataset, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    """Members and non-members for a membership experiment: two halves of one pool.

    Exact copies are dropped first, and the halves agree in site and label as in
    :func:`train_test`: whatever tells them apart must come from training. Files that were
    published as two parts (a training and a test set) often differ by more than that; split one.
    """
    others, chosen = train_test(drop_duplicates(dataset), 0.5, rng)
    return chosen, others


def label_skew(
    dataset: Dataset, hospitals: Sequence[str] | int, alpha: float, rng: np.random.Generator,
    min_per_class: int = 2,
) -> dict[str, Dataset]:
    """Hospitals of equal size that see different mixtures of classes (label skew).

    Each hospital draws its mixture from a Dirichlet distribution with concentration ``alpha``
    around the mixture of the whole (Hsu, Qi and Brown 2019, arXiv:1909.06335), then they take
    turns drawing a patient by it; a class that has run out is left out of the draw. Small
    ``alpha`` is strong skew, large is none. Sizes are equal in patients, to within one.

    Before that each hospital is given ``min_per_class`` patients of every class (by the label
    most of their examples have), so that it can train; under strong skew this floor shows.
    ``sites`` of the parts are the new hospitals: names as given, or "Hospital 1" and so on.
    Raises ``ValueError`` where there are too few patients, and for ``alpha <= 0``.
    """
    names, owner, labels = _people(dataset, hospitals, alpha)
    dealt = _floor(labels, len(names), min_per_class, rng)
    prior = np.bincount(labels) / len(labels)
    classes = np.flatnonzero(prior)
    mixtures = rng.dirichlet(alpha * prior[classes], size=len(names))
    piles = [list(rng.permutation(np.flatnonzero((labels == c) & (dealt < 0)))) for c in classes]
    turns = rng.permutation(len(names))
    for k, draw in enumerate(rng.random((dealt < 0).sum())):
        hospital = turns[k % len(names)]
        left = np.array([len(pile) for pile in piles])
        weights = mixtures[hospital] * (left > 0)
        # a mixture that holds nothing of what is left can only take what there is
        bounds = np.cumsum(weights if weights.sum() > 0 else left)
        pile = piles[np.searchsorted(bounds, draw * bounds[-1], side="right")]
        dealt[pile.pop()] = hospital
    return _parts(dataset, names, dealt[owner])


def quantity_skew(
    dataset: Dataset, hospitals: Sequence[str] | int, alpha: float, rng: np.random.Generator,
    min_per_class: int = 2,
) -> dict[str, Dataset]:
    """Hospitals of different sizes that see the same mixture of classes (quantity skew).

    Shares of the patients are drawn from a symmetric Dirichlet distribution with concentration
    ``alpha`` (Li, Diao, Chen and He 2022, arXiv:2102.02079); who goes where is chance alone.
    Floor, names and errors as in :func:`label_skew`.
    """
    names, owner, labels = _people(dataset, hospitals, alpha)
    dealt = _floor(labels, len(names), min_per_class, rng)
    free = np.flatnonzero(dealt < 0)
    shares = rng.dirichlet(np.full(len(names), alpha))
    dealt[free] = rng.choice(len(names), size=len(free), p=shares)
    return _parts(dataset, names, dealt[owner])


# --- Patients ---------------------------------------------------------------------------------


def _people(
    dataset: Dataset, hospitals: Sequence[str] | int, alpha: float
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the hospitals, the patient (0, 1, ...) of each example, each patient's label."""
    numbered = isinstance(hospitals, int | np.integer)
    names = [f"Hospital {k + 1}" for k in range(hospitals)] if numbered else list(hospitals)
    if isinstance(hospitals, str) or not names or len(set(names)) < len(names):
        raise ValueError(f"hospitals: {hospitals!r} given, expected a positive number "
                         "or distinct names")
    if not 0 < alpha < np.inf:
        raise ValueError(f"alpha: {alpha} given, expected a positive number")
    if not len(dataset):
        raise ValueError("dataset: no examples given, expected at least one")
    _, owner = np.unique(dataset.patients, return_inverse=True)
    return names, owner, np.unique(dataset.targets)[_commonest(owner, dataset.targets)]


def _commonest(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each patient the index, among the sorted distinct values, of their most frequent one.

    Ties go to the first, so the answer does not depend on the order of the rows.
    """
    kinds, index = np.unique(values, return_inverse=True)
    counts = np.zeros((owner.max(initial=-1) + 1, len(kinds)), dtype=np.int64)
    np.add.at(counts, (owner, index), 1)
    return counts.argmax(axis=1)


def _floor(
    labels: np.ndarray, hospitals: int, min_per_class: int, rng: np.random.Generator
) -> np.ndarray:
    """The hospital of each patient, -1 if still free, after each got its minimum of each class."""
    if min_per_class < 0:
        raise ValueError(f"min_per_class: {min_per_class} given, expected 0 or more")
    dealt = np.full(len(labels), -1)
    for c in np.unique(labels):
        patients = rng.permutation(np.flatnonzero(labels == c))
        needed = hospitals * min_per_class
        if len(patients) < needed:
            raise ValueError(
                f"min_per_class: {min_per_class} given for {hospitals} hospitals, which needs "
                f"{needed} patients of class {c}; expected at most {len(patients)}, which is "
                "all there are")
        dealt[patients[:needed]] = np.repeat(np.arange(hospitals), min_per_class)
    return dealt


def _parts(dataset: Dataset, names: list[str], hospital: np.ndarray) -> dict[str, Dataset]:
    parts = {name: dataset.take(hospital == k) for k, name in enumerate(names)}
    return {name: replace(part, sites=np.full(len(part), name)) for name, part in parts.items()}
