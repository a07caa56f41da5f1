"""From words that fit to whole notes, a word longer at each place; see :mod:`leaklab.attacks.text`.

Threat model, sources and limits as there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leaklab.attacks.search import Budget
from leaklab.attacks.text.proof import SAME, classes_behind, distance, received, repeats
from leaklab.attacks.text.spans import CHECKS, Meter, fits_within, span_of
from leaklab.attacks.text.tokens import moved_rows
from leaklab.data.notes import PAD
from leaklab.runtime import progress
from leaklab.transformer import NoteModel
from leaklab.updates import Recovered, View

FITS = 0.02
"""A word fits where its combination is shorter than this share of a usual word's."""
FAINT = 0.3
"""In the second block, a word that fits one beginning better than any other may fit this badly."""
ALIKE = 100
"""Two words or beginnings that are both right fit about equally well, within this factor."""
CLEAR = 1e-4
"""Where all words of a note fit better than this, it is worth asking what else is in the batch."""
ROOM = 0.2
"""At some place, of all words the best hundredth fits no better than this; else by chance."""
MOST = 256
"""Words followed at each place, at most."""

Found = tuple[list[int], float]
"""A sequence of tokens and the worst fit of its words."""


def sequences(
    model: NoteModel, view: View, *, records: int, allowed: Tensor | None = None,
    budget: Budget = CHECKS,
) -> Recovered:
    """Up to ``records`` notes, shape (records, length), padded with zeros; empty where none fits.

    records
        How many notes there are. Told too few, the attack mixes several into one, and told too
        many, it may break one in two: such an answer is never certain, since training on it gives
        another update. Rows left empty are no claim.
    allowed
        Which words may occur, booleans of shape (vocabulary,); by default those whose embedding
        moved, or all where none did.
    budget
        Span checks and seconds; what was found until then is the answer. Training on it, once,
        comes on top.

    ``score`` is minus the log10 of the worst fit of a record, see :data:`FITS`, and 0 where nothing
    was found. ``certificate``: training on all notes found repeats the update. ``labels`` are the
    classes, where the model classifies. At most ``records`` beginnings are grown, each by at most
    :data:`MOST` words a place. A model of one block tells no records apart: one sequence of the
    best words is returned. Raises ``ValueError`` for fewer than one record, for ``allowed`` of
    another shape, for a budget with restarts, or as
    :func:`leaklab.attacks.text.proof.received` does.
    """
    if records < 1:
        raise ValueError(f"records: {records} given, expected 1 or more")
    net, meter = received(model, view), Meter(budget)
    allowed = _allowed(net, view, allowed)
    fits = fits_within(net, view, meter)
    candidates = [_candidates(row, allowed) for row in fits]
    if _crowded(fits):
        found = []
    elif records == 1 or len(net.blocks) == 1:
        found = _one_record(fits, candidates)
    else:
        found = _grow(net, view, fits, candidates, records, meter)
        found = _with_lost(net, view, found, records, meter)
    return _answer(net, view, found, records)


def _allowed(net: NoteModel, view: View, allowed: Tensor | None) -> Tensor:
    """Which words may occur: those given, those that moved, or all; never padding."""
    words = len(net.tokens.weight)
    if allowed is None:
        moved, _ = moved_rows(net, view, "tokens.weight")
        allowed = moved if moved.any() else torch.ones_like(moved)
    if allowed.shape != (words,) or allowed.dtype != torch.bool:
        raise ValueError(f"allowed: {allowed.dtype} of shape {tuple(allowed.shape)} given, "
                         f"expected booleans of shape ({words},), one a word")
    allowed = allowed.to(net.tokens.weight.device, copy=True)
    allowed[PAD] = False
    return allowed


