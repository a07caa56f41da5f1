"""Splits never cut through a patient, lose nobody, and repeat themselves by seed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from leaklab.data import hospitals
from leaklab.data.dataset import Dataset


def dataset(patients, targets=None, sites=None, inputs=None) -> Dataset:
    n = len(patients)
    return Dataset(
        "d", np.arange(n, dtype=np.float32)[:, None] if inputs is None else np.asarray(inputs),
        np.asarray(np.zeros(n) if targets is None else targets, np.int64), np.asarray(patients),
        np.full(n, "a") if sites is None else np.asarray(sites), "SYNTHETIC", "none", "none", "",
        ("no", "yes"))


@st.composite
def datasets(draw, min_patients=2, max_rows=60) -> Dataset:
    """Rows with shuffled patients, labels and sites; every row is a distinct number."""
    n = draw(st.integers(min_patients, max_rows))
    people = draw(st.integers(min_patients, n))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    owners = np.concatenate([np.arange(people), rng.integers(people, size=n - people)])
    return dataset(rng.permutation(owners), rng.integers(draw(st.integers(1, 3)), size=n),
                   rng.choice(["a", "b", "c"], size=n))


def cohort(n: int = 200, rows_each: int = 3) -> Dataset:
    """Patients with one label and one site each, a third of them ill."""
    owner = np.repeat(np.arange(n), rows_each)
    return dataset(owner, owner % 3 == 0, np.array(["a", "b"])[owner % 2])


SEEDS = st.integers(0, 2**32)


def rows(part: Dataset) -> set[float]:
    return set(part.inputs[:, 0].tolist())


def faults(whole: Dataset, parts: list[Dataset]) -> list[str]:
    """What is wrong with a split; the same judge for right and wrong splitters."""
    found = []
    people = [set(part.patients.tolist()) for part in parts]
    if sum(map(len, people)) != len(set().union(*people)):
        found.append("a patient is on two sides")
    if sum(map(len, parts)) != len(whole) or set().union(*map(rows, parts)) != rows(whole):
        found.append("not a partition")
    label = dict(zip(whole.inputs[:, 0].tolist(), whole.targets.tolist(), strict=True))
    if any(label[x] != y for part in parts
           for x, y in zip(part.inputs[:, 0].tolist(), part.targets.tolist(), strict=True)):
        found.append("a label moved to another row")
    return found


def by_row(whole: Dataset, fraction: float, rng: np.random.Generator) -> list[Dataset]:
    """The common mistake: rows are dealt, and patients torn."""
    chosen = rng.random(len(whole)) < fraction
    return [whole.take(~chosen), whole.take(chosen)]


def skews():
    return pytest.mark.parametrize("deal", [hospitals.label_skew, hospitals.quantity_skew])


# --- Properties of every split ----------------------------------------------------------------


@given(datasets(), st.floats(0.01, 0.99), SEEDS)
def test_train_test_is_a_partition_by_patient(whole, fraction, seed):
    train, test = hospitals.train_test(whole, fraction, np.random.default_rng(seed))
    assert faults(whole, [train, test]) == [] and len(train) and len(test)
    people = len(np.unique(whole.patients))
    wanted = min(max(round(fraction * people), 1), people - 1)
    assert len(np.unique(test.patients)) == wanted


@given(datasets(), SEEDS)
def test_members_are_a_partition_into_halves(whole, seed):
    inside, outside = hospitals.members(whole, np.random.default_rng(seed))
    assert faults(whole, [inside, outside]) == []
    sizes = [len(np.unique(part.patients)) for part in (inside, outside)]
    assert abs(sizes[0] - sizes[1]) <= 1


@skews()
@given(whole=datasets(min_patients=5), alpha=st.floats(0.01, 1000), count=st.integers(1, 4),
       floor=st.integers(0, 2), seed=SEEDS)
@settings(max_examples=60)
def test_skews_are_partitions_by_patient(deal, whole, alpha, count, floor, seed):
    try:
        parts = deal(whole, count, alpha, np.random.default_rng(seed), min_per_class=floor)
    except ValueError as error:
        assert "min_per_class" in str(error) and floor
        assume(False)
    assert list(parts) == [f"Hospital {k + 1}" for k in range(count)]
    assert faults(whole, list(parts.values())) == []
    for name, part in parts.items():
        assert (part.sites == name).all()


@given(SEEDS)
def test_a_split_by_row_is_caught(seed):
    whole = cohort(20)
    found = faults(whole, by_row(whole, 0.5, np.random.default_rng(seed)))
    assert found == ["a patient is on two sides"]


def test_a_split_that_loses_or_relabels_rows_is_caught():
    whole = cohort(20)
    train, test = hospitals.train_test(whole, 0.5, np.random.default_rng(0))
    assert "not a partition" in faults(whole, [train, test.take(slice(1, None))])
    assert faults(whole, [train, replace(test, targets=1 - test.targets)])


SPLITS = {
    "train_test": lambda d, rng: hospitals.train_test(d, 0.3, rng),
    "members": hospitals.members,
    "label_skew": lambda d, rng: tuple(hospitals.label_skew(d, 3, 0.5, rng).values()),
    "quantity_skew": lambda d, rng: tuple(hospitals.quantity_skew(d, 3, 0.5, rng).values()),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_a_seed_fixes_the_split_whatever_the_order_of_the_rows(split):
    whole = cohort(40)
    shuffled = whole.take(np.random.default_rng(9).permutation(len(whole)))

    def people(d, seed):
        return [sorted(set(p.patients.tolist())) for p in split(d, np.random.default_rng(seed))]

    assert people(whole, 1) == people(whole, 1) == people(shuffled, 1)
    assert people(whole, 1) != people(whole, 2)


# --- Stratification ---------------------------------------------------------------------------


def strata(part: Dataset) -> dict:
    _, first = np.unique(part.patients, return_index=True)
    kinds, counts = np.unique(
        [f"{s} {t}" for s, t in zip(part.sites[first], part.targets[first], strict=True)],
        return_counts=True)
    return dict(zip(kinds.tolist(), counts.tolist(), strict=True))


def uneven(splitter, whole: Dataset, fraction: float, seed: int) -> float:
    """By how many patients the worst stratum of the test part misses its share."""
    _, test = splitter(whole, fraction, np.random.default_rng(seed))
    got = strata(test)
    return max(abs(got.get(kind, 0) - fraction * n) for kind, n in strata(whole).items())


@given(SEEDS, st.sampled_from([0.1, 0.25, 0.5]))
def test_every_site_and_label_gives_its_share_to_within_one_patient(seed, fraction):
    assert uneven(hospitals.train_test, cohort(), fraction, seed) <= 1


def patients_tested(whole: Dataset, fraction: float, seed: int) -> tuple:
    _, test = hospitals.train_test(whole, fraction, np.random.default_rng(seed))
    return tuple(test.patients.tolist())


def test_any_two_patients_of_a_stratum_can_be_tested_together():
    drawn = {patients_tested(dataset(range(6)), 1 / 3, seed) for seed in range(300)}
    assert len(drawn) == 15  # 6 choose 2


def test_a_patient_alone_in_a_stratum_is_tested_as_often_as_others():
    alone = dataset(range(6), sites=list("abcdef"))
    drawn = np.concatenate([patients_tested(alone, 1 / 3, seed) for seed in range(600)])
    np.testing.assert_allclose(np.bincount(drawn) / 600, 1 / 3, atol=0.1)


def test_an_unstratified_split_would_not_pass():
    def by_patient_only(whole, fraction, rng):
        plain = replace(whole, targets=np.zeros_like(whole.targets), sites=np.full(len(whole), "a"))
        _, test = hospitals.train_test(plain, fraction, rng)
        chosen = np.isin(whole.patients, test.patients)
        return whole.take(~chosen), whole.take(chosen)

    assert max(uneven(by_patient_only, cohort(), 0.25, seed) for seed in range(5)) > 1


# --- Skew -------------------------------------------------------------------------------------


def shares(parts: dict[str, Dataset]) -> tuple[np.ndarray, np.ndarray]:
    sizes = np.array([len(np.unique(part.patients)) for part in parts.values()])
    return sizes, np.array([part.targets.mean() for part in parts.values()])


@skews()
@pytest.mark.parametrize("alpha", [0.01, 0.1, 1.0, 100.0])
def test_every_hospital_holds_the_minimum_of_every_class(deal, alpha):
    for seed in range(20):
        for part in deal(cohort(), 5, alpha, np.random.default_rng(seed), min_per_class=3).values():
            assert np.bincount(part.targets, minlength=2).min() >= 3


def test_label_skew_moves_labels_and_not_sizes():
    gaps = {}
    for alpha in (0.1, 1.0, 1e4):
        drawn = [shares(hospitals.label_skew(cohort(), 5, alpha, np.random.default_rng(seed)))
                 for seed in range(20)]
        assert all(np.ptp(sizes) <= 1 for sizes, _ in drawn)
        gaps[alpha] = np.mean([np.ptp(positives) for _, positives in drawn])
    assert gaps[0.1] > gaps[1.0] > gaps[1e4]
    assert gaps[0.1] > 0.5 and gaps[1e4] < 0.3


def test_quantity_skew_moves_sizes():
    largest = {}
    for alpha in (0.1, 1.0, 1e4):
        drawn = [shares(hospitals.quantity_skew(cohort(), 5, alpha, np.random.default_rng(seed)))
                 for seed in range(20)]
        largest[alpha] = np.mean([sizes.max() / sizes.sum() for sizes, _ in drawn])
    assert largest[0.1] > largest[1.0] > largest[1e4]
    assert largest[0.1] > 0.5 and largest[1e4] < 0.3


def test_quantity_skew_does_not_move_labels():
    # over many draws a hospital's share of positives centres on that of the whole, a third
    whole = cohort(300, rows_each=1)
    means = [shares(hospitals.quantity_skew(whole, 3, 100, np.random.default_rng(seed)))[1]
             for seed in range(50)]
    np.testing.assert_allclose(np.mean(means, axis=0), 1 / 3, atol=0.03)


def test_hospitals_keep_the_names_they_are_given():
    parts = hospitals.label_skew(cohort(), ["Aster", "Birch"], 1.0, np.random.default_rng(0))
    assert list(parts) == ["Aster", "Birch"]


@skews()
@pytest.mark.parametrize(("count", "alpha", "floor", "reason"), [
    (0, 1.0, 2, "hospitals: 0"), (["a", "a"], 1.0, 2, "distinct names"),
    ("Aster", 1.0, 0, "hospitals: 'Aster'"),
    (3, 0.0, 2, "alpha: 0.0"), (3, float("nan"), 2, "alpha: nan"),
    (3, 1.0, -1, "min_per_class: -1"),
    (5, 1.0, 50, "needs 250 patients of class 0; expected at most 133"),
])
def test_what_cannot_be_dealt_is_refused(deal, count, alpha, floor, reason):
    with pytest.raises(ValueError, match=reason):
        deal(cohort(), count, alpha, np.random.default_rng(0), min_per_class=floor)


@skews()
def test_an_empty_dataset_is_refused(deal):
    with pytest.raises(ValueError, match="no examples"):
        deal(cohort().take([]), 2, 1.0, np.random.default_rng(0))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match="test_fraction"):
        hospitals.train_test(cohort(), fraction, np.random.default_rng(0))


@pytest.mark.parametrize("patients", [[], [7, 7, 7]])
def test_fewer_than_two_patients_cannot_be_split(patients):
    with pytest.raises(ValueError, match="expected at least 2"):
        hospitals.train_test(dataset(patients), 0.5, np.random.default_rng(0))


# --- Sites and duplicates ---------------------------------------------------------------------


@given(datasets())
def test_by_site_is_a_sorted_partition(whole):
    parts = hospitals.by_site(whole)
    assert list(parts) == sorted(set(whole.sites.tolist()))
    assert "not a partition" not in faults(whole, list(parts.values()))
    assert all((part.sites == name).all() for name, part in parts.items())


def test_the_first_of_equal_inputs_is_kept_and_torn_labels_go():
    inputs = np.array([[1, 2], [3, np.nan], [1, 2], [3, np.nan], [5, 0], [5, -0.0], [6, 6]],
                      np.float32)
    whole = dataset(range(7), [0, 1, 0, 0, 1, 1, 0], inputs=inputs)
    assert hospitals.drop_duplicates(whole).patients.tolist() == [0, 4, 6]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=30))
def test_duplicates_as_a_plain_count_says(pairs):
    whole = dataset(range(len(pairs)), [y for _, y in pairs],
                    inputs=np.array([[[x, 0]] for x, _ in pairs], np.float32).reshape(-1, 1, 2))
    kept = hospitals.drop_duplicates(whole)
    agreed = {x for x, _ in pairs if len({y for other, y in pairs if other == x}) == 1}
    assert sorted(kept.inputs[:, 0, 0].tolist()) == sorted(agreed)
    assert hospitals.drop_duplicates(kept).patients.tolist() == kept.patients.tolist()


def test_members_share_no_copy():
    inputs = np.repeat(np.arange(20, dtype=np.float32), 2)[:, None]
    whole = dataset(range(40), inputs=inputs)
    inside, outside = hospitals.members(whole, np.random.default_rng(0))
    assert not rows(inside) & rows(outside) and len(inside) + len(outside) == 20
    split = hospitals.train_test(whole, 0.5, np.random.default_rng(0))
    assert rows(split[0]) & rows(split[1]), "without dropping them copies do cross"
