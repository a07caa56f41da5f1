r"""The proof of a reading: train on it, and see whether the same update comes out.

The attacker holds the model that the hospital received and knows how it trained. So it can train on
its own answer. A wrong word, an end cut off, a record too few or two records mixed into one lead to
another update, by far more than arithmetic does (:data:`SAME`). No truth is needed.

A model that classifies is also told classes. Its head takes in the mean :math:`f_i` of each note
and gets the gradient :math:`\frac1n \sum_i (p_i - y_i) f_i^\top`. With the notes the :math:`f_i`
are known, and least squares gives each :math:`p_i - y_i`, which is below 0 for the note's class
alone (:func:`classes_behind`).

Where it fails: where the hospital drew batches from its records in an order of its own, or stands
for several hospitals that took more than one step, the update is not repeated and nothing is
proved. At a low learning rate the rounding of stored weights outweighs :data:`SAME`. In a model
whose blocks do nothing, notes that share words and their order in part cannot be told apart by
anybody, and the answer proved may be one of several.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from leaklab.attacks.observed import mean_gradient, plain_sgd
from leaklab.federation import train_on
from leaklab.runtime import generator
from leaklab.transformer import NoteModel, next_words
from leaklab.updates import View

SAME = 1e-5
"""Two updates are the same if they differ by less than this share of their length. On batches of up
to eight held-out notes right answers differed by 2e-6 at most, one wrong word by 3e-5 at least."""


def received(model: NoteModel, view: View) -> NoteModel:
    """A copy of ``model`` with the weights that the hospital received.

    Raises ``ValueError`` as :func:`leaklab.attacks.observed.mean_gradient` does, and where what
    was sent is not finite.
    """
    mean_gradient(model, view)  # refuses a view that does not belong to the model
    odd = [name for name, tensor in view.after.items() if not tensor.isfinite().all()]
    if odd:
        raise ValueError(f"view: {odd[0]} holds NaN or infinite values, expected finite weights")
    net = copy.deepcopy(model).eval()
    net.load_state_dict(dict(view.before))
    return net


def repeats(model: NoteModel, view: View, notes: Tensor) -> bool:
    """Whether training on ``notes``, shape (n, length), gives the update seen, up to arithmetic.

    Raises ``ValueError`` as :func:`received` does.
    """
    return distance(model, view, notes) < SAME


def distance(model: NoteModel, view: View, notes: Tensor) -> float:
    """How far apart the update of ``notes``, (n, length), and the one seen are, as a share.

    Of the length of the one seen. Infinite for no notes. Raises ``ValueError`` as
    :func:`received` does.
    """
    if not notes.any():
        return float("inf")
    net = received(model, view)
    classes = classes_behind(net, view, notes)
    update = train_on(net, notes, next_words(notes) if classes is None else classes,
                      plain_sgd(view), generator=generator("proof"))
    names = [name for name, _ in net.named_parameters()]
    gap, seen = (sum((view.after[name] - other[name]).double().square().sum() for name in names)
                 for other in (update.after, view.before))
    return float((gap / seen).sqrt())


def classes_behind(model: NoteModel, view: View, notes: Tensor) -> Tensor | None:
    """The class of each of ``notes``, shape (n,), if those are the records; else ``None``.

    ``None`` where the model completes notes. Exact for one local step and notes whose features are
    linearly independent. Over several steps the features are taken to stay what they were: right
    for one note and mostly for two, and on the way down from four. Raises ``ValueError`` as
    :func:`received` does. The sign is that of Zhao et al. (2020, arXiv:2001.02610), note by note.
    """
    if not model.classifies:
        return None
    net = received(model, view)
    gradient = mean_gradient(net, view)
    moved = torch.cat([gradient["head.weight"], gradient["head.bias"][:, None]], 1).double()
    with torch.no_grad():
        features = net.features(notes)
    inputs = torch.cat([features, torch.ones_like(features[:, :1])], 1).double()
    off = torch.linalg.lstsq(inputs.T.cpu(), len(notes) * moved.T.cpu(), driver="gelsd").solution
    return off.argmin(1).to(notes.device)
