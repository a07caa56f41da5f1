"""Checks of a hospital: each sees what it is meant for, and what none of them sees is pinned."""

import copy
from fractions import Fraction
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leaklab.attacks.malicious_server import imprint, inconsistency, trap_weights
from leaklab.data import radiology
from leaklab.defences import detectors
from leaklab.federation import train_on
from leaklab.models import conv_net, mlp, small_cnn
from leaklab.runtime import generator
from leaklab.updates import LocalTraining

CHESTS = radiology.load("chest", source="synthetic", n=600)
PUBLIC = torch.tensor(CHESTS.inputs[:500])
OWN, OWN_LABELS = torch.tensor(CHESTS.inputs[500:564]), torch.tensor(CHESTS.targets[500:564])
WIDTH = 784


def alarms(model) -> set[str]:
    return {check.name for check in detectors.inspect(model, OWN, OWN_LABELS) if check.alarm}


def dense(rows, biases=None) -> nn.Sequential:
    """A dense layer with these rows, ReLU, and a head of ones."""
    rows = torch.as_tensor(rows, dtype=torch.float32)
    net = nn.Sequential(nn.Linear(rows.shape[1], len(rows)), nn.ReLU(), nn.Linear(len(rows), 2))
    with torch.no_grad():
        net[0].weight.copy_(rows)
        net[0].bias.copy_(torch.zeros(len(rows)) if biases is None else torch.as_tensor(biases))
        net[2].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, len(rows)))
    return net


# --- Statistics by hand -----------------------------------------------------------------------


def test_rows_of_one_direction_are_counted_whatever_their_length_sign_and_order():
    rows = torch.randn(12, 50, generator=generator("rows"))
    assert detectors.identical_rows(dense(rows)).statistic == 0
    rows[3], rows[7], rows[9] = 5 * rows[0], -0.1 * rows[0], 2 * rows[1]
    assert detectors.identical_rows(dense(rows)).statistic == 5
    rows[2] = rows[0] + 0.3 * rows[0].norm() * nn.functional.normalize(rows[5], dim=0)
    assert detectors.identical_rows(dense(rows)).statistic == 5, "17 degrees are another direction"


def test_narrow_layers_say_nothing():
    two_classes = nn.Linear(30, 2)
    with torch.no_grad():
        two_classes.weight[1] = -two_classes.weight[0]  # as training leaves them
    assert detectors.identical_rows(nn.Sequential(two_classes)).statistic == 0


@pytest.mark.parametrize(("biases", "run"), [
    ([1, 2, 3, 2, 1, 0, -1, 5], 5), ([1] * 8, 1), ([3, 1, 1, 0, 2, 2, 2, 2], 2),
    (list(range(8)), 8), ([0, 5, 1, 6, 2, 7, 3, 8], 2)])
def test_the_longest_ladder(biases, run):
    net = dense(torch.randn(8, 20, generator=generator("rows")), [float(b) for b in biases])
    assert detectors.bias_ladder(net).statistic == run


def test_answers_are_compared_and_not_weights():
    """Two rows that differ in a pixel which is the same in all records answer alike."""
    records = torch.rand(20, 10, generator=generator("records"))
    records[:, 9] = 0.5
    rows = torch.randn(8, 10, generator=generator("rows"))
    rows[1] = -2 * rows[0]
    rows[1, 9] = 100.0
    rows[2] = 0.0  # a neuron that says the same of every record
    net = dense(rows)
    assert detectors.identical_rows(net).statistic == 0
    assert detectors.identical_answers(net, records).statistic == 2 / 8


def test_the_share_of_silent_pairs():
    net = dense(torch.eye(8), [0.0] * 8)
    records = torch.full((16, 8), -1.0)
    records[:, 0] = 1.0
    check = detectors.silent_neurons(net, records)
    assert check.statistic == 7 / 8 and not check.alarm


