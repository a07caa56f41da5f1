"""Imputation against every path of the chain, and against what knows nothing of the chain."""

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import promised_data
from hypothesis import given, settings
from hypothesis import strategies as st

from leaklab.attacks import imputation
from leaklab.attacks.imputation import li_stephens
from leaklab.attacks.imputation.chain import smooth, switching
from leaklab.attacks.imputation.readings import flips
from leaklab.attacks.imputation.references import closest
from leaklab.data.genomes import chr20
from leaklab.metrics import genotypes

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from peers.li_stephens_loop import haploid_loop

PANEL = np.array([[0, 1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1, 0]])
MAP = np.array([0.0, 0.01, 0.013, 0.03, 0.031, 0.05, 0.09])
OBSERVED = np.array([1, 3, 4, 6])
SETTING = {"error": 0.02, "effective_size": 300.0}


def panel_of(seed, haplotypes=8, snps=30):
    """Descendants of three founders: haplotypes with linkage, and a map."""
    rng = np.random.default_rng(seed)
    founders = rng.integers(0, 2, (3, snps))
    switches = rng.random((haplotypes, snps)) < 0.1
    who = (rng.integers(0, 3, (haplotypes, 1)) + switches.cumsum(1)) % 3
    return founders[who, np.arange(snps)], np.sort(rng.uniform(0, 0.5, snps))


def paths(panel, observed, rho):
    """Every path over haplotypes at the observed sites, with its prior chance."""
    size = len(panel)
    for path in itertools.product(range(size), repeat=len(observed)):
        chance = 1 / size
        for j in range(1, len(path)):
            chance *= (1 - rho[j]) * (path[j] == path[j - 1]) + rho[j] / size
        yield path, chance


def enumerated_haploid(panel, observed, alleles, where, error, effective_size):
    """Posterior (J, K) of the copied haplotype, by summing over all paths."""
    rho = switching(where[observed], len(panel), effective_size)
    posterior = np.zeros((len(observed), len(panel)))
    for path, chance in paths(panel, observed, rho):
        for j, k in enumerate(path):
            if alleles[j] >= 0:
                chance *= 1 - error if panel[k, observed[j]] == alleles[j] else error
        for j, k in enumerate(path):
            posterior[j, k] += chance
    return posterior / posterior.sum(1, keepdims=True)


def between(posterior, panel, observed, where, snp):
    """The interpolated chance of the alternate allele at one hidden SNP."""
    left = max((j for j, o in enumerate(observed) if o <= snp), default=0)
    right = min((j for j, o in enumerate(observed) if o >= snp), default=len(observed) - 1)
    low, high = where[observed[left]], where[observed[right]]
    share = (where[snp] - low) / (high - low) if high > low else 0
    return ((1 - share) * posterior[left] + share * posterior[right]) @ panel[:, snp]


@pytest.mark.parametrize("alleles", [(0, 1, 1, 0), (1, 1, 0, 1), (1, -1, -1, 0)])
def test_a_phased_victim_agrees_with_every_path(alleles):
    copies = imputation.haploid(PANEL, OBSERVED, np.array([alleles]), MAP, **SETTING)[0]
    posterior = enumerated_haploid(PANEL, OBSERVED, alleles, MAP, **SETTING)
    for snp in range(len(MAP)):
        if snp in OBSERVED and alleles[list(OBSERVED).index(snp)] >= 0:
            assert copies[snp] == alleles[list(OBSERVED).index(snp)]
        else:
            wanted = between(posterior, PANEL, OBSERVED, MAP, snp)
            assert copies[snp] == pytest.approx(wanted, abs=1e-5)


def enumerated_diploid(panel, observed, given, where, error, effective_size):
    """Posteriors of one copied haplotype (J, K) and of the genotype (J, 3), by all pairs of paths.

    ``given`` (J, 3) is the likelihood of each genotype.
    """
    rho = switching(where[observed], len(panel), effective_size)
    copied, genotype = np.zeros((len(observed), len(panel))), np.zeros((len(observed), 3))
    table = flips(2, error)
    every = list(paths(panel, observed, rho))
    for (first, one), (second, other) in itertools.product(every, every):
        sums = [panel[k, o] + panel[m, o]
                for k, m, o in zip(first, second, observed, strict=True)]
        reads = [table[s] * given[j] for j, s in enumerate(sums)]
        chance = one * other * math.prod(read.sum() for read in reads)
        for j, k in enumerate(first):
            copied[j, k] += chance
            genotype[j] += chance * reads[j] / reads[j].sum()
    return [part / part.sum(1, keepdims=True) for part in (copied, genotype)]


