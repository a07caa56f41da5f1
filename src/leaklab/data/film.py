"""One real chest radiograph in full resolution, to shrink to the size that an attack is tried at.

RG1, one of the sample images of DICOM Working Group 4 (compression): the posteroanterior view of
an adult, 1,841 x 1,955 pixels of 15 bits. The wheel ``pydicom-data`` carries it. No report and no
diagnosis come with it, so it has no label.

Whose it is. Those who published it replaced the name but left a date of birth and a patient
number in the header. :func:`read` asks for the elements that make the image, and for no other.

pydicom (Mason 2011, doi:10.1118/1.3611983) reads the file: ``pip install 'leaklab[dicom]'``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leaklab.data.dataset import Dataset
from leaklab.data.download import fetch
from leaklab.data.registry import FILES

try:
    import pydicom
    from pydicom.pixels import apply_modality_lut
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"{missing}; leaklab.data.film needs it: pip install 'leaklab[dicom]'",
        name=missing.name) from None

FILE = "RG1_UNCR.dcm"
ELEMENTS = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction",
)


def chest_film(size: int = 64) -> Dataset:
    """The radiograph alone: inputs float32 (1, 1, size, size) in [0, 1], dense tissue bright.

    Its central square is kept, and each pixel is the mean of the area it covers. The one class,
    0, means that nobody has labelled the film. Raises ``ValueError`` for a size that is not 1 to
    1,841, ``DataUnavailable`` where the file cannot be had.
    """
    file = FILES[FILE]
    film = shrink(read(fetch(FILE)), size)
    return Dataset(
        name="chest radiograph RG1 of DICOM Working Group 4",
        inputs=film[None, None],
        targets=np.zeros(1, np.int64),
        patients=np.array(["rg1"]),
        sites=np.array(["not stated"]),
        tag="REAL",
        licence=file.licence,
        citation=file.citation,
        sha256=file.sha256,
        class_names=("not labelled",),
    )


def read(path: str | Path) -> np.ndarray:
    """The radiograph in the DICOM file ``path``: float32 (rows, columns) in [0, 1].

    Stored values are rescaled, mapped by the linear window that the file gives (its first, if it
    has several; DICOM PS3.3, C.11.2.1.2), and inverted where it stores dense as dark
    (MONOCHROME1). Raises ``ValueError`` for a file that is cut short, compressed, in colour, of
    several frames, or without a linear window; ``OSError`` where it cannot be opened.
    """
    try:
        film = pydicom.dcmread(path, specific_tags=list(ELEMENTS))
        values = apply_modality_lut(film.pixel_array, film)
    except OSError:
        raise
    except Exception as error:  # pydicom passes on whatever its parsers and decoders raise
        raise ValueError(f"path: {path} given, expected a whole, uncompressed DICOM image: "
                         f"{error}") from error
    kind = film.PhotometricInterpretation
    if kind not in ("MONOCHROME1", "MONOCHROME2") or values.ndim != 2:
        raise ValueError(f"path: {path} holds {kind} pixels of shape {values.shape}, "
                         "expected one frame of MONOCHROME1 or MONOCHROME2")
    low, span = _window(film, path)
    grey = np.clip((values - low) / span, 0, 1)
    return (1 - grey if kind == "MONOCHROME1" else grey).astype(np.float32)


def _window(film: pydicom.Dataset, path: str | Path) -> tuple[float, float]:
    """The rescaled value at which the linear window begins, and how far it reaches."""
    form = film.get("VOILUTFunction", "LINEAR")
    centre, width = (np.array(film.get(name), np.float64).flat[0]
                     for name in ("WindowCenter", "WindowWidth"))  # nan where there is none
    if form != "LINEAR" or not (np.isfinite(centre) and 1 < width < np.inf):
        raise ValueError(f"path: {path} has a window {form} of centre {centre:g} and width "
                         f"{width:g}, expected LINEAR, a centre, and a width above 1")
    return centre - width / 2, width - 1


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of ``image`` (rows, columns) as float32 (size, size).

    Each pixel is the mean over the area that it covers, parts of pixels counted in part, so that
    nothing finer than a pixel aliases. Raises ``ValueError`` for a size below 1 or above the
    shorter side: nothing is ever enlarged.
    """
    side = min(image.shape)
    if not 1 <= size <= side:
        raise ValueError(f"size: {size} given, expected 1 to {side}, the film's shorter side")
    top, left = ((extent - side) // 2 for extent in image.shape)
    square = image[top:top + side, left:left + side].astype(np.float64)
    edges = np.linspace(0, side, size + 1)[:, None]
    begin, end = np.arange(side), np.arange(1, side + 1)
    covered = np.clip(np.minimum(end, edges[1:]) - np.maximum(begin, edges[:-1]), 0, None)
    share = covered * size / side  # (size, side): of each row, in each of the new rows
    return (share @ square @ share.T).astype(np.float32)
