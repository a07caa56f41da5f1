"""Membership from allele frequencies: hand-computed scores, theory, and the mistakes of others."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from leaklab.attacks.frequencies import beacon, first_gradient, homer, inner_product, theory
from leaklab.attacks.frequencies import likelihood_ratio as ratio
from leaklab.federation import Hospital, fed_avg, secure_aggregation_views, server_views
from leaklab.metrics.roc import auc, operating_point
from leaklab.models import logistic_regression
from leaklab.runtime import generator
from leaklab.updates import Knowledge, LocalTraining

STATISTICS = {"homer": homer, "ratio": ratio, "inner product": inner_product}
STEP = LocalTraining(0.5)


def people(frequencies, number, draw):
    """Unrelated people at unlinked SNPs: two draws of the allele each, uint8."""
    copies = torch.rand(2, number, len(frequencies), generator=draw, dtype=torch.float64)
    return (copies < frequencies).sum(0).to(torch.uint8)


def panel(snps, *sizes, seed=0):
    """Population frequencies, and groups of people drawn from them."""
    draw = generator("panel", snps, sizes, seed)
    f = 0.05 + 0.45 * torch.rand(snps, generator=draw, dtype=torch.float64)
    return f, *(people(f, size, draw) for size in sizes)


def frequencies(dosages):
    return dosages.double().mean(0) / 2


def judged(members, others, cohort, reference, statistic=ratio):
    both = torch.cat([members, others])
    return statistic(both, cohort, reference), torch.arange(len(both)) < len(members)


# --- Statistics -------------------------------------------------------------------------------


def test_the_likelihood_ratio_by_hand():
    x = torch.tensor([[0, 1, 2]])
    p, f = torch.tensor([0.2, 0.5, 0.5]), torch.tensor([0.1, 0.25, 0.5])
    by_hand = 2 * math.log(0.8 / 0.9) + math.log(0.5 / 0.25) + math.log(0.5 / 0.75)
    assert float(ratio(x, p, f)) == pytest.approx(by_hand)


def test_homers_statistic_by_hand():
    x = torch.tensor([[0, 1, 2]])
    p, f = torch.tensor([0.2, 0.5, 0.6]), torch.tensor([0.1, 0.25, 0.5])
    distances = [0.1 - 0.2, 0.25 - 0.0, 0.5 - 0.4]
    expected = np.mean(distances) / (np.std(distances, ddof=1) / 3**0.5)
    assert float(homer(x, p, f)) == pytest.approx(expected, rel=1e-6)


def test_the_inner_product_by_hand_with_and_without_noise():
    x = torch.tensor([[0, 2]])
    p, f = torch.tensor([0.2, 0.6]), torch.tensor([0.1, 0.5])
    assert float(inner_product(x, p, f)) == pytest.approx(-0.2 * 0.1 / 0.09 + 1 * 0.1 / 0.25)
    weighed = inner_product(x, p, f, people=(10, 40), noise=torch.tensor([0.1, 0.0]))
    spread = 0.09 * 0.125 + 0.02, 0.25 * 0.125
    assert float(weighed) == pytest.approx(-0.2 * 0.1 / spread[0] + 1 * 0.1 / spread[1])


@pytest.mark.parametrize("name", STATISTICS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_of_people_and_snps_and_the_counted_allele_change_nothing(name, seed):
    statistic = STATISTICS[name]
    _, members, rest = panel(40, 12, 30, seed=seed)
    p, f = frequencies(members), frequencies(rest)
    score = statistic(members, p, f)
    draw = generator(seed, "order")
    who, which = torch.randperm(12, generator=draw), torch.randperm(40, generator=draw)
    flip = torch.rand(40, generator=draw) < 0.5
    torch.testing.assert_close(statistic(members[who][:, which], p[which], f[which]), score[who])
    flipped = statistic(torch.where(flip, 2 - members, members), torch.where(flip, 1 - p, p),
                        torch.where(flip, 1 - f, f))
    torch.testing.assert_close(flipped, score)


@pytest.mark.parametrize("name", STATISTICS)
def test_cohort_and_reference_swapped_swap_the_verdict(name):
    _, members, rest, others = panel(1000, 60, 60, 200)
    p, f = frequencies(members), frequencies(rest)
    right = auc(*judged(members, others, p, f, STATISTICS[name]))
    wrong = auc(*judged(members, others, f, p, STATISTICS[name]))
    assert right > 0.85 and wrong < 0.2
    if name != "inner product":
        torch.testing.assert_close(STATISTICS[name](others, f, p), -STATISTICS[name](others, p, f))


@pytest.mark.parametrize("name", STATISTICS)
def test_who_is_left_out_of_the_cohort_looks_like_a_stranger(name):
    """The statistic finds a person's own contribution, and nothing else about them."""
    _, members, rest, others = panel(1000, 60, 200, 200)
    without = torch.stack([frequencies(torch.cat([members[:k], members[k + 1:]]))
                           for k in range(len(members))])
    f = frequencies(rest)
    alone = torch.cat([STATISTICS[name](x[None], p, f)
                       for x, p in zip(members, without, strict=True)])
    strangers = STATISTICS[name](others, frequencies(members), f)
    truth = torch.arange(260) < 60
    assert auc(torch.cat([alone, strangers]), truth) == pytest.approx(0.5, abs=0.1)
    assert auc(*judged(members, others, frequencies(members), f, STATISTICS[name])) > 0.9


