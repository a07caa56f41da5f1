"""The scenes of chapter 12, for its study and its lab: patients, hospitals, and classes.

Patients are those of UCI heart disease in Cleveland, and for hospitals that are dealt by sex those
of Budapest too, both without a gap; classes are the radiographs of PneumoniaMNIST. Everything of a
seed is drawn from it alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from leaklab.data import heart, hospitals, radiology, scaling
from leaklab.data.dataset import Dataset
from leaklab.federation import (
    PUBLIC,
    SERVER_BEHIND_SECURE_AGGREGATION,
    Hospital,
    fed_avg,
    train_on,
    update_view,
)
from leaklab.models import mlp, small_cnn
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View, weighted_mean

WIDTH = 64  # neurons
ATTRIBUTES = {"diagnosis": None, "sex": 1, "exang": 8}  # and their columns
OUTSIDE = 0.27  # share of Cleveland's patients who are public
PASSES = {"one step": 0, "one pass": 1, "five passes": 5}
EARLIER = 9  # rounds before a late one
ONE_STEP = LocalTraining(0.5)
SIZE = 20  # patients of a hospital that is dealt by sex
WOMEN = (4, 6, 8, 12, 14, 16)  # of them
INVENTED, JUDGED = 300, 200  # such hospitals, to learn from and to judge
IMAGES, FACES, COPIES = 1200, 20, 10  # radiographs; patients who are classes, noisy copies of each
SHARP = 0.05  # standard deviation of that noise


@dataclass(frozen=True)
class Group:
    """Some patients: inputs (n, ...) as the model takes them, targets (n,)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor | slice) -> Group:
        return Group(self.inputs[index], self.targets[index])

    def entry(self, attribute: str) -> Tensor:
        """The attribute of each, 0 or 1: on which side of 0 a scaled column of two values is."""
        column = ATTRIBUTES[attribute]
        return self.targets if column is None else (self.inputs[:, column] > 0).long()

    def rest(self, attribute: str) -> np.ndarray:
        """All that is known of the patients but that entry."""
        column = ATTRIBUTES[attribute]
        if column is None:
            return self.inputs.numpy()
        return np.column_stack([np.delete(self.inputs.numpy(), column, 1), self.targets])


def joined(groups: list[Group]) -> Group:
    """The patients of all, one group after the other."""
    return Group(torch.cat([g.inputs for g in groups]), torch.cat([g.targets for g in groups]))


def of(dataset: Dataset) -> Group:
    """The patients of ``dataset``."""
    return Group(torch.tensor(dataset.inputs), torch.tensor(dataset.targets))


# --- Patients ---------------------------------------------------------------------------------


@functools.cache
def table() -> Dataset:
    """All patients of Cleveland and Budapest without a gap, nobody twice.

    Raises ``DataUnavailable`` where the files cannot be had.
    """
    whole = heart.load()
    here = np.isin(whole.sites, ("cleveland", "hungarian")) & ~np.isnan(whole.inputs).any(1)
    return hospitals.drop_duplicates(whole.take(here))


@functools.cache
def cleveland(seed: int) -> dict[str, Group]:
    """``members``, ``strangers`` who are like them but take no part, and ``public`` patients."""
    rng = np.random.default_rng(seed)
    patients = hospitals.by_site(table())["cleveland"]
    private, public = hospitals.train_test(patients, OUTSIDE, rng)
    members, strangers = hospitals.train_test(private, 0.5, rng)
    by = scaling.fit(public)
    return {name: of(scaling.scale(part, by)) for name, part in
            (("members", members), ("strangers", strangers), ("public", public))}


