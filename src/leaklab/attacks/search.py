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

Variables = list[Tensor]
Loss = Callable[..., Tensor]
Callback = Callable[[int, Tensor, float], object]
"""Called as ``callback(evaluation, guess, loss)``; the search ends where it returns ``True``."""


NOISE = 0.0025  # spread of the grey start: equal images under equal labels would never part
LEARNING_RATE = 0.05  # of signed Adam, in grey values a step, at the start
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
    best: Found | None = None
    begun: float = field(default_factory=time.monotonic)
    evaluation: int = 0
    snapshots: list[Tensor] = field(default_factory=list)

    def start(self) -> None:
        self.evaluation, self.snapshots = 0, []

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
        if self.evaluation >= self.budget.evaluations or loss != loss:
            raise _Over(search=False)


def search(
    descend: Callable[[Variables, Loss, _Log], None], loss: Loss, starts: Iterable[Variables], *,
    budget: Budget, every: int | None = None, callback: Callback | None = None,
) -> Found:
    """Run ``descend`` (:func:`signed_adam` or :func:`l_bfgs`) from each start; the best of all.

    ``loss(*variables)`` answers a data term, by which guesses are compared, and a prior, which is
    only descended upon: a prior that fades on the way would make late guesses look better. It is
    told how much of the budget is used by ``progress``, from 0 to 1. ``every`` keeps a snapshot of
    the first variable each so many evaluations. The snapshots returned are those of the best start.

    Raises ``ValueError`` if the loss is NaN at the outset of every start.
    """
    log = _Log(budget, every, callback)
    try:
        for start in starts:
            log.start()
            try:
                descend([v.clone().requires_grad_() for v in start], loss, log)
            except _Over as over:
                if over.search:
                    break
    except KeyboardInterrupt:
        if log.best is None:
            raise
    if log.best is None:
        raise ValueError("loss: NaN at every guess; is the update finite?")
    return log.best


def signed_adam(learning_rate: float, low: float, high: float):
    """Adam on the signs of the gradient, rate falling along a cosine; guesses in [low, high].

    Signs keep all pixels moving alike, whatever the scale of the loss (Geiping et al., 2020).
    """

    def descend(variables: Variables, loss: Loss, log: _Log) -> None:
        steps = log.budget.evaluations
        adam = torch.optim.Adam(variables, lr=learning_rate)
        schedule = CosineAnnealingLR(adam, steps)
        while True:
            data, prior = loss(*variables, progress=log.evaluation / steps)
            slopes = torch.autograd.grad(data + prior, variables)
            log.note(variables, data.item())
            for variable, slope in zip(variables, slopes, strict=True):
                variable.grad = slope.sign()
            adam.step()
            schedule.step()
            with torch.no_grad():
                variables[0].clamp_(low, high)

    return descend


def l_bfgs(history: int):
    """L-BFGS with a strong Wolfe line search that remembers ``history`` steps."""

    def descend(variables: Variables, loss: Loss, log: _Log) -> None:
        optimiser = torch.optim.LBFGS(
            variables, max_iter=20, history_size=history, line_search_fn="strong_wolfe",
            tolerance_grad=0, tolerance_change=0)

        def closure() -> Tensor:
            data, prior = loss(*variables, progress=0.0)
            total = data + prior
            for variable, slope in zip(variables, torch.autograd.grad(total, variables),
                                       strict=True):
                variable.grad = slope
            log.note(variables, data.item())
            return total.detach()

        before = None
        while True:
            after = optimiser.step(closure).item()
            if before == after:  # not a bit better in 20 steps: arithmetic ends here
                return
            before = after

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


def recovered(found: Found, labels: Tensor | None = None) -> Recovered:
    """What a search found as an attack's answer: values clipped to [0, 1], a score for each record.

    The score is minus the loss, the same for all records, and that of the guess before clipping.
    """
    guess = found.variables[0].clamp(0, 1)
    snapshots = torch.stack(found.snapshots).clamp(0, 1) if found.snapshots else None
    score = guess.new_full((len(guess),), -found.loss)
    return Recovered(guess, labels=labels, score=score, trajectory=snapshots)