def test_to_first_order_the_inner_product_is_the_likelihood_ratio():
    _, members, rest = panel(300, 500, 500)
    p, f = frequencies(members), frequencies(rest)
    a, b = ratio(members, p, f), inner_product(members, p, f)
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.98


def test_an_allele_nobody_in_the_cohort_has_counts_heavily_and_not_without_limit():
    x = torch.tensor([[0], [1]])
    nobody, some = torch.tensor([0.0]), torch.tensor([0.2])
    clean, carrier = ratio(x, nobody, some).tolist()
    assert carrier == pytest.approx(math.log(1e-3 / 0.2) + math.log(0.999 / 0.8))
    assert carrier < -5 < clean == pytest.approx(2 * math.log(0.999 / 0.8))
    assert ratio(x, nobody, nobody).tolist() == [0, 0]
    assert ratio(x, nobody, some, floor=1e-6)[1] < carrier


@pytest.mark.parametrize(("change", "names"), [
    ({"dosages": torch.tensor([[0, 3, 1]])}, "dosages: 1 values outside 0 to 2"),
    ({"dosages": torch.tensor([[0, math.nan, 1]])}, "dosages: 1 values"),
    ({"dosages": torch.tensor([0, 1, 2])}, r"shapes \(3,\)"),
    ({"cohort": torch.tensor([0.1, 1.2, 0.3])}, "cohort: 1 values outside 0 to 1"),
    ({"reference": torch.tensor([0.1, -0.2, 0.3])}, "reference: 1 values"),
    ({"reference": torch.tensor([0.1, 0.2])}, r"\(2,\)"),
], ids=str)
@pytest.mark.parametrize("statistic", [homer, ratio])
def test_bad_input_is_named(statistic, change, names):
    good = {"dosages": torch.tensor([[0, 1, 2]]), "cohort": torch.full((3,), 0.2),
            "reference": torch.full((3,), 0.4)}
    with pytest.raises(ValueError, match=names):
        statistic(**{**good, **change})


def test_other_bad_input():
    x, f = torch.tensor([[0, 1, 2]]), torch.full((3,), 0.4)
    with pytest.raises(ValueError, match=r"floor: 0\.5"):
        ratio(x, f, f, floor=0.5)
    with pytest.raises(ValueError, match="expected noise of 0 or more"):
        inner_product(x, f, f, noise=0.1)
    with pytest.raises(ValueError, match="expected noise of 0 or more"):
        inner_product(x, f, f, noise=-0.1, people=(10, 10))
    with pytest.raises(ValueError, match="cohort: shape"):
        inner_product(x, f.log() * math.inf, f)
    with pytest.raises(ValueError, match="distances differ"):
        homer(x, f, f)
    assert inner_product(x, f - 1, f).isfinite().all(), "noise may put a frequency below 0"


# --- Theory -----------------------------------------------------------------------------------


def test_theory_by_hand():
    assert theory.expected_distance(900, 100) == 3
    assert theory.expected_distance(900, 100, 100) == pytest.approx(3 / 2**0.5)
    assert theory.expected_distance(900, 100, relatedness=0.5) == 1.5
    assert theory.auc(0) == 0.5 and theory.auc(2**0.5) == pytest.approx(0.8413447)
    assert theory.power(0, 0.01) == pytest.approx(0.01)
    assert theory.power(2.3263479, 0.01) == pytest.approx(0.5)


@pytest.mark.parametrize(("cohort", "snps", "reference"), [
    (50, 300, 200), (100, 1000, 100), (100, 1000, 400), (200, 500, 200)])
