"""Attribute inference: the true completion fits the update, and only for those who took part."""

import dataclasses
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from leaklab.attacks.attributes import candidates, infer_attribute
from leaklab.attacks.membership.updates import glir, update_cosine, whitened
from leaklab.federation import PUBLIC
from leaklab.models import logistic_regression, mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, View
from local_training import STEP, view_of

FEATURES = 8
COLUMN = 3


def people(key, n):
    """Patients whose column 3 is a fair coin that goes with nothing else, and so are the labels."""
    draws = generator("people", key)
    inputs = torch.randn(n, FEATURES, generator=draws, dtype=torch.float64)
    inputs[:, COLUMN] = torch.randint(2, (n,), generator=draws) * 2.0 - 1
    return inputs, torch.randint(2, (n,), generator=draws)


def network(width=48):
    return mlp(generator("weights"), num_features=FEATURES, width=width).double()


def guessed(net, view, patients, column=COLUMN, values=(-1.0, 1.0), score=whitened):
    public = None if score is update_cosine else people("public", 60)
    return infer_attribute(net, view, *candidates(*patients, values, column=column),
                           score=score, public=public).guess


def truth(patients, column=COLUMN):
    inputs, targets = patients
    return targets if column is None else (inputs[:, column] > 0).long()


# --- Completions ------------------------------------------------------------------------------


def test_completions_differ_in_the_column_and_nowhere_else():
    inputs, targets = people("a", 5)
    tried, labels = candidates(inputs, targets, [0.5, -2.0, 7.0], column=COLUMN)
    others = [c for c in range(FEATURES) if c != COLUMN]
    assert tried.shape == (3, 5, FEATURES) and tried.dtype == inputs.dtype
    assert tried[:, :, COLUMN].tolist() == [[0.5] * 5, [-2.0] * 5, [7.0] * 5]
    assert torch.equal(tried[..., others], inputs[:, others].expand(3, -1, -1))
    assert torch.equal(labels, targets.expand(3, -1))


def test_without_a_column_the_label_is_sought_of_any_input():
    tried, labels = candidates(torch.rand(4, 1, 6, 6), torch.tensor([1, 0, 1, 0]), [0, 1, 2])
    assert tried.shape == (3, 4, 1, 6, 6) and bool((tried == tried[0]).all())
    assert labels.tolist() == [[0] * 4, [1] * 4, [2] * 4] and labels.dtype == torch.long


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_what_stood_in_the_place_sought_does_not_matter(seed):
    inputs, targets = people("a", 6)
    other = inputs.clone()
    other[:, COLUMN] = torch.randn(6, generator=generator(seed), dtype=torch.float64)
    one, two = (candidates(x, targets, [-1.0, 1.0], column=COLUMN)[0] for x in (inputs, other))
    assert torch.equal(one, two)


# --- The attack -------------------------------------------------------------------------------


@pytest.mark.parametrize("column", [COLUMN, None])
@pytest.mark.parametrize("score", [update_cosine, whitened, partial(glir, records=1)])
def test_one_patient_s_entry_is_read_off_the_patient_s_own_update(column, score):
    net, patients = network(), people("private", 20)
    values = (0, 1) if column is None else (-1.0, 1.0)
    for k in range(20):
        one = tuple(t[k:k + 1] for t in patients)
        guess = guessed(net, view_of(net, *one), one, column, values, score)
        assert torch.equal(guess, truth(one, column))


@pytest.mark.parametrize("training", [STEP, LocalTraining(0.05, local_steps=9, batch_size=4)])
def test_of_a_group_members_are_read_and_strangers_are_guessed(training):
    net, strangers, read = network(), people("strangers", 200), []
    for hospital in range(8):
        members = people(hospital, 6)
        view = view_of(net, *members, training)
        read.append((guessed(net, view, members) == truth(members)).double().mean())
    guess = (guessed(net, view, strangers) == truth(strangers)).double().mean()
    assert torch.stack(read).mean() >= 0.85
    assert 0.38 < guess < 0.62  # within 3.4 standard errors of a coin


def test_an_update_taken_the_wrong_way_round_gives_the_wrong_diagnosis():
    net = logistic_regression(generator("w"), num_features=FEATURES).double()
    one = tuple(t[:1] for t in people("private", 1))
    view = view_of(net, *one, LocalTraining(1e-3, mode="eval"))
    turned = dataclasses.replace(view, before=view.after, after=view.before)
    right, wrong = (guessed(net, v, one, None, (0, 1), update_cosine) for v in (view, turned))
    assert torch.equal(right, one[1]) and torch.equal(wrong, 1 - one[1])


def test_the_best_of_several_values_is_named_by_its_lead():
    def score(gradients, update):  # one completion after the other: value by value
        return fits.flatten()

    net, (inputs, targets) = network(), people("a", 3)
    fits = torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.4, 0.1], [0.2, 0.1, 0.9]])
    found = infer_attribute(net, view_of(net, inputs, targets),
                            *candidates(inputs, targets, [0.0, 1.0, 2.0], column=0),
                            score=score)
    assert found.guess.tolist() == [1, 0, 2]
    torch.testing.assert_close(found.score, torch.tensor([0.3, 0.5, 0.7]))


def test_the_state_before_and_not_the_model_s_own_weights_is_attacked():
    net, other = network(), network()
    one = tuple(t[:1] for t in people("private", 1))
    view = view_of(net, *one)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(guessed(other, view, one), guessed(net, view, one))


def test_the_score_is_given_the_gradients_of_completions_the_update_and_public_patients():
    seen = []

    def score(gradients, update, outside):
        seen.append((gradients, update, outside))
        return gradients[:, 0]

    def mean(inputs, targets):
        loss = cross_entropy(net(inputs), targets)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])

    net, patients, public = network(), people("a", 4), people("public", 3)
    tried = candidates(*patients, [-1.0, 1.0], column=COLUMN)
    infer_attribute(net, view_of(net, *patients), *tried, score=score, public=public)
    ((gradients, update, outside),) = seen
    expected = [mean(x[k:k + 1], y[k:k + 1]) for x, y in zip(*tried, strict=True) for k in range(4)]
    for found, right in ((gradients, torch.stack(expected)), (update, mean(*patients)),
                         (outside.mean(0), mean(*public))):
        torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-10)


# --- Bad input --------------------------------------------------------------------------------


def test_bad_completions_are_named():
    inputs, targets = people("a", 4)
    with pytest.raises(ValueError, match=r"values: \[1.0\] given, expected two or more"):
        candidates(inputs, targets, [1.0], column=0)
    for column in (FEATURES, -1):
        with pytest.raises(ValueError, match=f"column: {column} given"):
            candidates(inputs, targets, [0.0, 1.0], column=column)
    with pytest.raises(ValueError, match="column: 0 given"):
        candidates(torch.rand(4, 1, 6, 6), targets, [0.0, 1.0], column=0)
    net = network()
    with pytest.raises(ValueError, match=r"shapes \(4, 8\), \(4,\) given"):
        infer_attribute(net, view_of(net, inputs, targets), inputs, targets)


def test_a_released_model_and_another_model_are_refused():
    net, one = network(), people("a", 3)
    view = view_of(net, *one)
    with pytest.raises(ValueError, match="view: a released model given"):
        guessed(net, View(PUBLIC, "released model", None, view.after, ("A",)), one)
    with pytest.raises(ValueError, match="states that are not those of the model"):
        guessed(network(width=5), view, one)
