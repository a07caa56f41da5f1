"""Membership inference: known answers, independent implementations, and the bugs of others."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from leaklab.attacks.membership import label_only, lira, rmia, shadows, signals, thresholds
from leaklab.metrics.roc import auc
from leaklab.models import mlp
from leaklab.runtime import generator
from leaklab.stack import new_stack, paired_members, stack_logits, train_stack
from leaklab.updates import LocalTraining

RECIPE = LocalTraining(0.1, batch_size=32, momentum=0.9)


@pytest.fixture(scope="module")
def stored():
    """Logits of 24 trained models for 80 records of three classes, and who was a member."""
    draw = generator("stored logits")
    inputs = torch.randn(80, 6, generator=draw)
    targets = torch.randint(3, (80,), generator=draw)
    members = paired_members(24, 80, draw)
    return trained_logits(inputs, targets, members, draw, classes=3), targets, members


def trained_logits(inputs, targets, members, draw, *, classes=2, epochs=40):
    def fresh(weights):
        return mlp(weights, num_features=inputs.shape[1], width=64, num_classes=classes)

    stack = new_stack(fresh, len(members), draw)
    if epochs:
        stack = train_stack(stack, inputs, targets, members, RECIPE, draw, epochs=epochs)
    return stack_logits(stack, inputs)


def case(number=12, n=30, seed=0):
    """Margins of models that are surer of their members, as stored tensors."""
    draw = generator(seed, "case")
    members = paired_members(number, n, draw)
    hard = torch.randn(n, generator=draw, dtype=torch.float64)
    noise = torch.randn(number, n, generator=draw, dtype=torch.float64)
    return hard + noise * (1 + hard.abs()) + 1.5 * members, members


# --- Signals ----------------------------------------------------------------------------------


def test_the_margin_is_the_logit_of_the_probability():
    logits = torch.tensor([[1.0, 3.0, 0.0], [2.0, 2.0, 2.0]])
    targets = torch.tensor([1, 0])
    by_hand = [3 - math.log(math.e + 1), 2 - math.log(2 * math.exp(2))]
    assert signals.logit_margin(logits, targets).tolist() == pytest.approx(by_hand)
    p = logits.double().softmax(-1)[[0, 1], targets]
    assert torch.allclose(signals.logit_margin(logits, targets), torch.logit(p))
    assert torch.allclose(signals.negative_loss(logits, targets), p.log())


def test_where_single_precision_sees_certainty_margins_still_differ():
    logits = torch.tensor([[30.0, 0.0], [31.0, 0.0], [800.0, 0.0]])
    targets = torch.zeros(3, dtype=torch.long)
    naive = torch.softmax(logits, 1)[:, 0]
    assert len(naive.unique()) == 1, "probabilities tie"
    assert signals.logit_margin(logits, targets).tolist() == [30, 31, 800]
    loss = signals.negative_loss(logits, targets)
    assert loss.dtype == torch.float64 and loss[0] < loss[1] < 0


def test_signals_take_a_stack_and_refuse_what_does_not_fit():
    logits = torch.randn(4, 5, 3)
    targets = torch.tensor([0, 1, 2, 0, 1])
    every = signals.logit_margin(logits, targets)
    assert every.shape == (4, 5)
    assert torch.equal(every[2], signals.logit_margin(logits[2], targets))
    with pytest.raises(ValueError, match="logits: shape"):
        signals.logit_margin(logits, targets[:4])
    with pytest.raises(ValueError, match="at least two classes"):
        signals.negative_loss(logits[..., :1], targets)
    with pytest.raises(ValueError, match="targets: 0 to 3"):
        signals.logit_margin(logits, torch.tensor([0, 1, 2, 3, 1]))


# --- LiRA -------------------------------------------------------------------------------------


def paper_lira(signal, others, members, form):
    """Algorithm 1 of Carlini et al. (2022), record by record, with scipy."""
    scores = []
    for x in range(len(signal)):
        inside = [float(others[k, x]) for k in range(len(others)) if members[k, x]]
        outside = [float(others[k, x]) for k in range(len(others)) if not members[k, x]]
        if form == "offline":
            scores.append(norm.cdf(float(signal[x]), np.mean(outside), np.std(outside)))
        else:
            scores.append(norm.logpdf(float(signal[x]), np.mean(inside), np.std(inside))
                          - norm.logpdf(float(signal[x]), np.mean(outside), np.std(outside)))
    return np.array(scores)


def paper_lira_shared(signal, others, members):
    """The same with one variance on each side, of margins less their record's mean."""
    centred, means = {}, {}
    for side in (True, False):
        groups = [[float(others[k, x]) for k in range(len(others)) if bool(members[k, x]) == side]
                  for x in range(len(signal))]
        means[side] = [np.mean(group) for group in groups]
        centred[side] = np.std([v - np.mean(group) for group in groups for v in group])
    return np.array([norm.logpdf(float(signal[x]), means[True][x], centred[True])
                     - norm.logpdf(float(signal[x]), means[False][x], centred[False])
                     for x in range(len(signal))])