@pytest.mark.parametrize("calls", [(0, 1, 1, 2), (2, 1, 0, 1), (1, -1, 1, -1)])
def test_an_unphased_victim_agrees_with_every_pair_of_paths(calls):
    dosages, probabilities = imputation.decode(PANEL, OBSERVED, np.array([calls]), MAP, **SETTING)
    given = np.array([np.ones(3) if call < 0 else np.eye(3)[call] for call in calls])
    copied, genotype = enumerated_diploid(PANEL, OBSERVED, given, MAP, **SETTING)
    assert probabilities[0] == pytest.approx(genotype, abs=1e-5)
    for snp in set(range(len(MAP))) - set(OBSERVED):
        wanted = 2 * between(copied, PANEL, OBSERVED, MAP, snp)
        assert dosages[0, snp] == pytest.approx(wanted, abs=1e-5)
    for j, call in enumerate(calls):
        wanted = genotype[j] @ np.arange(3) if call < 0 else call
        assert dosages[0, OBSERVED[j]] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("noise", [0.7, np.array([0.3, 1.0, 2.0, 0.5])])
def test_noisy_dosages_agree_with_every_pair_of_paths(noise):
    noisy = np.array([[0.3, 1.8, np.nan, -0.4]])
    dosages, probabilities = imputation.decode(PANEL, OBSERVED, noisy, MAP, noise=noise, **SETTING)
    away = (noisy[0][:, None] - np.arange(3)) / np.broadcast_to(noise, 4)[:, None]
    given = np.where(np.isnan(away), 1.0, np.exp(-(away**2) / 2))
    copied, genotype = enumerated_diploid(PANEL, OBSERVED, given, MAP, **SETTING)
    assert probabilities[0] == pytest.approx(genotype, abs=1e-5)
    assert dosages[0, OBSERVED] == pytest.approx(genotype @ np.arange(3), abs=1e-5)
    assert dosages[0, 5] == pytest.approx(2 * between(copied, PANEL, OBSERVED, MAP, 5), abs=1e-5)


def test_a_filter_without_the_way_back_would_be_noticed(monkeypatch):
    def forward_only(sites, start, forward, backward):
        return smooth(sites, start, forward, lambda beta, site: torch.ones_like(beta))

    alleles = np.array([[1, 1, 0, 1]])
    whole = imputation.haploid(PANEL, OBSERVED, alleles, MAP, **SETTING)
    monkeypatch.setattr(li_stephens, "smooth", forward_only)
    half = imputation.haploid(PANEL, OBSERVED, alleles, MAP, **SETTING)
    assert np.abs(whole - half).max() > 0.01


def test_the_loop_of_the_benchmark_agrees():
    panel, where = panel_of(1)
    observed = np.array([2, 5, 11, 12, 20, 26])
    alleles = panel_of(2)[0][:2, observed]
    ours = imputation.haploid(panel, observed, alleles, where, **SETTING)
    for row, copies in zip(alleles, ours, strict=True):
        loop = haploid_loop(panel.tolist(), observed.tolist(), row.tolist(), where.tolist(),
                            **SETTING)
        assert copies == pytest.approx(loop, abs=1e-5)


