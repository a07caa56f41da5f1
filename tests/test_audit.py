"""The audit finds leaks that are there, none that are not, and names what it cannot attack."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from leaklab.assess.audit import Batch, Effort, Federation, audit, findings
from leaklab.assess.audit import subject as subjects
from leaklab.assess.audit.findings import as_text, by_chance, gaps, overview
from leaklab.assess.audit.inputs import kind_of, split
from leaklab.assess.audit.running import Result, interval_of
from leaklab.assess.audit.trying import share_read
from leaklab.metrics import proportion_interval
from leaklab.metrics.reconstruction import identified, match
from leaklab.models import mlp, small_cnn
from leaklab.runtime import generator
from leaklab.transformer import note_model
from leaklab.updates import LocalTraining

QUICK = Effort(trials=2, evaluations=3, draws=64)
ALONE = Federation(2, (1,), LocalTraining(0.1))


def records(*shape: int, n: int = 24, classes: int = 2, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(n, *shape, generator=draw),
                 torch.arange(n) % classes, torch.arange(n))


def of(found, attack: str, artefact: str = "update", size: int = 1):
    return next(r for r in found.results
                if attack in r.attack and r.artefact == artefact and r.batch_size == size)


# --- What leaks, and what does not ---------------------------------------------------------------


@pytest.fixture(scope="module")
def table_audit():
    """A table through a first dense layer, ten rounds, without the slow search of a batch."""
    effort = Effort(trials=6, evaluations=3, draws=64, most_searched=1)
    net = mlp(generator(0), num_features=12, width=48)
    return audit(net, batch=records(12, n=80), federation=Federation(2, (1, 16)), effort=effort)


def test_one_record_through_a_dense_layer_is_read_whole_and_blind_guesses_read_none(table_audit):
    found = of(table_audit, "neuron by neuron")
    assert (found.value, found.baseline) == (1.0, 0.0) and found.above
    assert found.interval == pytest.approx(proportion_interval(6, 6))
    assert found.seen_by == ("server", "eavesdropper on a plain line")


def test_every_artefact_is_attacked_with_the_records_behind_it(table_audit):
    behind = {(r.artefact, r.batch_size): r.records for r in table_audit.results}
    assert behind == {("update", 1): 1, ("sum", 1): 2, ("difference", 1): 1,
                      ("released model", 1): 2, ("update", 16): 16, ("sum", 16): 32,
                      ("difference", 16): 16, ("released model", 16): 32}


def test_a_limit_of_the_audit_is_no_result(table_audit):
    found = of(table_audit, "SPEAR", size=16)
    assert found.status == "does not apply" and "no safety" in found.reason
    assert found.value is None and not found.above


def test_findings_put_leaks_first_and_carry_the_blind_guess(table_audit):
    said = findings(table_audit)
    leaks = [any(r.above for r in table_audit.results
                 if r.attack in text and _artefact(r) in text) for text in said]
    assert leaks == sorted(leaks, reverse=True) and leaks[0]
    first = next(text for text in said if "one hospital's update" in text and "neuron" in text)
    assert "batch 1: 1.00 (0.54 to 1.00, 6 rounds), without it 0.00" in first


def test_the_number_of_comparisons_stands_beside_the_findings(table_audit):
    held = [r for r in table_audit.results if r.value is not None]
    said = by_chance(table_audit)
    assert f"against a guess: {len(held)}; above it: {sum(r.above for r in held)}." in said
    assert said in " ".join(as_text(table_audit).split())


def test_the_overview_names_the_best_result_of_each_observer(table_audit):
    rows = {what: cells for _, what, cells in overview(table_audit)}
    assert "records read 1.00 (guess 0.00)" in rows["one hospital's update"][0]
    assert "perhaps" not in rows["one hospital's update"][0]
    assert "records read 1.00" not in rows["the sum of all hospitals"][1]
    assert rows["the model released"][0] == "not measured"


def test_the_overview_keeps_what_is_not_sure_apart():
    def row(metric, value, low):
        return Result("a", "", metric, "", "", "", "update", ("server",), 1, 1, "measured",
                      value=value, interval=(low, 1.0), baseline=0.5, trials=4)

    rows = (row("records read", 0.9, 0.6), row("labels read", 1.0, 0.4),
            row("records read", 0.7, 0.1), row("membership AUC", 0.5, 0.3))
    found = SimpleNamespace(results=rows, federation=ALONE)
    assert overview(found)[0][2] == (
        "records read 0.90 (guess 0.50); perhaps labels read 1.00 (guess 0.50)",)


@pytest.mark.parametrize(("baseline", "rounds"), [(0.5, 6), (0.79, 16)])
def test_rounds_that_would_show_a_perfect_reading_are_counted(baseline, rounds):
    low, high = proportion_interval(4, 4)
    perfect = Result("a", "", "labels read", "", "", "", "update", ("server",), 1, 1, "measured",
                     value=1.0, interval=(low, high), baseline=baseline, trials=4)
    said, = findings(SimpleNamespace(results=(perfect,), federation=ALONE))
    assert f"and {rounds} such rounds would show it" in said
    assert proportion_interval(rounds, rounds)[0] > baseline
    assert proportion_interval(rounds - 1, rounds - 1)[0] <= baseline


def test_each_gap_is_named_once_with_where_it_is(table_audit):
    said = [text for text in gaps(table_audit) if "SPEAR" in text and "up to 8" in text]
    assert said == ["First dense layer, whole batch (SPEAR), on update at batch 16, sum at batch "
                    "16, difference at batch 16: does not apply, it is tried on up to 8 records "
                    "(a limit of this audit, no safety)."]
    unmeasured = {(r.attack, r.reason) for r in table_audit.results if r.value is None}
    assert all(any(attack.lower() in text.lower() and reason in text
                   for text in gaps(table_audit)) for attack, reason in unmeasured)


def test_what_fails_at_one_batch_size_is_said_once_of_everything():
    net = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    found = audit(net, batch=records(12), federation=Federation(2, (1, 2)), effort=QUICK)
    first, *others = [text for text in gaps(found) if "Expected more than 1 value" in text]
    assert first.startswith("Batch 1, everything: does not apply") and not others
    assert "Batch 1, everything" in as_text(found)


@pytest.mark.parametrize("flat", [True, False])
def test_labels_of_a_model_with_one_output_are_read(flat):
    class Risk(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(generator(0), num_features=12, width=48)
            self.risk = nn.Linear(2, 1)

        def forward(self, inputs):
            return self.risk(self.net(inputs)).squeeze(-1) if flat else self.risk(self.net(inputs))

    def loss(outputs, targets):
        return binary_cross_entropy_with_logits(outputs.flatten(), targets.float())

    federation = Federation(2, (1, 2, 8))
    found = audit(Risk(), loss, records(12, n=60), federation=federation, effort=QUICK)
    assert of(found, "labels").value == 1.0
    assert of(found, "labels", size=8).value > 0.9
    spear = of(found, "SPEAR", size=2)  # whose proof asks for (batch, classes)
    assert (spear.status, spear.reason) == ("measured", None)
    squared = audit(Risk(), lambda z, y: (z.flatten() - y).square().mean(), records(12, n=60),
                    federation=federation, effort=QUICK)
    assert "not binary cross-entropy" in of(squared, "labels").reason


def _artefact(result) -> str:
    return {"update": "one hospital's update", "sum": "the sum of all", "difference": "others'",
            "released model": "model released"}[result.artefact]


class Constant(nn.Module):
    """Answers without looking: updates of it depend on labels alone."""

    def __init__(self, features: int):
        super().__init__()
        self.hidden, self.head = nn.Linear(features, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(torch.zeros_like(x))))


def test_a_model_that_ignores_its_records_gives_none_away():
    effort = Effort(trials=4, evaluations=5, draws=64)
    found = audit(Constant(12), batch=records(12, n=60), effort=effort,
                  federation=Federation(2, (1, 8)))
    for result in found.results:
        if result.metric in ("records read", "records matched", "membership AUC"):
            assert not result.above, result
    assert of(found, "labels").value == 1.0  # they are in the bias, whatever the inputs


def test_an_unread_record_is_not_counted_as_read():
    truth, near = torch.tensor([[0.2, 0.4], [0.9, 0.1]]), torch.tensor([0.02, 0.02])
    assert share_read(torch.tensor([[0.21, 0.39]]), truth, near) == 0.5
    assert share_read(torch.tensor([[0.21, 0.43]]), truth, near) == 0.0  # one entry of two is off
    assert share_read(torch.tensor([[torch.nan, 0.4]]), truth, near) == 0.0
    assert share_read(torch.empty(0, 2), truth, near) == 0.0


def test_intervals_count_rounds_and_not_records():
    assert interval_of([1.0] * 5, "records read") == pytest.approx(proportion_interval(5, 5))
    low, high = interval_of([0.5, 0.25], "records read")  # 0.75 of a round: from none to one
    assert (low, high) == pytest.approx((0.0, proportion_interval(1, 2)[1]))
    assert interval_of([0.9], "membership AUC")[0] < 0.5  # one round shows nothing


def test_genotypes_are_read_whole():
    draw = torch.Generator().manual_seed(1)
    dosages = torch.randint(0, 3, (40, 60), generator=draw).float()
    batch = Batch(dosages, torch.arange(40) % 2, torch.arange(40))
    found = audit(mlp(generator(2), num_features=60, width=64), batch=batch,
                  federation=Federation(2, (1,)), effort=QUICK)
    assert found.kind == "genotypes"
    assert of(found, "genotypes").value == 1.0 and of(found, "genotypes").baseline == 0.0


def test_tokens_of_the_batch_are_named():
    draw = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, 200, (24, 10), generator=draw)
    net = note_model(generator(1), vocabulary=200, length=10, width=16, heads=2, blocks=1,
                     classes=2)
    found = audit(net, batch=Batch(tokens, torch.arange(24) % 2), federation=ALONE, effort=QUICK)
    result = of(found, "tokens")
    assert found.kind == "tokens" and result.value == 1.0 and result.baseline < 0.5
    assert result.details == {"precision": 1.0, "recall": 1.0}


# --- Models that nobody here wrote ---------------------------------------------------------------


def test_a_transformer_of_torch_itself_is_audited():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(100, 16)
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.1)
            self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.head = nn.Linear(16, 2)

        def forward(self, tokens):
            return self.head(self.body(self.words(tokens)).mean(1))

    tokens = torch.randint(0, 100, (24, 8), generator=torch.Generator().manual_seed(0))
    found = audit(Reader(), batch=Batch(tokens, torch.arange(24) % 2), federation=ALONE,
                  effort=QUICK)
    assert of(found, "tokens").value == 1.0 and of(found, "labels").value == 1.0
    assert any(text.startswith("Dropout is on (3 layers)") for text in found.warnings)


def foreign(name: str):
    """A package that the project does not need; skipped where it is absent or does not start."""
    try:
        return __import__(name, fromlist=["x"])
    except Exception as error:
        pytest.skip(f"{name} cannot be imported here: {error}")


def test_a_resnet_of_timm_is_audited():
    net = foreign("timm").create_model("test_resnet", num_classes=3, in_chans=1)
    federation = Federation(2, (1, 2), LocalTraining(0.1, mode="eval"))
    found = audit(net, batch=records(1, 32, 32, classes=3), federation=federation, effort=QUICK)
    assert of(found, "labels").value == 1.0
    assert of(found, "gradient matching").status == "measured"
    assert any(f.code == "kinks" for f in found.diagnosis)


def test_a_network_of_monai_is_audited():
    nets = foreign("monai.networks.nets")
    net = nets.DenseNet(spatial_dims=2, in_channels=1, out_channels=2, init_features=8,
                        growth_rate=4, block_config=(2, 2))
    found = audit(net, batch=records(1, 32, 32), federation=Federation(2, (2,)), effort=QUICK)
    assert of(found, "labels", size=2).status == "measured"
    assert of(found, "gradient matching", size=2).status == "measured"
    assert any("BatchNorm" in text for text in found.warnings)


def test_a_model_that_returns_an_object_is_audited():
    bert = foreign("transformers.models.bert.modeling_bert")
    config = foreign("transformers").BertConfig(
        vocab_size=120, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=2)
    tokens = torch.randint(1, 120, (24, 8), generator=torch.Generator().manual_seed(0))
    found = audit(bert.BertForSequenceClassification(config),
                  batch=Batch(tokens, torch.arange(24) % 2), federation=ALONE, effort=QUICK)
    assert of(found, "tokens").value == 1.0 and of(found, "labels").value == 1.0


# --- Handled, or named clearly -------------------------------------------------------------------


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = mlp(generator(0), num_features=6, width=16), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize("wrap", [
    lambda logits: SimpleNamespace(logits=logits, loss=None), lambda logits: {"logits": logits},
    lambda logits: {"out": logits}, lambda logits: (logits, None)])
def test_answers_of_any_usual_form_are_taken(wrap):
    found = audit(Wrapped(wrap), batch=records(6), federation=ALONE, effort=QUICK)
    assert of(found, "neuron by neuron").value == 1.0


def test_a_loss_of_ones_own_is_used_on_both_sides():
    def brier(outputs, targets):
        return (outputs.softmax(1) - one_hot(targets, 2)).square().mean()

    effort = Effort(trials=1, evaluations=60, most_searched=1)
    found = audit(mlp(generator(0), num_features=6, activation=nn.Sigmoid), brier, records(6),
                  federation=Federation(2, (1,), LocalTraining(10.0)), effort=effort)
    assert of(found, "neuron by neuron").value == 1.0
    search = of(found, "gradient matching").details
    assert search["PSNR"] > search["PSNR of the mean"] + 10


def test_batchnorm_in_train_mode_refuses_one_record_and_the_audit_says_so():
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    found = audit(net, batch=records(6), federation=Federation(2, (1, 2)), effort=QUICK)
    assert of(found, "labels").status == "does not apply"
    assert "train mode" in of(found, "labels").reason
    assert of(found, "labels", size=2).status == "measured"


def test_the_model_is_left_as_it_was():
    net = small_cnn(generator(0), size=16).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = audit(net, batch=records(1, 16, 16), federation=ALONE, effort=QUICK)
    assert not net.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert any("came in eval mode" in text for text in found.warnings)
    assert len(found.pictures) == 3


def test_the_same_audit_gives_the_same_figures():
    def once():
        net = mlp(generator(0), num_features=6, width=16)
        return audit(net, batch=records(6), federation=ALONE, effort=QUICK, seed=5)
    assert once().results == once().results


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        return self.used(x)


def test_a_layer_without_gradient_is_named():
    found = audit(Unused(), batch=records(6), federation=ALONE, effort=QUICK)
    assert any("No gradient reaches spare.weight, spare.bias" in text for text in found.warnings)


@pytest.mark.parametrize(("model", "loss", "batch", "said"), [
    (lambda x: x, cross_entropy, records(6), "expected a torch.nn.Module"),
    (nn.Linear(6, 2).requires_grad_(False), cross_entropy, records(6), "no parameter needs"),
    (nn.Linear(5, 2), cross_entropy, records(6), r"fails on inputs of shape \(4, 6\)"),
    (Wrapped(lambda logits: SimpleNamespace(hidden=logits)), cross_entropy, records(6),
     "returns SimpleNamespace"),
    (nn.Linear(6, 2), lambda out, y: out.sum() * torch.nan, records(6), "loss: nan"),
    (nn.Linear(6, 2), lambda out, y: cross_entropy(out, y, reduction="none"), records(6),
     "expected a tensor of one number"),
    (nn.Linear(6, 2), lambda out, y: torch.tensor(1.0), records(6), "does not depend"),
    (nn.Linear(6, 2), cross_entropy, records(6, classes=4), "loss: fails"),
    (nn.Linear(6, 2), cross_entropy, None, "batch: none given"),
    (nn.Linear(6, 2), cross_entropy, Batch(torch.rand(24, 6), torch.arange(24) // 20 * 2),
     "Target 2 is out of bounds"),  # a label out of range that is late and rare
    (nn.Linear(6, 2), cross_entropy, Batch(torch.rand(24, 6), -(torch.arange(24) // 23)),
     "loss: fails"),
    (nn.Linear(6, 2), cross_entropy, Batch(torch.ones(24, 6, dtype=torch.long), torch.ones(24)),
     "taken for tokens"),
])
def test_what_cannot_be_audited_is_named(model, loss, batch, said):
    with pytest.raises(ValueError, match=said):
        audit(model, loss, batch, federation=ALONE, effort=QUICK)


def test_a_round_that_ends_in_nan_is_named():
    federation = Federation(2, (1,), LocalTraining(1e30, local_steps=3))
    found = audit(mlp(generator(0), num_features=6), batch=records(6), federation=federation,
                  effort=QUICK)
    assert {r.status for r in found.results} == {"failed"}
    assert "NaN" in found.results[0].reason


def test_too_few_records_and_no_time_are_not_run():
    few = audit(nn.Linear(6, 2), batch=records(6), federation=Federation(2, (16,)), effort=QUICK)
    assert {r.status for r in few.results} == {"not run"}
    late = audit(nn.Linear(6, 2), batch=records(6), federation=ALONE,
                 effort=Effort(trials=1, seconds=1e-9))
    assert {r.status for r in late.results} == {"not run"}


def test_after_the_time_is_up_no_hospital_trains():
    trained = []

    def loss(outputs, targets):
        trained.append(outputs)
        return cross_entropy(outputs, targets)

    late = audit(nn.Linear(6, 2), loss, records(6), federation=ALONE,
                 effort=Effort(trials=3, seconds=1e-9))
    assert len(trained) == 1 and "seconds were over" in late.results[0].reason  # the probe


def test_a_model_that_breaks_in_a_round_alone_is_a_result():
    class Sulking(nn.Linear):
        def forward(self, inputs):
            if self.training:
                raise KeyError("stage")
            return super().forward(inputs)

    found = audit(Sulking(6, 2), batch=records(6), federation=ALONE, effort=QUICK)
    assert {r.status for r in found.results} == {"does not apply"}
    assert "stage" in found.results[0].reason


def test_a_loss_that_warns_is_passed_on():
    found = audit(nn.Linear(6, 1), nn.MSELoss(), Batch(torch.rand(24, 6), torch.rand(24)),
                  federation=ALONE, effort=QUICK)
    assert any("warned: Using a target size" in text for text in found.warnings)


def test_rounds_that_use_victims_over_and_over_are_named(table_audit):
    said = [text for text in table_audit.warnings if "more records than the 40 victims" in text]
    assert len(said) == 1 and said[0].startswith("At batch 16 ")  # 6 rounds of 2, and of 32, of 40


def test_a_guess_may_meet_any_record_of_its_batch():
    found = audit(mlp(generator(0), num_features=12, width=8), batch=records(12, n=40),
                  federation=Federation(2, (1, 2)), effort=QUICK)
    assert [of(found, "gradient matching", size=size).baseline for size in (1, 2)] == [
        1 / 20, 2 / 20]  # 20 victims; chance draws are matched to their best record first
    draw, hits = torch.Generator().manual_seed(0), []
    for _ in range(400):
        gallery, guess = (torch.rand(n, 3, generator=draw) for n in (20, 2))
        guess = guess[match(guess, gallery[:2])]
        hits.append(float(identified(guess, gallery[:2], gallery, distance="mse").mean()))
    assert 1.3 / 20 < sum(hits) / 400 <= 2 / 20


def test_an_interruption_of_a_search_ends_the_audit():
    calls = []

    def loss(outputs, targets):
        calls.append(outputs)
        if len(calls) == 12:  # the third evaluation of the first search
            signal.raise_signal(signal.SIGINT)
        return cross_entropy(outputs, targets)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        audit(mlp(generator(0), num_features=6), loss, records(6), federation=ALONE,
              effort=Effort(trials=2, evaluations=30))
    assert signal.getsignal(signal.SIGINT) is before and len(calls) < 20


def test_a_model_on_several_devices_is_named():
    net = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match="expected all on one"):
        subjects.device_of(net)


def test_no_patient_is_victim_and_public():
    batch = Batch(torch.rand(30, 4), torch.arange(30) % 2, torch.arange(30) // 3)
    private, public = split(batch, 3)
    assert not set(private.groups.tolist()) & set(public.groups.tolist())
    assert len(private) + len(public) == 30


@pytest.mark.parametrize(("inputs", "kind"), [
    (torch.rand(4, 1, 8, 8), "image"), (torch.rand(4, 9), "tabular"),
    (torch.ones(4, 9, dtype=torch.long), "tokens"), (torch.ones(4, 30), "genotypes"),
    (torch.ones(4, 5), "tabular")])
def test_the_kind_is_seen(inputs, kind):
    assert kind_of(inputs) == kind


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Federation(1), "hospitals: 1"), (lambda: Federation(2, ()), "batch_sizes"),
    (lambda: Federation(2, (4, 1, 4)), "expected each size once"),
    (lambda: Effort(trials=0), "trials: 0"), (lambda: Effort(seconds=0), "seconds"),
    (lambda: Batch(torch.rand(4), torch.ones(4)), r"inputs: shape \(4,\)"),
    (lambda: Batch(torch.rand(4, 2), torch.ones(3)), "targets: shape"),
    (lambda: Batch(torch.full((4, 2), torch.nan), torch.ones(4)), "NaN"),
    (lambda: kind_of(torch.rand(2, 3, 4)), "inputs: torch.float32")])
def test_bad_input_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_json_holds_what_was_found(table_audit):
    from leaklab.assess.audit.document import to_json
    document = json.loads(to_json(table_audit))
    assert len(document["results"]) == len(table_audit.results)
    assert document["findings"] == list(findings(table_audit))
