r"""From an update of a language model back to the notes: by algebra, without descent.

Each token enters as the sum of its own embedding and that of its place. Three things follow.

:func:`token_set`: a row of the token table moves only if its token occurs. No order, no counts.
:func:`ordered_tokens`: with a single record, the gradient of place t is the gradient :math:`g_t` at
that input, and the row of token v is the sum of :math:`g_t` over the places where v stands. Least
squares finds which; the note comes out verbatim, over any number of SGD steps.
:func:`sequences`: a linear layer's weight gradient is a sum of products of what came out and what
went in, so its rows lie in the span of the inputs. Who holds the model tries every word at every
place in the first block. In a causal model an input of the second block depends on the words before
it alone, so beginnings grow word by word, and words of different records are told apart. This takes
no embedding gradient: it reads models with frozen or tied embeddings too.

Threat model: a passive observer of a ``View`` who knows the learning rate, the local steps (SGD)
and the number of records. Nothing is known of the language, unless ``allowed`` says so.

Sources: Zhu et al. (2019, arXiv:1906.08935), first leaks of text; Gupta et al. (2022,
arXiv:2205.08514), the token set in federated text models; Petrov et al. (2024, arXiv:2405.15586),
DAGER, the span check and the growing of sequences. Ours differs from DAGER in the measure: not the
distance from a span of fixed rank, but how long a combination of gradient rows has to be to give
the input, which needs no rank and survives some local steps.

Where it fails: once the words of all records approach the width of the layer, or the rank of an
adapter, every word is in the span (:data:`ROOM`). Before that, words of a batch fit in places of
each other: if a and b stand at one place and a at another, b fits there as well. Which record a
word belongs to shows in the second block alone, whose gradient fades below the rounding of the
weights in a trained model, and whose inputs move over several local steps. A table whose head is
tied to it moves in every row, so that :func:`token_set` tells nothing. Noise, as of differential
privacy, hides short combinations. A malicious server does better: Fowl et al. (2022,
arXiv:2201.12675).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from leaklab.attacks.observed import mean_gradient, rounding
from leaklab.data.notes import PAD
from leaklab.runtime import progress
from leaklab.transformer import LowRank, NoteModel
from leaklab.updates import Recovered, View

FITS = 0.02
"""A word fits where its combination is shorter than this share of a usual word's."""
FAINT = 0.3
"""In the second block, a word that fits one beginning better than any other may fit this badly."""
ALIKE = 100
"""Two words or beginnings that are both right fit about equally well, within this factor."""
CERTAIN = 1e-4
"""A record is certain where each of its words fits better than this."""
ROOM = 0.2
"""At some place, of all words the best hundredth fits no better than this; else by chance."""
MOST = 256
"""Words followed at each place, at most."""


def read_notes(model: NoteModel, view: View, *, records: int) -> Recovered:
    """The notes behind ``view``, by :func:`ordered_tokens` where that is certain.

    Else by :func:`sequences`. Shapes, fields of the answer and errors as there.
    """
    if records == 1:
        tables = [_moved_rows(model, view, name)[0] for name in ("tokens.weight",
                                                                 "positions.weight")]
        if all(moved.any() for moved in tables) and not tables[0].all():
            found = ordered_tokens(model, view)
            if found.certificate.all():
                return found
    return sequences(model, view, records=records)


def token_set(model: NoteModel, view: View) -> Recovered:
    """The tokens whose embedding moved, in rising order; shape (tokens,).

    ``score`` is how far each row moved. Of one hospital's update no other token is ever named: a
    row without gradient stays as it was, bit for bit. Raises ``ValueError`` as
    :func:`leaklab.attacks.observed.mean_gradient` does, and where no row moved.
    """
    moved, rows = _moved_rows(model, view, "tokens.weight")
    if not moved.any():
        raise ValueError("view: no token embedding moved, expected an update that trains them; "
                         "sequences() needs none")
    return Recovered(moved.nonzero()[:, 0], score=rows.norm(dim=1)[moved])


def ordered_tokens(model: NoteModel, view: View) -> Recovered:
    r"""The note of a single record, shape (1, length), padded with zeros.

    Solves :math:`P^\top M = E^\top` for the 0/1 matrix M of places and tokens, where P holds the
    gradient of each place and E that of each token. ``certificate``: what M leaves of E is less
    than a tenth of the gradient of any place, which no other order would do while the places are
    linearly independent (as many as the width, at most). Raises ``ValueError`` as
    :func:`token_set` does.
    """
    table = token_set(model, view).guess
    gradient = mean_gradient(model, view)
    tokens = gradient["tokens.weight"][table].double()
    used, places = _moved_rows(model, view, "positions.weight")
    places = places[used].double()
    share = torch.linalg.lstsq(places.T.cpu(), tokens.T.cpu(), driver="gelsd").solution
    choice = share.argmax(1).to(table.device)
    rest = tokens - torch.zeros_like(tokens).index_add(0, choice, places)
    sure = rest.norm(dim=1).max() < 0.1 * places.norm(dim=1).min()
    guess = torch.full((1, len(used)), PAD, device=table.device)
    guess[0, used.nonzero()[:, 0]] = table[choice]
    certain = sure & (len(places) <= places.shape[1])
    score = -(rest.norm() / tokens.norm()).clamp(min=1e-300).log10()
    return Recovered(guess, score=score[None], certificate=certain[None])