def test_interpolation_is_close_to_the_chain_run_over_every_snp():
    panel, where = panel_of(3, haplotypes=20, snps=60)
    observed = np.arange(0, 60, 4)
    alleles = panel_of(4, haplotypes=6, snps=60)[0]
    calls = np.full(alleles.shape, -1)
    calls[:, observed] = alleles[:, observed]
    near = imputation.haploid(panel, observed, alleles[:, observed], where)
    exact = imputation.haploid(panel, np.arange(60), calls, where)
    assert np.abs(near - exact).mean() < 0.02


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_order_of_the_panel_the_victims_and_the_counted_allele_change_nothing(seed):
    rng = np.random.default_rng(seed)
    panel, where = panel_of(seed)
    observed = np.sort(rng.choice(30, 9, replace=False))
    victims = panel_of(seed + 1)[0][:6]
    calls = (victims[0::2] + victims[1::2])[:, observed]
    order, people = rng.permutation(8), rng.permutation(3)
    for attack, known, copies in ((imputation.haploid, victims[:3, observed], 1),
                                  (imputation.diploid, calls, 2)):
        plain = attack(panel, observed, known, where)
        assert attack(panel[order], observed, known, where) == pytest.approx(plain, abs=1e-4)
        assert attack(panel, observed, known[people], where) == pytest.approx(plain[people],
                                                                             abs=1e-4)
        flipped = attack(1 - panel, observed, copies - known, where)
        assert copies - flipped == pytest.approx(plain, abs=1e-4)
        assert attack(panel, observed, known, where + 7) == pytest.approx(plain, abs=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_linear_imputation_does_not_mind_either(seed):
    rng = np.random.default_rng(seed)
    panel, where = panel_of(seed, haplotypes=24)
    reference, observed = panel[0::2] + panel[1::2], np.sort(rng.choice(30, 9, replace=False))
    calls = reference[:3, observed]
    plain = imputation.by_linear(reference, observed, calls, where)
    again = imputation.by_linear(reference[rng.permutation(12)], observed, calls, where)
    flipped = 2 - imputation.by_linear(2 - reference, observed, 2 - calls, where)
    assert again == pytest.approx(plain, abs=1e-3)
    assert flipped == pytest.approx(plain, abs=1e-3)


def test_linear_imputation_is_the_conditional_mean_by_hand():
    """Wen and Stephens' equations for two SNPs, solved on paper."""
    reference = np.array([[0, 0], [1, 1], [2, 1], [1, 2]])
    where = np.array([0.0, 0.02])
    people, harmonic = 4, 1 / sum(1 / i for i in range(1, 8))
    theta = harmonic / (8 + harmonic)
    keep = math.exp(-4 * 1e4 * 0.0002 / 8)
    deviations = reference - reference.mean(0)
    covariance = keep * (1 - theta) ** 2 * deviations[:, 0] @ deviations[:, 1] / people
    variance = ((1 - theta) ** 2 * (deviations[:, 0] ** 2).mean() + theta * (1 - theta / 2))
    wanted = 1 + covariance / variance * (2 - 1)
    got = imputation.by_linear(reference, np.array([0]), np.array([[2]]), where)
    assert got[0] == pytest.approx([2, wanted], abs=1e-5)


def test_a_tag_is_the_observed_snp_that_correlates_best():
    reference = np.array([[0, 1, 0, 1], [1, 1, 1, 1], [2, 0, 2, 2], [1, 2, 1, 0]])
    got = imputation.by_tag(reference, np.array([0, 1]), np.array([[2, 1], [0, 1]]))
    assert got == pytest.approx(np.array([[2, 1, 2, 1], [0, 1, 0, 1]]), abs=1e-5)


def test_a_monomorphic_snp_neither_tells_nor_is_told():
    reference = np.array([[0, 1, 1, 0], [0, 2, 2, 0], [0, 0, 0, 0]])
    where = np.arange(4) * 1e-4
    for got in (imputation.by_tag(reference, np.array([0, 1]), np.array([[2, 2]])),
                imputation.by_linear(reference, np.array([0, 1]), np.array([[2, 2]]), where)):
        assert np.isfinite(got).all()
        assert got[0] == pytest.approx([2, 2, 2, 0], abs=0.2)


def test_a_missing_call_is_taken_as_the_mean_by_the_linear_methods():
    panel, where = panel_of(5, haplotypes=24)
    reference, observed = panel[0::2] + panel[1::2], np.array([3, 9])
    for attack, extra in ((imputation.by_linear, (where,)), (imputation.by_tag, ())):
        nothing = attack(reference, observed, np.array([[-1, -1]]), *extra)
        assert nothing[0] == pytest.approx(reference.mean(0), abs=1e-5)


def test_guesses_by_frequency_and_by_reading_by_hand():
    frequencies = np.array([0.1, 0.5, 0.9])
    assert imputation.by_frequency(frequencies, 2).tolist() == [[0, 1, 2]] * 2
    noisy = np.array([[0.9, 0.9, 0.9]])
    assert imputation.by_prior(noisy, 0.1, frequencies).tolist() == [[1, 1, 1]]
    assert imputation.by_prior(noisy, 100.0, frequencies).tolist() == [[0, 1, 2]]


def test_references_are_chosen_by_opposite_homozygotes_in_each_window():
    haplotypes = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]])
    given = np.eye(3)[[[0, 0, 2, 2]]] @ flips(2, 1e-3).T
    assert closest(haplotypes, given, 1, 1).tolist() == [[0]]
    assert closest(haplotypes, given, 3, 2).tolist() == [[0, 1, 2]]
    assert closest(haplotypes, given, 9, 2).tolist() == [[0, 1, 2, 3]]


