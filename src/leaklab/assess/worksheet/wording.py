"""Words that the worksheet never prints, its own or anybody's.

A measurement shows what an attack reached. It never shows that nothing can be reached, so the
worksheet has no word for that, and it does not pass one on from what is filled in.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

FORBIDDEN = re.compile(
    r"(?<![a-z])(anonymous(?:ly)?|anonymi[sz]ed|de-?identified|safe(?:ly|r|st)?|risk[- ]free"
    r"|harmless|compliant)(?![a-z])", re.IGNORECASE)
"""Labels for data or a system that no measurement can carry."""


def forbidden(text: str) -> list[str]:
    """The forbidden words in ``text``, however they are written: case, accents, full width."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return FORBIDDEN.findall(re.sub(r"[‐-―]", "-", plain))


def printable(text: str) -> str:
    """``text`` as it came, or ``ValueError`` for a forbidden word or an invisible character."""
    hidden = sorted({f"U+{ord(c):04X}" for c in text
                     if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")})
    if hidden:
        raise ValueError(f"text: the characters {hidden} given, expected visible ones on one line")
    if found := forbidden(text):
        raise ValueError(f"text: {found} given, expected words for what was measured or decided: "
                         "no trial shows the absence of a risk")
    return text


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
                 AfterValidator(printable)]
"""One line of somebody's words, fit to be printed."""