def test_lira_is_the_papers_on_stored_logits(stored):
    logits, targets, members = stored
    margins = signals.logit_margin(logits, targets)
    signal, others, known = margins[0], margins[2:], members[2:]
    assert np.allclose(lira.lira_online(signal, others, known),
                       paper_lira(signal, others, known, "online"), rtol=0, atol=1e-6)
    assert np.allclose(lira.lira_online(signal, others, known, variance="shared"),
                       paper_lira_shared(signal, others, known), rtol=0, atol=1e-6)
    assert np.allclose(norm.cdf(lira.lira_offline(signal, others, known)),
                       paper_lira(signal, others, known, "offline"), rtol=0, atol=1e-6)


def test_lira_by_hand():
    others = torch.tensor([[4.0], [6.0], [1.0], [-1.0]])  # in: 5 +- 1, out: 0 +- 1
    members = torch.tensor([[True], [True], [False], [False]])
    score = lira.lira_online(torch.tensor([4.0]), others, members)
    assert score.item() == pytest.approx(-0.5 * (1 - 16))
    assert lira.lira_offline(torch.tensor([3.0]), others, members).item() == pytest.approx(3)
    with pytest.raises(ValueError, match="variance: 'median'"):
        lira.lira_online(torch.tensor([4.0]), others, members, variance="median")


def test_offline_scores_are_one_sided_and_the_published_two_sided_form_is_not():
    margins, members = case(number=26, n=400)
    others, known = margins[2:], members[2:]
    outside = shadows.moments(others, ~known)
    spread = (outside.squares / outside.count).sqrt()
    z = (margins[0] - outside.mean) / spread

    def two_sided(signal):  # what some published code computes
        return -torch.distributions.Normal(outside.mean, spread).log_prob(signal)

    below = outside.mean - 4 * spread  # a model surely less sure than non-members are
    assert (lira.lira_offline(below, others, known) < 0).all()
    assert (two_sided(below) > two_sided(outside.mean + spread)).all(), "calls it a member"
    mine = lira.lira_offline(margins[0], others, known)
    assert torch.allclose(mine, z)
    assert auc(mine, members[0]) > auc(two_sided(margins[0]), members[0]) + 0.05


def test_a_shared_variance_is_taken_about_each_records_own_mean():
    margins, members = case(number=20, n=60)
    margins = margins + 50 * torch.arange(60.0)  # records differ far more than models do
    mine = lira.lira_online(margins[0], margins[2:], members[2:], variance="shared")
    assert np.allclose(mine, paper_lira_shared(margins[0], margins[2:], members[2:]), atol=1e-6)
    inside, outside = (shadows.moments(margins[2:], side) for side in (members[2:], ~members[2:]))
    wide = margins[2:].std()  # un-centred, as published code takes it
    wrong = (torch.distributions.Normal(inside.mean, wide).log_prob(margins[0])
             - torch.distributions.Normal(outside.mean, wide).log_prob(margins[0]))
    assert mine.abs().mean() > 100 * wrong.abs().mean(), "the wrong spread hides every difference"


