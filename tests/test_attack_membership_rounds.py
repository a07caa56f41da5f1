"""Membership over rounds: what is added up, compared and named is what the papers say."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch.nn.functional import cross_entropy

from leaklab.attacks.membership.rounds import (
    end_to_end,
    fed_mia,
    loss_scores,
    so_far,
    source_inference,
    update_scores,
)
from leaklab.attacks.membership.updates import update_cosine, whitened, whitened_length
from leaklab.federation import (
    Hospital,
    client_views,
    fed_avg,
    public_views,
    secure_aggregation_views,
    server_views,
)
from leaklab.metrics.roc import auc
from leaklab.models import mlp, predict
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining

STEP = LocalTraining(0.3)
KNOWN = Knowledge(training=STEP)
C, EACH, FEATURES = 4, 12, 24
N = 2 * C * EACH  # as many records outside as inside

DRAW = generator("records")
LABELS = torch.arange(N) % 2
RECORDS = torch.randn(N, FEATURES, generator=DRAW, dtype=torch.float64) + LABELS[:, None]
PUBLIC_LABELS = torch.arange(60) % 2
PUBLIC = (torch.randn(60, FEATURES, generator=DRAW, dtype=torch.float64)
          + PUBLIC_LABELS[:, None])
OWNER = torch.full((N,), -1)
OWNER[: C * EACH] = torch.arange(C * EACH) // 2 % C
NET = mlp(generator("weights"), num_features=FEATURES, width=32).double()
SIGNALS = {"cosine": lambda g, u, p: update_cosine(g, u), "whitened": whitened}


def federation(owner=OWNER, rounds=4, training=STEP):
    clinics = [Hospital(f"H{k}", RECORDS[owner == k], LABELS[owner == k]) for k in range(C)]
    return list(fed_avg(NET, clinics, training, rounds=rounds, seed=0))


def scores(views, records=(RECORDS, LABELS)):
    return update_scores(NET, views, records, (PUBLIC, PUBLIC_LABELS), SIGNALS)


@pytest.fixture(scope="module")
def server():
    return [server_views(step, KNOWN) for step in federation()]


def mean_auc(found, owner=OWNER):
    """Of (C, n) scores: each hospital's members against those at no hospital."""
    return float(np.mean([auc(found[k][(owner == k) | (owner < 0)],
                              (owner == k)[(owner == k) | (owner < 0)]) for k in range(C)]))


# --- Every round and view ---------------------------------------------------------------------


def test_scores_are_those_of_every_round_by_itself(server):
    found = scores(server)
    assert found["whitened"].shape == (4, C, N)
    state, sent = server[2][1].before, server[2][1].after
    NET.load_state_dict(state)
    gradient = torch.autograd.grad(cross_entropy(NET(RECORDS[7:8]), LABELS[7:8]),
                                   NET.parameters())
    moved = [state[name] - sent[name] for name, _ in NET.named_parameters()]
    one, other = (torch.cat([t.flatten() for t in parts]) for parts in (gradient, moved))
    torch.testing.assert_close(found["cosine"][2, 1, 7],
                               torch.cosine_similarity(one, other, dim=0).detach())


def test_members_stand_out_and_members_dealt_anew_do_not(server):
    found = scores(server)["whitened"].mean(0)
    assert mean_auc(found) > 0.75
    anew = [mean_auc(found, OWNER[torch.randperm(N, generator=generator("anew", k))])
            for k in range(20)]
    assert np.mean(anew) == pytest.approx(0.5, abs=0.03)


def test_more_rounds_name_members_better_than_one_where_batches_differ():
    training = LocalTraining(0.05, local_steps=6, batch_size=4)
    views = [server_views(step, Knowledge(training=training))
             for step in federation(rounds=6, training=training)]
    found = scores(views)["whitened"]
    assert mean_auc(found.mean(0)) > mean_auc(found[-1])


def test_a_sum_says_nothing_of_who_holds_which_record_and_single_updates_do():
    swapped = OWNER.clone()
    swapped[: C * EACH] = OWNER[: C * EACH].roll(1)
    both = [federation(owner, rounds=3) for owner in (OWNER, swapped)]
    one, other = (scores([secure_aggregation_views(s, KNOWN) for s in steps]) for steps in both)
    assert one["whitened"].shape == (3, 1, N)
    torch.testing.assert_close(one, other)
    one, other = (scores([server_views(s, KNOWN) for s in steps]) for steps in both)
    assert not torch.allclose(one["whitened"], other["whitened"])


def test_a_client_asks_about_the_others_and_its_own_records_do_not_answer():
    steps = federation()
    found = scores([client_views(step, "H0", KNOWN) for step in steps])["whitened"].mean(0)[0]
    rest, own = OWNER > 0, OWNER == 0
    outside = OWNER < 0
    assert auc(found[rest | outside], rest[rest | outside]) > 0.55
    alone = scores([server_views(step, KNOWN)[:1] for step in steps])["whitened"].mean(0)[0]
    assert auc(found[own | outside], own[own | outside]) < auc(alone[own | outside],
                                                              own[own | outside]) - 0.15


