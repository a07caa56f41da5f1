"""The protocol by which sums of hospitals are attacked: who holds what, what is read, what counts.

Patients are those of the diabetes table, half of them private and half public. Each hospital takes
one step on records of its own; the server sees one update, or what secure aggregation opens, from
a real round of :mod:`leaklab.defences.secure_aggregation`. A record counts as read where every
field is within half the last digit of the table. Needs the extra ``defences``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from leaklab.attacks import spear
from leaklab.attacks.exclusive_neurons import exclusive_neurons
from leaklab.attacks.malicious_server import trap_weights
from leaklab.data import diabetes, hospitals, scaling
from leaklab.defences.secure_aggregation import Opened, secure_sum
from leaklab.federation import SERVER, SERVER_BEHIND_SECURE_AGGREGATION, train_on, update_view
from leaklab.metrics import reconstruction
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Recovered, Update, View

STEP = LocalTraining(0.1)
WIDTH = 256  # neurons of the network
DRAWS = 2**16  # of SPEAR's search
ANOTHER = 0.05  # standard deviations: a claim that is so far off somewhere is of another record
PLAUSIBLE = -10.0, 10.0  # standard deviations that a field may lie from its mean
HALF_A_DIGIT = torch.tensor(diabetes.RESOLUTION) / 2


@dataclass(frozen=True)
class Patients:
    """``inputs`` (n, 10) scaled, ``targets`` (n,), ``units`` (n, 10) as the table has them, of the
    private half; ``public``, ``public_targets`` and ``public_units`` of the other."""

    inputs: Tensor
    targets: Tensor
    units: Tensor
    public: Tensor
    public_targets: Tensor
    public_units: Tensor
    by: scaling.Scaling

    def in_units(self, rows: Tensor) -> Tensor:
        """Scaled rows as the table has them, float64."""
        return torch.tensor(scaling.unscale(rows.detach().cpu().numpy(), self.by))


@functools.lru_cache(4)
def patients(seed: int, device: torch.device | str = "cpu") -> Patients:
    """Split ``seed`` of the table; the public half gives the statistics for scaling."""
    public, private = hospitals.train_test(diabetes.load(), 0.5, np.random.default_rng(seed))
    by = scaling.fit(public)
    own, other = (torch.tensor(scaling.scale(half, by).inputs) for half in (private, public))
    return Patients(own.to(device), torch.tensor(private.targets).to(device),
                    torch.tensor(private.inputs).double(), other.to(device),
                    torch.tensor(public.targets).to(device), torch.tensor(public.inputs).double(),
                    by)


def network(seed: int, device: torch.device | str = "cpu") -> nn.Sequential:
    """The network of chapter 3, new."""
    return mlp(generator(seed, "weights"), num_features=10, width=WIDTH).to(device)


def dealt(held: Patients, sizes: Sequence[int], *key: object) -> tuple[Tensor, ...]:
    """Rows of the private half for hospitals of these ``sizes``, no patient twice.

    Raises ``ValueError`` where there are not so many patients.
    """
    order = torch.randperm(len(held.inputs), generator=generator("hospitals", *key))
    if sum(sizes) > len(order):
        raise ValueError(f"sizes: {sum(sizes)} records given, expected at most {len(order)}")
    return order[:sum(sizes)].split(list(sizes))


def updates(models: nn.Module | Sequence[nn.Module], held: Patients, rows: Sequence[Tensor],
            *key: object, training: LocalTraining = STEP, round: int = 0) -> list[Update]:
    """What each hospital sends for training on its ``rows``; ``models``: one, or one for each."""
    models = [models] * len(rows) if isinstance(models, nn.Module) else models
    return [train_on(model, held.inputs[own], held.targets[own], training, round=round,
                     generator=generator("local", *key, k, round), hospital=f"Hospital {k + 1}")
            for k, (model, own) in enumerate(zip(models, rows, strict=True))]


def server_view(sent: Sequence[Update], training: LocalTraining = STEP) -> View:
    """A single update as it is, or what a secure sum of several opens."""
    known = Knowledge(training)
    if len(sent) > 1:
        return secure_sum(sent).view(SERVER_BEHIND_SECURE_AGGREGATION, known)
    return update_view(sent[0], known)


def read(model: nn.Module, view: View, records: int, *key: object) -> Recovered:
    """The records behind ``view``, by the surer of the two exact attacks of chapter 3; where both
    are certain of nobody, by single neurons (:func:`neurons_alone`), with an answer a neuron.

    The server is told how many records there are, as a secure sum tells it.
    """
    first = exclusive_neurons(model, view, batch_size=records)
    if first is not None and first.certificate.all():
        return first
    second = spear.batch(model, view, generator=generator("search", *key), draws=DRAWS,
                         batch_size=records)
    if first is not None and first.certificate.sum() > second.certificate.sum():
        return first
    return second if second.certificate.any() else neurons_alone(model, view)


def neurons_alone(model: nn.Module, view: View) -> Recovered:
    """What each neuron shows, surest first: where one record alone switches it on, that record,
    however many stand behind ``view``. Which answers are records, a certificate says of some."""
    return trap_weights.read_rows(model, view, pixels=PLAUSIBLE)


def alone(opened: Opened, model: nn.Module, records: int, training: LocalTraining = STEP) -> View:
    """A sum of which one hospital with so many ``records`` is the only part: its own update."""
    share = records / opened.num_examples
    only = Opened(dict(model.state_dict()), opened.mean / share, opened.contributors, records)
    return View(SERVER, "update", only.before, only.after, ("Hospital 1",), (records,),
                Knowledge(training))


def judged(found: Recovered, rows: Tensor, held: Patients) -> dict[str, float]:
    """Shares of the records ``rows``: read, claimed, fields right; and how many claims are false.

    A record is read where some answer is that record, of however many answers. Fields are those of
    as many answers as there are records, the first; of fewer they count as none.
    """
    truth, units = held.inputs[rows], held.units[rows]
    shown = held.in_units(found.guess)
    read = ((shown[:, None] - units).abs() <= HALF_A_DIGIT).all(2).any(0)
    off = ((found.guess[:, None] - truth).abs().amax(2) >= ANOTHER).all(1)
    fields = 0.0
    if len(shown) >= len(rows):
        order = reconstruction.match(found.guess[:len(rows)].clamp(-1e6, 1e6), truth)
        fields = reconstruction.field_match_rate(shown[order], units, HALF_A_DIGIT)
    return {"exact": float(read.double().mean()), "fields": fields,
            "claimed": int(found.certificate.sum()) / len(rows),
            "false": int((found.certificate & off).sum())}


def guesses(rows: Tensor, held: Patients) -> dict[str, float]:
    """Shares that two answers reach which need no update: the likeliest value of each field, and
    the nearest public record, which takes an oracle."""
    truth = held.units[rows]
    typical = reconstruction.likeliest_record(held.public_units, HALF_A_DIGIT, len(truth))
    nearest = held.in_units(reconstruction.nearest_public(held.inputs[rows], held.public))
    return {f"{name}_{key}": rate(guess, truth, HALF_A_DIGIT)
            for name, guess in (("typical", typical), ("nearest", nearest))
            for key, rate in (("exact", reconstruction.exact_match_rate),
                              ("fields", reconstruction.field_match_rate))}
