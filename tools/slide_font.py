"""The font of the formulas on slides: STIX Two Math, cut down to the characters that they use.

Browsers draw MathML well only with a font that says how tall a sum or a root grows, and many
machines have none. The package ziamath carries this one (SIL Open Font License 1.1).
"""

from __future__ import annotations

import base64
import importlib.util
import io
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

ITALIC = (*range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C), 0x210E)
"""Letters as browsers draw a variable: those of the alphabets, and h, which stands elsewhere."""


def source() -> Path:
    """The whole font.

    Raises ``FileNotFoundError`` where the package that carries it is not installed.
    """
    package = importlib.util.find_spec("ziamath")
    if package is None:
        raise FileNotFoundError("ziamath is not installed, expected it to carry a font for "
                                "formulas; `make slides` installs it")
    return Path(package.origin).parent / "fonts/STIXTwoMath-Regular.ttf"


def rule(text: str) -> str:
    """A rule for a style sheet: the font "slide math", with the characters of ``text``."""
    font = TTFont(source(), recalcTimestamp=False)
    options = subset.Options(layout_features=["*"], notdef_outline=True)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=[*map(ord, set(text)), *ITALIC])
    cutter.subset(font)
    font.flavor = "woff"
    file = io.BytesIO()
    font.save(file)
    data = base64.b64encode(file.getvalue()).decode()
    return ('@font-face { font-family: "slide math"; '
            f"src: url(data:font/woff;base64,{data}); }}\n")
