"""A stack trains as its models would one by one; padding weighs nothing; what mixes is refused."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from leaklab import stack as stacks
from leaklab.federation import draw_batches, train_on
from leaklab.models import logistic_regression, mlp, predict, small_cnn
from leaklab.runtime import generator, isolated_rng
from leaklab.schedule import generators, padded_batches, schedule
from leaklab.stack import (
    Stack,
    new_stack,
    paired_members,
    repeat,
    stack_logits,
    state_of,
    train_stack,
)
from leaklab.updates import LocalTraining

MODELS, RECORDS = 5, 23


def normed_mlp(rng: torch.Generator) -> nn.Sequential:
    with isolated_rng(rng):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GroupNorm(4, 16), nn.ReLU(),
                             nn.Linear(16, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 3))


def dropping(rng: torch.Generator, p: float = 0.5) -> nn.Sequential:
    with isolated_rng(rng):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(p),
                             nn.Linear(16, 3))


ARCHITECTURES = {
    "mlp": partial(mlp, num_features=64, width=16, num_classes=3),
    "mlp with norms": normed_mlp,
    "cnn": partial(small_cnn, size=8, num_classes=3),
}
TRAININGS = {
    "sgd with momentum": LocalTraining(0.1, 9, 4, momentum=0.9),
    "adam": LocalTraining(0.01, 9, 4, optimiser="adam"),
    "full batch, proximal": LocalTraining(0.1, 4, proximal=0.1),
    "sequential": LocalTraining(0.1, 5, 4, batch_order="sequential", mode="eval"),
}


def records(*key, dtype=torch.float64):
    rng = generator("records", *key)
    return (torch.randn(RECORDS, 1, 8, 8, generator=rng, dtype=dtype),
            torch.randint(3, (RECORDS,), generator=rng))


def ragged() -> torch.Tensor:
    """Members of five models: 3, 7, 23, 1 and 12 of the records."""
    members = torch.zeros(MODELS, RECORDS, dtype=torch.bool)
    for k, n in enumerate((3, 7, 23, 1, 12)):
        members[k, torch.randperm(RECORDS, generator=generator("members", k))[:n]] = True
    return members


def double(make, number: int = MODELS) -> Stack:
    return new_stack(lambda rng: make(rng).double(), number, generator("weights"))


def one_by_one(stack, inputs, targets, members, training):
    """The house's own training, model by model."""
    for k, own in enumerate(generators(len(stack), generator("training"))):
        model = stack.model
        model.load_state_dict(state_of(stack, k))
        yield train_on(model, inputs[members[k]], targets[members[k]], training,
                       generator=own).after


def distance(stack: Stack, states) -> float:
    return max(float((state_of(stack, k)[name] - tensor).abs().max())
               for k, state in enumerate(states) for name, tensor in state.items())


