"""The note of a single record, by least squares; see :mod:`leaklab.attacks.text`."""

from __future__ import annotations

import torch

from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.text.proof import classes_behind, repeats
from leaklab.attacks.text.tokens import moved_rows, token_set
from leaklab.data.notes import PAD
from leaklab.transformer import NoteModel
from leaklab.updates import Recovered, View


def ordered_tokens(model: NoteModel, view: View) -> Recovered:
    r"""The note of a single record, shape (1, length), padded with zeros.

    Solves :math:`P^\top M = E^\top` for the 0/1 matrix M of places and tokens, where P holds the
    gradient of each place and E that of each token. The places have to be linearly independent,
    and behind a layer norm there are fewer independent ones than the model is wide.

    ``score`` is minus the log10 of what M leaves of E, as a share. ``certificate``: there are fewer
    places than the model is wide, none is left out, and training on the note repeats the update
    (:func:`leaklab.attacks.text.proof.repeats`). ``labels`` is the class, where the model
    classifies. One least-squares problem, so that there is no budget to set. Raises ``ValueError``
    as :func:`leaklab.attacks.text.token_set` does.
    """
    table = token_set(model, view).guess
    tokens = mean_gradient(model, view)["tokens.weight"][table].double()
    used, places = moved_rows(model, view, "positions.weight")
    places = places[used].double()
    share = torch.linalg.lstsq(places.T.cpu(), tokens.T.cpu(), driver="gelsd").solution
    choice = share.argmax(1).to(table.device)
    rest = tokens - torch.zeros_like(tokens).index_add(0, choice, places)
    guess = torch.full((1, len(used)), PAD, device=table.device)
    guess[0, used.nonzero()[:, 0]] = table[choice]
    whole = len(places) < places.shape[1] and bool(used[:len(places)].all())
    certain = torch.full((1,), whole and repeats(model, view, guess), device=table.device)
    score = -(rest.norm() / tokens.norm()).clamp(min=1e-300).log10()
    return Recovered(guess, classes_behind(model, view, guess), score[None], certain)
