"""The note model is causal, learns, and trains no more of itself than it was told to."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from leaklab.data.notes import END, PAD
from leaklab.federation import train_on
from leaklab.runtime import generator
from leaklab.transformer import NOTHING, blocks_only, next_words, note_model, with_adapters
from leaklab.updates import LocalTraining


def small(**changes):
    return note_model(generator("weights"), **{"vocabulary": 30, "length": 12, "width": 16,
                                               **changes})


def words(n=3, length=12, key=0):
    return torch.randint(3, 30, (n, length), generator=generator("words", key))


def test_scores_have_the_order_that_cross_entropy_expects():
    tokens = words()
    scores = small()(tokens)
    assert scores.shape == (3, 30, 12)
    targets = next_words(tokens)
    by_hand = -scores.log_softmax(1).gather(1, targets[:, None]).mean()
    assert cross_entropy(scores, targets).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_word_changes_nothing_before_it():
    tokens, other = words(), words()
    other[:, 7] = (other[:, 7] - 2) % 27 + 3
    one, two = small()(tokens), small()(other)
    torch.testing.assert_close(one[..., :7], two[..., :7])
    assert (one[..., 7:] - two[..., 7:]).abs().amax(1).min() > 1e-6


def test_extending_a_beginning_is_the_block_on_the_whole():
    block = small(width=32).blocks[0]
    starts = torch.randn(2, 5, 32, generator=generator(1))
    ends = torch.randn(2, 4, 32, generator=generator(2))
    short = block.extend(starts, ends)
    for k in range(4):
        whole = block(torch.cat([starts, ends[:, k:k + 1]], 1))[:, -1]
        torch.testing.assert_close(short[:, k], whole)
    torch.testing.assert_close(block.extend(starts[:, :0], ends)[:, 0], block(ends[:, :1])[:, 0])


def test_targets_are_the_next_words_then_the_end_then_nothing():
    assert next_words(torch.tensor([[5, 6, 7, PAD, PAD], [8, 9, 8, 9, 8]])).tolist() == [
        [6, 7, END, NOTHING, NOTHING], [9, 8, 9, 8, END]]


def test_padding_leaves_no_gradient():
    net, tokens = small(), words(2)
    tokens[0, 6:] = PAD
    tokens[1, 9:] = PAD
    cross_entropy(net(tokens), next_words(tokens)).backward()
    assert not net.tokens.weight.grad[PAD].any() and not net.positions.weight.grad[9:].any()
    assert net.positions.weight.grad[:9].any(1).all()


def test_some_steps_teach_it_two_notes():
    tokens = words(2)
    net = small()
    update = train_on(net, tokens, next_words(tokens), LocalTraining(1e-2, 60, optimiser="adam"),
                      generator=generator(0))
    net.load_state_dict(dict(update.after))
    assert cross_entropy(net(tokens), next_words(tokens)) < 0.5


@pytest.mark.parametrize(("part", "trained"), [
    (lambda net: net, {"tokens", "positions", "blocks", "norm", "head"}),
    (blocks_only, {"blocks", "norm"}),
    (lambda net: with_adapters(net, generator(1), rank=2), {"blocks"}),
], ids=["all", "blocks", "adapters"])
def test_what_is_frozen_stays(part, trained):
    net = part(small())
    update = train_on(net, words(), next_words(words()), LocalTraining(0.5, 2),
                      generator=generator(0))
    moved = {name for name, change in update.delta.items() if change.any()}
    assert {name.split(".")[0] for name in moved} == trained
    if trained == {"blocks"}:
        assert {name.split(".")[-1] for name in moved} == {"up", "down"}


def test_adapters_do_nothing_at_first_and_touch_no_weight():
    net = small()
    before = copy.deepcopy(net.state_dict())
    adapted = with_adapters(net, generator(1), rank=3)
    torch.testing.assert_close(adapted(words()), net(words()))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert adapted.blocks[0].attend.up.shape == (48, 3)


def test_a_tied_head_is_the_table_itself():
    net = small(tied=True)
    assert "head.weight" not in net.state_dict()
    cross_entropy(net(words()), next_words(words())).backward()
    assert net.tokens.weight.grad.any(1).all(), "the head moves every row"


def test_a_classifier_scores_the_mean_over_the_words_and_not_the_padding():
    net, tokens = small(classes=4), words(2)
    tokens[0, 5:] = PAD
    scores = net(tokens)
    assert scores.shape == (2, 4)
    alone = net.norm(net.blocks(net.embed(tokens[:1, :5])))[0].mean(0)
    torch.testing.assert_close(scores[0], net.head(alone))
    cross_entropy(scores, torch.tensor([0, 3])).backward()
    assert not net.tokens.weight.grad[PAD].any()
    assert net(torch.zeros(1, 12, dtype=torch.long)).isfinite().all(), "an empty note"


def test_a_classifier_learns_and_its_head_trains_whatever_is_frozen():
    tokens, targets = words(4), torch.tensor([0, 1, 2, 1])
    net = small(classes=3)
    training = LocalTraining(1e-2, 60, optimiser="adam")
    update = train_on(net, tokens, targets, training, generator=generator(0))
    net.load_state_dict(dict(update.after))
    assert cross_entropy(net(tokens), targets) < 0.2
    for part in (blocks_only(net), with_adapters(net, generator(1), rank=2)):
        assert part.head.weight.requires_grad and not part.tokens.weight.requires_grad


@pytest.mark.parametrize("call", [
    lambda: small(width=18), lambda: with_adapters(small(), generator(0), rank=0),
    lambda: small(classes=1), lambda: small(classes=3, tied=True)])
def test_bad_input_is_named(call):
    with pytest.raises(ValueError, match=r"given, expected"):
        call()