def test_one_gradient_against_the_sum_of_the_others_by_hand():
    """Zero weights: p = 1/2, so each gradient is half of its record, in norm root two of that."""
    net = nn.Sequential(nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight.zero_(), net[0].bias.zero_()
    records = torch.zeros(16, 3)
    records[:, 0] = 1.0
    records[4] *= 30
    check = detectors.gradient_snr(net, records, torch.arange(16) % 2)
    assert check.statistic == pytest.approx(30 / 15) and check.alarm
    assert detectors.gradient_snr(net, 0 * records, torch.arange(16) % 2).statistic == 0


def test_lone_records_by_hand():
    """Neuron k is on for the records above k: one record each, by subtraction; the two that lie
    between the same thresholds are alone nowhere. Which label, and so which record has the largest
    slope, does not matter."""
    steps = torch.arange(16) + 0.5
    records = torch.stack([steps, torch.ones(16)], 1)
    records[15] = records[14]
    small = dense([[0.01, 0.0]] * 16, [-0.01 * k for k in range(16)])  # slopes of all sizes
    few = dense([[0.01, 0.0]] * 8, [-0.01 * k for k in range(8)])
    for label in (0, 1):
        labels = torch.full((16,), label)
        assert detectors.lone_records(small, records, labels).statistic == 14 / 16
        assert detectors.lone_records(few, records, labels).statistic == 7 / 16
    scaled = dense([[3.0 - k % 5, 0.0] for k in range(16)], [0.0] * 16)  # one threshold
    assert detectors.lone_records(scaled, records, torch.ones(16).long()).statistic == 0


@pytest.mark.parametrize(("slopes", "lone"), [
    ([[0, 3, 0]], [1]),  # one neuron
    ([[1, 1, 1]], []),
    ([[9, 2, 4, 1], [0, 2, 4, 1]], [0]),  # the lone record has the largest slope
    ([[9, 2, 4, 1], [5, 2, 4, 1]], [0]),
    ([[9, 2, 4, 1], [-15, -6, -12, -3]], [0]),  # the same, with a factor of -3
    ([[9, 2, 4, 1], [9, 1, 4, 1]], [1]),
    ([[1, 1, 0], [1, 2, 0]], [0, 1]),  # of two records each is cancelled in turn
    ([[1, 2, 3], [2, 4, 6]], []),
    ([[0, 0, 0], [1, 2, 3]], []),  # a neuron that hears nothing adds nothing
    ([[1, 1, 1], [1, 1 + 2e-5, 1]], []),  # below rounding
    ([[1, 1, 1, 1], [1, 1.5, 1 + 2e-3, 1]], []),  # the rest weighs more than a thousandth
    ([[1, 1, 1, 1], [1, 1.5, 1 + 1e-4, 1]], [1])])
def test_isolated_records_by_hand(slopes, lone):
    assert detectors.isolated(torch.tensor(slopes).float()).nonzero().flatten().tolist() == lone


def one_by_one(slopes: list[list[int]], factors) -> set[int]:
    """The records isolated by a neuron, or by two with a factor; exact, by trying them all."""
    found = list(slopes)
    found += [[x - c * y for x, y in zip(a, b, strict=True)]
              for a, b in permutations(slopes, 2) for c in factors(a, b)]
    return {next(k for k, x in enumerate(row) if x) for row in found if sum(map(bool, row)) == 1}


def any_factor(a, b):
    return {Fraction(x, y) for x, y in zip(a, b, strict=True) if y}


def scaled_by_the_largest(a, b):
    """The wrong factor: it changes with the very record that is sought."""
    top = [max(row, key=abs) for row in (a, b)]
    return {sign * Fraction(*top) for sign in (1, -1)} if all(top) else set()


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 5).flatmap(lambda n: st.lists(
    st.lists(st.integers(-2, 2), min_size=n, max_size=n), min_size=1, max_size=5)))
def test_isolated_records_are_those_of_an_exact_search(slopes):
    found = detectors.isolated(torch.tensor(slopes).float()).nonzero().flatten().tolist()
    assert set(found) == one_by_one(slopes, any_factor)


def test_scaling_by_the_largest_slope_counts_too_few():
    slopes = [[9, 2, 4, 1], [5, 2, 4, 1]]
    assert one_by_one(slopes, any_factor) == {0} and not one_by_one(slopes, scaled_by_the_largest)


def test_a_record_that_is_counted_can_be_divided_out():
    """From the gradients of an honest layer, by trying factors until a quotient is a record."""
    net = mlp(generator("weights"), num_features=WIDTH, width=24).double()
    records, labels = OWN[:16].flatten(1).double(), OWN_LABELS[:16]
    said = net[1](records)
    loss = nn.functional.cross_entropy(net[2:](said), labels, reduction="sum")
    (slopes,) = torch.autograd.grad(loss, said)
    lone = detectors.isolated(slopes.T)
    gradient = torch.cat([slopes.T @ records, slopes.T.sum(1, keepdim=True)], 1)
    pairs = gradient[:, None], gradient[None]
    read = torch.zeros(16, dtype=torch.bool)
    for row in [*slopes, None]:  # the factor that cancels a record, or none
        factor = 0 if row is None else (row[:, None] / row[None]).nan_to_num(0, 0, 0)[..., None]
        left = (pairs[0] - factor * pairs[1]).flatten(0, 1)
        quotient = left[:, :-1] / left[:, -1:]
        near = torch.cdist(records, quotient.nan_to_num(9.0, 9.0, 9.0),
                           compute_mode="donot_use_mm_for_euclid_dist")
        read |= near.amin(1) < 1e-3 * WIDTH**0.5
    assert 0 < lone.sum() < 16 and torch.equal(lone, read)


