"""The two tables of real hospitals: counts their publishers state, missing codes, imputation."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import promised_data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leaklab.data import heart, hospitals, lung
from leaklab.data.dataset import Dataset


def load(loader) -> Dataset:
    """The table, or a skip where it cannot be had and nobody promised it."""
    with promised_data():
        return loader.load()


@pytest.fixture(scope="module")
def heart_table() -> Dataset:
    return load(heart)


@pytest.fixture(scope="module")
def lung_table() -> Dataset:
    return load(lung)


def table(inputs, names=None) -> Dataset:
    n, d = np.shape(inputs)
    return Dataset("t", np.asarray(inputs, np.float32), np.zeros(n, np.int64), np.arange(n),
                   np.full(n, "a"), "SYNTHETIC", "none", "none", "", ("no", "yes"),
                   names or tuple(f"f{k}" for k in range(d)))


def missing(dataset: Dataset, column: str) -> np.ndarray:
    return np.isnan(dataset.inputs[:, dataset.feature_names.index(column)])


# --- Heart ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("site", "patients", "prevalence"), [
    ("cleveland", 303, 0.459), ("hungarian", 294, 0.361),
    ("switzerland", 123, 0.935), ("va", 200, 0.745),
])
def test_heart_has_the_published_counts(heart_table, site, patients, prevalence):
    part = hospitals.by_site(heart_table)[site]
    assert len(part) == patients
    assert round(float(part.targets.mean()), 3) == prevalence


def test_heart_is_real_one_patient_a_row_and_in_human_ranges(heart_table):
    assert heart_table.tag == "REAL" and heart_table.inputs.dtype == np.float32
    assert len(np.unique(heart_table.patients)) == len(heart_table) == 920
    age = heart_table.inputs[:, 0]
    assert age.min() >= 18 and age.max() < 100
    assert set(np.unique(heart_table.inputs[:, 1])) == {0, 1}
    assert np.nanmin(heart_table.inputs) > -9


def test_heart_zero_cholesterol_and_pressure_are_missing(heart_table):
    for column in ("chol", "trestbps"):
        values = heart_table.inputs[:, heart.FEATURES.index(column)]
        assert np.nanmin(values) > 0
    # "?" plus 0, counted in the four files: va wrote "?" 7 times and 0 49 times for cholesterol
    counts = {site: (int(missing(part, "chol").sum()), int(missing(part, "trestbps").sum()))
              for site, part in hospitals.by_site(heart_table).items()}
    assert counts == {"cleveland": (0, 0), "hungarian": (23, 1), "switzerland": (123, 2),
                      "va": (7 + 49, 56 + 1)}


def test_heart_reads_every_code_for_missing(tmp_path, monkeypatch):
    for k, site in enumerate(heart.SITES):
        (tmp_path / f"processed.{site}.data").write_text(
            f"{50 + k},1,4,0,0,?,0,-9,0,-1.5,?,?,?,{k}\n6{k},0,1,120,200,1,2,150,1,0,?,?,?,0\n")
    monkeypatch.setattr(heart, "fetch", lambda name: tmp_path / name)
    found = heart.load()
    nan = np.nan
    np.testing.assert_array_equal(found.inputs[2:4], [
        [51, 1, 4, nan, nan, nan, 0, nan, 0, -1.5], [61, 0, 1, 120, 200, 1, 2, 150, 1, 0]])
    assert found.targets.tolist() == [0, 0, 1, 0, 1, 0, 1, 0]
    assert found.sites.tolist() == [site for site in heart.SITES for _ in range(2)]


def test_heart_has_two_patients_twice(heart_table):
    assert len(heart_table) - len(hospitals.drop_duplicates(heart_table)) == 2


# --- Lung -------------------------------------------------------------------------------------


def test_lung_keeps_who_has_a_site_and_a_label(lung_table):
    # 228 rows; the docstring says whom it leaves out
    assert "one patient\n    without an institution, and 42 who were" in lung.load.__doc__
    assert len(lung_table) == 228 - 1 - 42
    assert len(np.unique(lung_table.sites)) == 18
    assert lung_table.tag == "REAL" and len(np.unique(lung_table.patients)) == len(lung_table)


def test_lung_first_rows_are_as_in_the_file(lung_table):
    # inst 3, died on day 306, 74 years, male, ECOG 1, Karnofsky 90 and 100, 1175 kcal, loss unknown
    np.testing.assert_array_equal(lung_table.inputs[0], [74, 1, 1, 90, 100, 1175, np.nan])
    # the second patient died on day 455, after the year
    assert lung_table.targets[:2].tolist() == [1, 0]
    assert lung_table.sites[0] == "institution 03"


@pytest.mark.parametrize(("time", "status", "label"), [
    (365, 1, 1), (366, 1, 0), (366, 0, 0), (365, 0, None), (1, 0, None), (1, 1, 1),
])
def test_lung_label_at_the_edges_of_the_year(time, status, label):
    assert lung._label({"time": str(time), "status": str(status)}) == label


# --- Imputation -------------------------------------------------------------------------------


def test_imputation_by_hand():
    train = table([[1, 0], [3, np.nan], [5, 4]])
    test = table([[np.nan, 2]])
    filled, other = heart.impute_and_scale(train, test)
    spread = np.sqrt(8 / 3)
    expected = [[-2 / spread, -1, 0], [0, 0, 1], [2 / spread, 1, 0]]
    np.testing.assert_allclose(filled.inputs, expected, atol=1e-6)
    # the test part is filled by the training mean; only a gap that training knew has a column
    np.testing.assert_allclose(other.inputs, [[0, 0, 0]], atol=1e-6)
    assert filled.feature_names == other.feature_names == ("f0", "f1", "f1 missing")


VALUES = st.one_of(st.floats(-1e4, 1e4, width=32), st.just(np.nan))


def leak_checker(impute, train: Dataset, test: Dataset) -> bool:
    """Is what training becomes independent of the test part?"""
    changed = replace(test, inputs=np.nan_to_num(test.inputs) * 3 + 7)
    return np.array_equal(impute(train, test)[0].inputs, impute(train, changed)[0].inputs)


@given(arrays(np.float32, (6, 3), elements=VALUES), arrays(np.float32, (4, 3), elements=VALUES))
def test_imputation_fills_everything_from_training_alone(train_rows, test_rows):
    train_rows[0] = [1, 2, 3]  # every column observed at least once
    train, test = table(train_rows), table(test_rows)
    filled, other = heart.impute_and_scale(train, test)
    assert np.isfinite(filled.inputs).all() and np.isfinite(other.inputs).all()
    assert leak_checker(heart.impute_and_scale, train, test)
    flags = [name for name in filled.feature_names if name.endswith("missing")]
    assert len(flags) == np.isnan(train_rows).any(axis=0).sum()
    np.testing.assert_allclose(filled.inputs[:, :3].mean(axis=0), 0, atol=1e-4)


def test_pooled_imputation_is_caught_as_a_leak():
    def pooled(train, test):
        both = np.concatenate([train.inputs, test.inputs])
        return heart.impute_and_scale(replace(table(both), inputs=both))

    train, test = table([[1.0], [2.0]]), table([[5.0]])
    assert not leak_checker(pooled, train, test)


def test_hospitals_can_compute_the_same_statistics_from_sums(heart_table):
    # what each hospital would share: counts, sums and sums of squares of what it observed
    parts = [part.inputs.astype(np.float64) for part in hospitals.by_site(heart_table).values()]
    count = sum((~np.isnan(x)).sum(axis=0) for x in parts)
    mean = sum(np.nansum(x, axis=0) for x in parts) / count
    deviation = np.sqrt(sum(np.nansum(x**2, axis=0) for x in parts) / count - mean**2)
    (filled,) = heart.impute_and_scale(heart_table)
    expected = np.nan_to_num((heart_table.inputs - mean) / deviation)
    np.testing.assert_allclose(filled.inputs[:, : len(mean)], expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, -7.7])
def test_a_constant_column_becomes_zero(value):
    (filled,) = heart.impute_and_scale(table(np.full((50, 1), value)))
    np.testing.assert_allclose(filled.inputs, 0, atol=1e-3)


def test_lung_and_heart_both_come_out_without_gaps(heart_table, lung_table):
    for dataset in (heart_table, lung_table):
        train, test = hospitals.train_test(dataset, 0.25, np.random.default_rng(0))
        for part in heart.impute_and_scale(train, test):
            assert np.isfinite(part.inputs).all() and part.inputs.dtype == np.float32


@pytest.mark.parametrize(("train", "others", "reason"), [
    (table([[np.nan, 1]]), [], r"columns \['f0'\] hold no value"),
    (table([[1, 2]]), [table([[1, 2, 3]])], r"table 1: inputs of shape \(1, 3\)"),
    (table([[1, 2]]), [table([[1, 2]], ("f1", "f0"))], "expected those of train"),
])
def test_bad_tables_are_refused(train, others, reason):
    with pytest.raises(ValueError, match=reason):
        heart.impute_and_scale(train, *others)
