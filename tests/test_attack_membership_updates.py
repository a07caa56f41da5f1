"""Membership from one update: the statistics are the ones written down, and find who took part."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, ncx2
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy

from leaklab.attacks.membership.updates import (
    flat_update,
    glir,
    record_gradients,
    update_cosine,
    whitened,
)
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.updates import LocalTraining
from local_training import STEP, view_of


def drawn(*shape, key="draw"):
    return torch.randn(*shape, generator=generator(key, *shape), dtype=torch.float64)


def network(features=5, width=8) -> nn.Module:
    return mlp(generator("weights"), num_features=features, width=width, num_classes=3).double()


# --- Gradients --------------------------------------------------------------------------------


def by_autograd(net, inputs, targets):
    rows = []
    for record, target in zip(inputs, targets, strict=True):
        loss = cross_entropy(net(record[None]), target[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, net.parameters())]))
    return torch.stack(rows)


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_each_record_has_its_own_gradient(chunk):
    net, inputs, targets = network(), drawn(7, 5), torch.arange(7) % 3
    found = record_gradients(net, net.state_dict(), inputs, targets, chunk=chunk)
    torch.testing.assert_close(found, by_autograd(net, inputs, targets))


def test_gradients_are_taken_at_the_state_given_without_dropout_and_leave_the_model_alone():
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 3))
    net.double().train()
    state = {name: t + 1 if t.is_floating_point() else t for name, t in net.state_dict().items()}
    inputs, targets = drawn(4, 5), torch.tensor([0, 1, 2, 0])
    before = {name: t.clone() for name, t in net.state_dict().items()}
    found = record_gradients(net, state, inputs, targets)
    assert net.training
    torch.testing.assert_close(dict(net.state_dict()), before)
    net.load_state_dict(state)
    torch.testing.assert_close(found, by_autograd(net.eval(), inputs, targets))


def test_the_update_of_one_step_is_the_mean_of_the_gradients_of_its_records():
    net, inputs, targets = network(), drawn(6, 5), torch.arange(6) % 3
    view = view_of(net, inputs, targets, dataclasses.replace(STEP, learning_rate=0.3))
    gradients = record_gradients(net, view.before, inputs, targets)
    torch.testing.assert_close(flat_update(net, view), gradients.mean(0))


def test_targets_of_another_length_are_refused():
    net = network()
    with pytest.raises(ValueError, match="targets: 3 given, expected 4"):
        record_gradients(net, net.state_dict(), drawn(4, 5), torch.zeros(3, dtype=torch.long))


# --- Cosine and matched filter ----------------------------------------------------------------


def test_the_cosine_by_hand():
    records = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [-2.0, 0.0]])
    found = update_cosine(records, torch.tensor([[3.0, 0.0], [0.0, 0.0]]))
    expected = torch.tensor([[1.0, 2**-0.5, 0.0, -1.0], [0.0] * 4], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def dense(records, sent, known, ridge=0.1, noise=0.0):
    """The matched filter as it is written, with an inverse of p x p entries."""
    records, sent, known = (t.double().numpy() for t in (records, sent, known))
    covariance = known.T @ known / len(known)
    mean_eigenvalue = np.trace(covariance) / len(known)
    inverse = np.linalg.inv(covariance + (ridge * mean_eigenvalue + noise) * np.eye(sent.shape[-1]))
    return sent @ inverse @ records.T / np.sqrt(np.einsum("np,pq,nq->n", records, inverse, records))


@settings(max_examples=40, deadline=None)
@given(p=st.integers(1, 30), m=st.integers(1, 12), n=st.integers(1, 6), many=st.booleans(),
       ridge=st.floats(1e-3, 10), noise=st.floats(0, 2), key=st.integers(0, 1000))
def test_the_subspace_gives_what_the_full_inverse_gives(p, m, n, many, ridge, noise, key):
    records, known = drawn(n, p, key=(key, "records")), drawn(m, p, key=(key, "public"))
    sent = drawn(*((3, p) if many else (p,)), key=(key, "update"))
    found = whitened(records, sent, known, ridge=ridge, noise=noise)
    expected = torch.from_numpy(np.asarray(dense(records, sent, known, ridge, noise)))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_without_public_structure_the_matched_filter_ranks_as_the_cosine_does():
    records, sent = drawn(20, 6), drawn(6)
    found = whitened(records, sent, torch.eye(6))
    assert torch.equal(found.argsort(), update_cosine(records, sent).argsort())


def test_rescaling_an_update_changes_no_rank():
    records, sent, known = drawn(20, 9), drawn(9), drawn(5, 9)
    torch.testing.assert_close(whitened(records, 7 * sent, known),
                               7 * whitened(records, sent, known))


@pytest.mark.parametrize("score", [update_cosine, lambda g, u: whitened(g, u, g),
                                   lambda g, u: glir(g, u, g, records=5)])
def test_other_columns_are_refused(score):
    with pytest.raises(ValueError, match="gradients, update: shapes"):
        score(drawn(8, 4), drawn(5))


@pytest.mark.parametrize(("change", "complaint"), [
    (dict(components=0), "components: 0 given"), (dict(components=8), "components: 8 given"),
    (dict(known=drawn(3, 6)), "public_gradients: 3 rows"),
    (dict(known=drawn(8, 1) * torch.ones(6)), "vary along fewer"),
])
def test_glir_refuses_what_the_public_records_cannot_resolve(change, complaint):
    given = {"known": drawn(8, 6), "components": None} | change
    with pytest.raises(ValueError, match=complaint):
        glir(drawn(5, 6), drawn(6), given["known"], records=4, components=given["components"])


def test_a_ridge_of_zero_is_refused():
    with pytest.raises(ValueError, match="ridge: 0 given"):
        whitened(drawn(5, 6), drawn(6), drawn(3, 6), ridge=0)


# --- The likelihood ratio on Gaussian gradients, where theory says what to expect ----------------

P, N, TRIALS = 12, 8, 2000
MEAN = torch.linspace(-1, 2, P, dtype=torch.float64)
MIX = drawn(P, P, key="mix")


def gaussian(*shape, key):
    return MEAN + drawn(*shape, P, key=key) @ MIX


@pytest.fixture(scope="module")
def toy():
    """One member of each of many means of N Gaussian gradients, and -log p of whom it is asked."""
    public = gaussian(8000, key="public")
    batches, strangers = gaussian(TRIALS, N, key="batches"), gaussian(TRIALS, key="strangers")
    members = batches[:, 0]

    def scored(rows):
        return torch.cat([torch.diagonal(glir(part, sent, public, components=P, records=N))
                          for part, sent in zip(rows.split(20), batches.mean(1).split(20),
                                                strict=True)])

    return {"members": scored(members), "strangers": scored(strangers), "gradients": members,
            "of another mean": scored(torch.roll(members, 1, 0))}


def test_p_values_of_strangers_are_uniform_and_those_of_the_code_with_n_less_one_are_not(toy):
    p = np.exp(-toy["strangers"].numpy())
    assert kstest(p, "uniform").pvalue > 0.001
    one_less = ncx2.cdf((N - 1) / N * ncx2.ppf(p, P, N * P), P, N * P)
    assert kstest(one_less, "uniform").pvalue < 1e-6


@pytest.mark.parametrize("level", [0.01, 0.1])
def test_the_power_is_the_one_that_theory_gives(toy, level):
    found = float((toy["members"] >= -np.log(level)).double().mean())
    whitening = np.linalg.inv((MIX.T @ MIX).numpy())
    apart = (toy["gradients"] - MEAN).numpy()
    k = np.einsum("np,pq,nq->n", apart, whitening, apart)
    # a member is in the mean: what is left are N - 1 others, and the distance to them
    reach = N / (N - 1) * ncx2.ppf(level, P, N * k)
    power = ncx2.cdf(reach, P, (N - 1) * k).mean()
    assert power > 2 * level
    assert found == pytest.approx(power, abs=4 * (power / TRIALS) ** 0.5)


def test_an_update_without_the_record_gives_no_more_than_chance(toy):
    scores = torch.cat([toy["of another mean"], toy["strangers"]])
    auc = roc_auc_score(np.repeat([1, 0], TRIALS), scores.numpy())
    assert auc == pytest.approx(0.5, abs=0.03)


def test_log_p_values_end_at_the_floor_and_are_never_missing():
    known = drawn(50, 6)
    far = glir(1e4 * drawn(5, 6), 1e4 * drawn(5, 6)[0], known, records=500)
    assert far.isfinite().all() and (far <= 200).all() and float(far[0]) == 200


# --- A hospital -------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 5])
def test_members_of_a_hospital_stand_out_and_strangers_do_not(steps):
    net = network(features=20, width=32)
    labels = (drawn(220, 1, key="labels")[:, 0] > 0).long()
    patients = drawn(220, 20, key="patients") + labels[:, None]
    inside, outside, public = slice(0, 20), slice(20, 120), slice(120, 220)
    training = LocalTraining(0.1, local_steps=steps, mode="eval")
    view = view_of(net, patients[inside], labels[inside], training)
    gradients = record_gradients(net, view.before, patients, labels)
    sent, known = flat_update(net, view), gradients[public]

    def auc(scores):
        asked = torch.cat([scores[inside], scores[outside]])
        return roc_auc_score(np.repeat([1, 0], [20, 100]), asked.numpy())

    cosine, filtered = update_cosine(gradients, sent), whitened(gradients, sent, known)
    assert auc(filtered) > max(0.8, auc(cosine))
    assert auc(glir(gradients, sent, known, records=20)) > 0.7
    shuffled = filtered[torch.randperm(220, generator=generator("permuted"))]
    assert auc(shuffled) == pytest.approx(0.5, abs=0.2)