def training_of(name: str, records: int) -> LocalTraining:
    """One step on all records, or passes through them in batches of eight."""
    if not PASSES[name]:
        return ONE_STEP
    return LocalTraining(0.05, local_steps=PASSES[name] * -(-records // 8), batch_size=8)


def network(seed: int, features: int = len(heart.FEATURES)) -> nn.Sequential:
    """One hidden layer, new."""
    return mlp(generator(seed, "weights"), num_features=features, width=WIDTH)


def round_of(training: str, stage: str, number: int, seed: int) -> list[tuple[View, Group]]:
    """What the server sees of ``number`` hospitals in one round, and the patients behind it.

    ``training`` is one of :data:`PASSES`; ``stage`` is ``"new"``, the first round, or ``"late"``.
    """
    members = cleveland(seed)["members"]
    order = torch.randperm(len(members), generator=generator(seed, "deal"))
    parts = [members[order[k::number]] for k in range(number)]
    net = network(seed)
    if stage == "late":
        clinics = [Hospital(f"H{k}", part.inputs, part.targets) for k, part in enumerate(parts)]
        *_, last = fed_avg(net, clinics, training_of(training, len(clinics[0])), rounds=EARLIER,
                           seed=seed)
        net.load_state_dict(last.after)
    seen = []
    for k, part in enumerate(parts):
        local = training_of(training, len(part))
        update = train_on(net, part.inputs, part.targets, local, hospital=f"H{k}",
                          generator=generator(seed, "local", k))
        seen.append((update_view(update, Knowledge(local)), part))
    return seen


def summed(seen: list[tuple[View, Group]]) -> list[tuple[View, Group]]:
    """The same round behind secure aggregation."""
    views, parts = zip(*seen, strict=True)
    after = weighted_mean([view.after for view in views], [view.weights[0] for view in views])
    names = tuple(name for view in views for name in view.contributors)
    return [(replace(views[0], observer=SERVER_BEHIND_SECURE_AGGREGATION, artefact="sum",
                     after=after, contributors=names, weights=None), joined(parts))]


# --- Hospitals --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dealt:
    """Hospitals dealt from one group of patients.

    members
        bool (hospitals, patients).
    most
        Whether most of a hospital's patients are women, bool (hospitals,).
    """

    patients: Group
    members: Tensor
    most: Tensor


def hospitals_by_sex(inputs: str, deal: str, seed: int) -> dict[str, Dealt]:
    """Hospitals of public patients, to be ``learnt`` from, and of others, to be ``judged``.

    inputs
        ``"sex"``: all columns; ``"rest"``: all but sex; ``"evened rest"``: those with the mean of
        each sex and diagnosis taken out; ``"mark"``: those, and in place of women stand as many
        patients of either diagnosis, drawn at random, so that nothing goes with the property.
    deal
        ``"natural"``: women and men at random; ``"balanced"``: as many ill as healthy of either.
    """
    halves = hospitals.train_test(table(), 0.5, np.random.default_rng(seed))
    by, found = scaling.fit(halves[1]), {}
    for key, (name, half, number) in enumerate(
            (("judged", halves[0], JUDGED), ("learnt", halves[1], INVENTED))):
        women = half.inputs[:, ATTRIBUTES["sex"]] == 0
        if inputs == "mark":
            women = _mixed(women, half.targets, np.random.default_rng((seed, 2, key)))
        masks, most = zip(*(one_hospital(women, half.targets, deal, rng)
                            for rng in _streams(seed, key, number)), strict=True)
        found[name] = Dealt(shown(of(scaling.scale(half, by)), torch.tensor(women), inputs),
                            torch.tensor(np.array(masks)), torch.tensor(most))
    return found


def shown(group: Group, women: Tensor, inputs: str) -> Group:
    """The columns that the model is trained on; see :func:`hospitals_by_sex`."""
    if inputs == "sex":
        return group
    rest = np.delete(group.inputs.numpy(), ATTRIBUTES["sex"], 1)
    if inputs == "evened rest":
        for kind in range(4):
            rows = ((2 * women + group.targets) == kind).numpy()
            rest[rows] -= rest[rows].mean(0)
    return Group(torch.tensor(rest), group.targets)


def one_hospital(women: np.ndarray, targets: np.ndarray, deal: str,
                 rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """A hospital as a mask over the patients, and whether most are women; never as many as men."""
    number = int(rng.choice(WOMEN))
    mask = np.zeros(len(women), bool)
    for sex, count in ((True, number), (False, SIZE - number)):
        pools = [women == sex] if deal == "natural" else [
            (women == sex) & (targets == c) for c in (0, 1)]
        for pool in pools:
            mask[rng.choice(np.flatnonzero(pool), count // len(pools), replace=False)] = True
    return mask, 2 * number > SIZE


def _mixed(women: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The marks dealt anew among patients of one diagnosis."""
    dealt = women.copy()
    for c in (0, 1):
        dealt[targets == c] = rng.permutation(women[targets == c])
    return dealt


def _streams(seed: int, key: int, number: int) -> Iterator[np.random.Generator]:
    return (np.random.default_rng((seed, key, k)) for k in range(number))


# --- Classes ----------------------------------------------------------------------------------


@functools.cache
def radiographs() -> Dataset:
    """All images of PneumoniaMNIST's training split."""
    return radiology.load("chest", source="real")


def films(seed: int) -> dict[str, Group]:
    """Three groups of radiographs: ``members``, ``strangers`` like them, and ``public`` ones."""
    rng = np.random.default_rng(seed)
    some = radiographs().take(np.sort(rng.permutation(len(radiographs()))[:IMAGES]))
    private, public = hospitals.train_test(some, 1 / 3, rng)
    members, strangers = hospitals.members(private, rng)
    return {"members": of(members), "strangers": of(strangers), "public": of(public)}


def faces(group: Group, seed: int) -> tuple[Group, Group]:
    """Twenty patients, each a class of its own: the images, and the noisy copies to train on."""
    own = Group(group.inputs[:FACES], torch.arange(FACES))
    noise = torch.randn(COPIES * FACES, *own.inputs.shape[1:], generator=generator(seed, "copies"))
    copies = (own.inputs.repeat(COPIES, 1, 1, 1) + SHARP * noise).clamp(0, 1)
    return own, Group(copies, own.targets.repeat(COPIES))


def released(model: str, group: Group, seed: int) -> tuple[nn.Sequential, View]:
    """A model trained on ``group``, ``"cnn"`` or else softmax regression, as anyone may see it."""
    classes = int(group.targets.max()) + 1
    if model == "cnn":
        net, rate = small_cnn(generator(seed, "weights")), 0.05
    else:
        net, rate = nn.Sequential(nn.Flatten(), nn.Linear(group.inputs[0].numel(), classes)), 0.02
        with torch.no_grad():
            net[1].weight.zero_()
            net[1].bias.zero_()
    training = LocalTraining(rate, local_steps=600, batch_size=32, momentum=0.9)
    after = train_on(net, group.inputs, group.targets, training,
                     generator=generator(seed, "train")).after
    return net, View(PUBLIC, "released model", None, after, ("A",))
