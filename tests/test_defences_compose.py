"""Defences in a row: order, what an attacker simulates, and what is refused."""

from dataclasses import dataclass, replace

import pytest
import torch

from leaklab.defences.compose import then
from leaklab.federation import Hospital, fed_avg
from leaklab.models import logistic_regression
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, Update

UPDATE = Update({"w": torch.zeros(2)}, {"w": torch.tensor([1.0, 2.0])}, 3, 1, "Aster")


@dataclass(frozen=True)
class Times:
    factor: float

    def __call__(self, update):
        return replace(update, after={n: self.factor * t for n, t in update.after.items()})

    def surrogate(self, gradient):
        return {name: self.factor * tensor for name, tensor in gradient.items()}


def plus_one(update):
    return replace(update, after={name: tensor + 1 for name, tensor in update.after.items()})


def test_steps_run_from_left_to_right():
    assert then(Times(3.0), plus_one)(UPDATE).after["w"].tolist() == [4.0, 7.0]
    assert then(plus_one, Times(3.0))(UPDATE).after["w"].tolist() == [6.0, 9.0]


def test_compositions_compose():
    nested = then(then(Times(3.0), plus_one), Times(2.0))
    flat = then(Times(3.0), plus_one, Times(2.0))
    assert nested(UPDATE).after["w"].tolist() == flat(UPDATE).after["w"].tolist() == [8.0, 14.0]
    assert nested.surrogate({"w": torch.ones(1)})["w"].item() == 6.0


def test_the_last_step_may_answer_anything():
    assert then(plus_one, lambda update: update.num_examples)(UPDATE) == 3


def test_an_attacker_simulates_the_steps_that_have_a_surrogate():
    gradient = {"w": torch.tensor([1.0, 2.0], requires_grad=True)}
    simulated = then(Times(3.0), plus_one, Times(2.0)).surrogate(gradient)["w"]
    assert simulated.tolist() == [6.0, 12.0] and simulated.requires_grad


def test_a_hospital_takes_it_as_its_defence():
    hospital = Hospital("Aster", torch.randn(6, 3, generator=generator("x")), torch.arange(6) % 2)
    model = logistic_regression(generator("w"), num_features=3)
    training = LocalTraining(0.1)
    plain, changed = (next(fed_avg(model, [hospital], training, rounds=1, seed=0, defend=step))
                      for step in (None, then(plus_one)))
    torch.testing.assert_close(plain.after["0.bias"] + 1, changed.after["0.bias"])


@pytest.mark.parametrize(("steps", "message"), [
    ((), "steps: none"), ((plus_one, 3), r"steps\[1\]")])
def test_what_is_no_step_is_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        then(*steps)
