"""Kinship and linkage: plink2's answers, the paper's counts, invariances, and searches that must
find the right one, or nobody."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from leaklab.attacks.kinship import (
    MISSING,
    degree,
    king_robust,
    log_likelihood_match,
    opposite_homozygotes,
    ranks,
    search,
    top_one,
)

# An invented family at 48 unlinked SNPs with gaps, and what plink2 (v2.00a3.5, Debian 12) answers
# to `--make-king-table counts`: pair, SNPs compared, opposite homozygotes, kinship.
FAMILY = {
    "mother": "212.1202020000012122021010110111201110.002101200",
    "father": "21201101100112111112100000210210.101001001221210",
    "child": "21202102010101012212010010200.111.0010200211120.",
    "sibling": "20200202.10011102122.10000100210100010.001211200",
    "stranger": "11211.110110121121122021.11111110110111012120201",
}
PLINK2 = [
    ("father", "mother", 45, 4, -0.0625), ("child", "mother", 43, 0, 0.25),
    ("child", "father", 44, 0, 0.15), ("sibling", "mother", 44, 0, 0.134615),
    ("sibling", "father", 44, 0, 0.125), ("sibling", "child", 42, 1, 0.173077),
    ("stranger", "mother", 44, 5, -0.133333), ("stranger", "father", 45, 1, 0.1375),
    ("stranger", "child", 43, 2, -0.0714286), ("stranger", "sibling", 43, 1, -0.0961538),
]


def read(line: str) -> np.ndarray:
    return np.array([[MISSING if call == "." else int(call) for call in line]])


def counted(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 11 of the paper, by counting."""
    both = ((x == 1) & (y == 1)).sum()
    ibs0 = (((x == 0) & (y == 2)) | ((x == 2) & (y == 0))).sum()
    i, j = sorted([(x == 1).sum(), (y == 1).sum()])
    return (both - 2 * ibs0) / (2 * i) + 0.5 - (i + j) / (4 * i)