def test_unlinked_snps_reach_what_theory_says(cohort, snps, reference):
    distance = theory.expected_distance(snps, cohort, reference)
    found = {name: [] for name in (*STATISTICS, "power")}
    for seed in range(12):
        _, members, rest, others = panel(snps, cohort, reference, 400, seed=seed)
        both = frequencies(members), frequencies(rest)
        for name, statistic in STATISTICS.items():
            score, truth = judged(members, others, *both, statistic)
            found[name].append(auc(score, truth))
            if name == "ratio":
                found["power"].append(operating_point(score, truth, 0.05).true_positive_rate)
    assert np.mean(found["ratio"]) == pytest.approx(theory.auc(distance), abs=0.02)
    assert np.mean(found["power"]) == pytest.approx(theory.power(distance, 0.05), abs=0.06)
    assert np.mean(found["homer"]) < np.mean(found["ratio"]) - 0.005


def test_a_theory_without_the_references_error_is_rejected():
    """With 100 reference people the plain sqrt(m/n) promises 0.98 where 0.94 is reached."""
    assert theory.auc(theory.expected_distance(1000, 100)) > 0.98
    assert theory.auc(theory.expected_distance(1000, 100, 100)) < 0.95


@pytest.mark.parametrize("sd", [0.02, 0.1])
def test_noise_costs_what_theory_says_and_the_best_weights_reach_it(sd):
    found = {"best": [], "plain": []}
    for seed in range(12):
        f, members, rest, others = panel(1000, 100, 200, 400, seed=seed)
        noise = sd * torch.randn(1000, generator=generator(seed, "noise"), dtype=torch.float64)
        both, truth = torch.cat([members, others]), torch.arange(500) < 100
        released, reference = frequencies(members) + noise, frequencies(rest)
        found["best"].append(auc(inner_product(both, released, reference, people=(100, 200),
                                               noise=sd), truth))
        found["plain"].append(auc(inner_product(both, released, reference), truth))
    expected = theory.auc(theory.noisy_distance(f, sd, 100, 200))
    assert np.mean(found["best"]) == pytest.approx(expected, abs=0.02)
    assert np.mean(found["best"]) > np.mean(found["plain"]) - 0.002


def test_noise_in_proportion_to_the_sensitivity_makes_the_number_of_snps_cancel():
    few, many = (theory.noisy_distance(torch.full((m,), 0.5), math.sqrt(m) / 100, 100)
                 for m in (10**4, 10**6))
    assert few == pytest.approx(many, rel=0.01) and many < 1, "mu-GDP allows 1 at this noise"
    assert theory.noisy_distance(torch.full((900,), 0.3), 0.0, 100, 200) == pytest.approx(
        theory.expected_distance(900, 100, 200))


def test_linked_snps_are_worth_the_participation_ratio():
    """Each SNP five times over: a fifth of them counts. Theory with all of them is rejected."""
    areas = []
    for seed in range(12):
        f, members, rest, others = panel(300, 100, 200, 400, seed=seed)
        members, rest, others = (group.repeat(1, 5) for group in (members, rest, others))
        areas.append(auc(*judged(members, others, frequencies(members), frequencies(rest))))
    worth = theory.effective_snps(people(f, 1000, generator("worth")).repeat(1, 5))
    assert worth == pytest.approx(300, rel=0.03)
    assert np.mean(areas) == pytest.approx(
        theory.auc(theory.expected_distance(worth, 100, 200)), abs=0.02)
    assert theory.auc(theory.expected_distance(1500, 100, 200)) > np.mean(areas) + 0.08


def test_few_people_do_not_make_snps_look_linked():
    _, few, many = panel(2000, 100, 800)
    assert theory.effective_snps(few) > 1500, "uncorrected, a hundred people show less than 100"
    assert theory.effective_snps(many) > 1900
    x = many.double()
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(x[:, :60].T))
    plain = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    squares = 60**2 / plain
    corrected = squares - (60**2 - squares) / 798
    assert theory.effective_snps(x[:, :60]) == pytest.approx(min(60, 60**2 / max(corrected, 60)))