@given(shift=st.floats(-50, 50), scale=st.floats(0.1, 20))
@settings(max_examples=20, deadline=None)
def test_lira_depends_on_no_unit(shift, scale):
    margins, members = case()
    for attack in (lira.lira_online, lira.lira_offline, lira.lira_shrunken):
        plain = attack(margins[0], margins[2:], members[2:])
        moved = attack(scale * margins[0] + shift, scale * margins[2:] + shift, members[2:])
        assert torch.allclose(plain, moved, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("attack", [
    lira.lira_online, lira.lira_offline, lira.lira_shrunken,
    lambda *a: lira.lira_online(*a, variance="shared")])
@pytest.mark.parametrize("constant", [False, True])
def test_one_shadow_on_each_side_gives_numbers(attack, constant):
    margins, members = case(number=4)
    margins = torch.full_like(margins, 0.3) if constant else margins
    score = shadows.in_turn(attack, margins, members)
    assert score.isfinite().all()
    if constant:
        assert (score == 0).all(), "all alike: nothing to say"


def test_with_one_shadow_on_each_side_the_nearer_mean_wins():
    others = torch.tensor([[3.0, 3.0], [0.0, 0.0]])
    members = torch.tensor([[True, True], [False, False]])
    for attack in (lira.lira_online, lira.lira_shrunken):
        near_in, near_out = attack(torch.tensor([2.0, 1.0]), others, members)
        assert near_in > 0 > near_out
        assert near_in == pytest.approx(-near_out)


def test_the_shrunken_form_is_the_predictive_of_the_conjugate_prior():
    margins, members = case(number=12, n=20)
    signal, others, known = margins[0], margins[2:], members[2:]
    expected = 0
    for side, sign in ((known, 1), (~known, -1)):
        groups = [others[side[:, x], x].numpy() for x in range(20)]
        pooled = (sum(((g - g.mean()) ** 2).sum() for g in groups)
                  / sum(len(g) - 1 for g in groups))
        terms = []
        for x, g in enumerate(groups):
            df = 4 + len(g) - 1
            scale = (4 * pooled + ((g - g.mean()) ** 2).sum()) / df * (1 + 1 / len(g))
            terms.append(student.logpdf(signal[x].item(), df, g.mean(), math.sqrt(scale)))
        expected = expected + sign * np.array(terms)
    assert np.allclose(lira.lira_shrunken(signal, others, known), expected, atol=1e-9)
    with pytest.raises(ValueError, match="prior_models: 0"):
        lira.lira_shrunken(signal, others, known, prior_models=0)


def test_a_prior_that_counts_for_very_many_shadows_is_the_shared_variance():
    margins, members = case(number=202, n=40)
    signal, others, known = margins[0], margins[2:], members[2:]
    far = lira.lira_shrunken(signal, others, known, prior_models=1e7)
    shared = lira.lira_online(signal, others, known, variance="shared")
    assert torch.allclose(far, shared, rtol=0.05, atol=0.05)


def test_a_record_that_every_shadow_saw_is_named():
    members = torch.tensor([[True, False], [True, True]])
    with pytest.raises(ValueError, match="record 0 lies on one side"):
        lira.lira_online(torch.zeros(2), torch.zeros(2, 2), members)
    with pytest.raises(ValueError, match="shadow_members: shape"):
        lira.lira_online(torch.zeros(2), torch.zeros(3, 2), members)


# --- Each model in turn -----------------------------------------------------------------------


def counted(signal, shadow_signals, shadow_members):
    """An attack that ignores the model and counts in how many shadows a record is."""
    return -shadow_members.double().sum(0)


def test_with_the_pair_left_out_counting_says_nothing():
    margins, members = case(number=16, n=50)
    scores = shadows.in_turn(counted, margins, members)
    assert all(auc(scores[t], members[t]) == 0.5 for t in range(16))


def test_leaving_out_the_target_alone_gives_membership_away():
    margins, members = case(number=16, n=50)
    for t in range(16):
        others = [k for k in range(16) if k != t]
        wrong = counted(margins[t], margins[others], members[others])
        assert auc(wrong, members[t]) == 1.0


def test_keeping_the_target_as_its_own_shadow_flatters_lira():
    draw = generator("nothing to find")
    members = paired_members(8, 300, draw)
    margins = torch.randn(8, 300, generator=draw, dtype=torch.float64)
    honest = shadows.in_turn(lira.lira_online, margins, members)
    kept = torch.stack([lira.lira_online(m, margins, members) for m in margins])
    assert abs(auc(honest, members) - 0.5) < 0.05
    assert auc(kept, members) > 0.6


def test_unpaired_masks_and_odd_numbers_of_shadows_are_refused():
    margins, members = case(number=8)
    with pytest.raises(ValueError, match="complementary halves"):
        shadows.in_turn(counted, margins, members.roll(1, 0))
    with pytest.raises(ValueError, match="shadows: 3"):
        shadows.in_turn(counted, margins, members, shadows=3)
    with pytest.raises(ValueError, match="shadows: 8"):
        shadows.in_turn(counted, margins, members, shadows=8)


def test_fewer_shadows_are_whole_pairs_that_are_not_the_targets():
    margins, members = case(number=8, n=6)
    seen = []

    def note(signal, others, known):
        seen.append((signal, others, known))
        return signal

    shadows.in_turn(note, margins, members, shadows=4)
    for t, (signal, others, known) in enumerate(seen):
        assert torch.equal(signal, margins[t])
        assert torch.equal(known[0::2], ~known[1::2])
        rows = [int((margins == other).all(1).nonzero()) for other in others]
        assert len(set(rows)) == 4 and not {t, t ^ 1} & set(rows)


# --- RMIA -------------------------------------------------------------------------------------


def paper_rmia(target, refs, members, z_target, z_refs, gamma=1.0, a=None):
    """Score of privacy-meter's module, with means over the models that are really outside."""
    def mean(values, outside):
        out = np.array([values[outside[:, x], x].mean() for x in range(values.shape[1])])
        if a is not None:
            return (1 + a) / 2 * out + (1 - a) / 2
        ins = np.array([values[~outside[:, x], x].mean() for x in range(values.shape[1])])
        return (out + ins) / 2

    ratio_x = target / mean(refs, ~members)
    ratio_z = z_target / mean(z_refs, np.ones_like(z_refs, dtype=bool))
    return np.mean(ratio_x[:, None] / ratio_z > gamma, axis=1)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_rmia_is_privacy_meters_on_stored_logits(stored, gamma):
    logits, targets, members = stored
    loss = signals.negative_loss(logits, targets)
    public = slice(60, 80)  # as if no model had seen them
    record = slice(0, 60)
    ratio = rmia.rmia_ratio(loss[0, record], loss[2:, record], members[2:, record], offline_a=0.3)
    nobody = torch.zeros_like(members[2:, public])
    public_ratio = rmia.rmia_ratio(loss[0, public], loss[2:, public], nobody, offline_a=0.3)
    p = loss.exp().numpy()
    expected = paper_rmia(p[0, record], p[2:, record], members[2:, record].numpy(), p[0, public],
                          p[2:, public], gamma, a=0.3)
    share = rmia.rmia_share(ratio, public_ratio, gamma=gamma)
    assert np.allclose(share, expected, rtol=0, atol=1e-12)
    assert len(share.unique()) <= 21 < len(ratio.unique()), "20 public records tie the rest"
    order = ratio.argsort()
    assert (share[order].diff() >= 0).all(), "the ratio ranks as the share does"


def test_rmia_by_hand():
    shadow = torch.tensor([[0.9, 0.6], [0.5, 0.2]]).log()
    members = torch.tensor([[True, True], [False, False]])
    log_p = torch.tensor([0.7, 0.8]).log()
    online = rmia.rmia_ratio(log_p, shadow, members).exp()
    assert online.tolist() == pytest.approx([0.7 / 0.7, 0.8 / 0.4])
    offline = rmia.rmia_ratio(log_p, shadow, members, offline_a=0.5).exp()
    assert offline.tolist() == pytest.approx([0.7 / 0.625, 0.8 / 0.4])
    assert rmia.rmia_share(torch.tensor([0.0, 1.0, 5.0]), torch.tensor([1.0, 0.5, 2.0, 3.0])
                           ).tolist() == [0, 0.25, 1], "a tie is not beaten"


def test_rmia_refuses_what_are_no_probabilities():
    members = torch.tensor([[True], [False]])
    with pytest.raises(ValueError, match="log_probability"):
        rmia.rmia_ratio(torch.tensor([0.5]), torch.zeros(2, 1), members)
    with pytest.raises(ValueError, match="offline_a: 2"):
        rmia.rmia_ratio(torch.tensor([-0.5]), -torch.ones(2, 1), members, offline_a=2)
    with pytest.raises(ValueError, match="public_log_ratio"):
        rmia.rmia_share(torch.zeros(2), torch.zeros(0))
    sure_wrong = rmia.rmia_ratio(torch.tensor([-1.0]), torch.full((2, 1), -2000.0), members)
    assert sure_wrong.isfinite().all()


# --- Thresholds and labels --------------------------------------------------------------------


def test_class_thresholds_by_hand():
    targets = torch.tensor([0, 0, 1, 1])
    shadow = torch.tensor([[5.0, 4.0, 50.0, 1.0], [1.0, 2.0, 3.0, 40.0]])
    members = torch.tensor([[True, True, True, False], [False, False, False, True]])
    score = thresholds.class_thresholds(torch.zeros(4), shadow, members, targets)
    assert score.tolist() == [-4, -4, -40, -40], "the lowest member that no non-member reaches"
    with pytest.raises(ValueError, match="class 1 has no members"):
        thresholds.class_thresholds(torch.zeros(4), shadow[1:], members[1:] & False, targets + 1)


def test_class_thresholds_correct_for_a_class_that_is_easier():
    draw = generator("two classes")
    targets = torch.arange(400) % 2
    members = paired_members(12, 400, draw)
    margins = (torch.randn(12, 400, generator=draw, dtype=torch.float64) + 10 * targets
               + 1.5 * members)
    plain = auc(margins, members)
    by_class = shadows.in_turn(
        lambda s, o, m: thresholds.class_thresholds(s, o, m, targets), margins, members)
    assert auc(by_class, members) > plain + 0.1


def test_the_shadow_classifier_learns_from_shadows_what_members_look_like(stored):
    logits, targets, members = stored
    scores = thresholds.shadow_classifier(logits[0], logits[2:], members[2:], targets,
                                          generator=generator("shokri"))
    again = thresholds.shadow_classifier(logits[0], logits[2:], members[2:], targets,
                                         generator=generator("shokri"))
    assert torch.equal(scores, again)
    assert auc(scores, members[0]) > 0.7
    turned = thresholds.shadow_classifier(logits[0], logits[2:], ~members[2:], targets,
                                          generator=generator("shokri"))
    assert auc(turned, members[0]) < 0.3, "told the opposite, it says the opposite"


def test_votes_count_copies_with_the_true_label():
    inputs, targets = torch.tensor([[1.0], [-1.0], [0.5]]), torch.tensor([1, 1, 1])
    copies = [inputs, inputs - 0.7, inputs - 2]

    def one(x):
        return (x[:, 0] > 0).long()

    assert label_only.votes(one, copies, targets).tolist() == pytest.approx([2 / 3, 0, 1 / 3])
    both = label_only.votes(lambda x: torch.stack([one(x), 1 - one(x)]), copies, targets)
    assert both.shape == (2, 3) and torch.allclose(both.sum(0), torch.ones(3).double())
    with pytest.raises(ValueError, match="copies: none"):
        label_only.votes(one, [], targets)


def test_copies_are_noisy_or_shifted_as_asked():
    inputs = torch.zeros(2000, 3)
    noisy = list(label_only.noisy_copies(inputs, 0.5, 4, generator(0)))
    assert len(noisy) == 4 and abs(float(torch.stack(noisy).std()) - 0.5) < 0.02
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2] = 1
    shifted = list(label_only.shifted_copies(image, 1))
    places = {tuple(copy[0, 0].nonzero()[0].tolist()) for copy in shifted}
    assert len(shifted) == 5
    assert places == {(2, 2), (1, 2), (3, 2), (2, 1), (2, 3)}
    assert len(list(label_only.shifted_copies(image, 2))) == 9
    for wrong in (lambda: next(label_only.noisy_copies(inputs, 0, 4, generator(0))),
                  lambda: next(label_only.shifted_copies(image, 5)),
                  lambda: next(label_only.shifted_copies(inputs, 1))):
        with pytest.raises(ValueError, match=r"distance|deviation"):
            wrong()