def sequences(
    model: NoteModel, view: View, *, records: int, allowed: Tensor | None = None,
) -> Recovered:
    """Up to ``records`` notes, shape (records, length), padded with zeros; empty where none fits.

    ``allowed``, shape (vocabulary,), says which words may occur; by default those whose embedding
    moved, or all where none did. ``score`` is minus the log10 of the worst fit of a record, see
    :data:`FITS`, and 0 where nothing was found. ``certificate``: every word is :data:`CERTAIN`.
    At most ``records`` beginnings are grown, each by at most :data:`MOST` words a place. A model
    of one block tells no records apart: one sequence of the best words is returned. Raises
    ``ValueError`` for fewer than one record, or as
    :func:`leaklab.attacks.observed.mean_gradient` does.
    """
    if records < 1:
        raise ValueError(f"records: {records} given, expected 1 or more")
    net = _received(model, view)
    if allowed is None:
        moved, _ = _moved_rows(model, view, "tokens.weight")
        allowed = moved if moved.any() else torch.ones_like(moved)
        allowed[PAD] = False
    fits = word_fits(net, view)
    if fits.quantile(0.01, dim=1).max() < ROOM:
        return _answer([], records, len(fits), allowed.device)
    candidates = [_candidates(row, allowed) for row in fits]
    if records == 1 or len(net.blocks) == 1:
        return _answer(_one_record(fits, candidates), records, len(fits), allowed.device)
    return _answer(_grow(net, view, fits, candidates, records), records, len(fits), allowed.device)


def word_fits(model: NoteModel, view: View) -> Tensor:
    """How well each word fits at each place, shape (length, vocabulary); 1 is usual, 0 exact.

    The squared length of the shortest combination of rows of the first block's gradient that
    gives the word's input, over the median of all words there.
    """
    net = _received(model, view)
    span, norm = _span(net, view, 0), net.blocks[0].before_attention
    with torch.no_grad():  # place by place: all words at all places take a lot of memory
        length = torch.stack([span.length(norm(net.tokens.weight + place))
                              for place in net.positions.weight])
    return length / length.median(1, keepdim=True).values


# --- The span of a layer's inputs -------------------------------------------------------------


Found = tuple[list[int], float]
"""A sequence of tokens and the worst fit of its words."""


@dataclass(frozen=True)
class _Span:
    """Singular directions of a gradient, what each costs, and what inputs pass before it."""

    axes: Tensor
    cost: Tensor
    down: Tensor | None

    def length(self, inputs: Tensor) -> Tensor:
        """Squared length of the combination; shapes (..., width) to (...)."""
        seen = inputs.double() if self.down is None else inputs.double() @ self.down.T
        return ((seen @ self.axes).square() * self.cost).sum(-1)


def _span(net: NoteModel, view: View, block: int) -> _Span:
    adapted = isinstance(net.blocks[block].attend, LowRank)
    name = f"blocks.{block}.attend." + ("up" if adapted else "weight")
    gradient = mean_gradient(net, view)[name].double()
    _, values, axes = torch.linalg.svd(gradient, full_matrices=False)
    # noise of a random matrix: entries uniform within their rounding, largest singular value
    entry = (rounding(net, view)[name].double().square().mean() / 3).sqrt()
    arithmetic = torch.finfo(view.after[name].dtype).eps * values[0]
    noise = entry * sum(side**0.5 for side in gradient.shape) + arithmetic
    down = net.blocks[block].attend.down.detach().double() if adapted else None
    return _Span(axes.T, 1 / (values.square() + noise.square()), down)


def _received(model: NoteModel, view: View) -> NoteModel:
    """A copy of ``model`` with the weights that the hospital received."""
    mean_gradient(model, view)  # refuses a view that does not belong to the model
    net = copy.deepcopy(model).eval()
    net.load_state_dict(dict(view.before))
    return net


def _moved_rows(model: NoteModel, view: View, name: str) -> tuple[Tensor, Tensor]:
    """Which rows of a table moved beyond rounding, and the gradient of all rows."""
    rows = mean_gradient(model, view)[name]
    return (rows.abs() > rounding(model, view)[name]).any(1), rows


# --- From words that fit to sequences ---------------------------------------------------------


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
    if not words:
        return []
    broken = any(candidates[len(words):])  # something fits behind the end: the end is in doubt
    return [(words, 1.0 if broken else max(float(fits[t, w]) for t, w in enumerate(words)))]


def _grow(net: NoteModel, view: View, fits: Tensor, candidates: list[list[int]],
          records: int) -> list[Found]:
    """Beginnings that fit in the second block, a word longer at each place, and their worst fit."""
    measure = _second_block(net, view, fits.shape)
    growing: list[Found] = [([], 0.0)]
    ended: list[Found] = []
    for t, words in enumerate(progress(candidates, "places")):
        if not words or not growing:
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
    span, device = _span(net, view, 1), net.tokens.weight.device

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


def _answer(found: list[Found], records: int, length: int,
            device: torch.device) -> Recovered:
    guess = torch.full((records, length), PAD, device=device)
    fit = torch.ones(records, dtype=torch.float64, device=device)
    for row, (words, worst) in enumerate(found):
        guess[row, :len(words)] = torch.tensor(words, device=device)
        fit[row] = worst
    return Recovered(guess, score=-fit.clamp(min=1e-300).log10(), certificate=fit < CERTAIN)
