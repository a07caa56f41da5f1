r"""Attacks that know the defence, against training under it, for a bound to be held against.

Two experiments on the mechanism as it runs, :class:`leaklab.defences.record_level.RecordLevel`.
:func:`who_was_it`: a server that knows all other records sees one noisy gradient of a record that
it knows to be one of several. :func:`private_members`: many models trained on patients dealt by
coins, of which a server sees every step and the public the end.

The best attacker of each is the likelihood-ratio test; nobody who sees the same can do better, and
the bounds say how well that one can do on the worst record.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from leaklab.defences.record_level import RecordLevel
from leaklab.gradients import record_gradients
from leaklab.runtime import progress
from leaklab.stack import Stack


class Picked(NamedTuple):
    """Which candidate each attack picks, (trials,), and which it was."""

    truth: Tensor
    likeliest: Tensor
    nearest: Tensor


def who_was_it(
    model: nn.Module, inputs: Tensor, targets: Tensor, privacy: RecordLevel, trials: int,
    generator: torch.Generator,
) -> Picked:
    """One noisy gradient a trial, of one of the candidates, each as likely; pick which.

    ``likeliest`` picks the candidate whose clipped gradient lies nearest to what came, which is the
    best there is. ``nearest`` knows no candidates at first: it divides the record out of the first
    dense layer, every neuron's ratio weighted by its slope squared, and picks the candidate nearest
    to that. The model starts with a dense layer with bias on flattened inputs.

    Shapes: inputs (candidates, ...), targets (candidates,).
    """
    gradients = privacy.clip(record_gradients(model, model.state_dict(), inputs, targets))
    truth = torch.randint(len(inputs), (trials,), generator=generator)
    noise = torch.randn(trials, gradients.shape[1], generator=generator, dtype=gradients.dtype)
    seen = gradients[truth] + privacy.noise_multiplier * privacy.max_grad_norm * noise
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
    rows = seen[:, :first.weight.numel()].view(trials, *first.weight.shape)
    slopes = seen[:, first.weight.numel():][:, :first.out_features]
    ratio = (slopes[:, None] @ rows)[:, 0] / slopes.square().sum(1, keepdim=True)
    return Picked(truth, torch.cdist(seen, gradients).argmin(1),
                  torch.cdist(ratio, inputs.flatten(1)).argmin(1))


def private_members(
    stack: Stack, inputs: Tensor, targets: Tensor, members: Tensor, privacy: RecordLevel, *,
    steps: int, learning_rate: float, generator: torch.Generator, chunk: int = 16,
) -> tuple[Stack, Tensor]:
    r"""Train each model on its members, privately, and test each record as the server can.

    Steps are gradient descent on all members, divided by the number of all records, which is
    public. The server knows the model of each step and every other record; what is left of the
    noisy sum is noise and, of a member, its clipped gradient :math:`g_t`. Its score is the
    log-likelihood ratio :math:`\sum_t (\langle d_t, g_t\rangle - |g_t|^2/2)/(\sigma C)^2`. Without
    noise all scores are 0: the server then needs no test.

    Shapes: inputs (n, ...), targets (n,), members bool (K, n). Returns models and scores (K, n).
    """
    model = copy.deepcopy(stack.model).eval()
    names = list(stack.parameters)
    std = privacy.noise_multiplier * privacy.max_grad_norm

    def loss(own, buffers, x, y):
        return cross_entropy(functional_call(model, (own, buffers), (x[None],)), y[None])

    per_record = vmap(vmap(grad(loss), (None, None, 0, 0)), (0, 0, None, None))
    ends, scores = [], []
    for start in progress(range(0, len(stack), chunk), "private models"):
        part, there = stack[start:start + chunk], members[start:start + chunk].to(inputs)
        own, score = dict(part.parameters), torch.zeros_like(there)
        for _ in range(steps):
            found = per_record(own, part.buffers, inputs, targets)
            rows = torch.cat([found[name].flatten(2) for name in names], 2)
            rows = privacy.clip(rows.flatten(0, 1)).view(rows.shape)
            noise = std * torch.randn(len(rows), rows.shape[2], generator=generator,
                                      dtype=rows.dtype)
            squares = rows.square().sum(2)
            left = torch.einsum("kp,knp->kn", noise, rows) + there * squares
            score = score + ((left - squares / 2) / std**2 if std else 0)
            moved = (torch.einsum("kn,knp->kp", there, rows) + noise) / len(inputs)
            own = {name: p - learning_rate * step.view_as(p) for (name, p), step in zip(
                own.items(), moved.split([own[name][0].numel() for name in names], 1),
                strict=True)}
        ends.append(own)
        scores.append(score)
    trained = {name: torch.cat([own[name] for own in ends]) for name in names}
    return Stack(stack.model, trained, stack.buffers), torch.cat(scores)
