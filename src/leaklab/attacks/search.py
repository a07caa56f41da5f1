"""Descent on a guess within a budget, keeping the best guess with its own loss.

Bookkeeping that every searching attack needs: numbers of evaluations and not a clock decide, so
that a run repeats; a limit in seconds may be set beside them; Ctrl-C returns the best so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from leaklab.updates import Recovered

__all__ = ["Budget"]

Variables = list[Tensor]
Loss = Callable[..., Tensor]
Callback = Callable[[int, Tensor, float], object]
"""Called as ``callback(evaluation, guess, loss)``; the search ends where it returns ``True``."""


NOISE = 0.0025  # spread of the grey start: equal images under equal labels would never part
LEARNING_RATE = 0.05  # of signed Adam, in grey values a step, at the start
HISTORY = 100  # steps that L-BFGS remembers
RUN_UP = 30  # evaluations of L-BFGS before signed Adam
STEEPNESS = 1e4  # times the loss: torch's first L-BFGS step is the slope, where that is short
PATIENCE = 20  # evaluations of L-BFGS without a better guess: it no longer helps
SMOOTHING = 1e-6  # under the root of total variation, whose slope at 0 would be infinite


@dataclass(frozen=True)
class Budget:
    """How long to search.

    evaluations
        Of the loss and its gradient, for each start.
    restarts
        Number of starts.
    seconds
        For all starts together; ``None`` for no limit. With a limit a run may not repeat.

    Raises ``ValueError`` that names the argument for a value out of range.
    """

    evaluations: int = 300
    restarts: int = 1
    seconds: float | None = None

    def __post_init__(self):
        for name in ("evaluations", "restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} given, expected 1 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds: {self.seconds} given, expected None or a number above 0")


DEFAULT = Budget()


@dataclass(frozen=True)
class Found:
    """The best variables of all starts, their loss, and snapshots of the first variable."""

    variables: Variables
    loss: float
    snapshots: list[Tensor]


class _Over(Exception):
    """This start is used up, or the whole search is."""

    def __init__(self, search: bool):
        self.search = search


@dataclass
class _Log:
    """What a search remembers from one evaluation to the next."""

    budget: Budget
    every: int | None
    callback: Callback | None
    best: Found | None = None  # of this start
    fallback: Found | None = None  # what counts only if nothing else is found from this start
    begun: float = field(default_factory=time.monotonic)
    evaluation: int = 0
    snapshots: list[Tensor] = field(default_factory=list)

    def start(self) -> None:
        self.evaluation, self.snapshots, self.best, self.fallback = 0, [], None, None

    def note(self, variables: Variables, loss: float) -> None:
        """Remember an evaluation; raise ``_Over`` where it was the last one."""
        guess = variables[0].detach()
        if self.every and self.evaluation % self.every == 0:
            self.snapshots.append(guess.clone())
        self.evaluation += 1
        if loss == loss and (self.best is None or loss < self.best.loss):  # NaN is not itself
            copies = [v.detach().clone() for v in variables]
            self.best = Found(copies, loss, self.snapshots)
        if self.callback and self.callback(self.evaluation, guess, loss) is True:
            raise _Over(search=True)
        if self.budget.seconds and time.monotonic() - self.begun > self.budget.seconds:
            raise _Over(search=True)
        if self.left == 0 or loss != loss:
            raise _Over(search=False)

    @property
    def left(self) -> int:
        """Evaluations that this start still has."""
        return self.budget.evaluations - self.evaluation


Descent = Callable[[Variables, Loss, _Log], None]


def search(
    descend: Descent, loss: Loss, starts: Iterable[Variables], *,
    budget: Budget, every: int | None = None, callback: Callback | None = None,
) -> Found:
    """Run ``descend`` (:func:`signed_adam`, :func:`l_bfgs`) from each start; the best of all.

    ``loss(*variables)`` answers a data term, by which guesses are compared, and a prior, which is
    only descended upon: a prior that fades on the way would make late guesses look better. It is
    told how much of the budget is used by ``progress``, from 0 to 1. ``every`` keeps a snapshot of
    the first variable each so many evaluations. The snapshots returned are those of the best start.

    Raises ``ValueError`` if ``every`` is below 1, or the loss NaN at the outset of every start.
    """
    if every is not None and every < 1:
        raise ValueError(f"every: {every} given, expected None or 1 or more")
    log, found = _Log(budget, every, callback), []
    try:
        for start in starts:
            log.start()
            try:
                descend([v.clone().requires_grad_() for v in start], loss, log)
            except _Over as over:
                if over.search:
                    break
            finally:  # also where Ctrl-C came
                found += [best] if (best := log.best or log.fallback) else []
    except KeyboardInterrupt:
        if not found:
            raise
    if not found:
        raise ValueError("loss: NaN at every guess; is the update finite?")
    return min(found, key=lambda best: best.loss)


def signed_adam(learning_rate: float, low: float, high: float) -> Descent:
    """Adam on the signs of the gradient, rate falling along a cosine; guesses in [low, high].

    Signs keep all pixels moving alike, whatever the scale of the loss (Geiping et al., 2020).
    """

    def descend(variables: Variables, loss: Loss, log: _Log) -> None:
        steps = log.left
        log.best, log.fallback = None, log.best  # an earlier descent's guess may lie outside
        with torch.no_grad():
            variables[0].clamp_(low, high)
        adam = torch.optim.Adam(variables, lr=learning_rate)
        schedule = CosineAnnealingLR(adam, steps)
        while True:
            data, prior = loss(*variables, progress=1 - log.left / steps)
            slopes = torch.autograd.grad(data + prior, variables)
            log.note(variables, data.item())
            for variable, slope in zip(variables, slopes, strict=True):
                variable.grad = slope.sign()
            adam.step()
            schedule.step()
            with torch.no_grad():
                variables[0].clamp_(low, high)

    return descend


def l_bfgs(evaluations: int | None = None, line_search: bool = False) -> Descent:
    """L-BFGS for about so many ``evaluations`` of this start, or until it no longer helps.

    Without a ``line_search`` (strong Wolfe) every step is taken whole. Held-out images came back in
    fewer evaluations that way, also behind the kinks of ReLU, where the line search gives up. But a
    whole step may lead uphill, or nowhere.
    """

    def descend(variables: Variables, loss: Loss, log: _Log) -> None:
        optimiser = torch.optim.LBFGS(
            variables, max_iter=20 if line_search else 1, history_size=HISTORY, tolerance_grad=0,
            tolerance_change=0, line_search_fn="strong_wolfe" if line_search else None)

        def closure() -> Tensor:
            data, prior = loss(*variables, progress=0.0)
            total = STEEPNESS * (data + prior)
            for variable, slope in zip(variables, torch.autograd.grad(total, variables),
                                       strict=True):
                variable.grad = slope
            log.note(variables, data.item())
            return total.detach()

        least, since = math.inf, log.evaluation
        last = math.inf if evaluations is None else since + evaluations
        while log.evaluation < last and log.evaluation - since < PATIENCE:
            total = optimiser.step(closure).item()
            if total < least:
                least, since = total, log.evaluation

    return descend


def in_turn(*descents: Descent) -> Descent:
    """One descent after the other, each from the best guess that this start has seen."""

    def descend(variables: Variables, loss: Loss, log: _Log) -> None:
        for one in descents:
            try:
                one(variables, loss, log)
            except _Over as over:  # a step to infinity ends one descent, and not the next
                if over.search or log.left == 0 or log.best is None:
                    raise
            with torch.no_grad():
                for variable, best in zip(variables, log.best.variables, strict=True):
                    variable.copy_(best)

    return descend


def grey(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """A start that is nearly grey, 0.5, on the device and in the dtype of ``like``.

    Grey is nearer to any image than noise is. The little noise is needed: equal images of one
    class have equal gradients and would stay equal.
    """
    noise = torch.randn(shape, generator=generator, device=generator.device)
    return (0.5 + NOISE * noise).to(like)


def total_variation(images: Tensor) -> Tensor:
    """Mean length of the slope between neighbouring pixels; images (n, channels, h, w).

    Isotropic, as in Rudin, Osher and Fatemi (1992, doi:10.1016/0167-2789(92)90242-F). Records of
    another shape have no neighbours, and no variation.
    """
    if images.ndim != 4:
        return images.new_zeros(())
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    return (down.square() + across.square() + SMOOTHING).sqrt().mean()


def fading(weight: float, progress: float) -> float:
    """``weight`` at the outset, nothing at the end: it leads at first and leaves no trace."""
    return weight * 0.5 * (1 + math.cos(math.pi * progress))


def descend_from_grey(
    loss: Loss, *, shape: tuple[int, ...], generator: torch.Generator, like: Tensor,
    budget: Budget, every: int | None, callback: Callback | None, labels: Tensor | None = None,
) -> Recovered:
    """Inputs of ``shape`` in [0, 1], from nearly grey: a run-up by L-BFGS, then signed Adam."""
    starts = [[grey(shape, generator, like)] for _ in range(budget.restarts)]
    descent = in_turn(l_bfgs(RUN_UP), signed_adam(LEARNING_RATE, 0.0, 1.0))
    found = search(descent, loss, starts, budget=budget, every=every, callback=callback)
    return recovered(found, loss, labels)


def recovered(found: Found, loss: Loss, labels: Tensor | None = None) -> Recovered:
    """What a search found as an attack's answer: values clipped to [0, 1], a score for each record.

    The score is minus the loss of the clipped guess, the same for all records.
    """
    guess = found.variables[0].clamp(0, 1)
    own, _ = loss(guess, *found.variables[1:], progress=1.0)
    snapshots = torch.stack(found.snapshots).clamp(0, 1) if found.snapshots else None
    return Recovered(guess, labels=labels, score=guess.new_full((len(guess),), -own.item()),
                     trajectory=snapshots)
