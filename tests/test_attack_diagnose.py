"""Each finding where it should be, and nowhere else; none of them raises."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from leaklab.attacks.diagnose import SEVERITIES, Finding, diagnose, report
from leaklab.attacks.diagnose.counting import (
    answer_spread,
    gradient_and_rounding,
    independent_numbers,
    noise_gradient_norm,
    norm,
)
from leaklab.attacks.diagnose.numbers import APART, FITTED
from leaklab.attacks.observed import mean_gradient
from leaklab.federation import SERVER, Hospital
from leaklab.flower import capture
from leaklab.models import conv_net, lenet, logistic_regression, mlp, small_cnn
from leaklab.runtime import generator, isolated_rng
from leaklab.updates import Knowledge, LocalTraining, Update, View, copy_state

SHAPE = (1, 12, 12)
ONE_STEP = LocalTraining(0.1)


def net(**options) -> nn.Sequential:
    return conv_net(generator("weights"), size=12, **{"activation": nn.GELU, **options})


def records(*labels: int, shape=SHAPE) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand((len(labels), *shape), generator=generator("records")), torch.tensor(labels)


def view_of(model, batch, training=ONE_STEP, **known) -> View:
    """The update of a client that takes full steps on ``batch``."""
    before, client = copy_state(model.state_dict()), copy.deepcopy(model)
    client.train(training.mode == "train")
    optimiser = torch.optim.SGD(client.parameters(), lr=training.learning_rate)
    with isolated_rng(generator("dropout")):
        for _ in range(training.local_steps):
            optimiser.zero_grad()
            cross_entropy(client(batch[0]), batch[1]).backward()
            optimiser.step()
    knowledge = Knowledge(**{"training": training, "labels": batch[1], **known})
    return View(SERVER, "update", before, copy_state(client.state_dict()), ("A",),
                (len(batch[1]),), knowledge)


def codes(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.code for finding in findings}


def blocking(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.code for finding in findings if finding.severity == "blocks"}


def knowing(view: View, **known) -> View:
    return replace(view, knowledge=replace(view.knowledge, **known))


def altered(view: View, before=None, after=None) -> View:
    """``view`` with functions applied to its states."""
    return replace(view, before=before(view.before) if before else view.before,
                   after=after(view.after) if after else view.after)


# --- Nothing wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [(3,), (0, 1), (7, 2, 5, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_healthy_view_has_no_findings(labels, dtype):
    model = net().to(dtype)
    inputs, targets = records(*labels)
    found = diagnose(model, view_of(model, (inputs.to(dtype), targets)), input_shape=SHAPE)
    assert found == (), report(found)
    assert report(found).startswith("Nothing found")


@pytest.mark.parametrize(("model", "shape"), [
    (small_cnn(generator("w")), (1, 28, 28)), (lenet(generator("w")), (1, 28, 28)),
    (conv_net(generator("w"), channels=3, size=32), (3, 32, 32)),
    (mlp(generator("w"), num_features=10), (10,)),
    (logistic_regression(generator("w"), num_features=13), (13,)),
    (conv_net(generator("w"), batch_norm=True), (1, 28, 28)),
])
def test_nothing_blocks_one_record_of_any_fresh_model_of_the_course(model, shape):
    for mode in ("eval", "train"):
        training = replace(ONE_STEP, mode=mode)
        found = diagnose(model, view_of(model, records(1, shape=shape), training),
                         input_shape=shape)
        assert not {f.code for f in found if f.severity != "weakens"}, report(found)
        assert not codes(found) & {"trained_model", "small_gradient", "rounding"}, report(found)


# --- Each finding ---------------------------------------------------------------------------

BASE = net()
VIEW = view_of(BASE, records(3, 4))


def without(prefix):
    return lambda state: {name: t for name, t in state.items() if not name.startswith(prefix)}


def with_prefix(state):
    return {f"module.{name}": t for name, t in state.items()}


def with_nan(state):
    return {name: t.where(t > t.min(), torch.nan) for name, t in state.items()}


def in_integers(state):
    return {name: (t * 100).to(torch.int8) for name, t in state.items()}


def in_half(state):
    return {name: t.half() for name, t in state.items()}


def as_arrays(state):
    return {name: t.numpy() for name, t in state.items()}


def last_frozen(view):
    kept = {name: view.before[name] for name in view.before if name.startswith("7.")}
    return replace(view, after={**view.after, **kept})


def one_step(**options):
    return knowing(VIEW, training=replace(ONE_STEP, **options))


CASES = {
    "other_model": (altered(VIEW, after=without("7.")), "blocks", "2 tensors of the payload"),
    "other_model of a wrapper": (altered(VIEW, with_prefix, with_prefix), "blocks", "tensors"),
    "not_finite": (altered(VIEW, after=with_nan), "blocks", "hold NaN or infinity"),
    "stored_type": (altered(VIEW, in_integers, in_integers), "blocks", "torch.int8"),
    "not_tensors": (altered(VIEW, as_arrays, as_arrays), "blocks", "hold ndarray"),
    "released_model": (View(SERVER, "released model", None, VIEW.after, ("A",),
                            knowledge=VIEW.knowledge), "blocks", "no update"),
    "training_unknown": (knowing(VIEW, training=None), "blocks", "unknown"),
    "optimiser": (one_step(optimiser="adam"), "blocks", "Adam: the update is no sum"),
    "optimiser with momentum": (one_step(momentum=0.9), "blocks", "momentum: the update"),
    "optimiser of FedProx": (one_step(proximal=1.0), "blocks", "FedProx: the update"),
    "local_steps": (one_step(local_steps=5), "misleads", "sum of 5 steps at learning rate 0.1"),
    "labels_unknown": (knowing(VIEW, labels=None), "weakens", "labels are unknown"),
    "several_hospitals": (replace(VIEW, artefact="sum", contributors=("A", "B")), "weakens",
                          "The sum mixes 2 hospitals"),
    "defence": (knowing(VIEW, defence=len), "misleads", "cannot be simulated"),
    "no_update": (altered(VIEW, after=lambda _: VIEW.before), "blocks", "No parameter moved"),
    "frozen": (last_frozen(VIEW), "weakens", "2 of 8 tensors did not move: 7.weight, 7.bias"),
    "other_labels": (knowing(VIEW, labels=torch.tensor([3, 10])), "blocks", "Labels 3 to 10"),
    "shared_labels": (knowing(VIEW, labels=torch.tensor([3, 3])), "misleads",
                      "2 records have 1 distinct labels, of 10 classes"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_the_only_thing_found(case):
    view, severity, words = CASES[case]
    (finding,) = diagnose(BASE, view, input_shape=SHAPE)
    assert (finding.code, finding.severity) == (case.split()[0], severity)
    assert words in finding.sentence
    assert finding.sentence in report((finding,)) and finding.remedy in report((finding,))


def test_the_remedies_of_momentum_and_of_a_wrapper_are_right():
    (momentum,) = diagnose(BASE, one_step(momentum=0.9), input_shape=SHAPE)
    assert "state plain SGD" in momentum.remedy
    several = diagnose(BASE, one_step(momentum=0.9, local_steps=2), input_shape=SHAPE)
    assert codes(several) == {"optimiser", "local_steps"}
    assert "Simulate this optimiser" in several[0].remedy
    (wrapped,) = diagnose(BASE, CASES["other_model of a wrapper"][0])
    assert wrapped.remedy.startswith("Take 'module.' off")


def test_payload_faults_on_either_side_are_found():
    for view in (altered(VIEW, before=without("7.")), altered(VIEW, before=with_nan)):
        assert len(blocking(diagnose(BASE, view))) == 1
    found = diagnose(net(num_classes=2), VIEW, input_shape=SHAPE)
    assert "7.bias (10,) against (2,)" in found[0].sentence


def test_worst_comes_first():
    view = knowing(altered(VIEW, after=with_nan), labels=None, defence=len)
    order = [SEVERITIES.index(finding.severity) for finding in diagnose(BASE, view)]
    assert order == sorted(order) == [0, 1, 2]


# --- Records --------------------------------------------------------------------------------


def test_the_number_of_records_comes_from_where_it_is_known():
    bare = knowing(VIEW, labels=None)
    assert "batch_size_unknown" in codes(diagnose(BASE, replace(bare, weights=None)))
    assert "batch_size_unknown" not in codes(diagnose(BASE, bare))
    assert "batch_size_unknown" not in codes(diagnose(BASE, replace(bare, weights=None),
                                                      batch_size=2))
    (finding,) = diagnose(BASE, VIEW, batch_size=3)
    assert finding.code == "batch_size_contradicted"
    assert "2 labels are known, for 3 records" in finding.sentence


def test_shuffled_batches_matter_where_there_are_several():
    view = view_of(BASE, records(3, 4, 5, 6))
    shuffled = LocalTraining(0.1, local_steps=2, batch_size=2)
    for training, found in [(shuffled, True), (replace(shuffled, batch_order="sequential"), False),
                            (replace(shuffled, batch_size=4), False),
                            (replace(shuffled, batch_size=None), False)]:
        assert ("batch_order" in codes(diagnose(BASE, knowing(view, training=training)))) == found


@pytest.mark.parametrize(("labels", "classes", "found"), [
    ((0,), 2, False), ((0, 1), 2, True), ((0, 1), 3, False), ((0, 1, 2), 3, True),
    ((0, 1, 1), 10, True), ((0, 1, 2, 3), 10, False)])
def test_records_are_parted_by_distinct_labels_fewer_than_classes(labels, classes, found):
    model = net(num_classes=classes)
    view = view_of(model, records(*labels))
    assert ("shared_labels" in codes(diagnose(model, view, input_shape=SHAPE))) == found
    assert "shared_labels" not in codes(diagnose(model, view)), "classes are unknown"


def test_more_records_than_classes_share_labels_even_unknown():
    model = net(num_classes=3)
    view = knowing(view_of(model, records(0, 1, 2, 0)), labels=None)
    found = {f.code: f for f in diagnose(model, view, input_shape=SHAPE)}
    assert "at most 3 distinct labels, of 3 classes" in found["shared_labels"].sentence


# --- Layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "mode", "expected"), [
    (nn.ReLU(), "eval", {"kinks"}), (nn.LeakyReLU(), "eval", {"kinks"}),
    (nn.Dropout(0.5), "train", {"dropout"}), (nn.Dropout(0.5), "eval", set()),
    (nn.Dropout(0.0), "train", set()), (nn.Dropout2d(0.1), "train", {"dropout"}),
    (nn.GroupNorm(4, 64), "train", set()), (nn.BatchNorm2d(64), "eval", set()),
    (nn.BatchNorm2d(64, track_running_stats=False), "eval", {"batch_norm_train"}),
])
def test_layers_are_judged_by_what_they_do(layer, mode, expected):
    *body, flatten, head = net()
    model = nn.Sequential(*body, layer, flatten, head)
    training = LocalTraining(0.1, mode=mode)
    found = diagnose(model, view_of(model, records(3, 4), training), input_shape=SHAPE)
    assert codes(found) - {"frozen"} == expected, report(found)


def test_batch_norm_in_train_mode_and_what_the_buffers_say_of_it():
    model = net(batch_norm=True)
    train, still = LocalTraining(0.1, mode="train"), LocalTraining(0.1, mode="eval")
    moved, fixed = (view_of(model, records(3, 4), t) for t in (train, still))
    small = {"frozen", "batch_norm_train"}  # BatchNorm takes the shift of a bias away
    assert codes(diagnose(model, moved, input_shape=SHAPE)) - small == set()
    assert "batch_norm_train" in codes(diagnose(model, moved))
    assert codes(diagnose(model, fixed, input_shape=SHAPE)) == set()
    said_eval = {f.code: f for f in diagnose(model, knowing(moved, training=still))}
    assert said_eval["mode_contradicted"].remedy == "Trust the buffers: simulate in train mode."
    said_train = {f.code: f for f in diagnose(model, knowing(fixed, training=train))}
    assert "did not move" in said_train["mode_contradicted"].sentence
    one_of_three = view_of(model, records(3, 4), replace(train, local_steps=3))
    found = {f.code: f for f in diagnose(model, knowing(one_of_three, training=train))}
    assert found["steps_contradicted"].remedy == "Simulate 3 steps."


def test_buffers_lost_in_a_later_round_are_told_from_a_new_model():
    model = net(batch_norm=True)
    still = LocalTraining(0.1, mode="eval")
    assert "buffers_as_new" not in codes(diagnose(model, view_of(model, records(3, 4), still)))
    later = view_of(model, records(3, 4), replace(still, mode="train", local_steps=3)).after
    model.load_state_dict(later)
    assert "buffers_as_new" not in codes(diagnose(model, view_of(model, records(3, 4), still)))
    buffers = dict(net(batch_norm=True).named_buffers())
    model.load_state_dict({**later, **buffers})
    assert "buffers_as_new" in codes(diagnose(model, view_of(model, records(3, 4), still)))


# --- Numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "severity"), [(1e-2, None), (1e-6, "weakens"), (1e-9, "blocks")])
def test_a_gradient_that_rounding_drowns_is_found(rate, severity):
    view = view_of(BASE, records(3, 4), LocalTraining(rate))
    found = {f.code: f.severity for f in diagnose(BASE, view, input_shape=SHAPE)}
    assert found.get("rounding", found.get("no_update")) == severity
    exact = view_of(net().double(), (records(3, 4)[0].double(), torch.tensor([3, 4])),
                    LocalTraining(rate))
    assert diagnose(net().double(), exact, input_shape=SHAPE) == (), "not for want of size"


def test_half_precision_is_judged_by_its_own_rounding():
    view = view_of(BASE, records(3, 4), LocalTraining(0.01))
    assert diagnose(BASE, view) == ()
    found = diagnose(BASE, altered(view, in_half, in_half))
    assert "rounding" in codes(found), report(found)


def test_the_rounding_ratio_bounds_what_rounding_did():
    exact = net().double()
    inputs, targets = records(3, 4)
    truth = mean_gradient(exact, view_of(exact, (inputs.double(), targets)))
    for rate in (1e-2, 1e-4, 1e-6):
        rounded = view_of(exact, (inputs.double(), targets), LocalTraining(rate))
        rounded = altered(rounded, *[lambda s: {k: t.float() for k, t in s.items()}] * 2)
        gradient, bound = gradient_and_rounding(exact, rounded)
        gap = norm({name: gradient[name] - truth[name] for name in truth})
        assert 0.1 * norm(bound) < gap < 2 * norm(bound), "both ends of a view are rounded"


def test_independent_numbers_by_hand():
    def count(**gradient):
        noise = {name: torch.zeros_like(t) for name, t in gradient.items()}
        return independent_numbers(gradient, noise)

    assert count(a=torch.tensor([1.0, 0.0, 2.0])) == 2
    assert count(a=torch.ones(10, 64)) == 10 + 64 - 1, "one outer product"
    assert count(a=torch.eye(5)) == 25, "full rank: every entry"
    assert count(a=torch.zeros(3, 4), b=torch.zeros(2)) == 0
    filters = torch.randn(4, 2, 3, 3, generator=generator("f"))
    assert count(a=filters) == 4 * 18
    noisy = {"a": torch.ones(10, 64) + 1e-6 * torch.randn(10, 64, generator=generator("n"))}
    assert independent_numbers(noisy, {"a": torch.full((10, 64), 1e-5)}) == 73


@pytest.mark.parametrize(("width", "labels", "severity"), [
    (64, (0,), None), (1, (0, 1), "misleads"), (4, (0, 1), "weakens")])
def test_too_few_numbers_for_the_pixels_are_found(width, labels, severity):
    model = mlp(generator("w"), num_features=144, width=width, num_classes=10, activation=nn.GELU)
    found = {f.code: f for f in diagnose(model, view_of(model, records(*labels)),
                                         input_shape=SHAPE)}
    assert (found["few_numbers"].severity if "few_numbers" in found else None) == severity
    assert "few_numbers" not in {f.code for f in diagnose(model, view_of(model, records(*labels)))}


def test_below_one_number_a_pixel_another_image_has_the_same_gradient():
    """The count is right: there is a direction in which the gradient does not change."""
    model = mlp(generator("w"), num_features=144, width=1, num_classes=10,
                activation=nn.GELU).double()
    inputs, targets = records(0, 1)
    inputs = inputs.double()

    def gradient(batch):
        slopes = torch.autograd.grad(cross_entropy(model(batch), targets),
                                     list(model.parameters()), create_graph=True)
        return torch.cat([slope.flatten() for slope in slopes])

    jacobian = torch.autograd.functional.jacobian(gradient, inputs).reshape(-1, inputs.numel())
    rank = int(torch.linalg.matrix_rank(jacobian))
    view = view_of(model, (inputs, targets))
    counted = independent_numbers(*gradient_and_rounding(model, view))
    assert rank <= counted < inputs.numel()


def test_a_trained_model_and_records_it_fits_are_found():
    model = net(num_classes=2).double()  # whose rounding is no matter
    targets = torch.arange(40) % 2
    dark = torch.rand((40, *SHAPE), generator=generator("set")).double() / 2
    inputs = dark + 0.5 * targets.double()[:, None, None, None]
    assert answer_spread(model, view_of(model, (inputs[:1], targets[:1])), SHAPE)[1] < APART
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(30):
        optimiser.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    view = view_of(model, (inputs[:1], targets[:1]))
    assert {"trained_model", "small_gradient"} <= codes(diagnose(model, view, input_shape=SHAPE))
    wrong = view_of(model, (inputs[:1], 1 - targets[:1]))
    found = codes(diagnose(model, wrong, input_shape=SHAPE))
    assert "trained_model" in found and "small_gradient" not in found, "a record that surprises"
    share = norm(mean_gradient(model, view)) / noise_gradient_norm(model, view, SHAPE, targets[:1])
    assert share < FITTED


# --- The user's complaint -------------------------------------------------------------------


def test_a_federation_that_sends_parameters_only_is_told_so(tmp_path):
    """The get_parameters of many Flower clients: no buffers, so nothing can be inverted."""
    model = net(batch_norm=True)
    inputs, targets = torch.rand((4, *SHAPE), generator=generator("x")), torch.tensor([0, 1, 2, 3])
    update = Hospital("A", inputs, targets).train(model, ONE_STEP, generator=generator("t"))
    trainable = {name for name, _ in model.named_parameters()}

    def message(way, state):
        arrays = {name: t.numpy() for name, t in state.items() if name in trainable}
        plain = {"config": {"server-round": 1}, "metrics": {"num-examples": 4},
                 "sender": {"hospital": "A"}}
        return capture.WireMessage(way, "train", 7, arrays, plain, None)

    for number, part in enumerate([message("down", update.before), message("up", update.after)]):
        capture.write(part, tmp_path, number)
    (seen,) = capture.replay(tmp_path)
    view = View(SERVER, "update", seen.before, seen.after, ("A",), (4,),
                Knowledge(ONE_STEP, targets))
    found = diagnose(model, view, input_shape=SHAPE)
    assert blocking(found) == {"buffers_missing"}
    assert "9 buffers" in found[0].sentence and "running_mean" in found[0].sentence
    assert "merge the model's own" in found[0].remedy

    def merge(state):
        return {**model.state_dict(), **state}

    mended = diagnose(model, altered(view, merge, merge), input_shape=SHAPE)
    assert blocking(mended) == set(), report(mended)
    mean_gradient(model, altered(view, merge, merge))  # and an attack starts


# --- What holds for all ---------------------------------------------------------------------


class Odd(nn.Module):
    """Answers with no classes, and says why in two lines for other shapes."""

    def __init__(self, answer):
        super().__init__()
        self.layer, self.answer = nn.Linear(3, 2), answer

    def forward(self, inputs):
        return self.answer(self.layer(inputs))


@pytest.mark.parametrize(("answer", "words"), [
    (lambda x: x.sum(1), "answers of shape (32,)"), (lambda x: x[:, :1], "of shape (32, 1)"),
    (lambda x: [][0], "list index out of range")])
def test_a_model_that_does_not_answer_with_classes_is_a_finding(answer, words):
    model = Odd(answer)
    fine = Odd(lambda x: x)
    fine.load_state_dict(model.state_dict())
    view = view_of(fine, records(1, shape=(3,)))
    (finding,) = [f for f in diagnose(model, view, input_shape=(3,)) if f.severity == "blocks"]
    assert finding.code == "input_shape" and words in finding.sentence


def test_a_wrong_input_shape_is_a_finding():
    found = diagnose(BASE, VIEW, input_shape=(3, 12, 12))
    assert blocking(found) == {"input_shape"} and "(3, 12, 12)" in found[0].sentence


def test_nothing_raises_on_the_worst_of_views():
    empty = View(SERVER, "update", {}, {}, (), None)
    hopeless = Knowledge(labels=torch.tensor([], dtype=torch.int64))
    soft = torch.full((2, 10), 0.1)
    for view in (empty, replace(VIEW, before={}), replace(VIEW, knowledge=hopeless),
                 altered(VIEW, after=as_arrays), knowing(VIEW, labels=soft),
                 knowing(VIEW, labels=torch.tensor([-1, 3])),
                 altered(VIEW, *[lambda s: {k: torch.zeros_like(t) for k, t in s.items()}] * 2)):
        for shape in (None, SHAPE, (), (0,)):
            found = diagnose(BASE, view, input_shape=shape)
            assert isinstance(report(found), str)
    assert diagnose(nn.Sequential(), empty, input_shape=(3,))
    zeros = logistic_regression(generator("w"), num_features=4)
    nn.init.zeros_(zeros[0].weight)
    nn.init.zeros_(zeros[0].bias)
    diagnose(zeros, view_of(zeros, records(0, 1, shape=(4,))), input_shape=(4,))


def test_diagnosis_repeats_and_leaves_the_model_and_the_random_state_alone():
    model = net(batch_norm=True)
    model[1].eval()
    view = view_of(model, records(3, 3), LocalTraining(0.1, mode="train"))
    modes = [layer.training for layer in model.modules()]
    state, drawn = copy_state(model.state_dict()), torch.get_rng_state()
    first = diagnose(model, view, input_shape=SHAPE)
    assert diagnose(model, view, input_shape=SHAPE) == first
    assert [layer.training for layer in model.modules()] == modes
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(p.grad is None for p in model.parameters())


def test_an_update_of_a_hospital_goes_through_as_it_is():
    inputs, targets = records(0, 1, 2)
    update: Update = Hospital("A", inputs, targets).train(BASE, ONE_STEP, generator=generator("t"))
    view = View(SERVER, "update", update.before, update.after, ("A",), (3,),
                Knowledge(ONE_STEP))
    assert codes(diagnose(BASE, view, input_shape=SHAPE)) == {"labels_unknown"}
    assert np.isclose(norm(mean_gradient(BASE, view)), norm(gradient_and_rounding(BASE, view)[0]))
