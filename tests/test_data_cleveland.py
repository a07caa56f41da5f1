"""The Cleveland table: the columns of the shared one, and what is written in the file."""


import numpy as np
import pytest
from conftest import promised_data

from leaklab.data import cleveland, heart, hospitals
from leaklab.data.dataset import Dataset
from leaklab.data.download import fetch


@pytest.fixture(scope="module")
def table() -> Dataset:
    with promised_data():
        return cleveland.load()


def column(table, name):
    return table.inputs[:, table.feature_names.index(name)]


def test_297_patients_without_a_gap_nobody_twice(table):
    assert table.inputs.shape == (297, 22) and np.isfinite(table.inputs).all()
    assert len(hospitals.drop_duplicates(table)) == 297
    assert table.targets.sum() == 137 and table.tag == "REAL"


def test_columns_agree_with_the_table_of_four_hospitals(table):
    shared = heart.load()
    rows = {name: row for name, row in zip(shared.patients, shared.inputs, strict=True)}
    same = np.stack([rows[name] for name in table.patients])
    for name in heart.FEATURES:
        if name not in cleveland.CATEGORIES:
            np.testing.assert_array_equal(column(table, name),
                                          same[:, heart.FEATURES.index(name)])
    for name in ("cp", "restecg"):
        named = np.array([int(n.split()[1]) for n in table.feature_names
                          if n.startswith(name + " ")])
        flags = np.stack([column(table, f"{name} {value}") for value in named], 1)
        np.testing.assert_array_equal(flags @ named, same[:, heart.FEATURES.index(name)])


def test_the_first_row_reads_as_the_file_does(table):
    first = fetch(cleveland.FILE).read_text().splitlines()[0].split(",")
    assert column(table, "slope 3")[0] == 1 and float(first[10]) == 3
    assert column(table, "ca")[0] == float(first[11])
    assert column(table, "thal 6")[0] == 1 and float(first[12]) == 6
    assert table.patients[0] == "cleveland-000"


def test_every_category_is_one_of_its_values(table):
    for name, values in cleveland.CATEGORIES.items():
        flags = np.stack([column(table, f"{name} {value}") for value in values], 1)
        np.testing.assert_array_equal(flags.sum(1), 1)
        assert flags.any(0).all()
