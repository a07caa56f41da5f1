r"""What an update says of a hospital as a whole: a property of its patients that nobody asked for.

An attacker who holds records of its own invents hospitals with and without the property, trains
each from the model that the server sent, and has a classifier tell their updates apart. Then it
shows the classifier the real update.

Threat model: a passive observer of a ``View`` with two states, who knows how hospitals train and
holds records of the same kind in which the property is marked.

Sources: Melis et al. (2019, arXiv:1805.04049) for updates; Ganju et al. (2018,
doi:10.1145/3243734.3243834) for released models, which have to be sorted before they can be
compared. Updates from one common model need no sorting: its neurons stand where they stood.

Where it fails: where nothing that the model is trained on goes with the property. What it reads may
also be no more than the shares of the classes (:mod:`leaklab.attacks.labels`): measure those too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor, nn

from leaklab.attacks.observed import require_same_model
from leaklab.stack import repeat, train_stack
from leaklab.updates import LocalTraining, Recovered, View

__all__ = ["infer_property", "invented_updates", "property_classifier"]

COMPONENTS = 20
"""Directions in which updates differ most, and all that the classifier is shown."""


def invented_updates(
    model: nn.Module, inputs: Tensor, targets: Tensor, members: Tensor, training: LocalTraining,
    generator: torch.Generator,
) -> Tensor:
    """What hospitals would send that hold the patients ``members``, bool (hospitals, n).

    All start from the weights of ``model`` and train side by side (:mod:`leaklab.stack`). Shapes:
    inputs (n, ...), targets (n,); the answer, ``before - after`` as from :func:`moved`, is
    (hospitals, p).

    Raises ``ValueError`` as :func:`leaklab.stack.train_stack` does.
    """
    after = train_stack(repeat(model, len(members)), inputs, targets, members, training, generator)
    return torch.cat([(before.detach() - after.parameters[name]).flatten(1)
                      for name, before in model.named_parameters()], 1)


def property_classifier(updates: Tensor, holds: Sequence[bool],
                        components: int = COMPONENTS) -> Pipeline:
    """A classifier that tells from an update (p,) whether the property holds.

    Logistic regression on the principal components of the ``updates``, shape (hospitals, p), each
    scaled to unit variance. Parameters are not scaled one by one: those that hardly move, such as
    the weights of a neuron that is off for everybody, would be blown up to the size of the others.

    Raises ``ValueError`` where the lengths differ, one of the two kinds is missing, or
    ``components`` are fewer than one.
    """
    holds = np.asarray(holds, dtype=bool)
    if holds.shape != (len(updates),) or holds.all() or not holds.any():
        raise ValueError(f"holds: {int(holds.sum())} of {holds.size} hospitals have the property, "
                         f"expected one entry for each of {len(updates)} updates, of both kinds")
    if components < 1:
        raise ValueError(f"components: {components} given, expected one or more")
    components = min(components, len(updates) - 1, updates.shape[1])  # n centred rows span n - 1
    pipeline = make_pipeline(PCA(components, whiten=True, svd_solver="full"),
                             LogisticRegression(C=0.1, max_iter=1000))
    return pipeline.fit(updates.cpu().double().numpy(), holds)


def infer_property(model: nn.Module, view: View, classifier: Pipeline) -> Recovered:
    """Whether the property holds for the hospitals behind ``view``: a guess (1,) of 0 or 1.

    ``score`` (1,) is the log-odds. Raises ``ValueError`` as :func:`moved` does.
    """
    odds = torch.from_numpy(classifier.decision_function(
        moved(model, view)[None].cpu().double().numpy()))
    return Recovered((odds > 0).long(), score=odds)


def moved(model: nn.Module, view: View) -> Tensor:
    """The way training went against, ``before - after`` of all parameters; shape (p,).

    Unlike the mean gradient it needs no knowledge of the training, and any optimiser will do.
    Raises ``ValueError`` for a released model, or states that are not those of ``model``.
    """
    if view.before is None:
        raise ValueError(f"view: a {view.artefact} given, expected one with a state before it")
    require_same_model(model, view)
    return torch.cat([(view.before[name] - view.after[name]).flatten()
                      for name, _ in model.named_parameters()])
