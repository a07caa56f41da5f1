"""A server that crafts its model: what it reads, how sure it is, and what it cannot read."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from leaklab.attacks.malicious_server import imprint, inconsistency, trap_weights
from leaklab.federation import Round, secure_aggregation_views, train_on
from leaklab.metrics import reconstruction
from leaklab.models import conv_net, mlp
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining, weighted_mean
from local_training import view_of

STEP = LocalTraining(0.1, mode="eval")
SIZE = 8


def images(key, n: int) -> torch.Tensor:
    """Noise of any brightness and contrast, shape (n, 1, 8, 8): in it no two images look alike."""
    source = generator("images", key)
    level = torch.rand(n, 1, 1, 1, generator=source)
    return level * torch.rand(n, 1, SIZE, SIZE, generator=source)


def labels(key, n: int) -> torch.Tensor:
    return torch.randint(2, (n,), generator=generator("labels", key))


def network(key, **changes) -> nn.Sequential:
    return conv_net(generator("weights", key), size=SIZE, num_classes=2, **changes)


def exact(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Which of the records are among the guesses, to 60 dB."""
    if len(guess) == 0:
        return torch.zeros(len(truth), dtype=torch.bool)
    return torch.cdist(truth.flatten(1).double(), guess.flatten(1).double(),
                       compute_mode="donot_use_mm_for_euclid_dist").amin(1) < 1e-3 * SIZE


# --- Imprint ----------------------------------------------------------------------------------


def test_two_images_in_two_bins_by_hand():
    """Brightness 0.2 and 0.7, thresholds 0 and 0.5: the upper neuron holds the second image, the
    lower one both; half of the slopes times the images is the gradient."""
    x = torch.tensor([[0.1, 0.3], [0.8, 0.6]])
    rows = torch.full((2, 2), 0.5)
    front = imprint.Imprint(rows, torch.tensor([0.0, 0.5]), (2,))
    net = nn.Sequential()
    net.add_module("imprint", front)
    net.add_module("model", nn.Linear(2, 2))
    view = view_of(net, x, torch.tensor([0, 1]), STEP)
    z = x.clone().requires_grad_()
    shade = front.back(torch.relu(front.bins(x)))
    loss = nn.functional.cross_entropy(net.model(z + shade), torch.tensor([0, 1]), reduction="sum")
    slope = torch.autograd.grad(loss, z)[0].sum(1, keepdim=True)
    moved = (view.before["imprint.bins.weight"] - view.after["imprint.bins.weight"]) / 0.1
    assert moved[1] == pytest.approx((slope[1] * x[1] / 2).detach(), rel=1e-4)
    assert moved[0] - moved[1] == pytest.approx((slope[0] * x[0] / 2).detach(), rel=1e-4)
    found = imprint.read_bins(net, view).guess
    assert torch.allclose(found[reconstruction.match(found, x)], x, atol=1e-4)


def mixtures(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """What every bin that holds images would give without rounding: their mean, by slope."""
    front = net.imprint.bins
    slopes = torch.stack([torch.autograd.grad(nn.functional.cross_entropy(net(one), label),
                                              front.bias)[0]
                          for one, label in zip(x.split(1), y.split(1), strict=True)]).double()
    slopes = slopes.gather(1, slopes.abs().argmax(1, keepdim=True))
    shares = nn.functional.one_hot((front(x.flatten(1)) > 0).sum(1)).T * slopes[:, 0]
    held = shares.any(1)
    return shares[held] @ x.flatten(1).double() / shares[held].sum(1, keepdim=True)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(4, 64),
       st.sampled_from(["conv", "mlp", "gelu"]))
@example(25, 23, 22, "mlp")  # one of two in a bin is 27 times as loud as the other
def test_the_images_alone_in_their_bin_are_read_and_no_others(seed, records, bins, kind):
    x, public = images(("victims", seed), records), images(("public", seed), 300)
    inner = {"conv": lambda: network(seed), "gelu": lambda: network(seed, activation=nn.GELU),
             "mlp": lambda: mlp(generator(seed), num_features=SIZE**2, width=30)}[kind]()
    net, y = imprint.imprinted(inner, public, bins), labels(seed, records)
    answer = imprint.read_bins(net, view_of(net, x, y, STEP))
    rows, thresholds = imprint.brightness_bins(public, bins)
    alone = imprint.alone(thresholds, x.flatten(1) @ rows[0])
    read, foretold = exact(answer.guess, x), exact(mixtures(net, x, y), x)
    assert foretold[alone].all()
    assert not (read & ~foretold).any(), "a mixture is no record, unless one of it drowns the rest"
    # the slope of a record may be lost in rounding: once in some hundred
    assert (alone & ~read).sum() <= 1 + 0.1 * alone.sum()
    assert exact(x, answer.guess[answer.certificate]).all(), "what is certain is a record"