def test_bad_input_to_theory():
    for arguments in ((0, 10), (10, 0), (10, 10, 0)):
        with pytest.raises(ValueError, match="expected a number above 0"):
            theory.expected_distance(*arguments)
    with pytest.raises(ValueError, match="relatedness"):
        theory.expected_distance(10, 10, relatedness=2)
    with pytest.raises(ValueError, match="fpr"):
        theory.power(1, 0)
    with pytest.raises(ValueError, match=r"inside \(0, 1\)"):
        theory.noisy_distance(torch.tensor([0.0, 0.5]), 0.1, 10)
    with pytest.raises(ValueError, match="1 SNPs without variation"):
        theory.effective_snps(torch.tensor([[0, 1], [1, 1], [0, 1], [2, 1]]))


# --- Beacons ----------------------------------------------------------------------------------


def test_a_beacon_says_who_is_seen():
    assert beacon.answers(torch.tensor([[0, 0, 1], [0, 2, 0]])).tolist() == [False, True, True]
    rare = beacon.rarest_first(torch.tensor([0, 1, 2, 1]), torch.tensor([0.01, 0.3, 0.1, 0.2]), 2)
    assert rare.tolist() == [2, 3]
    with pytest.raises(ValueError, match="no allele carried"):
        beacon.rarest_first(torch.tensor([0, 0]), torch.tensor([0.1, 0.1]), 2)


def test_the_score_is_the_likelihood_ratio_of_every_beacon_of_two_people():
    """Enumerated: what two people answer, with and without the one who is asked about."""
    f, mismatch = torch.tensor([0.1, 0.3], dtype=torch.float64), 0.02

    def chance(genotypes):
        return math.prod(float(f[j] if a else 1 - f[j])
                         for person in genotypes for j, pair in enumerate(person) for a in pair)

    every = list(itertools.product(itertools.product((0, 1), repeat=2), repeat=2))
    for said in itertools.product((False, True), repeat=2):
        stranger = sum(chance(two) for two in itertools.product(every, repeat=2)
                       if tuple(any(map(any, pairs)) for pairs in zip(*two, strict=True)) == said)
        member = math.prod(
            (1 - mismatch * alone) if yes else mismatch * alone
            for yes, alone in zip(said, ((1 - f) ** 2).tolist(), strict=True))
        found = float(beacon.beacon_score(torch.tensor(said), f, people=2, mismatch=mismatch))
        assert found == pytest.approx(math.log(member / stranger)), said


@pytest.mark.parametrize(("frequency", "queries"), [(0.01, 5), (0.02, 10)])
def test_a_beacon_reaches_its_closed_form(frequency, queries):
    size, draw = 40, generator("beacon", queries)
    f = torch.full((queries,), frequency, dtype=torch.float64)
    score = {}
    for who in ("member", "stranger"):
        trials = torch.stack([beacon.answers(people(f, size - (who == "member"), draw))
                              for _ in range(4000)])
        said = torch.ones_like(trials) if who == "member" else trials
        score[who] = beacon.beacon_score(said, f, people=size)
    truth = torch.arange(8000) < 4000
    point = operating_point(torch.cat([score["member"], score["stranger"]]), truth, 0.05)
    # all alleles have one frequency, so the number of yeses decides, and it is binomial
    stranger, member = 1 - (1 - frequency) ** (2 * size), 1.0
    needed = next(k for k in range(queries + 2) if binom.sf(k - 1, queries, stranger) <= 0.05)
    closed = binom.sf(needed - 1, queries, member)
    assert point.true_positive_rate == pytest.approx(closed, abs=0.02)


def test_bad_input_to_a_beacon():
    said = torch.tensor([True])
    for f, size, mismatch in ((0.0, 5, 0.1), (0.5, 0, 0.1), (0.5, 5, 0.0)):
        with pytest.raises(ValueError, match="expected none, 1 or more"):
            beacon.beacon_score(said, torch.tensor([f]), people=size, mismatch=mismatch)


# --- The first gradient -----------------------------------------------------------------------


def zero_model(snps):
    model = logistic_regression(generator("weights"), num_features=snps)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def first_round(dosages, labels, hospitals=1, training=STEP, model=None):
    model = model or zero_model(dosages.shape[1])
    parts = zip(dosages.float().chunk(hospitals), labels.chunk(hospitals), strict=True)
    clinics = [Hospital(f"H{k}", *part) for k, part in enumerate(parts)]
    return next(iter(fed_avg(model, clinics, training, rounds=1, seed=0)))


def knowing(training=STEP):
    return Knowledge(training=training)