# --- On models --------------------------------------------------------------------------------


def scores_of(logits, targets, members):
    margins = signals.logit_margin(logits, targets)
    loss = signals.negative_loss(logits, targets)
    return {"loss": thresholds.loss_threshold(logits, targets),
            "LiRA": shadows.in_turn(lira.lira_online, margins, members),
            "LiRA, shrunken": shadows.in_turn(lira.lira_shrunken, margins, members),
            "LiRA, offline": shadows.in_turn(lira.lira_offline, margins, members),
            "RMIA": shadows.in_turn(rmia.rmia_ratio, loss, members)}


def test_labels_of_pure_noise_can_only_be_learnt_by_heart():
    draw = generator("noise labels")
    inputs, targets = torch.randn(120, 20, generator=draw), torch.arange(120) % 2
    members = paired_members(24, 120, draw)
    logits = trained_logits(inputs, targets, members, draw)
    for name, score in scores_of(logits, targets, members).items():
        assert auc(score, members) > 0.85, name


def test_an_untrained_model_has_no_members():
    draw = generator("untrained")
    inputs, targets = torch.randn(300, 20, generator=draw), torch.arange(300) % 2
    members = paired_members(24, 300, draw)
    logits = trained_logits(inputs, targets, members, draw, epochs=0)
    for name, score in scores_of(logits, targets, members).items():
        assert abs(auc(score, members) - 0.5) < 0.03, name