def test_most_of_what_is_read_is_certain_with_its_label():
    x, y, public = images("victims", 64), labels("victims", 64), images("public", 1000)
    net = imprint.imprinted(network(0), public, 128)
    view = view_of(net, x, y, STEP)
    for weights in ((64,), None):  # told the number of records, and not
        seen = dataclasses.replace(view, weights=weights)
        answer = imprint.read_bins(net, seen)
        sure = answer.guess[answer.certificate]
        assert len(sure) > 0.6 * exact(answer.guess, x).sum()
        nearest = torch.cdist(sure.flatten(1), x.flatten(1)).argmin(1)
        assert torch.equal(answer.labels[answer.certificate], y[nearest])
        assert exact(sure, x).sum() == len(sure), "each record once"


def test_a_mixture_of_two_is_never_certain():
    """Both images lie in one bin: the answer is between them, and nothing says that it is one."""
    public = images("public", 300)
    net = imprint.imprinted(network(1), public, 8)
    for seed in range(30):
        x = 0.3 + 0.4 * torch.rand(2, 1, SIZE, SIZE, generator=generator(seed))
        x += 0.5 - x.mean((1, 2, 3), keepdim=True)  # one brightness
        answer = imprint.read_bins(net, view_of(net, x.clamp(0, 1), labels(seed, 2), STEP))
        assert not answer.certificate.any() and not exact(answer.guess, x).any()


