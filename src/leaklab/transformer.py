"""A small causal transformer that completes or classifies notes, and what of it a hospital trains.

The layout is that of GPT-2: token embedding plus learned position, blocks that normalise before
they attend and before they compute, a last norm. Word ``t`` sees words up to ``t``. To complete, a
head scores every word of the vocabulary as word ``t + 1``. To classify, a head scores the classes
once, from the mean over the words of the note.

A federation may train all weights, the blocks alone with the embeddings frozen
(:func:`blocks_only`), or small adapters beside frozen weights (:func:`with_adapters`). A head over
words is then frozen too. A head over classes is new to the task, so it trains in each case.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from leaklab.data.notes import END, PAD
from leaklab.runtime import isolated_rng

__all__ = ["next_words", "note_model"]

NOTHING = -100
"""The target of a place that predicts nothing; ``cross_entropy`` leaves it out."""


class LowRank(nn.Module):
    """A linear layer and a detour of small rank, which does nothing at first.

    ``down`` has shape (rank, in), ``up`` (out, rank) and starts at zero.
    Source: Hu et al. (2021, arXiv:2106.09685), LoRA.
    """

    def __init__(self, base: nn.Linear, rank: int):
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + linear(linear(x, self.down), self.up)


class Block(nn.Module):
    """Attention, then two dense layers, each behind a norm and beside a way around it.

    ``attend`` holds queries, keys and values of all heads in one layer, (width) to (3 width).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.before_dense = nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(),
                                   nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self._heads(x)
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._after(x, seen)

    def extend(self, starts: Tensor, ends: Tensor) -> Tensor:
        """What the block makes of each of several words that may follow a beginning.

        Shapes: ``starts`` (n, length, width), length 0 included, ``ends`` (n, words, width), as
        the result. The same as ``forward`` on each beginning with one word, without repeating the
        beginning for every word.
        """
        _, keys, values = self._heads(starts)
        query, key, value = self._heads(ends)
        past = query @ keys.transpose(2, 3)
        own = (query * key).sum(3, keepdim=True)
        weight = (torch.cat([past, own], 3) / query.shape[3] ** 0.5).softmax(3)
        return self._after(ends, weight[..., :-1] @ values + weight[..., -1:] * value)

    def _heads(self, x: Tensor) -> Tensor:
        """Queries, keys and values, (3, n, heads, length, width of a head)."""
        n, length, width = x.shape
        joined = self.attend(self.before_attention(x))
        return joined.view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)

    def _after(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.mix(seen.transpose(1, 2).reshape(x.shape))
        return x + self.dense(self.before_dense(x))


class NoteModel(nn.Module):
    """Words in, scores of the next word or of the note's class out; see :func:`note_model`."""

    def __init__(self, vocabulary: int, length: int, width: int, heads: int, blocks: int,
                 tied: bool, classes: int | None):
        super().__init__()
        self.classifies = classes is not None
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        if self.classifies:
            self.head = nn.Linear(width, classes)
        else:
            self.head = None if tied else nn.Linear(width, vocabulary, bias=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """What enters the first block: shapes (n, length) to (n, length, width)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.tokens(tokens) + self.positions(places)

    def features(self, tokens: Tensor) -> Tensor:
        """What enters a head over classes: the mean over the words of each note, (n, width)."""
        found = self.norm(self.blocks(self.embed(tokens)))
        words = (tokens != PAD)[..., None]
        return (found * words).sum(1) / words.sum(1).clamp(min=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores (n, vocabulary, length), as ``cross_entropy`` expects them, or (n, classes)."""
        if self.classifies:
            return self.head(self.features(tokens))
        found = self.norm(self.blocks(self.embed(tokens)))
        weight = self.tokens.weight if self.head is None else self.head.weight
        return linear(found, weight).transpose(1, 2)


def note_model(
    generator: torch.Generator, *, vocabulary: int, length: int = 64, width: int = 64,
    heads: int = 4, blocks: int = 2, tied: bool = False, classes: int | None = None,
) -> NoteModel:
    """A model for notes of at most ``length`` tokens; weights drawn as for GPT-2.

    Input (n, up to length) token numbers, int64. It completes, with output (n, vocabulary, as
    many), or classifies into ``classes``, with output (n, classes). ``tied``: the head over words
    is the token embedding itself (Press and Wolf, 2017, arXiv:1608.05859).

    Raises ``ValueError`` if ``width`` is not a multiple of ``heads``, for fewer than two classes,
    or for a tied head over classes.
    """
    if width % heads:
        raise ValueError(f"width: {width} given, expected a multiple of heads ({heads})")
    if classes is not None and (classes < 2 or tied):
        raise ValueError(f"classes, tied: {classes}, {tied} given, expected None, or two or more "
                         "classes with a head of their own")
    with isolated_rng(generator):
        model = NoteModel(vocabulary, length, width, heads, blocks, tied, classes)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def blocks_only(model: NoteModel) -> NoteModel:
    """A copy with frozen embeddings: blocks and last norm train, and a head over classes."""
    part = copy.deepcopy(model)
    for module in (part.tokens, part.positions, part.head):
        if module is not None:
            module.requires_grad_(module is part.head and part.classifies)
    return part


def with_adapters(model: NoteModel, generator: torch.Generator, *, rank: int = 8) -> NoteModel:
    """A copy of which adapters beside each ``attend`` layer train, and a head over classes.

    Raises ``ValueError`` for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank: {rank} given, expected 1 or more")
    part = copy.deepcopy(model).requires_grad_(False)
    if part.classifies:
        part.head.requires_grad_(True)
    with isolated_rng(generator):
        for block in part.blocks:
            block.attend = LowRank(block.attend, rank).to(block.attend.weight)
    return part


def next_words(tokens: Tensor) -> Tensor:
    """Targets for ``tokens``, both (n, length) int64: each place's next token.

    The last token of a note predicts :data:`leaklab.data.notes.END`, padding predicts nothing.
    """
    ahead = torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], PAD)], 1)
    ahead = torch.where(ahead == PAD, END, ahead)
    return torch.where(tokens == PAD, NOTHING, ahead)
