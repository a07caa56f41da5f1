"""The diabetes table in real units, and the way from units to a common scale and back."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leaklab.data import diabetes, heart, scaling
from leaklab.data.dataset import Dataset


@pytest.fixture(scope="module")
def patients() -> Dataset:
    return diabetes.load()


def column(dataset: Dataset, name: str) -> np.ndarray:
    return dataset.inputs[:, dataset.feature_names.index(name)].astype(np.float64)


def table(inputs) -> Dataset:
    inputs = np.asarray(inputs, np.float32)
    n = len(inputs)
    return Dataset("t", inputs, np.zeros(n, np.int64), np.arange(n), np.full(n, "a"), "SYNTHETIC",
                   "none", "none", "", ("no", "yes"), tuple(f"f{k}" for k in
                                                            range(inputs.shape[-1])))


# --- Diabetes ---------------------------------------------------------------------------------


def test_the_first_patient_is_as_published(patients):
    # first data row of the file that Efron et al. published: 59 2 32.1 101 157 93.2 38 4 4.8598 87
    np.testing.assert_allclose(patients.inputs[0],
                               [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87], rtol=1e-6)
    assert patients.targets[:2].tolist() == [1, 0], "progression 151 and 75, the median is 140.5"


def test_counts_tag_and_hash(patients):
    assert len(patients) == len(np.unique(patients.patients)) == 442
    assert np.bincount(patients.targets).tolist() == [221, 221]
    assert patients.tag == "REAL" and patients.inputs.dtype == np.float32
    assert np.isfinite(patients.inputs).all()
    assert len(np.unique(patients.inputs, axis=0)) == 442, "no patient stands there twice"
    assert patients.sha256 == (
        "e9c1f7559552854a24dc45b41c446ce5f79f96e5da081bcce24b57492720b3f7")


def test_the_hash_is_that_of_the_values(patients, monkeypatch):
    whole = diabetes.load_diabetes(scaled=False)
    joined = whole.data.astype("<f8").tobytes() + whole.target.astype("<f8").tobytes()
    assert hashlib.sha256(joined).hexdigest() == patients.sha256
    whole.data[0, 0] += 1
    monkeypatch.setattr(diabetes, "load_diabetes", lambda scaled: whole)
    assert diabetes.load().sha256 != patients.sha256


def test_the_units_are_those_of_a_human_body(patients):
    assert len(diabetes.UNITS) == len(diabetes.RESOLUTION) == patients.inputs.shape[1]
    age, bmi, pressure = (column(patients, name) for name in ("age", "bmi", "bp"))
    assert age.min() >= 18 and age.max() < 100
    assert bmi.min() > 15 and bmi.max() < 50 and pressure.min() > 50 and pressure.max() < 150
    triglycerides = np.exp(column(patients, "ltg"))
    assert np.abs(triglycerides - triglycerides.round()).max() < 0.02
    # the ratio is that of the two columns; for some patients it was rounded to a whole number
    ratio = column(patients, "tc") / column(patients, "hdl")
    assert np.abs(ratio - column(patients, "tch")).max() < 1


@pytest.mark.parametrize("source", [diabetes, heart])
def test_a_value_within_half_a_step_rounds_to_the_one_in_the_file(source, patients):
    assert len(source.RESOLUTION) == len(source.FEATURES)
    if source is diabetes:
        steps = np.array(diabetes.RESOLUTION)
        nearest = (patients.inputs.astype(np.float64) / steps).round() * steps
        np.testing.assert_allclose(patients.inputs, nearest, rtol=1e-6)


# --- To one scale and back --------------------------------------------------------------------

VALUES = st.one_of(st.floats(-1000, 1000, width=32).map(lambda x: round(x, 1)), st.just(np.nan))
ROWS = arrays(np.float64, (6, 3), elements=VALUES)


@given(ROWS, ROWS)
def test_there_and_back_gives_every_value_and_every_gap(public, private):
    public[0] = [1, 2, 3]  # every column observed at least once
    private[np.isnan(private) & ~np.isnan(public).any(0)] = 0  # no gap where no column for it is
    by = scaling.fit(table(public))
    there = scaling.scale(table(private), by)
    assert np.isfinite(there.inputs).all() and there.inputs.dtype == np.float32
    reach = np.nanmax(np.abs((private - by.mean) / by.deviation), initial=1)
    back = scaling.unscale(there.inputs, by)
    np.testing.assert_allclose(back, private.astype(np.float32), rtol=1e-6,
                               atol=1e-6 * reach * float(by.deviation.max() + 1000))


def test_scaling_by_hand():
    by = scaling.fit(table([[1, 0], [3, np.nan], [5, 4]]))
    assert by.mean.tolist() == [3, 2] and by.gaps.tolist() == [False, True]
    there = scaling.scale(table([[3, 6], [5, np.nan]]), by)
    assert there.feature_names == ("f0", "f1", "f1 missing")
    np.testing.assert_allclose(there.inputs, [[0, 2, 0], [np.sqrt(1.5), 0, 1]], atol=1e-6)
    np.testing.assert_allclose(scaling.unscale([[0, 2, 0.4], [0, 9, 0.6]], by), [[3, 6],
                                                                                [3, np.nan]])


def test_half_way_back_is_caught(patients):
    """A wrong way back, by the deviation alone, does not give the patient."""
    by = scaling.fit(patients)
    there = scaling.scale(patients, by).inputs
    half = np.array(diabetes.RESOLUTION) / 2
    assert (np.abs(scaling.unscale(there, by) - patients.inputs) < half).all()
    assert not (np.abs(there * by.deviation - patients.inputs) < half).all(1).any()


@pytest.mark.parametrize("rows", [np.zeros((2, 2)), np.zeros(3), np.zeros((1, 4))])
def test_rows_of_another_width_are_refused(rows):
    by = scaling.fit(table([[1, 0], [3, np.nan], [5, 4]]))
    with pytest.raises(ValueError, match=r"rows: shape .* given, expected \(n, 3\)"):
        scaling.unscale(rows, by)


def test_a_table_of_another_width_is_refused():
    by = scaling.fit(table([[1, 0], [3, 1]]))
    with pytest.raises(ValueError, match=r"table: inputs of shape \(1, 3\) given, expected"):
        scaling.scale(table([[1, 2, 3]]), by)
