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

Every certificate is the same test: who holds the model trains it on the answer, and sees whether
the same update comes out (:mod:`leaklab.attacks.text.proof`). The first two attacks are one pass.
The third is a search, bounded by a :class:`leaklab.attacks.search.Budget` of span checks: one word
tried at one place, behind one beginning.

Threat model: a passive observer of a ``View`` who knows the learning rate, the local steps (SGD
over all records at once) and the number of records. Nothing is known of the language, unless
``allowed`` says so. Models that complete notes and models that classify them are read alike; of the
latter the classes come out too.

Sources: Zhu et al. (2019, arXiv:1906.08935), first leaks of text; Gupta et al. (2022,
arXiv:2205.08514), the token set in federated text models; Petrov et al. (2024, arXiv:2405.15586),
DAGER, the span check and the growing of sequences. Ours differs from DAGER in the measure: not the
distance from a span of fixed rank, but how long a combination of gradient rows has to be to give
the input, which needs no rank and survives some local steps.

Where it fails: once the words of all records approach the width of the layer, or the rank of an
adapter, every word is in the span. Before that, words of a batch fit in places of each other: if a
and b stand at one place and a at another, b fits there as well. Which record a word belongs to
shows in the second block alone, whose gradient fades below the rounding of the weights in a trained
model, and whose inputs move over several local steps. A table whose head is tied to it moves in
every row, so that :func:`token_set` tells nothing. Noise, as of differential privacy, hides short
combinations. A malicious server does better: Fowl et al. (2022, arXiv:2201.12675).
"""

from __future__ import annotations

from leaklab.attacks.search import Budget
from leaklab.attacks.text.growing import sequences
from leaklab.attacks.text.order import ordered_tokens
from leaklab.attacks.text.spans import CHECKS, word_fits
from leaklab.attacks.text.tokens import moved_rows, token_set
from leaklab.transformer import NoteModel
from leaklab.updates import Recovered, View

__all__ = ["read_notes", "token_set"]


def read_notes(model: NoteModel, view: View, *, records: int,
               budget: Budget = CHECKS) -> Recovered:
    """The notes behind ``view``, by :func:`ordered_tokens` where that is certain.

    Else by :func:`sequences`. Shapes, fields of the answer and errors as there.
    """
    if records == 1:
        tables = [moved_rows(model, view, name)[0] for name in ("tokens.weight",
                                                                "positions.weight")]
        if all(moved.any() for moved in tables) and not tables[0].all():
            found = ordered_tokens(model, view)
            if found.certificate.all():
                return found
    return sequences(model, view, records=records, budget=budget)
