"""An audit as one page of HTML that needs no network."""

from __future__ import annotations

import base64
import io

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor

import leaklab
from leaklab.assess.audit.appetite import Verdict
from leaklab.assess.audit.findings import READ_AS, by_chance, findings, gaps, overview
from leaklab.assess.audit.running import Audit, Picture

ENLARGED = 96  # pixels a side that a small image is shown at, at least


def to_html(audit: Audit, verdict: Verdict | None = None) -> str:
    """One page with findings, pictures and every figure; pictures are inside, nothing is fetched.

    It shows records: give it to nobody who may not see those.
    """
    environment = Environment(
        loader=PackageLoader("leaklab.assess.audit", "templates"), undefined=StrictUndefined,
        autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pictures = [{"title": p.title, "rows": _rows(p)} for p in audit.pictures]
    return environment.get_template("report.html").render(
        audit=audit, findings=findings(audit), by_chance=by_chance(audit), gaps=gaps(audit),
        overview=overview(audit), read_as=READ_AS, pictures=pictures,
        verdict=verdict, version=leaklab.__version__, training=audit.federation.training)


def _rows(picture: Picture) -> list[tuple[str, list[str]]]:
    return [(name, [_png(image) for image in images]) for name, images in (
        ("the record", picture.truth), ("read off the view", picture.guess),
        ("guess without it", picture.blind))]


def _png(image: Tensor) -> str:
    """A picture, (channels, height, width) in [0, 1], as a data URI; other channels than 1 or 3
    are shown by their mean."""
    image = image.float().clamp(0, 1)
    image = image if len(image) in (1, 3) else image.mean(0, keepdim=True)
    pixels = (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy()
    shown = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    times = max(1, -(-ENLARGED // max(shown.size)))
    shown = shown.resize((shown.width * times, shown.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
