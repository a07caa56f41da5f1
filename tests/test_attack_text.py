"""Notes come out verbatim where the algebra says so, and the certificate knows where not."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.assess import notes as protocol
from leaklab.attacks import text
from leaklab.attacks.observed import mean_gradient
from leaklab.attacks.text import growing, spans
from leaklab.data import notes
from leaklab.data.notes import PAD
from leaklab.federation import Round, secure_aggregation_views
from leaklab.runtime import generator
from leaklab.transformer import blocks_only, next_words, note_model, with_adapters
from leaklab.updates import Knowledge, LocalTraining, Update, weighted_mean
from local_training import view_of

STEP = LocalTraining(0.5)
WALK = LocalTraining(0.5, local_steps=5)
VOCABULARY = len(notes.vocabulary())


def model(width=64, seed=0, **changes):
    return note_model(generator("weights", seed), vocabulary=VOCABULARY, width=width, **changes)


def records(n, seed=0):
    return protocol.tokens(notes.synthetic(n, seed).notes)


def seen(net, inputs, training=STEP):
    targets = torch.arange(len(inputs)) % 3 if net.classifies else next_words(inputs)
    return view_of(net, inputs, targets, training)


def same_notes(guess, inputs):
    return sorted(guess.tolist()) == sorted(inputs.tolist())


# --- The token set ------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 16), st.sampled_from([STEP, WALK]))
def test_the_token_set_is_that_of_the_batch_and_no_other_token(seed, n, training):
    inputs = records(n, seed)
    found = text.token_set(model(32), seen(model(32), inputs, training))
    assert found.guess.tolist() == sorted(set(inputs.flatten().tolist()) - {PAD})
    assert found.score.shape == found.guess.shape and (found.score > 0).all()


def test_the_token_set_survives_a_secure_sum_and_belongs_to_nobody():
    net, (a, b) = model(32), (records(2, 1), records(2, 2))
    updates = tuple(Update(v.before, v.after, 2, 1, name) for name, v in
                    (("A", seen(net, a)), ("B", seen(net, b))))
    after = weighted_mean([u.after for u in updates], [2, 2])
    (view,) = secure_aggregation_views(Round(1, updates[0].before, updates, after),
                                       Knowledge(STEP))
    found = text.token_set(net, view).guess.tolist()
    assert found == sorted(set(torch.cat([a, b]).flatten().tolist()) - {PAD})


def test_the_order_of_a_batch_is_not_in_its_token_rows():
    """Two batches of other sentences whose token rows are the same: the bag-of-words limit.

    The blocks are switched off and the positions zero, so that a token's gradient depends on the
    token and its target alone; swapping the second halves of two records keeps all such pairs.
    """
    net = model(16)
    with torch.no_grad():
        net.positions.weight.zero_()
        for block in net.blocks:
            for layer in (block.mix, block.dense[2]):
                layer.weight.zero_()
    one = torch.tensor([[5, 6, 7, 8, 9], [15, 6, 17, 18, 19]])
    two = torch.tensor([[5, 6, 17, 18, 19], [15, 6, 7, 8, 9]])  # after "6" the rest is exchanged
    rows = [mean_gradient(net, seen(net, batch))["tokens.weight"] for batch in (one, two)]
    torch.testing.assert_close(*rows)
    assert not same_notes(one, two)


def test_frozen_rows_are_refused_and_tied_rows_tell_nothing():
    frozen, inputs = blocks_only(model()), records(1)
    with pytest.raises(ValueError, match="no token embedding moved"):
        text.token_set(frozen, seen(frozen, inputs))
    tied = model(tied=True)
    assert len(text.token_set(tied, seen(tied, inputs)).guess) == VOCABULARY


# --- The order of one record --------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([64, 128]), st.sampled_from([STEP, WALK]))
def test_one_note_comes_out_verbatim_and_certified(seed, width, training):
    inputs = records(1, seed)
    net = model(width)
    found = text.ordered_tokens(net, seen(net, inputs, training))
    assert torch.equal(found.guess, inputs) and found.certificate.all()


def test_repeated_words_are_put_in_every_place_where_they_stand():
    net = note_model(generator(3), vocabulary=40, length=20, width=32)
    inputs = torch.tensor([[7, 7, 8, 7, 9, 9, 8, 7, 5] + [PAD] * 11])
    assert torch.equal(text.ordered_tokens(net, seen(net, inputs)).guess, inputs)


def test_two_records_are_not_certified_as_one():
    net, inputs = model(), records(2)
    assert not text.ordered_tokens(net, seen(net, inputs)).certificate.any()


def test_a_width_below_the_length_is_not_certified():
    net, inputs = model(16), records(1)
    found = text.ordered_tokens(net, seen(net, inputs))
    assert not torch.equal(found.guess, inputs) and not found.certificate.any()


@pytest.mark.parametrize(("places", "certain"), [(30, True), (31, True), (32, False), (33, False)])
def test_a_note_as_long_as_the_model_is_wide_is_never_certain(places, certain):
    """Layer norm takes one direction away: at 32 of 32 the solution is not the only one."""
    net = note_model(generator(3), vocabulary=60, length=40, width=32)
    inputs = torch.full((1, 40), PAD)
    inputs[0, :places] = torch.randint(3, 60, (places,), generator=generator("long"))
    found = text.ordered_tokens(net, seen(net, inputs))
    assert found.certificate.tolist() == [certain]
    assert not certain or torch.equal(found.guess, inputs)


def test_a_place_whose_row_does_not_show_is_missed_and_not_certified():
    net, inputs = model(), records(1)
    view = seen(net, inputs)
    after = {name: t.clone() for name, t in view.after.items()}
    last = int((inputs != PAD).sum()) - 1
    for table, row in (("positions.weight", last), ("tokens.weight", inputs[0, last])):
        after[table][row] = view.before[table][row]
    found = text.ordered_tokens(net, dataclasses.replace(view, after=after))
    assert not torch.equal(found.guess, inputs) and not found.certificate.any()


def nearest_row(net, view):
    """A wrong way to order: each place takes the token whose row is most alike."""
    gradient = mean_gradient(net, view)
    rows, places = gradient["tokens.weight"], gradient["positions.weight"]
    alike = torch.nn.functional.normalize(places) @ torch.nn.functional.normalize(rows).T
    return torch.where(places.any(1), alike.argmax(1), PAD)[None]


def test_the_nearest_row_is_not_enough():
    net, inputs = model(), records(1)
    guess = nearest_row(net, seen(net, inputs))
    right = (guess == inputs)[inputs != PAD].double().mean()
    assert 0.5 < right < 1, "words that stand once are found so, digits are not"


# --- The span of the first block ----------------------------------------------------------------


@pytest.mark.parametrize("part", [blocks_only, lambda net: net], ids=["frozen", "all"])
def test_words_in_their_places_fit_and_words_at_random_do_not(part):
    net, inputs = part(model(128)), records(1, 4)
    fits = text.word_fits(net, seen(net, inputs))
    stands = torch.zeros_like(fits, dtype=torch.bool)
    for t, token in enumerate(inputs[0].tolist()):
        stands[t, token] = token != PAD
    assert fits[stands].max() < growing.CLEAR and fits[~stands].min() > 0.05


def test_the_squared_length_is_that_of_the_shortest_combination():
    """Against a least-squares solver that knows nothing of singular values."""
    net, inputs = blocks_only(model(64)), records(1, 4)
    view = seen(net, inputs)
    gradient = mean_gradient(net, view)["blocks.0.attend.weight"].double()
    hidden = net.blocks[0].before_attention(net.embed(inputs))[0, 3].detach().double()
    combination = torch.linalg.lstsq(gradient.T, hidden[:, None], rcond=1e-6, driver="gelsd")
    expected = combination.solution.square().sum()
    span = spans.span_of(net, view, 0)
    assert span.length(hidden).item() == pytest.approx(expected.item(), rel=0.02)


@pytest.mark.parametrize(("part", "training"), [
    (blocks_only, STEP), (blocks_only, WALK), (lambda net: net, STEP)],
    ids=["frozen", "frozen, five steps", "all"])
def test_one_note_is_read_without_embedding_gradients(part, training):
    net, inputs = part(model(128)), records(1, 6)
    found = text.sequences(net, seen(net, inputs, training), records=1)
    assert torch.equal(found.guess, inputs) and found.certificate.all()


def test_a_tied_head_hides_the_rows_and_not_the_note():
    net, inputs = model(128, tied=True), records(1, 6)
    found = text.read_notes(net, seen(net, inputs), records=1)
    assert torch.equal(found.guess, inputs) and found.certificate.all()


@pytest.mark.parametrize(("n", "width"), [(2, 128), (4, 256)])
@pytest.mark.parametrize("part", [blocks_only, lambda net: net], ids=["frozen", "all"])
def test_several_notes_are_told_apart_by_the_second_block(part, n, width):
    net, inputs = part(model(width)), records(n, 8)
    found = text.sequences(net, seen(net, inputs), records=n)
    assert same_notes(found.guess, inputs) and found.certificate.all()


@pytest.mark.parametrize("told", [1, 3])
def test_told_too_few_records_it_mixes_them_and_is_not_certain(told):
    net, inputs = blocks_only(model(128)), records(2, 100)
    found = text.sequences(net, seen(net, inputs), records=told)
    right = [line in inputs.tolist() for line in found.guess.tolist()]
    assert right == {1: [False], 3: [True, True, False]}[told], "of one, a mixture"
    assert found.certificate.tolist() == right
    fit = 10 ** -found.score[0].item()
    assert fit < growing.CLEAR, "each word of the mixture fits: the fit alone proves nothing"


def test_notes_that_share_a_beginning_and_an_end_are_both_read():
    inputs = records(1, 3).repeat(2, 1)
    start, stop = 20, 24
    inputs[1, start:stop] = torch.tensor([300, 301, 302, 303])
    net = model(128)
    found = text.sequences(net, seen(net, inputs), records=2)
    assert same_notes(found.guess, inputs) and found.certificate.all()


def test_one_block_cannot_tell_records_apart():
    net, inputs = model(128, blocks=1), records(2)
    found = text.sequences(net, seen(net, inputs), records=2)
    assert not found.guess[1].any() and not found.certificate[1]


@pytest.mark.parametrize("n", [8, 16])
def test_nothing_is_certain_once_every_word_is_in_the_span(n):
    net, inputs = blocks_only(model(64)), records(n)
    found = text.sequences(net, seen(net, inputs), records=n)
    assert not found.certificate.any()
    assert not any(line in inputs.tolist() for line in found.guess.tolist())


@pytest.mark.parametrize(("rank", "read"), [(8, False), (96, True)])
def test_an_adapter_shows_as_much_as_its_rank(rank, read):
    net, inputs = with_adapters(model(128), generator(2), rank=rank), records(1)
    found = text.read_notes(net, seen(net, inputs), records=1)
    assert torch.equal(found.guess, inputs) is read
    assert bool(found.certificate.all()) is read


def test_another_patients_update_gives_the_other_patient():
    net, mine, other = blocks_only(model(128)), records(1, 1), records(1, 2)
    found = text.read_notes(net, seen(net, other), records=1).guess
    assert torch.equal(found, other) and not torch.equal(found, mine)


def test_noise_takes_the_certificate_away_before_it_takes_the_words():
    net, inputs = blocks_only(model(128)), records(1)
    view = seen(net, inputs)
    draw = generator("noise")
    for scale, certain in ((0.0, True), (1e-4, False)):
        after = {name: t + scale * torch.randn(t.shape, generator=draw)
                 for name, t in view.after.items()}
        found = text.sequences(net, dataclasses.replace(view, after=after), records=1)
        assert bool(found.certificate.all()) is certain
        assert torch.equal(found.guess, inputs) or not found.certificate.any()


# --- What an attack is given --------------------------------------------------------------------


def test_the_model_is_left_as_it_was_and_only_the_view_counts():
    net, inputs = model(64), records(1)
    view = seen(net, inputs)
    stale = model(64, seed=5)
    before = copy.deepcopy(stale.state_dict())
    found = text.read_notes(stale, view, records=1)
    assert torch.equal(found.guess, inputs)
    assert all(torch.equal(before[name], t) for name, t in stale.state_dict().items())


@pytest.mark.parametrize(("training", "count", "message"), [
    (LocalTraining(0.5, momentum=0.9), 1, "momentum"),
    (LocalTraining(0.01, optimiser="adam"), 1, "SGD"), (STEP, 0, "records: 0 given")])
def test_bad_input_is_named(training, count, message):
    net = model(32)
    view = dataclasses.replace(seen(net, records(1)), knowledge=Knowledge(training))
    with pytest.raises(ValueError, match=message):
        text.sequences(net, view, records=count)


@pytest.mark.parametrize(("changes", "message"), [
    ({"allowed": torch.ones(7, dtype=torch.bool)}, r"allowed: .*\(7,\) given, expected"),
    ({"allowed": torch.ones(VOCABULARY)}, "allowed: torch.float32"),
    ({"budget": text.Budget(restarts=2)}, "budget: 2 restarts")])
def test_bad_settings_are_named(changes, message):
    net = model(32)
    with pytest.raises(ValueError, match=message):
        text.sequences(net, seen(net, records(1)), records=1, **changes)


def test_weights_that_are_not_finite_are_refused():
    net = blocks_only(model(32))
    view = seen(net, records(1))
    after = {**view.after, "norm.weight": view.after["norm.weight"] * float("nan")}
    with pytest.raises(ValueError, match=r"norm.weight holds NaN"):
        text.sequences(net, dataclasses.replace(view, after=after), records=1)


def test_words_that_may_not_occur_are_not_read():
    net, inputs = blocks_only(model(128)), records(1)
    allowed = torch.ones(VOCABULARY, dtype=torch.bool)
    allowed[inputs[0, 9]] = False
    found = text.sequences(net, seen(net, inputs), records=1, allowed=allowed)
    assert inputs[0, 9] not in found.guess and not found.certificate.any()
    assert allowed[PAD], "the caller's tensor is left as it was"


def test_a_view_of_another_model_is_refused():
    with pytest.raises(ValueError, match="not those of the model"):
        text.read_notes(model(64), seen(model(32), records(1)), records=1)


# --- The protocol -------------------------------------------------------------------------------


def test_a_server_is_not_told_the_labels_which_are_the_notes():
    view = protocol.sent(model(32), records(2), STEP, seed=1)
    assert view.knowledge.labels is None and view.knowledge.training == STEP


def test_a_classifier_is_sent_with_classes_and_no_other_model_is():
    inputs = records(2)
    for net, classes in ((model(32), torch.tensor([0, 1])), (model(32, classes=3), None)):
        with pytest.raises(ValueError, match=r"classes: .* given, expected"):
            protocol.sent(net, inputs, STEP, 1, classes)
    view = protocol.sent(model(32, classes=3), inputs, STEP, 1, torch.tensor([0, 1]))
    assert view.knowledge.labels is None


def test_a_right_reading_scores_one_in_any_order_and_silence_nothing():
    corpus = notes.synthetic(3, 5).notes
    truth = protocol.tokens(corpus)
    scores = protocol.judge(truth.flip(0), corpus)
    assert set(scores) == {"verbatim", "f1", *notes.FIELDS}
    assert all(hits.tolist() == [1, 1, 1] for hits in scores.values())
    assert all(not hits.any() for hits in protocol.judge(torch.zeros_like(truth), corpus).values())


def test_the_grammar_guess_finds_a_diagnosis_now_and_then_and_no_number():
    public, private = (notes.synthetic(1500, seed).notes for seed in (1, 2))
    rates = {kind: hits.mean().item() for kind, hits in protocol.guessed(public, private).items()}
    assert rates["number"] == 0 and rates["name"] < 0.01 and rates["date"] < 0.02
    assert 0.02 < rates["diagnosis"] < 0.07