def _crowded(fits: Tensor) -> bool:
    """Whether words fit by chance at every place that was checked."""
    hundredth = fits.kthvalue(max(1, fits.shape[1] // 100), dim=1).values
    return not bool((hundredth[hundredth.isfinite()] >= ROOM).any())


def _candidates(row: Tensor, allowed: Tensor) -> list[int]:
    """Words that fit at a place, the best first."""
    fitting = torch.where(allowed, row, torch.inf)
    order = fitting.argsort()[:MOST]
    return order[fitting[order] < FITS].tolist()


def _one_record(fits: Tensor, candidates: list[list[int]]) -> list[Found]:
    """The best word of each place, up to the first place where none fits."""
    words = []
    for place in candidates:
        if not place:
            break
        words.append(place[0])
    return [(words, max(float(fits[t, w]) for t, w in enumerate(words)))] if words else []


def _grow(net: NoteModel, view: View, fits: Tensor, candidates: list[list[int]],
          records: int, meter: Meter) -> list[Found]:
    """Beginnings that fit in the second block, a word longer at each place, and their worst fit."""
    measure = _second_block(net, view, fits.shape)
    growing: list[Found] = [([], 0.0)]
    ended: list[Found] = []
    for t, words in enumerate(progress(candidates, "places")):
        if not words or not growing or not meter.spend(len(growing) * len(words)):
            break
        grid = measure(torch.tensor([start for start, _ in growing]).long(), torch.tensor(words))
        pairs = _extensions(grid, records - len(ended))
        ended += [growing[k] for k in set(range(len(growing))) - {k for k, _ in pairs} if t]
        growing = [([*growing[k][0], words[c]],
                    max(growing[k][1], float(grid[k, c]), float(fits[t, words[c]])))
                   for k, c in pairs]
    return [*ended, *(found for found in growing if found[0])][:records]


def _extensions(grid: Tensor, most: int) -> list[tuple[int, int]]:
    """Which beginning goes on with which word: pairs of row and column of ``grid``.

    Each beginning takes the word that fits it best: where it fits no other beginning better, down
    to a faint fit; else only if it fits about as well as there, so that a record may end before
    another. A word that nobody took starts a branch from the beginning it fits best, if it fits
    about as well as the word taken, while there are records left.
    """
    best, columns = grid.argmin(0).tolist(), grid.argmin(1).tolist()

    def alike(value: Tensor, other: Tensor) -> bool:
        return bool(value < FITS and value < ALIKE * other)

    chosen = [(k, c) for k, c in enumerate(columns)
              if (grid[k, c] < FAINT if best[c] == k else alike(grid[k, c], grid[best[c], c]))]
    taken = {c for _, c in chosen}
    for c in grid.min(0).values.argsort().tolist():
        k = best[c]
        if c not in taken and len(chosen) < most and alike(grid[k, c], grid[k, columns[k]]):
            chosen.append((k, c))
    return chosen


def _second_block(net: NoteModel, view: View, shape: torch.Size):
    """How well words fit in the second block after each beginning, over words at random."""
    span, device = span_of(net, view, 1), net.tokens.weight.device

    @torch.no_grad()
    def lengths(hidden: Tensor) -> Tensor:
        return span.length(net.blocks[1].before_attention(hidden))

    @torch.no_grad()
    def measure(starts: Tensor, words: Tensor) -> Tensor:
        place = net.positions.weight[starts.shape[1]]
        ends = (net.tokens(words.to(device)) + place).expand(len(starts), -1, -1)
        return lengths(net.blocks[0].extend(net.embed(starts.to(device)), ends)) / usual

    draw = torch.Generator().manual_seed(0)  # the usual length varies little between draws
    chance = torch.randint(shape[1], (64, shape[0]), generator=draw).to(device)
    with torch.no_grad():
        usual = lengths(net.blocks[0](net.embed(chance))).median()
    return measure


def _with_lost(net: NoteModel, view: View, found: list[Found], records: int,
               meter: Meter) -> list[Found]:
    """Adds what growing cannot see beside the notes found: their beginnings, and repeats.

    A note that another one of the batch begins with leaves no input of its own. But it has its
    weight in the update: one after the other, the beginning is added that brings the update of all
    nearest to the one seen, until it is the same or nothing comes nearer.
    """
    if not found or max(worst for _, worst in found) > CLEAR:
        return found
    gap = distance(net, view, _padded(net, found, len(found)))
    while len(found) < records and gap >= SAME:
        begun = {tuple(words[:k]): worst
                 for words, worst in found for k in range(1, len(words) + 1)}
        gaps = {}
        for words in progress(begun, "beginnings"):
            if not meter.spend(sum(len(line) for line, _ in found) + len(words)):
                return found
            option = [*found, (list(words), begun[words])]
            gaps[words] = distance(net, view, _padded(net, option, len(option)))
        nearest = min(gaps, key=gaps.get)
        if gaps[nearest] >= gap:
            return found
        found, gap = [*found, (list(nearest), begun[nearest])], gaps[nearest]
    return found


def _padded(net: NoteModel, found: list[Found], rows: int) -> Tensor:
    """Tokens of the notes found, shape (rows, length)."""
    device = net.tokens.weight.device
    guess = torch.full((rows, len(net.positions.weight)), PAD, device=device)
    for row, (words, _) in zip(guess, found, strict=False):
        row[:len(words)] = torch.tensor(words, device=device)
    return guess


def _answer(net: NoteModel, view: View, found: list[Found], records: int) -> Recovered:
    """Notes, classes, scores and certificate of what was found, a row a record."""
    guess = _padded(net, found, records)
    notes = _padded(net, found, len(found))
    fit = torch.ones(records, dtype=torch.float64, device=guess.device)
    for row, (_, worst) in enumerate(found):
        fit[row] = worst
    claimed = guess.any(1)
    sure = bool(found) and repeats(net, view, notes)
    labels = None
    if net.classifies:
        labels = torch.full((records,), -1, device=guess.device)
        if found:
            labels[:len(found)] = classes_behind(net, view, notes)
    return Recovered(guess, labels, -fit.clamp(min=1e-300).log10(), claimed & sure)
