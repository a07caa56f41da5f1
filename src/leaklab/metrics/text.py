"""How much of a note was read: words, whole notes, and the fields that a law would protect.

Notes are token numbers of shape (n, length), padded at the end. An attack answers in no particular
order: put its guess in that of the notes by :func:`align` first. A share of tokens flatters, since
most words of a note stand in every note; report whole notes and fields beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from leaklab.data.notes import PAD

__all__ = ["token_f1"]

Spans = Sequence[Sequence[tuple[str, int, int]]]
"""For each note its fields: kind, first token, the one after the last."""


def align(guess: Tensor, truth: Tensor) -> Tensor:
    """Indices, shape (n,), such that ``guess[index]`` lines up with ``truth``.

    The assignment under which most places agree; padding agrees with nothing. Shapes: both
    (n, length). Raises ``ValueError`` for different shapes.
    """
    _require_alike(guess, truth)
    same = ((truth[:, None] == guess[None]) & (truth != PAD)[:, None]).sum(2)
    _, index = linear_sum_assignment(same.cpu().numpy(), maximize=True)
    return torch.from_numpy(index).to(guess.device)


def verbatim(guess: Tensor, truth: Tensor) -> Tensor:
    """Whether each note was read to the last token; shapes (n, length) to (n,), float64."""
    _require_alike(guess, truth)
    return (guess == truth).all(1).double()


def token_f1(guess: Tensor, truth: Tensor) -> Tensor:
    """F1 of each note's bag of tokens, whatever their order; shapes (n, length) to (n,), float64.

    A guess that names nothing has 0.
    """
    _require_alike(guess, truth)
    scores = []
    for said, true in zip(guess.tolist(), truth.tolist(), strict=True):
        bags = [Counter(token for token in row if token != PAD) for row in (said, true)]
        total = bags[0].total() + bags[1].total()
        scores.append(2 * (bags[0] & bags[1]).total() / total if total else 0.0)
    return torch.tensor(scores, dtype=torch.float64, device=guess.device)


def fields_read(guess: Tensor, truth: Tensor, spans: Spans) -> dict[str, Tensor]:
    """For each kind of field, whether its tokens stand in the guess as they do in the note.

    In their order and side by side, at any place. Shapes: ``guess`` and ``truth`` (n, length);
    one result (n,) a kind, float64. Raises ``ValueError`` for different shapes, for no notes, for
    another number of spans than notes, or where notes differ in their kinds of field.
    """
    _require_alike(guess, truth)
    return _by_kind(truth, spans, lambda row, field: _runs(guess[row].tolist(), field))


def fields_named(tokens: Tensor, truth: Tensor, spans: Spans) -> dict[str, Tensor]:
    """For each kind of field, whether all its tokens are among ``tokens``, shape (k,).

    What a set of words gives away without order. Compare with notes that the set is not of: a
    field of common words is named by chance. Results and errors as for :func:`fields_read`.
    """
    known = set(tokens.tolist())
    return _by_kind(truth, spans, lambda row, field: known.issuperset(field))


def _by_kind(truth: Tensor, spans: Spans, holds) -> dict[str, Tensor]:
    if len(spans) != len(truth) or not len(truth):
        raise ValueError(f"spans: {len(spans)} given for {len(truth)} notes, expected one list a "
                         "note, for one note or more")
    kinds = sorted({kind for kind, _, _ in spans[0]})
    found: dict[str, list[bool]] = {kind: [] for kind in kinds}
    for row, (note, marked) in enumerate(zip(truth.tolist(), spans, strict=True)):
        if sorted(kind for kind, _, _ in marked) != kinds:
            raise ValueError(f"spans: note {row} has fields {[kind for kind, *_ in marked]}, "
                             f"expected each of {kinds} once")
        for kind, start, stop in marked:
            found[kind].append(holds(row, note[start:stop]))
    return {kind: torch.tensor(hits, dtype=torch.float64) for kind, hits in found.items()}


def _runs(line: list[int], field: list[int]) -> bool:
    width = len(field)
    return any(line[k:k + width] == field for k in range(len(line) - width + 1))


def _require_alike(guess: Tensor, truth: Tensor) -> None:
    if guess.shape != truth.shape or guess.ndim != 2 or len(guess) == 0:
        raise ValueError(f"guess, truth: shapes {tuple(guess.shape)} and {tuple(truth.shape)} "
                         "given, expected the same (n, length) with n of 1 or more")