@pytest.mark.parametrize(("records", "bins"), [(64, 128), (256, 512)])
def test_of_an_imprint_the_lone_records_are_those_of_theory(records, bins):
    public, own = (torch.rand(n, 1, 28, 28, generator=generator("noise", n)) for n in (6000, 1024))
    own = own * torch.rand(1024, 1, 1, 1, generator=generator("brightness"))
    public = public * torch.rand(6000, 1, 1, 1, generator=generator("brightness of public"))
    crafted = imprint.imprinted(mlp(generator("w"), num_features=WIDTH, width=8), public, bins)
    rows, thresholds = imprint.brightness_bins(public, bins)
    hits = 0
    for batch in own.split(records):
        labels = torch.randint(2, (records,), generator=generator("labels"))
        share = detectors.lone_records(crafted, batch, labels).statistic
        alone = imprint.alone(thresholds, batch.flatten(1) @ rows[0])
        assert share == pytest.approx(float(alone.double().mean()), abs=1.5 / records)
        hits += share * records
    theory = imprint.single_hits(bins, records)
    assert abs(hits / 1024 - theory) < 3 * (theory * (1 - theory) / 1024) ** 0.5


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_change_of_any_number_is_another_model(seed, place):
    state = small_cnn(generator("weights")).state_dict()
    other = {name: tensor.clone() for name, tensor in state.items()}
    name = list(other)[seed % len(other)]
    flat = other[name].flatten()
    flat[place % len(flat)] = torch.nextafter(flat[place % len(flat)], torch.tensor(9.0))
    other[name] = flat.reshape(other[name].shape)
    check = detectors.same_model({"A": state, "B": other, "C": dict(state)})
    assert check.statistic == 2 and check.alarm
    assert not detectors.same_model({"A": state, "B": dict(reversed(state.items()))}).alarm


def test_a_fingerprint_knows_types_shapes_and_names():
    state = {"a": torch.zeros(4), "n": torch.tensor(3)}
    others = [{"a": torch.zeros(2, 2), "n": state["n"]}, {"b": torch.zeros(4), "n": state["n"]},
              {"a": torch.zeros(4).int(), "n": torch.tensor(3)}, {"a": torch.zeros(4)},
              {"a": torch.zeros(4), "n": torch.tensor(4)}]
    prints = {detectors.fingerprint(s) for s in [state, *others]}
    assert len(prints) == 6
    noncontiguous = {"a": torch.zeros(4, 2)[:, 0], "n": torch.tensor(3)}
    assert detectors.fingerprint(noncontiguous) == detectors.fingerprint(state)


# --- Honest models ----------------------------------------------------------------------------

HONEST = {"mlp": lambda g: mlp(g, num_features=WIDTH, width=256), "small_cnn": small_cnn,
          "gelu": lambda g: mlp(g, num_features=WIDTH, width=64, activation=nn.GELU),
          "batch norm": lambda g: conv_net(g, num_classes=2, batch_norm=True)}


@pytest.mark.parametrize("kind", HONEST)
@pytest.mark.parametrize("steps", [0, 40])
def test_no_alarm_on_honest_models(kind, steps):
    for seed in range(3):
        net = HONEST[kind](generator("honest", kind, seed))
        if steps:
            training = LocalTraining(0.1, local_steps=steps, batch_size=32)
            net.load_state_dict(train_on(net, PUBLIC, torch.tensor(CHESTS.targets[:500]), training,
                                         generator=generator(seed)).after)
        assert alarms(net) == set()


# --- Each malicious model with its detector ---------------------------------------------------


@pytest.fixture(scope="module")
def net():
    return conv_net(generator("weights"), num_classes=2)


def test_an_imprint_is_seen_in_its_rows_biases_and_answers(net):
    crafted = imprint.imprinted(net, PUBLIC, 64)
    assert alarms(crafted) == {"identical_rows", "bias_ladder", "identical_answers"}
    turned = copy.deepcopy(crafted)
    with torch.no_grad():
        turned.imprint.bins.weight[::2] *= -1
        turned.imprint.bins.bias[::2] *= -1
    assert {"identical_rows", "identical_answers"} <= alarms(turned)


