"""The search of SPEAR: directions in the span of the gradient that single out one record each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from leaklab.attacks.layers import DenseGradient

DRAWS_AT_ONCE = 2048
TRIED_AT_ONCE = 12  # directions of one batch of draws that are looked at closely
SPARE_ZEROS = 3  # zeros beyond those that any rank - 1 rows force
LOOSE, TIGHT = 20.0, 8.0  # zero means: below so many standard deviations of the noise
DISTINCT = 1e-3  # directions of two records are further apart, two finds of one record are closer
BOOST = 20.0  # weight in the draws of a neuron that some record found leaves off


@dataclass(frozen=True)
class Span:
    """The layer in the coordinates of the space that the rows of its gradient span.

    basis (rank, features + 1); neurons (neurons, rank): their weights, which a point of the span
    switches on where positive; live (neurons,): which have a gradient; rows (live, rank): those
    gradients, scaled to noise of standard deviation one.
    """

    basis: Tensor
    neurons: Tensor
    live: Tensor
    rows: Tensor

    @property
    def rank(self) -> int:
        return len(self.basis)

    @property
    def needed(self) -> int:
        """Zeros that a direction must have; with one record nothing is ever off."""
        return self.rank - 1 + SPARE_ZEROS * (self.rank > 1)


def span_of(seen: DenseGradient, rank: int) -> Span:
    """The layer in the coordinates of the first ``rank`` right singular vectors."""
    basis = torch.linalg.svd(seen.gradient, full_matrices=False).Vh[:rank]
    rows = seen.gradient @ basis.T / seen.noise.square().mean(1, keepdim=True).sqrt()
    live = rows.norm(dim=1) > TIGHT * rank**0.5
    return Span(basis, seen.weights @ basis.T, live, rows[live])


def search(span: Span, generator: torch.Generator, draws: int) -> Iterator[Tensor]:
    """Yield directions (rank, rank), one a column, that single out one record each: each set that
    fits better than those before, until the draws run out."""
    if span.rank == 1:
        yield span.rows.new_ones(1, 1)
        return
    if len(span.rows) < span.needed:
        return
    found: list[Tensor] = []
    patterns: set[bytes] = set()
    least = len(span.rows) * span.rank + 1
    weights, boost = _edge_weights(span), span.rows.new_ones(len(span.rows))
    for turn in range(-(-draws // DRAWS_AT_ONCE)):
        size = min(DRAWS_AT_ONCE, draws - turn * DRAWS_AT_ONCE)
        drawn = _draw(span, weights[turn % 2] * boost, size, generator)
        new = [q for q in _promising(span, drawn, patterns) if _is_half_space(span, q)]
        found += new
        for direction in new:
            boost[_zeros(span, direction)] = BOOST
        directions = _independent(span, found) if new else None
        if directions is not None:
            directions = _alternate(span, directions)
            on = points(span, directions) @ span.neurons[span.live].T > 0
            wrong = int(_misfits(span, on, directions).sum())
            if wrong < least:
                least = wrong
                yield directions


def _edge_weights(span: Span) -> tuple[Tensor, Tensor]:
    """Two sets of weights to draw rows with: even over directions, and drawn to the edge.

    Parallel rows count as one. The neurons that tell records apart lie between those that no
    record switches on and those that all do, so the second set falls off with the distance from
    the least-squares boundary of the silent neurons.
    """
    unit = span.rows / span.rows.norm(dim=1, keepdim=True)
    even = 1 / ((unit @ unit.T).abs() > 1 - 1e-9).sum(1).to(unit.dtype)
    side = torch.where(span.live, 1.0, -1.0).to(unit.dtype)
    depth = (span.neurons @ (torch.linalg.pinv(span.neurons) @ side))[span.live]
    depth = depth - depth.min()
    return even, even * torch.exp(-depth / depth.std().clamp_min(1e-12))


def _draw(span: Span, weights: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Unit directions (n, rank), each orthogonal to rank - 1 rows drawn by ``weights``."""
    if span.rank == 2:  # every row gives one: no need to draw
        directions = torch.stack([-span.rows[:, 1], span.rows[:, 0]], 1)
    else:
        even = weights.to(generator.device).expand(size, -1)
        chosen = torch.multinomial(even, span.rank - 1, generator=generator).to(weights.device)
        rows = span.rows[chosen]
        rest, _ = torch.linalg.solve_ex(rows[..., :-1], -rows[..., -1:])
        directions = torch.cat([rest[..., 0], rest.new_ones(size, 1)], 1)
    directions = directions[directions.isfinite().all(1)]
    return directions / directions.norm(dim=1, keepdim=True)


