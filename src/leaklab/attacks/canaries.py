r"""Canaries: records put into training to measure how much privacy it really gives.

An accountant says what epsilon a training promises; a bug in its noise or clipping breaks the
promise without a trace. The auditor inserts canaries, each with a gradient that clipping must cut
to the largest it lets pass, guesses from the noisy gradients which of them took part, and what the
guesses prove about epsilon stands in :mod:`leaklab.attacks.epsilon_bounds`. Above the promise, the
training is broken; below it, nothing is proved: an audit is a lower bound.

Threat model: an auditor with the rights of differential privacy's adversary, who sees every noisy
gradient and knows all other records. In federated learning that is the server. The canaries are
gradients, not records (Nasr et al. 2023, arXiv:2302.07956), and hurt the model a little.

* :func:`insert_canaries`: many canaries in one run of Opacus, :func:`one_run_audit` (Steinke,
  Nasr and Jagielski 2023, arXiv:2305.08846; Mahloujifar et al. 2025, arXiv:2410.22235).
* :func:`many_run_audit`: one canary in half of many runs (Jagielski, Ullman and Oprea 2020,
  arXiv:2006.07709), such as those of :mod:`leaklab.attacks.sampler_audit`.

Where it fails: one run shows half of epsilon or less, of a large epsilon least; many runs show
more of it the more they are, thousands for most of it. Canaries that are records, judged by the
loss of the finished model, prove far less (Nasr et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from leaklab.attacks.epsilon_bounds import (
    ManyRuns,
    many_run_bounds,
    one_run_epsilon,
    one_run_mu,
)
from leaklab.bounds.membership import epsilon_of
from leaklab.runtime import generator as keyed_generator

__all__ = ["many_run_audit", "one_run_audit"]

THRESHOLDS = 99
"""Quantiles of the scores among which an audit of many runs looks for its threshold."""


# --- One run, many canaries -------------------------------------------------------------------


class OneRun(NamedTuple):
    """What one run proves.

    epsilon
        Lower bound for any mechanism, at ``delta``.
    mu, epsilon_if_gaussian
        Lower bounds if the mechanism's trade-off curve is that of a Gaussian.
    """

    correct: int
    guesses: int
    canaries: int
    epsilon: float
    mu: float
    epsilon_if_gaussian: float


def one_run_audit(
    scores: Tensor, included: Tensor, *, delta: float, guess_fraction: float = 0.1,
    level: float = 0.95,
) -> OneRun:
    """Guess the highest scores in and the lowest out, and bound epsilon by how many are right.

    scores
        (canaries,): higher where a canary seems to have taken part.
    included
        bool (canaries,): the truth, a fair coin for each canary of its own.
    guess_fraction
        Of the canaries, guessed at; half of them in, half out. Fix it in advance: the bounds hold
        for one fraction, not for the best of several.

    Ties are broken without regard to ``included``. Raises ``ValueError`` that names the argument.
    """
    _check(scores, included)
    canaries = len(scores)
    half = round(guess_fraction * canaries / 2)
    if not 1 <= half <= canaries // 2:
        raise ValueError(f"guess_fraction: {guess_fraction} of {canaries} canaries given, expected "
                         "at most 1 and two guesses or more")
    shuffle = torch.randperm(canaries, generator=keyed_generator("ties", canaries))
    order = shuffle[scores.cpu()[shuffle].argsort(stable=True)]
    truth = included.cpu()[order]
    correct = int(truth[-half:].sum() + (~truth[:half]).sum())
    counts = (correct, 2 * half, canaries)
    mu = one_run_mu(*counts, level=level)
    return OneRun(*counts, one_run_epsilon(*counts, delta=delta, level=level), mu,
                  epsilon_of(mu, delta))


class PrivateOptimiser(Protocol):
    """What is used of ``opacus.optimizers.DPOptimizer``."""

    params: Sequence[Tensor]
    max_grad_norm: float

    def clip_and_accumulate(self) -> None:
        """Clip the rows of each parameter's ``grad_sample`` and add them to ``summed_grad``."""

    def add_noise(self) -> None:
        """Set each parameter's ``grad`` to ``summed_grad`` plus noise."""


