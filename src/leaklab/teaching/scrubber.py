"""Scrub through pictures that were made beforehand: no kernel, no network, no framework.

    text/html    a contact sheet, time from left to right, rendered figures in lines of three; a
                 short script turns it into a slider
    image/png    a thinned contact sheet, where HTML is not shown
    text/plain   one line

Without scripts (untrusted notebooks, print) the contact sheet stays, so every frame can be seen.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

import numpy as np
from PIL import Image

GREY_LEVELS = 16
COLOURS = 64
IN_A_LINE = 3  # rendered figures, so that they can be read on paper
LARGEST_SIDE = 16_000
"""Pixels; browsers refuse to draw larger pictures."""


@dataclass(frozen=True)
class Scrubber:
    """Something a notebook displays in the richest form that its reader allows."""

    html: str
    png: bytes
    text: str

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        png = base64.b64encode(self.png).decode()
        return {"text/html": self.html, "image/png": png, "text/plain": self.text}


def scrubber(
    frames: np.ndarray,
    texts: Sequence[str],
    *,
    name: str,
    alt: str,
    start: int = 0,
    ms: int = 120,
    width: int = 720,
) -> Scrubber:
    """Show ``frames`` with a slider over time.

    frames
        Grey images in [0, 1], floating point, shape (time, image, height, width): tiles side by
        side. Or rendered figures, uint8, shape (time, height, width, 3): one picture a step.
    texts
        One short text per step, shown beside the slider and read out by screen readers.
    name
        Visible label of the slider; two scrubbers on a page need different names.
    alt
        What the pictures show, in one clause.
    start, ms, width
        The step shown first, milliseconds per step when playing, largest width in CSS pixels.

    The same input gives the same bytes. Grey is kept in 16 levels, colour in 64.
    Raises ``ValueError`` that names the argument which is not as described.
    """
    sheet = _sheet(frames)
    steps, images, height, wide = sheet.shape[:4]
    texts = [str(text) for text in texts]
    _require(len(texts) == steps, "texts", f"{len(texts)} texts", f"{steps}, one per step")
    _require(bool(name.strip()), "name", repr(name), "a label")
    _require(bool(alt.strip()), "alt", repr(alt), "a description of the pictures")
    _require(0 <= start < steps, "start", start, f"a step from 0 to {steps - 1}")
    _require(ms > 0, "ms", ms, "a number above 0")
    _require(width > 0, "width", width, "a number above 0")
    grey = sheet.ndim == 4
    columns = steps if grey else min(steps, IN_A_LINE)
    rows = images * -(-steps // columns)
    settings = {"texts": texts, "images": images, "columns": columns, "rows": rows,
                "ratio": f"{wide} / {height}", "pixelated": grey, "start": start, "ms": ms,
                "width": width, "name": name, "alt": alt}
    png = _png(sheet, columns)
    digest = hashlib.sha256(png + json.dumps(settings).encode()).hexdigest()[:12]
    template = resources.files("leaklab.teaching") / "scrubber.html"
    page = Template(template.read_text(encoding="utf-8")).substitute(
        id=f"scrubber-{digest}", settings=html.escape(json.dumps(settings)),
        sheet=base64.b64encode(png).decode(), sheet_width=columns * wide,
        sheet_height=rows * height, alt=html.escape(alt),
        order="One column per step" if columns == steps else "Steps line by line",
        first=html.escape(texts[0]), last=html.escape(texts[-1]),
    )
    few = np.unique(np.linspace(0, steps - 1, 8 if grey else 3).round().astype(int))
    text = f"<scrubber {name!r}: {steps} steps, {images} x {height} x {wide} pixels>"
    return Scrubber(page, _png(sheet[few], len(few)), text)


def _sheet(frames: np.ndarray) -> np.ndarray:
    """Checked frames, uint8: grey levels (time, image, h, w) or colour (time, 1, h, w, 3)."""
    frames = np.asarray(frames)
    _require(frames.ndim == 4 and frames.size > 0, "frames", f"shape {frames.shape}",
             "(time, image, height, width) or (time, height, width, 3)")
    if np.issubdtype(frames.dtype, np.floating):
        low, high = frames.min(), frames.max()
        _require(bool(low >= 0 and high <= 1), "frames", f"values from {low} to {high}",
                 "grey values from 0 to 1")
        sheet = np.rint(frames * (GREY_LEVELS - 1)).astype(np.uint8)
    else:
        _require(frames.dtype == np.uint8 and frames.shape[-1] == 3, "frames",
                 f"{frames.dtype} of shape {frames.shape}",
                 "floating point, or uint8 of shape (time, height, width, 3)")
        sheet = frames[:, None]
    steps, images, height, wide = sheet.shape[:4]
    side = max(steps * wide, images * height)
    _require(side <= LARGEST_SIDE, "frames", f"{side} pixels side by side",
             f"at most {LARGEST_SIDE}: fewer steps or smaller pictures")
    return sheet


def _png(sheet: np.ndarray, columns: int) -> bytes:
    """One picture, a column per step and a row per image, with a small palette.

    After ``columns`` steps a new line begins; the last line is filled up with white.
    """
    steps, images, height, wide = sheet.shape[:4]
    lines = -(-steps // columns)
    padding = ((0, lines * columns - steps), *((0, 0),) * (sheet.ndim - 1))
    filled = np.pad(sheet, padding, constant_values=255)
    filled = filled.reshape(lines, columns, *sheet.shape[1:])
    tiled = np.moveaxis(filled, 1, 3).reshape(lines * images * height, columns * wide,
                                              *sheet.shape[4:])
    if sheet.ndim == 4:
        picture = Image.fromarray(tiled, "P")
        levels = np.rint(np.linspace(0, 255, GREY_LEVELS)).astype(int)
        picture.putpalette(levels.repeat(3).tolist())
    else:
        picture = Image.fromarray(tiled).quantize(COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _require(holds: bool, argument: str, given: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{argument}: {given} given, expected {expected}")