def _promising(span: Span, directions: Tensor, patterns: set[bytes]) -> list[Tensor]:
    """The few sparse directions whose zeros look most like a half-space; each pattern of zeros
    is looked at once, and remembered in ``patterns``."""
    zeros = (directions @ span.rows.T).abs() < LOOSE
    zeros = torch.unique(zeros[zeros.sum(1) >= span.needed], dim=0)
    neurons = span.neurons[span.live]
    side = torch.where(zeros, -1.0, 1.0).to(neurons)
    fitted = side @ torch.linalg.pinv(neurons).T @ neurons.T
    order = ((fitted > 0) == (side > 0)).sum(1).argsort(descending=True, stable=True)
    fresh = [z for z in zeros[order].cpu() if z.numpy().tobytes() not in patterns][:TRIED_AT_ONCE]
    kept = []
    for loose in fresh:
        patterns.add(loose.numpy().tobytes())
        tight = loose.to(span.rows.device)
        for _ in range(2):  # the fewer rows it rests on, the further off it may be
            direction = _orthogonal(span.rows[tight])
            tight = _zeros(span, direction)
        key = tight.cpu().numpy().tobytes()
        if tight.sum() >= span.needed and (key not in patterns or torch.equal(tight.cpu(), loose)):
            kept.append(direction)
        patterns.add(key)
    return kept


def _zeros(span: Span, direction: Tensor) -> Tensor:
    return (span.rows @ direction).abs() < TIGHT


def _orthogonal(rows: Tensor) -> Tensor:
    """The unit direction that is as orthogonal to ``rows`` as can be."""
    return torch.linalg.svd(rows, full_matrices=True).Vh[-1]


def _is_half_space(span: Span, direction: Tensor) -> bool:
    """Whether some point of the span is on where ``direction`` finds a gradient, off elsewhere.

    Some zeros belong to neurons that are on and have a gradient below the noise. As many as
    entries of this size make likely may be dropped, the one furthest inside first.
    """
    size, zero = (span.rows @ direction).abs(), _zeros(span, direction)
    neurons = span.neurons[span.live]
    unit = neurons / neurons.norm(dim=1, keepdim=True).clamp_min(1e-30)
    on, off = unit[~zero].cpu().numpy(), unit[zero].cpu().numpy()
    likely = float((TIGHT / size[~zero]).clamp_max(1.0).sum())
    for _ in range(int(2 + 3 * likely)):
        # On at least 1, off at most -1 but for slacks, whose sum is as small as can be.
        slack = np.vstack([np.zeros((len(on), len(off))), -np.eye(len(off))])
        answer = linprog(np.r_[np.zeros(span.rank), np.ones(len(off))], method="highs",
                         A_ub=np.hstack([np.vstack([-on, off]), slack]),
                         b_ub=-np.ones(len(slack)),
                         bounds=[(None, None)] * span.rank + [(0, None)] * len(off))
        if answer.status != 0 or not len(off):
            return False
        slacks = answer.x[span.rank:]
        if slacks.max() < 1:
            return True
        off = np.delete(off, slacks.argmax(), axis=0)
    return False


def _independent(span: Span, found: list[Tensor]) -> Tensor | None:
    """The sparsest independent directions as columns (rank, rank).

    One may be missing: the record it stands for lies where the others vanish, and is right even
    with a stand-in. ``None`` where more are missing.
    """
    chosen: list[Tensor] = []
    for direction in sorted(found, key=lambda q: -int(_zeros(span, q).sum())):
        grown = torch.stack([*chosen, direction])
        if len(chosen) < span.rank and torch.linalg.matrix_rank(grown, rtol=DISTINCT) == len(grown):
            chosen.append(direction)
    if len(chosen) < span.rank - 1:
        return None
    if len(chosen) == span.rank - 1:
        chosen.append(_orthogonal(torch.stack(chosen)))
    return torch.stack(chosen, 1)


def points(span: Span, directions: Tensor) -> Tensor:
    """The records in the coordinates of the span (rank, rank): where all other directions vanish,
    scaled so that their last input, that of the bias, is one."""
    points = torch.linalg.pinv(directions)
    return points / (points @ span.basis[:, -1:])


def _alternate(span: Span, directions: Tensor) -> Tensor:
    """Replace one direction at a time by that of the off-pattern of its own record, as long as
    one then fits better. A record is right where all *other* directions are."""
    for _ in range(2 * span.rank):
        on = points(span, directions) @ span.neurons[span.live].T > 0
        others = torch.stack([_orthogonal(span.rows[~own]) for own in on], 1)
        old, new = _misfits(span, on, directions), _misfits(span, on, others)
        i = int(torch.where(new < old, new, on.shape[1] + 1).argmin())
        if new[i] >= old[i]:
            break
        directions = directions.clone()
        directions[:, i] = others[:, i]
    return directions


def _misfits(span: Span, on: Tensor, directions: Tensor) -> Tensor:
    """Per record (rank,), the neurons that it switches on without a gradient, or the other way
    round; ``on`` (rank, live)."""
    return (on == ((span.rows @ directions).abs() < TIGHT).T).sum(1)
