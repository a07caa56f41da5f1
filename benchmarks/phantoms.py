"""Painting radiology phantoms in batches against painting them one at a time.

    make bench NAME=phantoms

Both sides run in turn in the same process, on one thread, and must give the same pixels. Writes
benchmarks/results/phantoms.json.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
from recording import record

from leaklab.data.phantoms import nodule_patches
from leaklab.data.radiographs import chest_radiographs
from leaklab.data.rendering import BATCH

RESULT = Path(__file__).parent / "results" / "phantoms.json"
IMAGES, REPEATS = 256, 5
PAINTERS = {"nodule_patches": nodule_patches, "chest_radiographs": chest_radiographs}


def seconds(paint, batch: int) -> tuple[float, np.ndarray]:
    """Wall time to paint ``IMAGES`` images, and the images."""
    index = np.arange(IMAGES)
    start = time.perf_counter()
    images = paint(index % 2, index % 5, index=index, seed=0, size=28, batch=batch)
    return time.perf_counter() - start, images


def compare(paint) -> dict[str, float]:
    """Images per second of both sides (medians), and the median of the paired ratios."""
    pairs = []
    for _ in range(REPEATS):
        (batched, images), (single, same) = seconds(paint, BATCH), seconds(paint, 1)
        np.testing.assert_array_equal(images, same)
        pairs.append((batched, single))
    batched, single = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {"images_per_second": round(IMAGES / batched), "peer_per_second": round(IMAGES / single),
            "ratio": round(statistics.median(s / b for b, s in pairs), 2)}


def main() -> None:
    """Measure, print and record."""
    os.environ["LEAKLAB_PROGRESS"] = "0"
    figures = {name: compare(paint) for name, paint in PAINTERS.items()}
    result = {
        "what": "procedural radiology images painted per second",
        "sizes": {"images": IMAGES, "pixels": "28 x 28", "batch": BATCH, "repeats": REPEATS},
        "figures": figures,
        "peer": "the same painters, one image at a time",
        "ratio": {name: figure["ratio"] for name, figure in figures.items()},
    }
    record(RESULT, result)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