@pytest.mark.parametrize(("strength", "left"), [
    (0.0, {"identical_rows", "identical_answers"}), (1.0, {"identical_answers"}), (10.0, set())])
def test_checks_of_the_weights_miss_rows_that_differ_and_the_check_of_the_leak_does_not(
        net, strength, left):
    """A stress test of the checks: rows in another order, each with a direction of its own in
    which records hardly vary. This is where their docstring says that they end."""
    crafted = imprint.imprinted(net, PUBLIC, 64)
    layer, flat = crafted.imprint.bins, PUBLIC.flatten(1)
    quiet = torch.linalg.svd(flat - flat.mean(0))[2][WIDTH // 2:]
    draw = torch.randn(64, len(quiet), generator=generator("rows")) @ quiet
    with torch.no_grad():
        added = strength * layer.weight.norm(dim=1, keepdim=True) * nn.functional.normalize(draw)
        order = torch.randperm(64, generator=generator("order"))
        layer.bias.copy_((layer.bias - added @ flat.mean(0))[order])
        layer.weight.copy_((layer.weight + added)[order])
    assert alarms(crafted) == left
    assert detectors.lone_records(crafted, OWN, OWN_LABELS).statistic > 0.25
    dead = detectors.lone_records(inconsistency.silenced(crafted), OWN, OWN_LABELS)
    assert dead.statistic == 0 and "imprint.bins" in dead.sentence, "what is dead leaks nothing"


def test_a_dead_model_is_silent_and_differs_from_the_others(net):
    dead = inconsistency.silenced(net)
    assert alarms(dead) == {"silent_neurons"}
    sent = {"A": net.state_dict(), "B": dead.state_dict(), "C": dead.state_dict()}
    assert detectors.same_model(sent).alarm
    assert not detectors.same_model({"B": sent["B"], "C": sent["C"]}).alarm, "all must compare"


def test_traps_that_hardly_fire_are_silent_and_milder_ones_pass():
    honest = mlp(generator("weights"), num_features=WIDTH, width=256)
    assert alarms(trap_weights.trapped(honest, generator("t"), scale=0.9)) == {"silent_neurons"}
    mild = trap_weights.trapped(honest, generator("t"), scale=0.97)
    assert alarms(mild) == set()
    leak = [detectors.lone_records(model, OWN, OWN_LABELS) for model in (honest, mild)]
    assert all(check.alarm for check in leak), "an honest dense first layer leaks too"


# --- Manners ----------------------------------------------------------------------------------


def test_a_model_without_anything_to_look_at_is_said_to_have_none():
    for check in detectors.inspect(nn.Flatten(), OWN.flatten(1)[:, :2], OWN_LABELS):
        assert not check.alarm and check.statistic == 0
        assert check.sentence == "there is no layer that this check looks at"
    lone = detectors.lone_records(conv_net(generator("weights"), num_classes=2), OWN, OWN_LABELS)
    assert lone.sentence == "there is no layer that this check looks at" and not lone.alarm


def test_records_may_be_whole_numbers():
    net = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 16), nn.ReLU(),
                        nn.Linear(16, 2))
    words = torch.randint(5, (16, 2), generator=generator("words"))
    check = detectors.lone_records(net, words, torch.arange(16) % 2)
    assert 0 <= check.statistic <= 1 and "'2'" in check.sentence


def test_few_records_are_refused(net):
    for check in (detectors.inspect, detectors.gradient_snr, detectors.lone_records):
        with pytest.raises(ValueError, match="inputs: 15 records given, expected 16 or more"):
            check(net, OWN[:15], OWN_LABELS[:15])


def test_the_model_is_left_as_it_was(net):
    net.train()
    before = copy.deepcopy(net.state_dict())
    detectors.inspect(net, OWN, OWN_LABELS)
    detectors.lone_records(net, OWN, OWN_LABELS)
    assert net.training and not any(p.grad is not None for p in net.parameters())
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert not any(layer._forward_hooks for layer in net.modules())


def test_a_sentence_names_the_layer_and_the_number(net):
    checks = detectors.inspect(imprint.imprinted(net, PUBLIC, 64), OWN, OWN_LABELS)
    assert checks[0].sentence.startswith("64 rows of layer 'imprint.bins' have another's direction")