def people(number: int, snps: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.binomial(2, rng.uniform(0.1, 0.9, snps), (number, snps)).astype(np.uint8)


def family(snps: int, seed: int) -> tuple[np.ndarray, ...]:
    """Two parents, two children and a stranger at unlinked SNPs."""
    rng = np.random.default_rng(seed)
    common = rng.uniform(0.1, 0.9, snps)
    parents = (rng.random((3, 2, snps)) < common).astype(np.uint8)

    def child() -> np.ndarray:
        return sum(np.where(rng.random(snps) < 0.5, *parent) for parent in parents[:2])

    mother, father, stranger = parents.sum(1)
    return mother, father, child(), child(), stranger


genotypes = arrays(np.int8, (3, 12), elements=st.integers(0, 2)).map(
    lambda g: np.concatenate([g, np.ones((3, 1), np.int8)], axis=1))  # one heterozygous SNP for all


# --- KING-robust ------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PLINK2, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_kinship_and_ibs0_are_those_of_plink2(pair):
    first, second, compared, ibs0, kinship = pair
    a, b = read(FAMILY[first]), read(FAMILY[second])
    assert king_robust(a, b)[0, 0] == pytest.approx(kinship, abs=1e-6)
    assert opposite_homozygotes(a, b)[0, 0] == pytest.approx(ibs0 / compared)


def test_gaps_filled_with_the_commonest_genotype_would_not_be_plink2s_answer():
    """Pairwise deletion matters: the usual shortcut is told apart."""
    first, second, *_, kinship = PLINK2[2]
    a, b = (np.where(read(FAMILY[who]) < 0, 1, read(FAMILY[who])) for who in (first, second))
    assert king_robust(a, b)[0, 0] != pytest.approx(kinship, abs=1e-3)


@given(genotypes)
def test_a_scaled_distance_is_the_papers_count(g):
    expected = [[counted(x, y) for y in g] for x in g]
    assert king_robust(g, g) == pytest.approx(np.array(expected))


@given(genotypes, st.lists(st.booleans(), min_size=13, max_size=13), st.randoms())
def test_neither_the_counted_allele_nor_the_order_of_snps_or_people_matters(g, flip, random):
    flipped = np.where(flip, 2 - g, g)
    order = random.sample(range(g.shape[1]), g.shape[1])
    for measure in (king_robust, opposite_homozygotes):
        whole = measure(g, g)
        assert measure(flipped, flipped) == pytest.approx(whole)
        assert measure(g[:, order], g[:, order]) == pytest.approx(whole)
        assert measure(g[::-1], g) == pytest.approx(whole[::-1])
        assert whole == pytest.approx(whole.T)


@given(genotypes)
def test_with_oneself_kinship_is_a_half_and_never_more_with_others(g):
    phi = king_robust(g, g)
    assert np.diag(phi) == pytest.approx(0.5)
    assert phi.max() <= 0.5
    assert not np.diag(opposite_homozygotes(g, g)).any()


@given(genotypes, arrays(np.bool_, (3, 13)))
def test_a_missing_call_is_as_if_the_pair_had_no_such_snp(g, gone):
    gone[:, -1] = False
    holed = np.where(gone, MISSING, g)
    for i, j in ((0, 1), (1, 2)):
        keep = ~gone[i] & ~gone[j]
        assert (king_robust(holed[[i]], holed[[j]])
                == pytest.approx(king_robust(g[[i]][:, keep], g[[j]][:, keep])))
        assert (opposite_homozygotes(holed[[i]], holed[[j]])
                == pytest.approx(opposite_homozygotes(g[[i]][:, keep], g[[j]][:, keep])))


def test_relatives_have_the_kinship_of_their_degree_and_ibs0_tells_children_from_siblings():
    mother, father, child, sibling, stranger = (p[None] for p in family(40_000, 0))
    for a, b, expected in ((mother, child, 0.25), (father, child, 0.25), (child, sibling, 0.25),
                           (mother, father, 0.0), (child, stranger, 0.0)):
        assert king_robust(a, b)[0, 0] == pytest.approx(expected, abs=0.012)
    assert opposite_homozygotes(mother, child)[0, 0] == 0
    assert opposite_homozygotes(child, sibling)[0, 0] > 0.01
    assert degree(king_robust(child, np.concatenate([child, sibling, mother, stranger]))).tolist() \
        == [[0, 1, 1, 4]]


def test_a_guess_by_frequency_seems_everybodys_relative_and_a_search_must_not_trust_its_kinship():
    crowd = people(200, 3000, 1)
    common = crowd.mean(0, keepdims=True) / 2
    guess = (common > 1 / 3).astype(int) + (common > 2 / 3)  # the commonest genotype at each SNP
    assert (degree(king_robust(guess, crowd)) <= 3).all()
    phi = king_robust(guess, crowd)
    assert np.ptp(phi) < 0.0884, "and to all alike, so that nobody stands out"


def test_random_errors_lower_kinship():
    rng = np.random.default_rng(2)
    mother, _, child, *_ = family(20_000, 2)
    wrong = np.where(rng.random(20_000) < 0.1, rng.integers(0, 3, 20_000), child)
    assert king_robust(mother[None], wrong[None]) < king_robust(mother[None], child[None]) - 0.02


def test_a_genome_without_a_heterozygous_snp_is_refused():
    with pytest.raises(ValueError, match=r"row 0 of a and row 1 of b.*heterozygous"):
        king_robust(np.array([[1, 0]]), np.array([[1, 2], [0, 2]]))
    with pytest.raises(ValueError, match="a pair without a SNP"):
        opposite_homozygotes(np.array([[1, MISSING]]), np.array([[MISSING, 1]]))


@pytest.mark.parametrize(("values", "message"), [
    (np.array([[0, 3]]), "from 0 to 3"), (np.array([[0, -2]]), "from -2 to 0"),
    (np.array([[0.0, 0.4]]), "round dosages"), (np.array([[0.0, np.nan]]), "nan"),
    (np.array([0, 1]), r"expected \(people, SNPs"), (np.zeros((0, 2)), r"expected \(people, SNPs"),
])
def test_what_is_no_genotype_is_refused(values, message):
    with pytest.raises(ValueError, match=rf"^a: .*{message}"):
        king_robust(values, values)
    with pytest.raises(ValueError, match=r"^b: 2 SNPs given, expected 3"):
        king_robust(np.ones((1, 3)), np.ones((1, 2)))


def test_counts_do_not_wrap_in_small_types():
    many = np.ones((1, 70_000), np.uint8)
    many[0, :300] = 2
    other = np.where(many == 2, 0, many)
    assert king_robust(many, other)[0, 0] == pytest.approx(counted(many[0].astype(int),
                                                                  other[0].astype(int)))


@pytest.mark.parametrize(("kinship", "expected"), [
    (0.5, 0), (0.354, 0), (0.353, 1), (0.25, 1), (0.177, 1), (0.125, 2), (0.0884, 2), (0.0625, 3),
    (0.0442, 3), (0.044, 4), (0.0, 4), (-0.4, 4)])
def test_degrees_change_at_the_papers_limits(kinship, expected):
    assert degree(kinship) == expected


def test_no_degree_is_read_from_nan():
    with pytest.raises(ValueError, match="kinship: NaN"):
        degree(np.array([0.1, np.nan]))


# --- Searches ---------------------------------------------------------------------------------


def test_a_search_finds_the_parent_first_wherever_it_lies(monkeypatch):
    monkeypatch.setattr("leaklab.attacks.kinship.TILE", 7)
    mother, _, child, _, stranger = family(2000, 3)
    crowd = people(30, 2000, 4)
    database = np.concatenate([crowd[:13], mother[None], crowd[13:]])
    hits = search(np.stack([child, mother]), database, top=3)
    assert hits.index[:, 0].tolist() == [13, 13]
    assert hits.kinship[1, 0] == 0.5 and hits.kinship[0, 0] == pytest.approx(0.25, abs=0.06)
    assert (np.diff(hits.kinship) <= 0).all()
    assert degree(search(stranger[None], database).kinship).min() >= 3
    with pytest.raises(ValueError, match="top: 32 given, expected 1 to 31"):
        search(child[None], database, top=32)


def test_ranks_count_ties_against_the_attacker():
    scores = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 5.0, 5.0]])
    assert ranks(scores, np.array([2, 0, 1])).tolist() == [2, 3, 2]
    assert ranks(scores, np.array([0, 1, 0])).tolist() == [1, 3, 3]
    for right in (np.array([0, 1, 3]), np.array([0, 1]), np.array([0, -1, 1])):
        with pytest.raises(ValueError, match=r"^right: "):
            ranks(scores, right)
    with pytest.raises(ValueError, match="scores: NaN"):  # it would come before the first
        ranks(np.array([[np.nan, 1.0]]), np.array([0]))


