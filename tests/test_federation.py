"""Federated averaging: equal to what it must equal, and no observer sees more than its part."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from leaklab import federation
from leaklab.federation import Hospital, fed_avg
from leaklab.models import logistic_regression, predict, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, num_bytes, weighted_mean

ONE_STEP = LocalTraining(learning_rate=0.5)


def hospital(name: str, n: int = 12, features: int = 4) -> Hospital:
    rng = generator("records", name)
    targets = torch.arange(n) % 2
    return Hospital(name, torch.randn(n, features, generator=rng), targets)


def model(features: int = 4) -> nn.Module:
    return logistic_regression(generator("weights"), num_features=features)


def last(rounds):
    *_, final = rounds
    return final


def assert_same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **tolerance)


# --- Equalities -----------------------------------------------------------------------------


def test_one_full_batch_step_equals_centralised_sgd():
    hospitals = [hospital("A", 10), hospital("B", 25), hospital("C", 7)]
    net = model()
    federated = last(fed_avg(net, hospitals, ONE_STEP, rounds=5, seed=0)).after

    central = model()
    inputs = torch.cat([h.inputs for h in hospitals])
    targets = torch.cat([h.targets for h in hospitals])
    optimiser = torch.optim.SGD(central.parameters(), lr=0.5)
    for _ in range(5):
        optimiser.zero_grad()
        cross_entropy(central(inputs), targets).backward()
        optimiser.step()
    assert_same(federated, dict(central.state_dict()), rtol=1e-5, atol=1e-6)


def test_unweighted_averaging_is_rejected_by_the_same_comparison():
    hospitals = [hospital("A", 4), hospital("B", 40)]
    step = last(fed_avg(model(), hospitals, ONE_STEP, rounds=1, seed=0))
    unweighted = weighted_mean([u.after for u in step.updates], [1, 1])
    with pytest.raises(AssertionError):
        assert_same(step.after, unweighted, rtol=1e-5, atol=1e-6)


def test_a_federation_of_one_is_local_training():
    training = LocalTraining(learning_rate=0.1, local_steps=7, batch_size=5, momentum=0.9)
    lone = hospital("A")
    step = last(fed_avg(model(), [lone], training, rounds=1, seed=3))
    alone = lone.train(model(), training, generator=generator(3, 1, "A"))
    assert_same(step.after, alone.after)


def test_order_of_hospitals_does_not_matter():
    training = LocalTraining(learning_rate=0.1, local_steps=3, batch_size=4)
    hospitals = [hospital("A", 10), hospital("B", 25), hospital("C", 7)]
    forward = last(fed_avg(model(), hospitals, training, rounds=3, seed=0)).after
    backward = last(fed_avg(model(), hospitals[::-1], training, rounds=3, seed=0)).after
    assert_same(forward, backward, rtol=1e-6, atol=1e-7)


def test_training_leaves_the_model_and_global_randomness_alone():
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    before = {name: t.clone() for name, t in net.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    training = LocalTraining(learning_rate=0.1, local_steps=4)
    first = hospital("A").train(net, training, generator=generator("x"))
    assert torch.equal(torch.rand(3), expected)
    assert_same(before, dict(net.state_dict()))
    again = hospital("A").train(net, training, generator=generator("x"))
    assert_same(first.after, again.after)  # dropout is reproducible too


def test_proximal_term_pulls_the_model_back_as_the_equation_says():
    lone, lr, mu = hospital("A"), 0.1, 2.0
    training = LocalTraining(learning_rate=lr, local_steps=2, proximal=mu)
    after = lone.train(model(), training, generator=generator("x")).after

    net = model()
    start = [p.detach().clone() for p in net.parameters()]
    for _ in range(2):
        penalty = sum(((p - s) ** 2).sum() for p, s in zip(net.parameters(), start, strict=True))
        loss = cross_entropy(net(lone.inputs), lone.targets) + mu / 2 * penalty
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), grads, strict=True):
                p -= lr * g
    assert_same(after, dict(net.state_dict()), rtol=1e-5, atol=1e-6)


def test_buffers_travel_and_counters_stay_integers():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    step = last(fed_avg(net, [hospital("A"), hospital("B")], ONE_STEP, rounds=2, seed=0))
    assert step.after["1.num_batches_tracked"].dtype == torch.int64
    assert int(step.after["1.num_batches_tracked"]) == 2
    assert not torch.equal(step.after["1.running_mean"], step.before["1.running_mean"])


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 50)), min_size=1, max_size=6))
def test_weighted_mean_agrees_with_the_formula_and_stays_in_range(pairs):
    values, weights = zip(*pairs, strict=True)
    states = [{"w": torch.tensor([v], dtype=torch.float64)} for v in values]
    mean = float(weighted_mean(states, list(weights))["w"])
    expected = sum(v * w for v, w in pairs) / sum(weights)
    assert mean == pytest.approx(expected, abs=1e-9)
    assert min(values) - 1e-9 <= mean <= max(values) + 1e-9


@given(n=st.integers(1, 40), size=st.integers(1, 50), steps=st.integers(1, 12))
def test_batches_pass_over_every_record_before_any_comes_again(n, size, steps):
    training = LocalTraining(learning_rate=1, local_steps=steps, batch_size=size)
    batches = federation.draw_batches(n, training, generator("b"))
    assert len(batches) == steps
    drawn = torch.cat(batches).tolist()
    for start in range(0, len(drawn), n):
        one_pass = drawn[start : start + n]
        assert len(set(one_pass)) == len(one_pass)
    assert all(len(b) <= size for b in batches)


def test_num_bytes_of_an_update_is_what_the_tensors_weigh():
    net = small_cnn(generator("weights"))
    weights = sum(p.numel() for p in net.parameters())
    assert num_bytes(net.state_dict()) == 4 * weights


def test_predict_uses_the_given_state_in_evaluation_mode():
    net = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.9))
    inputs, other = torch.randn(5, 4), {"0.weight": torch.ones(2, 4), "0.bias": torch.zeros(2)}
    expected = inputs.sum(1, keepdim=True).expand(-1, 2)
    torch.testing.assert_close(predict(net, other, inputs), expected)
    assert net.training


# --- Bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), "'X'.*no records"),
        (torch.ones(3, 4), torch.ones(3, dtype=torch.long), "'X'.*only class 1"),
        (torch.tensor([[0.0], [float("nan")]]), torch.tensor([0, 1]), "'X'.*1 of 2 records.*NaN"),
        (torch.ones(3, 4), torch.tensor([0, 1]), "'X'.*expected 3 entries"),
        (torch.ones(2, 4), torch.tensor([0.0, 1.0]), "'X'.*torch.float32 given, expected integer"),
    ],
)
def test_a_hospital_with_unusable_records_says_what_is_wrong(inputs, targets, message):
    with pytest.raises(ValueError, match=message):
        Hospital("X", inputs, targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hospitals": []}, "hospitals: none given"),
        ({"hospitals": [hospital("A"), hospital("A")]}, "each name once"),
        ({"rounds": 0}, "rounds: 0 given"),
    ],
)
def test_fed_avg_names_the_bad_argument_at_once(change, message):
    arguments = {"hospitals": [hospital("A")], "training": ONE_STEP, "rounds": 1, "seed": 0}
    with pytest.raises(ValueError, match=message):
        fed_avg(model(), **{**arguments, **change})


@pytest.mark.parametrize(
    "bad", [{"learning_rate": 0}, {"local_steps": 0}, {"batch_size": 0}, {"optimiser": "lion"},
            {"momentum": 1}, {"batch_order": "odd"}, {"mode": "test"}, {"proximal": -1}]
)
def test_local_training_names_the_bad_argument(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"^{name}: "):
        LocalTraining(**{"learning_rate": 0.1, **bad})


def test_weighted_mean_refuses_states_that_do_not_match():
    one, other = {"w": torch.zeros(2)}, {"w": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"states\[1\]"):
        weighted_mean([one, other], [1, 1])
    with pytest.raises(ValueError, match="weights"):
        weighted_mean([one], [0])


# --- What each observer sees ----------------------------------------------------------------

TRAINING = LocalTraining(learning_rate=0.3, local_steps=2, batch_size=4)


def one_round(sizes, seed=0):
    hospitals = [hospital(f"H{k}", n) for k, n in enumerate(sizes)]
    return last(fed_avg(model(), hospitals, TRAINING, rounds=1, seed=seed))


def shuffled_parts(step, seed):
    """The same round with other updates that have the same weighted mean."""
    first, second, *rest = step.updates
    noise = {n: torch.randn(t.shape, generator=generator("noise", seed, n))
             for n, t in first.after.items()}
    ratio = first.num_examples / second.num_examples
    plus = {n: t + noise[n] for n, t in first.after.items()}
    minus = {n: t - ratio * noise[n] for n, t in second.after.items()}
    swap = [federation.Update(u.before, after, u.num_examples, u.round, u.hospital)
            for u, after in ((first, plus), (second, minus))]
    return federation.Round(step.number, step.before, (*swap, *rest), step.after)


def tensors(views):
    return [t for view in views for state in (view.before, view.after) if state
            for t in state.values()]


sizes = st.lists(st.integers(4, 20), min_size=3, max_size=5)


@settings(max_examples=15, deadline=None)
@given(sizes, st.integers(0, 99))
def test_views_of_aggregates_do_not_depend_on_how_the_aggregate_was_made(sizes, seed):
    step = one_round(sizes)
    other = shuffled_parts(step, seed)
    own = step.updates[-1].hospital
    for view_of in (
        federation.secure_aggregation_views,
        federation.public_views,
        lambda s: federation.client_views(s, own),
        lambda s: federation.eavesdropper_views(s, encrypted=True),
    ):
        for a, b in zip(tensors(view_of(step)), tensors(view_of(other)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(sizes, st.integers(0, 99))
def test_the_property_above_rejects_a_view_that_shows_single_updates(sizes, seed):
    step = one_round(sizes)
    other = shuffled_parts(step, seed)
    pairs = zip(tensors(federation.server_views(step)), tensors(federation.server_views(other)),
                strict=True)
    assert any(not torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


def test_server_and_plain_eavesdropper_see_every_update():
    step = one_round([5, 9, 6])
    for views in (federation.server_views(step),
                  federation.eavesdropper_views(step, encrypted=False)):
        assert [view.contributors for view in views] == [("H0",), ("H1",), ("H2",)]
        assert [view.weights for view in views] == [(5,), (9,), (6,)]
        for view, update in zip(views, step.updates, strict=True):
            assert view.artefact == "update"
            assert_same(view.after, update.after)


def test_tls_leaves_the_eavesdropper_nothing():
    assert federation.eavesdropper_views(one_round([5, 9, 6]), encrypted=True) == ()


def test_secure_aggregation_hides_single_updates_and_their_weights():
    (view,) = federation.secure_aggregation_views(one_round([5, 9, 6]))
    assert view.artefact == "sum" and view.weights is None
    assert view.contributors == ("H0", "H1", "H2")


def test_a_client_recovers_the_mean_of_the_others_and_of_two_the_other():
    three = one_round([5, 9, 6])
    (view,) = federation.client_views(three, "H1")
    others = [three.updates[0], three.updates[2]]
    expected = weighted_mean([u.after for u in others], [u.num_examples for u in others])
    assert_same(view.after, expected, rtol=1e-4, atol=1e-5)
    assert view.contributors == ("H0", "H2")

    two = one_round([5, 9])
    (view,) = federation.client_views(two, "H0")
    assert_same(view.after, two.updates[1].after, rtol=1e-4, atol=1e-5)
    assert federation.client_views(one_round([5]), "H0") == ()
    with pytest.raises(ValueError, match="own: 'Z'"):
        federation.client_views(two, "Z")


def test_the_released_model_has_no_before():
    (view,) = federation.public_views(one_round([5, 9]))
    assert view.artefact == "released model" and view.before is None


def test_a_view_shares_no_memory_with_the_round():
    step = one_round([5, 9])
    kept = step.updates[0].after["0.weight"].clone()
    federation.server_views(step)[0].after["0.weight"].zero_()
    assert torch.equal(step.updates[0].after["0.weight"], kept)


def test_a_view_refuses_an_artefact_it_does_not_know():
    state = {"w": torch.zeros(1)}
    with pytest.raises(ValueError, match="artefact"):
        federation.View(federation.SERVER, "everything", state, state, ("A",))
    with pytest.raises(ValueError, match="before"):
        federation.View(federation.PUBLIC, "released model", state, state, ("A",))


def test_a_defence_acts_on_the_update_before_it_leaves():
    def freeze(update):
        return federation.Update(update.before, update.before, update.num_examples,
                                 update.round, update.hospital)

    step = last(fed_avg(model(), [hospital("A")], TRAINING, rounds=1, seed=0, defend=freeze))
    assert_same(step.after, step.before)
    assert all(float(t.abs().max()) == 0 for t in step.updates[0].delta.values())