# --- Equal to separate trainings ------------------------------------------------------------


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("make", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_a_stack_trains_as_its_models_would_one_by_one(make, training):
    stack, members, (inputs, targets) = double(make), ragged(), records()
    trained = train_stack(stack, inputs, targets, members, training, generator("training"))
    apart = list(one_by_one(stack, inputs, targets, members, training))
    assert distance(trained, apart) < 1e-10
    assert distance(stack, apart) > 1e-3  # training moved the weights


def test_each_model_makes_its_own_number_of_passes():
    stack, members, (inputs, targets) = double(ARCHITECTURES["mlp"]), ragged(), records()
    training = LocalTraining(0.05, batch_size=4, momentum=0.9)
    trained = train_stack(stack, inputs, targets, members, training, generator("training"),
                          epochs=3)
    for k, own in enumerate(generators(MODELS, generator("training"))):
        steps = 3 * -(-int(members[k].sum()) // 4)  # 3 passes of 3 records: 3 steps; of 23: 18
        stack.model.load_state_dict(state_of(stack, k))
        alone = train_on(stack.model, inputs[members[k]], targets[members[k]],
                         LocalTraining(0.05, steps, 4, momentum=0.9), generator=own).after
        assert distance(trained[[k]], [alone]) < 1e-10


def test_models_may_learn_different_labels():
    stack, members, (inputs, _) = double(ARCHITECTURES["mlp"]), ragged(), records()
    targets = torch.randint(3, (MODELS, RECORDS), generator=generator("labels"))
    training = TRAININGS["adam"]
    trained = train_stack(stack, inputs, targets, members, training, generator("training"))
    for k in range(MODELS):
        alone = train_stack(stack, inputs, targets[k], members, training, generator("training"))
        assert distance(trained[[k]], [state_of(alone, k)]) < 1e-10


@settings(max_examples=15, deadline=None)
@given(chunk=st.integers(1, 7), data=st.data())
def test_the_chunk_and_the_company_do_not_change_a_model(chunk, data):
    sizes = data.draw(st.lists(st.integers(1, RECORDS), min_size=2, max_size=6))
    members = torch.stack([torch.arange(RECORDS) < n for n in sizes])
    inputs, targets = records()
    stack, training = double(ARCHITECTURES["mlp"], len(sizes)), TRAININGS["sgd with momentum"]
    together = train_stack(stack, inputs, targets, members, training, generator("training"),
                           chunk=chunk, epochs=2)
    again = train_stack(stack, inputs, targets, members, training, generator("training"),
                        epochs=2)
    assert distance(together, [state_of(again, k) for k in range(len(sizes))]) < 1e-10


def test_the_same_generator_gives_the_same_models_and_leaves_the_world_alone():
    stack, members, (inputs, targets) = double(dropping), ragged(), records()
    kept = {name: tensor.clone() for name, tensor in stack.parameters.items()}
    before = torch.get_rng_state()
    first, second, other = (
        train_stack(stack, inputs, targets, members, TRAININGS["adam"], generator("training", key))
        for key in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert stack.model.training
    for name in kept:
        assert torch.equal(stack.parameters[name], kept[name])
        assert torch.equal(first.parameters[name], second.parameters[name])
        assert not torch.equal(first.parameters[name], other.parameters[name])


def test_frozen_weights_stay_and_the_others_train_as_alone():
    def make(rng):
        model = ARCHITECTURES["mlp"](rng).double()
        model[1].requires_grad_(False)
        return model

    stack, members, (inputs, targets) = new_stack(make, MODELS, generator(0)), ragged(), records()
    training = TRAININGS["sgd with momentum"]
    trained = train_stack(stack, inputs, targets, members, training, generator("training"))
    assert torch.equal(trained.parameters["1.weight"], stack.parameters["1.weight"])
    assert distance(trained, one_by_one(stack, inputs, targets, members, training)) < 1e-10


# --- Padding ---------------------------------------------------------------------------------


RIGHT = stacks.schedule


def averaged_over_padding(batches, members):
    """A wrong schedule: a short batch is divided by the width of the widest."""
    plan = RIGHT(batches, members)
    weight = (plan.weight > 0) / plan.weight.shape[-1]
    return replace(plan, weight=weight.to(plan.weight))


def counted_padding(batches, members):
    """A wrong schedule: padding counts as a record."""
    plan = RIGHT(batches, members)
    return replace(plan, weight=torch.full_like(plan.weight, 1 / plan.weight.shape[-1]))


def never_stopping(batches, members):
    """A wrong schedule: models out of batches go on by their momentum."""
    plan = RIGHT(batches, members)
    return replace(plan, active=[len(batches)] * len(plan.active))


@pytest.mark.parametrize("wrong", [averaged_over_padding, counted_padding, never_stopping])
def test_padding_that_weighs_something_is_found(monkeypatch, wrong):
    stack, members, (inputs, targets) = double(ARCHITECTURES["mlp"]), ragged(), records()
    training = LocalTraining(0.05, 9, 4, momentum=0.9)
    epochs = 2 if wrong is never_stopping else None
    apart = [state_of(train_stack(stack, inputs, targets, members, training, generator(0),
                                  epochs=epochs), k) for k in range(MODELS)]
    monkeypatch.setattr(stacks, "schedule", wrong)
    spoilt = train_stack(stack, inputs, targets, members, training, generator(0), epochs=epochs)
    assert distance(spoilt, apart) > 1e-4


def test_a_plan_by_hand():
    members = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
    plan = schedule([torch.tensor([[2, 0], [1, -1]]), torch.tensor([[0]])], members)
    assert plan.index.tolist() == [[[4, 1], [2, 2]], [[3, 3], [2, 2]]]
    assert plan.weight.tolist() == [[[0.5, 0.5], [1, 0]], [[1, 0], [0, 0]]]
    assert plan.active == [2, 1]


def test_records_of_others_never_touch_a_model():
    stack, members, (inputs, targets) = double(ARCHITECTURES["mlp"]), ragged(), records()
    spoilt = inputs.clone()
    spoilt[~members[1]] = float("nan")  # what model 1 does not train on

    trained, beside = (
        train_stack(stack, x, targets, members, TRAININGS["adam"], generator("training"))
        for x in (inputs, spoilt))
    assert distance(beside[[1]], [state_of(trained, 1)]) < 1e-10


# --- Dropout ---------------------------------------------------------------------------------


def test_dropout_draws_for_each_model_on_its_own():
    """One SGD step on one record: a dropped hidden unit's outgoing weights do not move."""
    stack = repeat(dropping(generator("weights")).double(), 400)
    inputs, targets = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64), torch.tensor([1])
    trained = train_stack(stack, inputs, targets, torch.ones(400, 1, dtype=torch.bool),
                          LocalTraining(0.5), generator("training"))
    moved = (trained.parameters["4.weight"] != stack.parameters["4.weight"]).any(1).double()
    alive = moved.mean(0) > 0  # the others are ReLUs at zero
    kept = moved[:, alive]
    assert int(alive.sum()) > 3
    assert float(kept.mean()) == pytest.approx(0.5, abs=0.03)
    assert len({tuple(row) for row in kept.tolist()}) > 5  # not one mask for all
    between = torch.corrcoef(kept[:200].T).fill_diagonal_(0).abs().max()
    assert float(between) < 0.3


def test_trainings_with_dropout_are_distributed_as_one_by_one():
    model = dropping(generator("weights"), 0.3).double()
    inputs, targets = records()
    stack, everyone = repeat(model, 100), torch.ones(100, RECORDS, dtype=torch.bool)
    training = LocalTraining(0.2, 10, 8)
    trained = train_stack(stack, inputs, targets, everyone, training, generator("training"))
    stacked = loss_of(stack_logits(trained, inputs), targets)
    alone = loss_of(torch.stack([
        predict(model, state, inputs)
        for state in one_by_one(stack, inputs, targets, everyone, training)]), targets)
    error = ((stacked.var() + alone.var()) / 100) ** 0.5
    assert abs(float((stacked.mean() - alone.mean()) / error)) < 4
    assert 0.6 < float(stacked.std() / alone.std()) < 1.6
    still = train_stack(stack, inputs, targets, everyone,
                        LocalTraining(0.2, 10, 8, mode="eval"), generator("training"))
    without = loss_of(stack_logits(still, inputs), targets)  # a stack that drops nothing
    assert abs(float((without.mean() - alone.mean()) / error)) > 4


@given(n=st.integers(1, 30), steps=st.integers(1, 12), size=st.none() | st.integers(1, 40),
       order=st.sampled_from(["shuffled", "sequential"]))
def test_batches_are_those_of_a_hospital(n, steps, size, order):
    training = LocalTraining(0.1, steps, size, batch_order=order)
    padded = padded_batches(n, training, None, generator("batches"))
    drawn = draw_batches(n, training, generator("batches"))
    assert [row[row >= 0].tolist() for row in padded] == [batch.tolist() for batch in drawn]


def loss_of(logits, targets):
    return torch.stack([cross_entropy(own, targets) for own in logits])


# --- In and out of a stack -------------------------------------------------------------------


def test_a_new_stack_holds_the_models_that_the_generator_makes():
    stack = double(ARCHITECTURES["cnn"], 3)
    rng = generator("weights")
    for k in range(3):
        expected = ARCHITECTURES["cnn"](rng).double().state_dict()
        assert state_of(stack, k).keys() == expected.keys()
        assert distance(stack[[k]], [expected]) == 0
    assert len(stack) == 3
    assert len(stack[1:]) == 2


def test_a_state_shares_no_memory_with_its_stack():
    stack = double(ARCHITECTURES["mlp"], 2)
    state_of(stack, 0)["3.bias"].add_(1)
    assert not torch.equal(state_of(stack, 0)["3.bias"], state_of(stack, 0)["3.bias"] + 1)
    model = ARCHITECTURES["mlp"](generator("one"))
    copies = repeat(model, 3)
    with torch.no_grad():
        model[3].bias.add_(1)
    assert not torch.equal(state_of(copies, 0)["3.bias"], model[3].bias)
    assert all(distance(copies[[k]], [state_of(copies, 0)]) == 0 for k in range(3))


@pytest.mark.parametrize("make", [*ARCHITECTURES.values(), dropping])
def test_logits_are_those_of_each_model_in_evaluation_mode(make):
    stack, (inputs, _) = double(make, 3), records()
    logits = stack_logits(stack, inputs, chunk=2, batch=10)
    assert logits.shape == (3, RECORDS, 3)
    for k in range(3):
        alone = predict(stack.model, state_of(stack, k), inputs)
        torch.testing.assert_close(logits[k], alone, atol=1e-12, rtol=0)


@settings(max_examples=20, deadline=None)
@given(pairs=st.integers(1, 6), n=st.integers(2, 40))
def test_pairs_of_models_share_out_the_records(pairs, n):
    members = paired_members(2 * pairs, n, generator("pairs", pairs, n))
    assert members.dtype == torch.bool
    assert torch.equal(members[0::2], ~members[1::2])
    assert members[0::2].sum(1).tolist() == [n // 2] * pairs


# --- What is refused -------------------------------------------------------------------------


def with_batch_norm(rng):
    with isolated_rng(rng):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_is_refused(mode):
    inputs, targets = records()
    with pytest.raises(ValueError, match=r"stack: layers \['2'\] normalise over a batch"):
        train_stack(double(with_batch_norm), inputs, targets, ragged(),
                    LocalTraining(0.1, mode=mode), generator(0))


@pytest.mark.parametrize(("change", "message"), [
    ({"members": ragged()[:3]}, r"members: torch.bool \(3, 23\) given, expected bool \(5, 23\)"),
    ({"members": ragged().float()}, "members: torch.float32"),
    ({"members": ragged() & (torch.arange(5) != 3)[:, None]}, r"models \[3\] have no records"),
    ({"targets": torch.zeros(4, dtype=torch.long)}, r"targets: shape \(4,\) given"),
    ({"epochs": 0}, "epochs: 0 given"),
    ({"chunk": 0}, "chunk: 0 given"),
])
def test_what_does_not_fit_is_named(change, message):
    inputs, targets = records()
    given = {"inputs": inputs, "targets": targets, "members": ragged(), **change}
    with pytest.raises(ValueError, match=message):
        train_stack(double(ARCHITECTURES["mlp"]), training=LocalTraining(0.1),
                    generator=generator(0), **given)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: new_stack(partial(logistic_regression, num_features=2), 0, generator(0)),
     "number: 0 given"),
    (lambda: repeat(nn.Linear(2, 2), 0), "number: 0 given"),
    (lambda: paired_members(3, 10, generator(0)), "number: 3 given, expected 2, 4"),
    (lambda: paired_members(2, 1, generator(0)), "n: 1 given"),
])
def test_impossible_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