# --- Linkage ----------------------------------------------------------------------------------


def test_the_match_is_the_gaussian_log_likelihood():
    rng = np.random.default_rng(5)
    panel, sd = people(6, 9, 6), rng.uniform(0.2, 3, 9)
    noisy = panel[:2] + sd * rng.standard_normal((2, 9))
    found = log_likelihood_match(noisy, sd, panel)
    full = norm.logpdf(noisy[:, None], panel[None].astype(float), sd).sum(-1)
    constant = norm.logpdf(0, 0, sd).sum()
    assert found + constant == pytest.approx(full)


def test_noise_that_hides_each_genotype_still_shows_whose_they_are():
    rng = np.random.default_rng(7)
    panel = people(500, 4000, 8)
    noisy = panel[:50] + 3.0 * rng.standard_normal((50, 4000))
    read_off = np.clip(np.rint(noisy), 0, 2)
    assert (read_off == panel[:50]).mean() < 0.5
    scores = log_likelihood_match(noisy, 3.0, panel)
    assert (ranks(scores, np.arange(50)) == 1).all()
    anew = log_likelihood_match(noisy, 3.0, np.roll(panel, 1, axis=1))  # SNPs out of step
    assert (ranks(anew, np.arange(50)) == 1).sum() <= 3


@settings(deadline=None)
@given(st.integers(0, 2**31), st.lists(st.booleans(), min_size=40, max_size=40))
def test_a_match_does_not_depend_on_the_counted_allele(seed, flip):
    rng = np.random.default_rng(seed)
    panel, sd = people(5, 40, seed), rng.uniform(0.5, 2, 40)
    noisy = panel[:3] + sd * rng.standard_normal((3, 40))
    flipped = [np.where(flip, 2 - part, part) for part in (noisy, panel.astype(float))]
    assert log_likelihood_match(flipped[0], sd, flipped[1]) == pytest.approx(
        log_likelihood_match(noisy, sd, panel))


@pytest.mark.parametrize(("sd", "columns", "message"), [
    (0.0, 4, "sd: 0"), (np.array([1, 1, -1, 1]), 4, "sd: -1"), (1.0, 3, "panel: shape")])
def test_a_match_refuses_what_it_cannot_weigh(sd, columns, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood_match(np.zeros((2, 4)), sd, np.zeros((5, columns)))


@pytest.mark.parametrize(("separation", "candidates"), [(0.0, 7), (1.0, 2), (3.0, 200), (2.0, 30)])
def test_the_chance_of_the_highest_score_is_that_of_drawn_scores(separation, candidates):
    rng = np.random.default_rng(9)
    drawn = rng.standard_normal((20_000, candidates))
    drawn[:, 0] += separation
    found = (drawn.argmax(1) == 0).mean()
    assert top_one(separation, candidates) == pytest.approx(found, abs=0.015)


def test_known_chances_of_the_highest_score():
    assert top_one(0.0, 2504) == pytest.approx(1 / 2504, rel=1e-4)
    assert top_one(1.7, 2) == pytest.approx(norm.cdf(1.7 / np.sqrt(2)), abs=1e-6)
    assert top_one(-30.0, 1) == pytest.approx(1.0) and top_one(40.0, 2504) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="candidates: 0"):
        top_one(1.0, 0)
