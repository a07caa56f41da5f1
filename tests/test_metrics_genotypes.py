"""Scores of guessed genomes against hand-computed answers, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaklab.metrics import genotypes

TRUTH = np.array([[0, 0, 1, 2], [0, 1, 2, 0]], dtype=np.uint8)
GUESS = np.array([[0, 1, 1, 2], [0, 1, 2, 0]], dtype=np.uint8)


def test_hand_computed_scores():
    assert genotypes.accuracy(GUESS, TRUTH).tolist() == [0.75, 1.0]
    assert genotypes.exact(GUESS, TRUTH).tolist() == [False, True]
    # person 0: SNPs 1, 2, 3 count (guess or truth above 0), two of them right
    assert genotypes.non_reference_concordance(GUESS, TRUTH).tolist() == [2 / 3, 1.0]


def test_dosages_are_rounded_to_genotypes():
    assert genotypes.accuracy(GUESS + 0.4, TRUTH).tolist() == [0.75, 1.0]


def test_concordance_of_someone_without_alternate_alleles_is_undefined():
    nobody = np.zeros((1, 3), dtype=int)
    assert np.isnan(genotypes.non_reference_concordance(nobody, nobody)).all()


def test_r2_per_snp_is_the_squared_correlation_and_0_for_a_constant_guess():
    truth = np.array([[0, 0, 1, 1], [1, 0, 1, 0], [2, 0, 0, 1]])
    dosages = np.array([[0.1, 0.3, 0.7, 0.5], [0.7, 0.2, 0.7, 0.5], [1.5, 0.1, 0.7, 0.5]])
    r2 = genotypes.dosage_r2_per_snp(dosages, truth)
    assert r2[0] == pytest.approx(np.corrcoef(dosages[:, 0], truth[:, 0])[0, 1] ** 2)
    assert np.isnan(r2[1])  # everybody has genotype 0
    assert r2[2] == r2[3] == 0


def test_r2_by_bin_keeps_both_edges_of_the_last_bin():
    truth = np.array([[0, 0, 0], [1, 1, 1], [2, 0, 0]])
    dosages = np.array([[0, 0, 1], [1, 1, 1], [2, 0, 1]])
    minor = np.array([0.01, 0.05, 0.5])
    assert genotypes.dosage_r2(dosages, truth, minor).tolist() == [1.0, 0.5]
    assert np.isnan(genotypes.dosage_r2(dosages, truth, minor, edges=(0.1, 0.2))).all()


def test_the_commonest_genotype_scores_high_in_accuracy_and_nothing_in_r2():
    rng = np.random.default_rng(0)
    frequencies = rng.uniform(0.01, 0.1, 400)
    truth = rng.binomial(2, frequencies, (60, 400))
    guess = np.zeros_like(truth)
    assert genotypes.accuracy(guess, truth).mean() > 0.85
    assert np.nanmax(genotypes.dosage_r2_per_snp(guess, truth)) == 0
    assert genotypes.non_reference_concordance(guess, truth).max() == 0


@given(st.integers(0, 10_000))
def test_the_order_of_people_and_of_snps_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    truth, dosages = rng.integers(0, 3, (5, 7)), rng.uniform(0, 2, (5, 7))
    people, snps = rng.permutation(5), rng.permutation(7)
    for score in (genotypes.accuracy, genotypes.non_reference_concordance):
        there = score(dosages[people][:, snps], truth[people][:, snps])
        assert there == pytest.approx(score(dosages, truth)[people], nan_ok=True)
    moved = genotypes.dosage_r2_per_snp(dosages[people][:, snps], truth[people][:, snps])
    assert moved == pytest.approx(genotypes.dosage_r2_per_snp(dosages, truth)[snps], nan_ok=True)


@given(st.integers(0, 10_000))
def test_counting_the_other_allele_changes_neither_accuracy_nor_r2(seed):
    rng = np.random.default_rng(seed)
    truth, dosages = rng.integers(0, 3, (5, 7)), rng.uniform(0, 2, (5, 7))
    assert genotypes.accuracy(2 - dosages, 2 - truth) == pytest.approx(
        genotypes.accuracy(dosages, truth))
    assert genotypes.dosage_r2_per_snp(2 - dosages, 2 - truth) == pytest.approx(
        genotypes.dosage_r2_per_snp(dosages, truth), nan_ok=True)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: genotypes.accuracy(GUESS[:, :3], TRUTH), "guess, truth: shapes"),
    (lambda: genotypes.exact(GUESS[0], TRUTH[0]), "guess, truth: shapes"),
    (lambda: genotypes.accuracy(GUESS[:, :0], TRUTH[:, :0]), "at least one SNP"),
    (lambda: genotypes.accuracy(GUESS, TRUTH + 1), "truth: values outside"),
    (lambda: genotypes.dosage_r2_per_snp(GUESS[:1], TRUTH[:1]), "truth: 1 people given"),
    (lambda: genotypes.dosage_r2(GUESS, TRUTH, np.full(3, 0.1)), "minor: shape"),
    (lambda: genotypes.dosage_r2(GUESS, TRUTH, np.full(4, 0.1), edges=(0.5, 0.1)), "edges:"),
])
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
