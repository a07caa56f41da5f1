"""The protocol by which every reading of clinical notes in the course is judged.

A hospital trains on notes, the server sees its update, an attack reads. What it read is scored
field by field, beside a guess that saw no update: the likeliest value under the grammar, found on
public notes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from leaklab.data import notes as data
from leaklab.data.notes import Note
from leaklab.federation import train_on, update_view
from leaklab.metrics import text
from leaklab.runtime import generator
from leaklab.transformer import NoteModel, next_words
from leaklab.updates import Knowledge, LocalTraining, View


def tokens(notes: Sequence[Note], device: torch.device | str = "cpu") -> Tensor:
    """The notes as a model takes them: int64, shape (n, :data:`leaklab.data.notes.LENGTH`)."""
    return torch.tensor(data.padded(notes)).to(device)


def sent(model: NoteModel, inputs: Tensor, training: LocalTraining, seed: int,
         classes: Tensor | None = None) -> View:
    """What a server sees of a hospital that trains on these notes, (n, length), and no others.

    The targets are the notes themselves, or their ``classes``, (n,), where the model classifies.
    Either way no labels are known. Raises ``ValueError`` for classes that the model does not take.
    """
    if (classes is not None) != model.classifies:
        raise ValueError(f"classes: {'none' if classes is None else len(classes)} given, expected "
                         "one a note for a model that classifies, and none for one that completes")
    targets = next_words(inputs) if classes is None else classes
    update = train_on(model, inputs, targets, training,
                      generator=generator(seed, "local training"))
    return update_view(update, Knowledge(training))


def judge(guess: Tensor, notes: Sequence[Note]) -> dict[str, Tensor]:
    """Scores of a guess, (n, length) in any order: one a note, shape (n,), float64.

    ``verbatim``, ``f1``, and for each kind of field whether it was read. Where an attack said
    nothing, nothing was read: it is not credited with a guess.
    """
    truth = tokens(notes, guess.device)
    guess = guess[text.align(guess, truth)]
    fields = text.fields_read(guess, truth, [note.spans for note in notes])
    return {"verbatim": text.verbatim(guess, truth), "f1": text.token_f1(guess, truth), **fields}


def guessed(public: Sequence[Note], notes: Sequence[Note]) -> dict[str, Tensor]:
    """For each kind of field, whether its likeliest value among ``public`` is that of each note."""
    likeliest = data.likeliest_fields(public)
    return {kind: torch.tensor([note.field(kind) == value for note in notes]).double()
            for kind, value in likeliest.items()}