@pytest.mark.parametrize(("bins", "records"), [(128, 64), (128, 256), (512, 256)])
def test_shares_are_within_three_standard_errors_of_theory(bins, records):
    rounds = -(-1024 // records)
    public = images("a large public set", 6000)
    net = imprint.imprinted(mlp(generator(0), num_features=SIZE**2, width=20), public, bins)
    hits = 0
    for k in range(rounds):
        x = images(("batch", k), records)
        hits += int(exact(imprint.read_bins(net, view_of(net, x, labels(k, records), STEP)).guess,
                          x).sum())
    n = rounds * records
    for theory in (imprint.single_hits(bins, records), imprint.single_hits(bins, records, 6000)):
        assert abs(hits / n - theory) < 3 * np.sqrt(theory * (1 - theory) / n)
    wrong = (1 - 1 / bins) ** (2 * records)  # a theory that counts every record twice
    assert abs(hits / n - wrong) > 3 * np.sqrt(wrong * (1 - wrong) / n)


def test_bins_from_few_public_images_cost_hits_as_theory_says():
    source, bins, records, public = np.random.default_rng(0), 64, 32, 100
    shares = []
    for _ in range(3000):
        edges = np.sort(source.random(public))[np.arange(0, public, public / bins).astype(int)]
        chances = np.diff(np.concatenate([edges, [edges[0] + 1]]))  # on a circle: no ends
        shares.append((chances * (1 - chances) ** (records - 1)).sum())
    told = imprint.single_hits(bins, records, public)
    assert told < imprint.single_hits(bins, records) - 0.05
    assert np.mean(shares) == pytest.approx(told, abs=0.02)
    assert imprint.single_hits(64, 32, 10**7) == pytest.approx(imprint.single_hits(64, 32), 1e-3)


def test_reading_rows_without_subtraction_finds_hardly_a_record():
    x, public = images("victims", 32), images("public", 500)
    net = imprint.imprinted(network(0), public, 64)
    view = view_of(net, x, labels("victims", 32), STEP)
    right = exact(imprint.read_bins(net, view).guess, x).sum()
    rows = exact(trap_weights.read_rows(net, view, layer=imprint.LAYER).guess, x).sum()
    assert right > 15 and rows <= 2


def test_neurons_in_any_order_are_read_by_their_thresholds():
    x, public = images("victims", 32), images("public", 500)
    net = imprint.imprinted(network(0), public, 64)
    shuffled = copy.deepcopy(net)
    order = torch.randperm(64, generator=generator("order"))
    with torch.no_grad():
        for part in (shuffled.imprint.bins.weight, shuffled.imprint.bins.bias):
            part.copy_(part[order])
    read = [exact(imprint.read_bins(model, view_of(model, x, labels("victims", 32), STEP)).guess, x)
            for model in (net, shuffled)]
    assert torch.equal(*read)


def test_several_local_steps_leave_nothing_certain():
    x, public = images("victims", 16), images("public", 300)
    net = imprint.imprinted(network(0), public, 64)
    answer = imprint.read_bins(net, view_of(net, x, labels("x", 16),
                                            LocalTraining(0.1, local_steps=5, mode="eval")))
    assert not answer.certificate.any()


def test_of_no_gradient_nothing_is_read():
    public = images("public", 300)
    net = imprint.imprinted(network(0), public, 16)
    view = view_of(net, torch.zeros(2, 1, SIZE, SIZE), labels("x", 2), STEP)  # off everywhere
    answer = imprint.read_bins(net, view)
    assert answer.guess.shape == (0, 1, SIZE, SIZE) and answer.certificate.shape == (0,)


def test_dtype_is_kept_and_the_inner_model_is_left_alone():
    inner, public = network(0).double(), images("public", 300).double()
    before = {name: tensor.clone() for name, tensor in inner.state_dict().items()}
    net = imprint.imprinted(inner, public, 16)
    x = images("x", 4).double()
    assert net(x).dtype == torch.float64 and torch.equal(net(x), net(x.flatten(1)))
    answer = imprint.read_bins(net, view_of(net, x, labels("x", 4), STEP))
    assert answer.guess.dtype == torch.float64 and answer.guess.shape[1:] == (1, SIZE, SIZE)
    assert all(torch.equal(before[name], tensor) for name, tensor in inner.state_dict().items())


@pytest.mark.parametrize(("call", "complaint"), [
    (lambda: imprint.brightness_bins(torch.zeros(5, 3), 1), "bins: 1 given"),
    (lambda: imprint.brightness_bins(torch.zeros(1, 3), 4), "public: 1 images given"),
    (lambda: imprint.read_bins(network(0), view_of(network(0), images(0, 2), labels(0, 2), STEP)),
     "layer: 'imprint.bins' given"),
    (lambda: trap_weights.trapped(network(0), generator(0), scale=1.5), "scale: 1.5 given"),
    (lambda: inconsistency.silenced(network(0, activation=nn.GELU)), "expected a layer with bias"),
    (lambda: inconsistency.silenced(nn.Linear(4, 2)), "expected a layer with bias"),
    (lambda: inconsistency.silenced(network(0, batch_norm=True)), "without BatchNorm"),
])
def test_bad_input_is_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


# --- Sums and inconsistency -------------------------------------------------------------------


def hospitals_updates(net, sizes=(6, 9, 12), training=STEP, sent=None):
    """Updates of hospitals of these sizes, from what ``sent`` says or ``net``; and records."""
    parts = [(images(("hospital", k), n), labels(("hospital", k), n))
             for k, n in enumerate(sizes)]
    updates = [train_on((sent or {}).get(f"H{k}", net), x, y, training, hospital=f"H{k}",
                        generator=generator("local", k)) for k, (x, y) in enumerate(parts)]
    return updates, parts


def test_a_sum_over_hospitals_is_one_batch_of_all_records():
    public = images("public", 600)
    net = imprint.imprinted(network(0), public, 128)
    updates, parts = hospitals_updates(net)
    view = inconsistency.opened_sum(updates, "H0", Knowledge(STEP))
    x, y = (torch.cat(part) for part in zip(*parts, strict=True))
    whole = view_of(net, x, y, STEP)
    for name in view.after:
        torch.testing.assert_close(view.after[name], whole.after[name], atol=1e-6, rtol=1e-4)
    answer = imprint.read_bins(net, view)
    rows, thresholds = imprint.brightness_bins(public, 128)
    assert torch.equal(exact(answer.guess, x), imprint.alone(thresholds, x.flatten(1) @ rows[0]))
    assert answer.certificate.any() and exact(x, answer.guess[answer.certificate]).all()


def test_of_consistent_models_the_sum_is_what_secure_aggregation_opens():
    net = network(0)
    updates, _ = hospitals_updates(net)
    after = weighted_mean([u.after for u in updates], [u.num_examples for u in updates])
    (passive,) = secure_aggregation_views(Round(0, updates[0].before, tuple(updates), after))
    view = inconsistency.opened_sum(updates, "H2")
    assert view.observer.active and not passive.observer.active
    assert (view.artefact, view.contributors, view.weights) == ("sum", passive.contributors, None)
    for name in after:
        torch.testing.assert_close(view.after[name], passive.after[name], atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="target: 'H7' given, expected one of"):
        inconsistency.opened_sum(updates, "H7")


@pytest.mark.parametrize("make", [network, lambda key: mlp(generator(key), num_features=SIZE**2)])
def test_others_sent_a_dead_model_add_nothing_but_their_last_bias(make):
    net = make(0)
    dead = inconsistency.silenced(net)
    updates, _ = hospitals_updates(net, sent={"H0": dead, "H1": dead})
    last = list(net.state_dict())[-1]
    for name, moved in updates[0].delta.items():
        assert (moved == 0).all() == (name != last), name
    view = inconsistency.opened_sum(updates, "H2", Knowledge(STEP))
    share = updates[2].num_examples / sum(u.num_examples for u in updates)
    for name in set(view.before) - {last}:
        torch.testing.assert_close(view.after[name] - view.before[name],
                                   share * updates[2].delta[name], atol=3e-8, rtol=1e-3)
    honest, _ = hospitals_updates(net)
    mixed = inconsistency.opened_sum(honest, "H2")
    name = list(net.state_dict())[-2]
    assert not torch.allclose(mixed.after[name] - mixed.before[name], share * honest[2].delta[name],
                              atol=1e-5)


def test_no_image_of_a_silenced_hospital_is_read():
    net = imprint.imprinted(network(0), images("public", 600), 128)
    dead = inconsistency.silenced(net)
    updates, parts = hospitals_updates(net, sent={"H0": dead, "H1": dead})
    answer = imprint.read_bins(net, inconsistency.opened_sum(updates, "H2", Knowledge(STEP)))
    read = [int(exact(answer.guess, x).sum()) for x, _ in parts]
    assert read[:2] == [0, 0] and read[2] >= 9


# --- Trap weights -----------------------------------------------------------------------------


def test_half_of_a_row_is_negative_and_the_other_half_the_same_but_smaller():
    net = mlp(generator(0), num_features=SIZE**2, width=40)
    crafted = trap_weights.trapped(net, generator("traps"), scale=0.9)
    weight = crafted[1].weight.detach()
    up, down = weight.clamp(min=0).sort(1).values, (-weight).clamp(min=0).sort(1).values
    torch.testing.assert_close(up, 0.9 * down)
    assert ((weight < 0).sum(1) == SIZE**2 // 2).all() and (crafted[1].bias == 0).all()
    assert len({tuple(row.tolist()) for row in weight.sign()}) == 40
    assert not torch.equal(net[1].weight, weight) and torch.equal(net[3].weight, crafted[3].weight)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([None, 0.7, 0.9]))
def test_records_alone_at_a_neuron_are_read_from_traps_and_from_honest_layers(seed, records, scale):
    x = images(("victims", seed), records)
    net = mlp(generator(seed), num_features=SIZE**2, width=100)
    if scale:
        net = trap_weights.trapped(net, generator("traps", seed), scale=scale)
    answer = trap_weights.read_rows(net, view_of(net, x, labels(seed, records), STEP))
    on = net[1](x.flatten(1)) > 0
    single = on[:, on.sum(0) == 1].any(1)
    read = exact(answer.guess, x.flatten(1))
    assert read[~single].sum() == 0
    assert (single & ~read).sum() <= 1 + 0.1 * single.sum()
    assert exact(x.flatten(1), answer.guess[answer.certificate]).all()
    assert exact(answer.guess[answer.certificate], x.flatten(1)).sum() == answer.certificate.sum()


def records_read(model, seed, n=64) -> int:
    x = images(("many", seed), n)
    answer = trap_weights.read_rows(model, view_of(model, x, labels(seed, n), STEP))
    return int(exact(answer.guess, x.flatten(1)).sum())


def test_traps_read_more_than_an_honest_layer_which_leaks_too():
    nets = [mlp(generator(seed), num_features=SIZE**2, width=256) for seed in range(6)]
    honest = sum(records_read(net, seed) for seed, net in enumerate(nets))
    crafted = {scale: sum(
        records_read(trap_weights.trapped(net, generator(seed), scale=scale), seed)
        for seed, net in enumerate(nets)) for scale in (0.7, 0.95)}
    assert 0 < honest < crafted[0.7] / 3
    assert crafted[0.95] < honest, "a scale that lets too many records through is worse than none"