BAD = [
    ({"haplotypes": PANEL + 1}, "haplotypes: shape"),
    ({"haplotypes": PANEL * 0.5}, "haplotypes: shape"),
    ({"observed": np.array([3, 1, 4, 6])}, "observed: shape"),
    ({"observed": np.array([1, 3, 4, 9])}, "observed: shape"),
    ({"observed": np.array([1, 3, 4])}, "genotypes: shape"),
    ({"centimorgans": MAP[:-1]}, "centimorgans: shape"),
    ({"centimorgans": MAP[::-1]}, "centimorgans: an unsorted map"),
    ({"genotypes": np.array([[0, 1, 3, 0]])}, "genotypes: values outside 0 to 2"),
    ({"genotypes": np.array([[0, 1, 0.5, 0]])}, "genotypes: values outside 0 to 2"),
    ({"noise": 0.0}, "noise: 0, less or NaN"),
    ({"noise": np.ones(3)}, "noise: shape"),
    ({"error": 0.5}, "error: 0.5 given"),
    ({"effective_size": 0.0}, "effective_size: 0.0 given"),
    ({"references": 0}, "references, windows: 0, 12 given"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_input_is_refused_by_name(change, words):
    arguments = {"haplotypes": PANEL, "observed": OBSERVED, "genotypes": np.array([[0, 1, 1, 2]]),
                 "centimorgans": MAP} | change
    with pytest.raises(ValueError, match=words):
        imputation.diploid(**arguments)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: imputation.haploid(PANEL, OBSERVED, np.array([[0, 1, 2, 0]]), MAP), "alleles: values"),
    (lambda: imputation.by_frequency(np.array([1.2]), 1), "frequencies: shape"),
    (lambda: imputation.by_prior(np.zeros((1, 2)), 1.0, np.zeros(3)), "dosages: shape"),
    (lambda: imputation.by_tag(PANEL + 2, OBSERVED, np.zeros((1, 4))), "reference: shape"),
    (lambda: imputation.by_tag(PANEL, OBSERVED, np.full((1, 4), 3)), "genotypes: values"),
    (lambda: imputation.by_linear(PANEL, OBSERVED, np.zeros((1, 4)), MAP[::-1]), "centimorgans:"),
])
def test_bad_input_to_the_others_too(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.fixture(scope="module")
def held_out():
    """250 phased people, 50 others of the same panel, a tenth of the SNPs: seed 100."""
    with promised_data():
        panel = chr20.load()[0]
    rng = np.random.default_rng(100)
    people = rng.permutation(len(panel))
    observed = np.sort(rng.choice(panel.snps, panel.snps // 10, replace=False))
    hidden = np.setdiff1d(np.arange(panel.snps), observed)
    return panel.take(people[50:]), panel.take(people[:50]), observed, hidden


def test_real_people_are_filled_in_far_beyond_frequency_and_tag(held_out):
    panel, victims, observed, hidden = held_out
    truth = victims.dosages

    def right(dosages):
        return genotypes.accuracy(dosages[:, hidden], truth[:len(dosages), hidden]).mean()

    alleles = imputation.haploid(panel.haplotypes, observed, victims.haplotypes[:, observed],
                                 panel.centimorgans)
    phased = alleles[0::2] + alleles[1::2]
    assert right(phased) >= 0.97
    few = imputation.diploid(panel.haplotypes, observed, truth[:8, observed], panel.centimorgans)
    assert right(few) >= right(phased[:8]) - 0.005
    assert right(imputation.by_frequency(panel.frequencies, 50)) <= 0.75
    assert right(imputation.by_tag(panel.dosages, observed, truth[:, observed])) <= 0.94
    linear = imputation.by_linear(panel.dosages, observed, truth[:, observed], panel.centimorgans)
    assert 0.95 <= right(linear) <= right(phased)


def test_a_panel_without_linkage_tells_no_more_than_frequencies(held_out):
    panel, victims, observed, hidden = held_out
    mixed = np.random.default_rng(0).permuted(panel.haplotypes, axis=0)  # each SNP by itself
    alleles = imputation.haploid(mixed, observed, victims.haplotypes[:, observed],
                                 panel.centimorgans)
    dosages = alleles[0::2] + alleles[1::2]
    truth = victims.dosages[:, hidden]
    by_frequency = imputation.by_frequency(panel.frequencies, 50)[:, hidden]
    baseline = genotypes.accuracy(by_frequency, truth).mean()
    assert genotypes.accuracy(dosages[:, hidden], truth).mean() <= baseline + 0.01


def test_linkage_corrects_noise_that_rounding_cannot(held_out):
    panel, victims, _, _ = held_out
    few = slice(4000, 6000)
    truth = victims.dosages[:6, few]
    rng = np.random.default_rng(1)
    noisy = truth + rng.standard_normal(truth.shape)
    panel = panel.take(snps=few)
    _, probabilities = imputation.decode(panel.haplotypes, np.arange(panel.snps), noisy,
                                         panel.centimorgans, noise=1.0)
    assert (probabilities.argmax(-1) == truth).mean() >= 0.95
    assert (np.rint(noisy).clip(0, 2) == truth).mean() <= 0.65
