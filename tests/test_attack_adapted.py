"""Attacks that know the defence: each heuristic falls, and clipping with noise does not."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from leaklab.attacks.adapted import rows_together, where_sent
from leaklab.attacks.dense_layer import single_record
from leaklab.attacks.diffusion_prior import candidate_scores
from leaklab.attacks.feature_inversion import invert_features
from leaklab.attacks.gradient_matching import inverting_gradients
from leaklab.attacks.observed import mean_gradient
from leaklab.bounds import reconstruction_robustness
from leaklab.defences.clip_and_noise import ClipAndNoise
from leaklab.defences.compression import Quantised, int8, sign, top_k
from leaklab.defences.heuristics import Noise, Soteria, precode
from leaklab.federation import SERVER, train_on
from leaklab.metrics.reconstruction import psnr
from leaklab.models import mlp, small_cnn
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, Update, View

STEP = LocalTraining(1.0, mode="eval")
RECORD = torch.rand(1, 40, generator=generator("record"))
LABEL = torch.tensor([1])
NET = mlp(generator("weights"), num_features=40, width=64)


def seen(update: Update, defence=None, training=STEP, labels=LABEL) -> View:
    return View(SERVER, "update", update.before, update.after, ("Aster",), (1,),
                Knowledge(training, labels, defence))


def sent(record=RECORD, net=NET, training=STEP) -> Update:
    return train_on(net, record, LABEL, training, generator=generator("local"))


def error(answer) -> float:
    return float((answer.guess - RECORD).square().mean().sqrt())


# --- Rows of a dense layer --------------------------------------------------------------------

def test_without_a_defence_all_rows_give_the_record():
    found = rows_together(NET, seen(sent()))
    torch.testing.assert_close(found.guess, RECORD, atol=1e-5, rtol=0)
    assert float(found.score) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("defend", [
    lambda u: Noise(1e-3).defend(u, STEP, generator=generator("noise")), int8(), Quantised(6)])
def test_all_rows_together_beat_the_largest_row(defend):
    view = seen(defend(sent()))
    assert 1.5 * error(rows_together(NET, view)) < error(single_record(NET, view))


def test_pruned_rows_fill_each_others_gaps():
    """Every feature is sent by some row, so the record is exact though most entries are missing.

    Rows taken as if a pruned entry were 0 leave it blurred: the deliberately wrong attack.
    """
    update = sent()
    kept = torch.rand(update.delta["1.weight"].shape, generator=generator("kept")) < 0.3
    after = {**update.after, "1.weight": torch.where(kept, update.after["1.weight"],
                                                     update.before["1.weight"])}
    view = seen(replace(update, after=after))
    assert error(rows_together(NET, view)) < 1e-4
    gradient = mean_gradient(NET, view)
    joined = torch.cat([gradient["1.weight"], gradient["1.bias"][:, None]], 1)
    wrong = torch.linalg.svd(joined).Vh[0]
    assert float((wrong[:-1] / wrong[-1] - RECORD[0]).square().mean().sqrt()) > 0.1


def test_an_update_that_says_nothing_is_answered_with_nothing():
    update = replace(sent(), after=sent().before)
    found = rows_together(NET, seen(update))
    assert not found.guess.any() and float(found.score) == -1


def test_clipping_with_noise_leaves_no_record_in_the_rows():
    update = ClipAndNoise(1.0, 1.0).defend(sent(), STEP, generator=generator("noise"))
    assert error(rows_together(NET, seen(update))) > float((RECORD - 0.5).square().mean().sqrt())


# --- Searches that leave out what was withheld -------------------------------------------------

IMAGE = torch.zeros(1, 1, 8, 8)
IMAGE[..., 2:6, 3:7] = 0.8
IMAGE[..., 4:, :3] = 0.4
CNN = small_cnn(generator("cnn"), size=8)


@pytest.mark.parametrize("defend", [
    lambda update: Soteria("5", 0.8).defend(update, CNN, IMAGE), top_k(0.2)],
    ids=["Soteria", "top-k"])
def test_a_search_that_knows_what_is_missing_sees_what_the_naive_one_does_not(defend):
    update = defend(sent(IMAGE, CNN))
    views = seen(update), where_sent(CNN, seen(update))
    naive, adapted = (float(psnr(inverting_gradients(
        CNN, view, shape=IMAGE.shape, generator=generator("start")).guess, IMAGE))
        for view in views)
    assert adapted > naive + 8 and adapted > 18


def test_what_did_not_arrive_is_left_out_and_nothing_else():
    update = top_k(0.1)(sent())
    known = where_sent(NET, seen(update)).knowledge.defence
    full = mean_gradient(NET, seen(sent()))
    kept = known.surrogate(full)
    for name, tensor in mean_gradient(NET, seen(update)).items():
        torch.testing.assert_close(kept[name], tensor, atol=1e-6, rtol=1e-4)


# --- PRECODE ----------------------------------------------------------------------------------

def test_precode_hides_nothing_in_front_of_it():
    """A dense first layer is divided as ever; dense features are read and inverted."""
    training = LocalTraining(1.0)
    net = precode(NET, size=16, generator=generator("bottleneck"))
    view = seen(sent(net=net, training=training), training=training)
    assert error(rows_together(net, view)) < 1e-4
    deep = precode(CNN, size=16, generator=generator("bottleneck"))
    view = seen(sent(IMAGE, deep, training), training=training)
    features = rows_together(deep, view, layer="5").guess
    found = invert_features(deep, view, ("5", features), shape=IMAGE.shape,
                            generator=generator("start"))
    assert float(psnr(found.guess, IMAGE)) > 25


# --- Candidates ---------------------------------------------------------------------------------

CANDIDATES = torch.rand(50, 40, generator=generator("others"))


def named(defend, defence, tries: int = 40) -> float:
    """How often the record sent is the likeliest of 50."""
    hits = 0
    for k in range(tries):
        update = defend(sent(CANDIDATES[k:k + 1]), k)
        view = seen(update, defence)
        hits += int(candidate_scores(NET, view, CANDIDATES, noise_std=1.0).argmax()) == k
    return hits / tries


def test_one_bit_an_entry_still_names_the_record_among_others():
    assert named(lambda update, _: sign()(update), sign()) > 0.9


def test_the_same_attack_stays_under_the_bound_where_there_is_one():
    defence = ClipAndNoise(1.0, 2.0)
    rate = named(lambda update, k: defence.defend(update, STEP, generator=generator("dp", k)),
                 defence)
    assert rate <= reconstruction_robustness(1 / 50, 2.0) + 3 * (0.05 / 40) ** 0.5


def test_an_attack_that_is_told_nothing_of_a_layer_says_which():
    with pytest.raises(ValueError, match="layer"):
        rows_together(nn.Sequential(nn.Linear(3, 2, bias=False)), seen(sent()))
