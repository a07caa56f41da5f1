"""Clinical notes with fields worth protecting, made by a grammar; no real person occurs in them.

A note is six sentences: who, when and under which number; complaint; finding; diagnosis with its
code; treatment; what follows. Each sentence has eight forms. Four fields are marked, as a reviewer
of protected health information would mark them: name, number, date, diagnosis.

Text is split into words and signs. A value from a short list, such as a day or a code, is one
token. A record number has ten million values and is spelt digit by digit: the ten digits occur
everywhere, so that only their order tells whose number it is, and chance finds one in 10**7.

:mod:`leaklab.data.notes_grammar` holds the words.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leaklab.data import notes_grammar as grammar

__all__ = ["synthetic"]

FIELDS = ("name", "number", "date", "diagnosis")
PAD, END, UNKNOWN = 0, 1, 2
SPECIAL = ("<pad>", "<end>", "<unknown>")
DIGITS = 7  # of a record number
LENGTH = 64  # tokens that no note exceeds

Span = tuple[str, int, int]
"""A marked field: its kind, its first token, and the one after its last."""


@dataclass(frozen=True)
class Note:
    """One note: its text, its tokens as numbers, the spans of its fields, and its class."""

    text: str
    tokens: tuple[int, ...]
    spans: tuple[Span, ...]
    label: int

    def field(self, kind: str) -> tuple[int, ...]:
        """The tokens of the field ``kind``. Raises ``KeyError`` for one that is not marked."""
        start, stop = {name: (a, b) for name, a, b in self.spans}[kind]
        return self.tokens[start:stop]


@dataclass(frozen=True)
class Corpus:
    """Notes, the words that their tokens stand for, and their provenance."""

    name: str
    notes: tuple[Note, ...]
    words: tuple[str, ...]
    classes: tuple[str, ...]
    tag: str
    licence: str
    citation: str
    sha256: str

    def __len__(self) -> int:
        return len(self.notes)

    @property
    def provenance(self) -> str:
        """One line to print once in a lab or under a figure."""
        return f"{self.tag} {self.name}, {self.licence}"


def synthetic(n: int, seed: int) -> Corpus:
    """``n`` notes drawn from the grammar; note ``i`` depends on ``(seed, i)`` only.

    The class of a note is the specialty of its diagnosis. Names, numbers and dates are uniform;
    the k-th diagnosis of a specialty is drawn with weight 1/k, so that some guesses are better
    than others. Raises ``ValueError`` for fewer than one note.
    """
    if n < 1:
        raise ValueError(f"n: {n} given, expected 1 or more")
    notes = tuple(_note(np.random.default_rng((seed, i))) for i in range(n))
    content = "\n".join([*vocabulary(), *(note.text for note in notes)])
    return Corpus("notes by grammar", notes, vocabulary(), tuple(grammar.DIAGNOSES), "SYNTHETIC",
                  "generated", "leaklab.data.notes", hashlib.sha256(content.encode()).hexdigest())


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """All words the grammar can write, in order; the special tokens first."""
    text = [*grammar.FIRST_NAMES, *grammar.LAST_NAMES, *grammar.MONTHS, *grammar.YEARS,
            *map(str, range(32))]
    for slot in grammar.SLOTS:
        text += [word for form in slot for word in form.split() if "{" not in word]
    for entry in _diagnoses():
        text += [word for part in entry["fields"].values() for word in part]
    return (*SPECIAL, *sorted(set(text)))


def to_text(tokens: Iterable[int], words: Sequence[str]) -> str:
    """The tokens as a line to read; padding is left out."""
    line = " ".join(words[token] for token in tokens if token != PAD)
    for sign in ",.:)":
        line = line.replace(f" {sign}", sign)
    return line.replace("( ", "(")


def padded(notes: Sequence[Note], length: int = LENGTH) -> np.ndarray:
    """Tokens as int64, shape (n, length), padded at the end by :data:`PAD`.

    Raises ``ValueError`` for a note that is longer.
    """
    table = np.full((len(notes), length), PAD, dtype=np.int64)
    for row, note in zip(table, notes, strict=True):
        if len(note.tokens) > length:
            raise ValueError(f"notes: one of {len(note.tokens)} tokens given, expected at most "
                             f"{length}")
        row[:len(note.tokens)] = note.tokens
    return table


def likeliest_fields(public: Sequence[Note]) -> dict[str, tuple[int, ...]]:
    """For each field its commonest value among ``public`` notes: the best guess without an update.

    Among equally common values, the one that came first.
    """
    return {kind: Counter(note.field(kind) for note in public).most_common(1)[0][0]
            for kind in FIELDS}


# --- The grammar at work ----------------------------------------------------------------------


@functools.cache
def _diagnoses() -> tuple[dict, ...]:
    """All diagnoses: label, weight, and the words of diagnosis, complaint, finding, treatment."""
    entries = []
    for label, table in enumerate(grammar.DIAGNOSES.values()):
        for rank, line in enumerate(table.strip().splitlines(), start=1):
            name, code, *rest = line.split("|")
            parts = [f"{name} ( {code} )", *rest]
            fields = zip(("diagnosis", "complaint", "finding", "treatment"), parts, strict=True)
            entries.append({"label": label, "weight": 1 / rank,
                            "fields": {kind: tuple(part.split()) for kind, part in fields}})
    return tuple(entries)


def _note(rng: np.random.Generator) -> Note:
    weights = np.array([entry["weight"] for entry in _diagnoses()])
    entry = _diagnoses()[rng.choice(len(weights), p=weights / weights.sum())]
    fill = {
        **entry["fields"],
        "name": (_one(rng, grammar.FIRST_NAMES), _one(rng, grammar.LAST_NAMES)),
        "number": tuple(map(str, rng.integers(10, size=DIGITS))),
        "date": (str(rng.integers(1, 29)), _one(rng, grammar.MONTHS), _one(rng, grammar.YEARS)),
    }
    line: list[str] = []
    spans: list[Span] = []
    for slot in grammar.SLOTS:
        for word in _one(rng, slot).split():
            kind = word.strip("{}")
            values = fill[kind] if word != kind else (word,)
            if word != kind and kind in FIELDS:
                spans.append((kind, len(line), len(line) + len(values)))
            line += values
    number = {word: k for k, word in enumerate(vocabulary())}
    tokens = tuple(number[word] for word in line)
    return Note(to_text(tokens, vocabulary()), tokens, tuple(spans), entry["label"])


def _one(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[rng.integers(len(values))]