def test_losses_are_those_of_the_returned_models_and_the_drop_is_since_the_model_sent(server):
    found, drop = (loss_scores(NET, server, (RECORDS, LABELS), drop=way) for way in (False, True))
    assert found.shape == (4, C, N) and found.dtype == torch.float64
    after, before = (-cross_entropy(predict(NET, state, RECORDS), LABELS, reduction="none")
                     for state in (server[1][2].after, server[1][2].before))
    torch.testing.assert_close(found[1, 2], after)
    torch.testing.assert_close(drop[1, 2], after - before)
    public = [public_views(step) for step in federation(rounds=2)]
    assert loss_scores(NET, public, (RECORDS, LABELS)).shape == (2, 1, N)


def test_views_that_do_not_line_up_are_refused(server):
    turned = [server[0], server[1][::-1]]
    with pytest.raises(ValueError, match="another order, in round 2"):
        scores(turned)
    with pytest.raises(ValueError, match="no views given"):
        scores([])
    with pytest.raises(ValueError, match="a released model given"):
        scores([public_views(step) for step in federation(rounds=1)])
    with pytest.raises(ValueError, match="training unknown"):
        scores([[dataclasses.replace(view, knowledge=Knowledge()) for view in server[0]]])


# --- Rounds put together ----------------------------------------------------------------------

tables = st.tuples(st.integers(1, 4), st.integers(3, 5), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(st.floats(-3, 3), min_size=int(np.prod(shape)),
                           max_size=int(np.prod(shape)))
    .map(lambda values: torch.tensor(values, dtype=torch.float64).reshape(shape)))


@settings(max_examples=50, deadline=None)
@given(tables)
def test_fed_mia_is_the_loop_of_the_paper(table):
    found = fed_mia(table)
    for k in range(table.shape[1]):
        for i in range(table.shape[2]):
            total = 0.0
            for step in table.numpy():
                others = np.delete(step[:, i], k)
                spread = np.sqrt(others.var() + 1e-8)
                total += norm.cdf(step[k, i], loc=others.mean(), scale=spread)
            assert float(found[k, i]) == pytest.approx(total, abs=1e-9)


def test_fed_mia_leaves_the_hospital_itself_out_of_the_comparison():
    table = torch.tensor([[0.0], [1.0], [-1.0], [50.0]])[None].double()
    assert float(fed_mia(table)[3]) == pytest.approx(1.0)  # with itself inside, 1.7 deviations
    assert float(fed_mia(table)[0]) < 0.5


@pytest.mark.parametrize("shape", [(3, 2, 5), (4, 5)])
def test_fed_mia_needs_others(shape):
    with pytest.raises(ValueError, match="V of 3 or more"):
        fed_mia(torch.zeros(shape))


def test_so_far_is_the_mean_of_the_rounds_seen():
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [-1.0, 6.0]])
    torch.testing.assert_close(so_far(table), torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 2.0]]))


def test_rounds_end_to_end_are_one_filter_with_a_block_for_each_round():
    """Against matrices written out in full, of 3 rounds with 5 parameters, 7 public records."""
    def drawn(*shape):
        return torch.randn(*shape, generator=DRAW, dtype=torch.float64)

    gradients, sent, known = drawn(3, 6, 5), drawn(3, 2, 5), drawn(3, 7, 5)
    rounds = list(zip(gradients, sent, known, strict=True))
    found = end_to_end(torch.stack([whitened(*one) for one in rounds]),
                       torch.stack([whitened_length(g, p)[None] for g, _, p in rounds]))
    blocks = [known_round.mT @ known_round / 7 for known_round in known]
    for seen in (1, 2, 3):
        inverse = np.linalg.inv(torch.block_diag(
            *[a + 0.1 * a.trace() / 7 * torch.eye(5).double() for a in blocks[:seen]]).numpy())
        long_sent, long = (torch.cat(list(t[:seen]), -1).numpy() for t in (sent, gradients))
        expected = long_sent @ inverse @ long.T / np.sqrt(
            np.einsum("np,pq,nq->n", long, inverse, long))
        np.testing.assert_allclose(found[seen - 1].numpy(), expected)


def test_a_quiet_round_has_little_say():
    scores, lengths = torch.tensor([2.0, -1.0])[:, None, None], torch.tensor([1.0, 0.0])
    torch.testing.assert_close(end_to_end(scores, lengths[:, None, None])[:, 0, 0],
                               torch.tensor([2.0, 2.0]))


def test_the_source_of_a_record_is_the_hospital_whose_model_learnt_it():
    training = LocalTraining(0.5, local_steps=60)
    views = [server_views(step, Knowledge(training=training))
             for step in federation(rounds=1, training=training)]
    found = source_inference(loss_scores(NET, views, (RECORDS, LABELS)).mean(0))
    inside = OWNER >= 0
    assert float((found == OWNER)[inside].double().mean()) > 2 / C
    one_hot = torch.eye(C)[OWNER[inside]].T
    assert torch.equal(source_inference(one_hot), OWNER[inside])
    with pytest.raises(ValueError, match="V of 2 or more"):
        source_inference(torch.zeros(1, 5))
