"""Property inference: one that is planted is found, an absent one not, dead weights do no harm."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cross_entropy

from leaklab.attacks.properties import (
    infer_property,
    invented_updates,
    moved,
    property_classifier,
)
from leaklab.federation import PUBLIC, train_on
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, View
from local_training import STEP, view_of

FEATURES = 6


def patients(key, n=3000, marked=0):
    """Patients of whom half bear a mark, which shows in column 0 where ``marked``."""
    draws = generator("patients", key)
    inputs = torch.randn(n, FEATURES, generator=draws)
    mark = torch.arange(n) % 2 == 0
    inputs[:, 0] += marked * mark
    labels = (torch.rand(n, generator=draws) < 0.8).long()  # not half: slopes would cancel
    return inputs, labels, mark.numpy()


def deals(mark, number, rng, size=20):
    """Hospitals of ``size`` patients, 5 or 15 with the mark, and whether those are the most."""
    most = rng.random(number) < 0.5
    members = np.zeros((number, len(mark)), bool)
    for row, many in zip(members, most, strict=True):
        for kind, count in ((True, 15 if many else 5), (False, 5 if many else 15)):
            row[rng.choice(np.flatnonzero(mark == kind), count, replace=False)] = True
    return torch.tensor(members), most


def auc_of(marked, shuffles=0, training=STEP):
    """Of updates of other patients; over ``shuffles`` of what is learnt, if any, on average."""
    rng = np.random.default_rng(0)
    net = mlp(generator("weights"), num_features=FEATURES, width=24)
    updates, holds = {}, {}
    for side, number in (("attacker", 200), ("target", 150)):
        inputs, targets, mark = patients(side, marked=marked)
        members, holds[side] = deals(mark, number, rng)
        updates[side] = invented_updates(net, inputs, targets, members, training,
                                         generator("train", side))
    learnt = [rng.permutation(holds["attacker"]) for _ in range(shuffles)] or [holds["attacker"]]
    classifiers = [property_classifier(updates["attacker"], answers) for answers in learnt]
    return np.mean([roc_auc_score(holds["target"], c.decision_function(updates["target"].numpy()))
                    for c in classifiers])


def test_a_property_that_shows_in_the_inputs_is_found_in_updates_of_other_patients():
    assert auc_of(marked=3) > 0.8
    assert auc_of(marked=3, training=LocalTraining(0.1, local_steps=5, batch_size=4)) > 0.7


def test_one_that_shows_nowhere_is_not_found():
    assert 0.4 < auc_of(marked=0) < 0.6


def test_nothing_is_learnt_from_shuffled_answers():
    # one shuffle may fall along or against what updates differ in most: 0.3 or 0.7 by chance
    assert 0.4 < auc_of(marked=3, shuffles=30) < 0.6


def test_updates_are_those_of_separate_hospitals():
    inputs, targets, _ = patients("attacker", n=12)
    members = torch.rand(4, 12, generator=generator("m")) < 0.6
    net = mlp(generator("weights"), num_features=FEATURES, width=5)
    together = invented_updates(net, inputs, targets, members, LocalTraining(0.3), generator(0))
    assert together.shape == (4, sum(p.numel() for p in net.parameters()))
    for row, mine in zip(together, members, strict=True):
        alone = train_on(net, inputs[mine], targets[mine], LocalTraining(0.3),
                         generator=generator(0)).delta
        expected = -torch.cat([alone[name].flatten() for name, _ in net.named_parameters()])
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-7)


def test_weights_that_hardly_move_do_no_harm_where_scaling_each_would_drown_the_property():
    rng = np.random.default_rng(1)

    def invented(number):
        holds = np.arange(number) % 2 == 0
        live = rng.normal(size=(number, 30))
        live[:, :5] += 1.2 * holds[:, None]
        dead = 1e-8 * rng.normal(size=(number, 3000))  # rounding of weights at rest
        dead[:, :1000] = 0  # neurons that are off for everybody
        return np.hstack([live, dead]), holds

    (updates, holds), (fresh, truth) = invented(120), invented(400)
    ours = property_classifier(torch.tensor(updates), holds)
    naive = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(updates, holds)
    right, wrong = (roc_auc_score(truth, c.decision_function(fresh)) for c in (ours, naive))
    assert right > 0.85 and wrong < right - 0.15


def test_a_view_is_judged_as_the_classifier_judges_what_moved():
    net = mlp(generator("weights"), num_features=FEATURES, width=5)
    inputs, targets, _ = patients("a", n=10)
    view = view_of(net, inputs, targets, LocalTraining(0.3, mode="eval"))
    size = len(moved(net, view))
    updates = torch.randn(30, size, generator=generator(0)) + moved(net, view)
    classifier = property_classifier(updates, updates[:, 0] > updates[:, 0].median())
    found = infer_property(net, view, classifier)
    odds = classifier.decision_function(moved(net, view)[None].double().numpy())
    assert found.score.tolist() == pytest.approx(odds.tolist())
    assert found.guess.tolist() == [int(odds[0] > 0)]


def test_what_moved_is_the_gradient_of_one_step_and_a_released_model_did_not_move():
    net = mlp(generator("weights"), num_features=FEATURES, width=5).double()
    inputs, targets, _ = patients("a", n=7)
    loss = cross_entropy(net(inputs.double()), targets)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    view = view_of(net, inputs.double(), targets, LocalTraining(0.25, mode="eval"))
    torch.testing.assert_close(moved(net, view), 0.25 * torch.cat([g.flatten() for g in gradients]),
                               rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="view: a released model given"):
        moved(net, View(PUBLIC, "released model", None, view.after, ("A",)))


def test_few_hospitals_have_fewer_directions_than_hospitals():
    updates, holds = torch.randn(8, 50, generator=generator(0)), [True, False] * 4
    classifier = property_classifier(updates, holds)
    spread = classifier[0].transform(updates.double().numpy()).std(0, ddof=1)
    assert spread == pytest.approx(np.ones(7))  # an eighth would be rounding, blown up
    with pytest.raises(ValueError, match="components: 0 given"):
        property_classifier(updates, holds, components=0)


@pytest.mark.parametrize("holds", [[True] * 4, [False] * 4, [True, False], []])
def test_a_property_that_all_have_or_answers_of_another_number_are_refused(holds):
    with pytest.raises(ValueError, match="hospitals have the property, expected one entry"):
        property_classifier(torch.rand(4, 9), holds)
