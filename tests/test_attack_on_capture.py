"""A capture of the Flower federation of chapter 2 goes through the attacks of chapters 3 and 4."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.gradient_matching import inverting_gradients
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.search import Budget
from leaklab.federation import EAVESDROPPER, Hospital, draw_batches
from leaklab.metrics.reconstruction import match, mean_image, psnr
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, View
from local_training import smooth_images

if importlib.util.find_spec("flwr") is None:
    pytest.skip("Flower is not installed: pip install leaklab[flower]", allow_module_level=True)
from leaklab.flower import app, replay
from leaklab.flower.local_grid import LocalGrid
from leaklab.flower.wiretap import WireTap

SEED, SIZE, NAMES = 5, 28, ("Aster", "Birch")
ONE_RECORD = LocalTraining(0.1, local_steps=1, batch_size=1)
AS_IN_CHAPTER_2 = LocalTraining(0.1, local_steps=20, batch_size=32)


def hospital(name: str) -> Hospital:
    """32 patients, so that a batch of chapter 2 is all of them and no order is to be guessed."""
    return Hospital(name, smooth_images(generator("patients", name), 32, SIZE),
                    torch.arange(32) % 2)


def overheard(training: LocalTraining, folder: Path) -> dict[str, View]:
    """One round of the app, and from its capture alone what someone on the line sees of it."""
    for name in NAMES:
        app.save_hospital(hospital(name), folder / f"{name}.npz")
    grid = LocalGrid(app.client_app, [{"data-path": str(folder / f"{n}.npz")} for n in NAMES])
    app.federate(WireTap(grid, folder / "capture"), training, rounds=1, seed=SEED, size=SIZE,
                 num_hospitals=len(NAMES))
    return {update.hospital: View(EAVESDROPPER, "update", update.before, update.after,
                                  (update.hospital,), (update.num_examples,), Knowledge(training))
            for update in replay(folder / "capture")}


def first_of(name: str) -> tuple[Tensor, int]:
    """The record that hospital ``name`` trains on in round 1, and its label."""
    (record,) = draw_batches(32, ONE_RECORD, generator(SEED, 1, name))[0]
    member = hospital(name)
    return member.inputs[record][None], int(member.targets[record])


def test_one_step_on_one_record_gives_that_record_away_and_no_other(tmp_path):
    model, public = app.initial_model(SEED, SIZE), hospital("elsewhere").inputs
    seen = overheard(ONE_RECORD, tmp_path)
    assert set(seen) == set(NAMES)
    for name, view in seen.items():
        truth, label = first_of(name)
        gradient = mean_gradient(model, view)
        said = gradient["7.bias"].argmin()[None]  # the one class whose logit is pulled up
        assert int(said) == label
        row = gradient["5.bias"].abs().argmax()
        features = gradient["5.weight"][row] / gradient["5.bias"][row]
        torch.testing.assert_close(features, model[:5](truth)[0].detach(), atol=1e-3, rtol=0)
        settings = {"shape": truth.shape, "budget": Budget(200), "generator": generator("attack")}
        for answer in (invert_features(model, view, ("5", features[None]), **settings),
                       inverting_gradients(model, view, labels=said, **settings)):
            assert float(psnr(answer.guess, truth)) > float(psnr(mean_image(public), truth)) + 15
            assert float(psnr(answer.guess.expand_as(public), public).max()) < 20


def test_twenty_steps_on_batches_of_32_give_no_more_than_the_mean_image(tmp_path):
    """Although the attacker knows all labels and unrolls every step."""
    model, public = app.initial_model(SEED, SIZE), hospital("elsewhere").inputs
    view, truth = overheard(AS_IN_CHAPTER_2, tmp_path)["Aster"], hospital("Aster").inputs
    answer = inverting_gradients(model, view, shape=truth.shape, labels=hospital("Aster").targets,
                                 budget=Budget(40), generator=generator("attack"))
    guess = answer.guess[match(answer.guess, truth)]
    assert psnr(guess, truth).mean() < psnr(mean_image(public, 32), truth).mean()
    assert psnr(guess, truth).max() < 20, "not one patient comes back"