def test_the_first_update_is_the_table_of_counts():
    _, x = panel(50, 30)
    labels = torch.arange(30) % 3 % 2
    (view,) = server_views(first_round(x, labels), knowing())
    found = first_gradient.allele_counts(zero_model(50), view)
    signs = 2 * labels - 1
    assert torch.equal(found.guess, (signs[:, None] * x.long()).sum(0))
    assert found.certificate.all()
    means, balance = first_gradient.case_control_means(zero_model(50), view)
    assert float(balance) == pytest.approx(float(signs.double().mean()), abs=1e-6)
    torch.testing.assert_close(means, found.guess.double() / 30, atol=1e-5, rtol=0)


def test_scaled_inputs_give_the_same_table():
    f, x = panel(50, 30)
    labels = torch.arange(30) % 3 % 2
    scale = (2 * f * (1 - f)).sqrt()
    (view,) = server_views(first_round((x - 2 * f) / scale, labels), knowing())
    found = first_gradient.allele_counts(zero_model(50), view, encoding=(2 * f, scale))
    assert torch.equal(found.guess, ((2 * labels - 1)[:, None] * x.long()).sum(0))
    assert found.certificate.all()
    forgotten = first_gradient.allele_counts(zero_model(50), view)
    assert not forgotten.certificate.all(), "who forgets the scaling sees that it is no table"


@pytest.mark.parametrize("hospitals", [1, 2])
def test_members_are_found_by_their_push_and_its_sign_tells_cases(hospitals):
    """Through a server's view, or a secure sum of two: the cohort is twice as large."""
    areas, blind, right = [], [], []
    snps, patients = 900, 100 * hospitals
    for seed in range(10):
        f, members, others = panel(snps, patients, 300, seed=seed)
        labels = torch.arange(patients) % 2
        step = first_round(members, labels, hospitals)
        (view,) = (server_views if hospitals == 1 else secure_aggregation_views)(step, knowing())
        both = torch.cat([members, others])
        told = torch.cat([labels, torch.arange(300) % 2])
        truth = torch.arange(len(both)) < patients
        found = first_gradient.membership(zero_model(snps), view, both, f, labels=told)
        areas.append(auc(found.score, truth))
        unlabelled = first_gradient.membership(zero_model(snps), view, both, f)
        blind.append(auc(unlabelled.score, truth))
        right.append(float((unlabelled.guess == told)[truth].double().mean()))
        assert torch.equal(unlabelled.score, found.score.abs())
    distance = theory.expected_distance(snps, patients)
    assert np.mean(areas) == pytest.approx(theory.auc(distance), abs=0.02)
    assert 0.6 < np.mean(blind) < np.mean(areas)
    assert np.mean(right) > 0.97


def test_other_patients_update_finds_nobody():
    f, members, asked, others = panel(900, 100, 100, 200)
    (view,) = server_views(first_round(members, torch.arange(100) % 2), knowing())
    found = first_gradient.membership(zero_model(900), view, torch.cat([asked, others]), f)
    assert auc(found.score, torch.arange(300) < 100) == pytest.approx(0.5, abs=0.1)


def test_a_gradient_that_is_no_table_is_refused():
    f, x = panel(20, 30)
    labels = torch.arange(30) % 2
    started = logistic_regression(generator("weights"), num_features=20)
    (trained,) = server_views(first_round(x, labels, model=started), knowing())
    with pytest.raises(ValueError, match="weights that are not zero"):
        first_gradient.membership(started, trained, x, f)
    twice = LocalTraining(0.5, local_steps=2)
    (walked,) = server_views(first_round(x, labels, training=twice), knowing(twice))
    with pytest.raises(ValueError, match="2 local steps"):
        first_gradient.allele_counts(zero_model(20), walked)
    (unknown,) = server_views(first_round(x, labels))
    with pytest.raises(ValueError, match="training unknown"):
        first_gradient.membership(zero_model(20), unknown, x, f)
    (mixed,) = secure_aggregation_views(first_round(x, labels, 2), knowing())
    with pytest.raises(ValueError, match="numbers of patients unknown"):
        first_gradient.allele_counts(zero_model(20), mixed)
    (view,) = server_views(first_round(x, labels), knowing())
    deep = torch.nn.Sequential(torch.nn.Linear(20, 2), torch.nn.ReLU())
    with pytest.raises(ValueError, match="expected one linear layer"):
        first_gradient.membership(deep, view, x, f)
    with pytest.raises(ValueError, match="19 SNPs"):
        first_gradient.membership(zero_model(20), view, x[:, 1:], f[1:])
    with pytest.raises(ValueError, match="3 labels"):
        first_gradient.membership(zero_model(20), view, x, f, labels=labels[:3])
