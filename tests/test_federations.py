"""Many federations at once are the same federations as one after another."""

import dataclasses
from functools import partial

import pytest
import torch

from leaklab.federation import Hospital, fed_avg
from leaklab.federations import train_federations
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.stack import new_stack, state_of
from leaklab.updates import LocalTraining

N, HOSPITALS = 23, 3
DRAW = generator("records")
INPUTS = torch.randn(N, 6, generator=DRAW, dtype=torch.float64)
TARGETS = torch.arange(N) % 2
TRAINING = LocalTraining(0.2, local_steps=5, batch_size=4, batch_order="sequential")


def models(number=2):
    def double(draw):
        return mlp(draw, num_features=6, width=8).double()
    return new_stack(double, number, generator("weights"))


def dealt(number=2):
    """Ragged hospitals, and some records at none."""
    draws = [torch.randperm(N, generator=generator("deal", f)) for f in range(number)]
    owners = torch.full((number, N), -1)
    for row, order in zip(owners, draws, strict=True):
        for k, part in enumerate(order[:19].split([9, 6, 4])):
            row[part] = k
    return owners


def train(owners=None, stack=None, rounds=3, key="training", **changes):
    return train_federations(stack or models(), INPUTS, TARGETS,
                             dealt() if owners is None else owners, TRAINING, rounds=rounds,
                             generator=generator(key), **changes)


def test_each_is_the_federation_that_fed_avg_trains():
    stack, owners = models(), dealt()
    for f, found in enumerate(train(owners, stack)):
        clinics = [Hospital(f"Hospital {k + 1}", INPUTS[owners[f] == k], TARGETS[owners[f] == k])
                   for k in range(HOSPITALS)]
        stack.model.load_state_dict(state_of(stack, f))
        expected = list(fed_avg(stack.model, clinics, TRAINING, rounds=3, seed=0))
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.number == theirs.number
            torch.testing.assert_close(mine.after, theirs.after)
            for a, b in zip(mine.updates, theirs.updates, strict=True):
                assert (a.num_examples, a.round, a.hospital) == (b.num_examples, b.round,
                                                                 b.hospital)
                torch.testing.assert_close(dict(a.before), dict(b.before))
                torch.testing.assert_close(dict(a.after), dict(b.after))


def test_federations_do_not_touch_each_other():
    owners = dealt(3)
    alone = train(owners[1:2], models(3)[1:2])
    torch.testing.assert_close(train(owners, models(3))[1][-1].after, alone[0][-1].after)


def test_the_initial_models_are_left_alone_and_a_key_repeats_itself():
    stack = models()
    before = state_of(stack, 0)
    first = train(stack=stack)
    torch.testing.assert_close(state_of(stack, 0), before)
    again = train(stack=stack)
    torch.testing.assert_close(first[1][-1].after, again[1][-1].after, rtol=0, atol=0)


def test_a_defence_acts_before_the_server_averages():
    def nothing(update):
        return dataclasses.replace(update, after=update.before)

    (steps, _) = train(defend=nothing)
    torch.testing.assert_close(dict(steps[-1].after), dict(steps[0].before))


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"owners": dealt()[:1]}, "owners: torch.int64 (1, 23) given"),
    ({"owners": dealt().double()}, "owners: torch.float64"),
    ({"owners": dealt().where(dealt() != 1, 2)}, "hospitals [1] hold no record in federation 0"),
    ({"rounds": 0}, "rounds: 0 given"),
])
def test_what_does_not_fit_is_refused(changes, complaint):
    with pytest.raises(ValueError) as error:
        train(**changes)
    assert complaint in str(error.value)


def test_shuffled_batches_give_other_updates_for_another_key():
    shuffled = dataclasses.replace(TRAINING, batch_order="shuffled")
    run = partial(train_federations, models(), INPUTS, TARGETS, dealt(), shuffled, rounds=1)
    one, other = (run(generator=generator(key))[0][0].updates[0].after["1.weight"]
                  for key in ("a", "b"))
    assert not torch.equal(one, other)
