"""MTS-Dialog: 1,701 sections of clinical notes, published for research on writing such notes.

Ben Abacha, Yim, Fan and Lin (2023, doi:10.18653/v1/2023.eacl-main.168), CC BY 4.0. No field is
marked in them, so that whole sections can be scored, and not names or dates.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from pathlib import Path

from leaklab.data.download import fetch
from leaklab.data.notes import LENGTH, SPECIAL, UNKNOWN, Corpus, Note
from leaklab.data.registry import FILES

PUBLIC = ("MTS-Dialog-TrainingSet.csv",)
PRIVATE = ("MTS-Dialog-ValidationSet.csv", "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv",
           "MTS-Dialog-TestSet-2-MEDIQA-Sum-2023.csv")
VOCABULARY = 4000
SHORTEST = 12  # tokens; shorter sections say "None" or "Noncontributory"


def load() -> tuple[Corpus, Corpus]:
    """The public sections, which make the vocabulary, and the private ones, with the same words.

    Sections are split into lower-case words, single digits and signs, and cut after
    :data:`leaklab.data.notes.LENGTH` tokens. Words beyond the commonest 4,000 of the public part
    are unknown. The class of a section is its header. Raises ``DataUnavailable`` where a file
    cannot be had.
    """
    parts = [[(path, list(_rows(path))) for path in map(fetch, names)]
             for names in (PUBLIC, PRIVATE)]
    public = [words for _, rows in parts[0] for _, words in rows]
    common = Counter(word for words in public for word in words).most_common(VOCABULARY)
    vocabulary = (*SPECIAL, *sorted(word for word, _ in common))
    classes = tuple(sorted({header for part in parts for _, rows in part for header, _ in rows}))
    return tuple(_corpus(f"MTS-Dialog, {name} part", part, vocabulary, classes)
                 for name, part in zip(("public", "private"), parts, strict=True))


def _corpus(name: str, files: list, vocabulary: tuple[str, ...],
            classes: tuple[str, ...]) -> Corpus:
    number = {word: k for k, word in enumerate(vocabulary)}
    notes = []
    for _, rows in files:
        for header, words in rows:
            cut = words[:LENGTH]
            tokens = tuple(number.get(word, UNKNOWN) for word in cut)
            notes.append(Note(" ".join(cut), tokens, (), classes.index(header)))
    content = b"".join(path.read_bytes() for path, _ in files)
    row = FILES[PUBLIC[0]]
    return Corpus(name, tuple(notes), vocabulary, classes, "REAL", row.licence, row.citation,
                  hashlib.sha256(content).hexdigest())


def _rows(path: Path):
    """Header and words of each section that is long enough."""
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            words = re.findall(r"[^\W\d_]+|\d|[^\w\s]", row["section_text"].lower())
            if len(words) >= SHORTEST:
                yield row["section_header"], words