def insert_canaries(
    optimiser: PrivateOptimiser, included: Tensor, *, sample_rate: float,
    generator: torch.Generator, size: float = 10.0,
) -> Tensor:
    """Have an Opacus optimiser train on canaries too; return their scores, which grow as it steps.

    Canary j is the gradient of one more record: ``size`` times ``max_grad_norm`` on one weight of
    its own (a Dirac), which the optimiser must clip as it clips any. If ``included[j]``, each step
    draws it with probability ``sample_rate``, as a Poisson sampler draws records: what is audited
    is how the optimiser clips and adds noise, and not how the data loader samples. Its score is
    the sum over steps of the noisy gradient at its weight, less what the records put there if each
    is clipped as promised: the auditor knows them. One batch a step: virtual steps would insert it
    anew in each.

    Raises ``ValueError`` for more canaries than weights.
    """
    sizes = [p.numel() for p in optimiser.params]
    if len(included) > sum(sizes):
        raise ValueError(f"included: {len(included)} canaries given, expected at most one for "
                         f"each of the {sum(sizes)} weights")
    device = optimiser.params[0].device
    weights = torch.randperm(sum(sizes), generator=generator)[:len(included)].to(device)
    scores = torch.zeros(len(included), dtype=torch.float64, device=device)
    clip_and_accumulate, add_noise = optimiser.clip_and_accumulate, optimiser.add_noise

    def with_canaries() -> None:
        scores.sub_(_clipped_records(optimiser)[weights])
        sampled = torch.rand(len(included), generator=generator) < sample_rate
        chosen = weights[(included.cpu() & sampled).to(device)]
        rows = torch.zeros(len(chosen), sum(sizes), device=device)
        rows[torch.arange(len(chosen), device=device), chosen] = size * optimiser.max_grad_norm
        for p, part in zip(optimiser.params, rows.split(sizes, dim=1), strict=True):
            own = part.reshape(-1, *p.shape).to(p)
            p.grad_sample = torch.cat([p.grad_sample, own])
        clip_and_accumulate()

    def and_listen() -> None:
        add_noise()
        scores.add_(torch.cat([p.grad.flatten() for p in optimiser.params])[weights])

    optimiser.clip_and_accumulate, optimiser.add_noise = with_canaries, and_listen
    return scores


def _clipped_records(optimiser: PrivateOptimiser) -> Tensor:
    """The sum over a batch of gradients clipped one by one, over all weights, (p,)."""
    rows = torch.cat([p.grad_sample.detach().flatten(1) for p in optimiser.params], 1)
    share = (optimiser.max_grad_norm / rows.norm(dim=1).clamp(min=1e-12)).clamp(max=1)
    return share @ rows


# --- Many runs, one canary --------------------------------------------------------------------


def many_run_audit(
    scores: Tensor, included: Tensor, *, delta: float, level: float = 0.95
) -> ManyRuns:
    """Bound epsilon by how well a threshold tells runs with the canary from those without.

    The threshold is chosen on one half of the runs, and the bound comes from the other. Shapes:
    scores and included (bool), (runs,). Raises ``ValueError`` for fewer than two runs of a kind.
    """
    _check(scores, included)
    scores, included = scores.double().cpu(), included.cpu()
    within, without = scores[included], scores[~included]
    if min(len(within), len(without)) < 2:
        raise ValueError(f"included: {len(within)} runs with the canary and {len(without)} without "
                         "given, expected two or more of each")

    def bounds(threshold: float, part: int) -> ManyRuns:
        ins, outs = within[part::2], without[part::2]
        return many_run_bounds(int((outs >= threshold).sum()), len(outs),
                               int((ins < threshold).sum()), len(ins), delta=delta, level=level)

    steps = torch.linspace(0, 1, THRESHOLDS + 2, dtype=torch.float64)[1:-1]
    candidates = torch.cat([within[::2], without[::2]]).quantile(steps).tolist()
    by_epsilon, by_mu = (max(candidates, key=lambda t: bounds(t, 0)[i]) for i in (0, 1))
    return ManyRuns(bounds(by_epsilon, 1).epsilon, bounds(by_mu, 1).mu)


def _check(scores: Tensor, included: Tensor) -> None:
    if included.dtype != torch.bool or included.shape != scores.shape or scores.dim() != 1:
        raise ValueError(f"included: {included.dtype} {tuple(included.shape)} given, "
                         f"expected bool {tuple(scores.shape)}, one for each of the scores")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("scores: values that are not finite given, expected numbers")
