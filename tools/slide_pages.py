"""Read a built page of the book as material for slides: nothing in it needs a network or a script.

Mathematics becomes MathML, which browsers draw by themselves, and pictures become part of the
text. Links inside the book are undone, since a deck travels alone; those to papers stay.
"""

from __future__ import annotations

import base64
import html
import mimetypes
import re
import struct
import textwrap
from itertools import accumulate
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString, Tag
from latex2mathml.converter import convert

NOISE = ".headerlink, .copybtn, .sd-summary-state-marker, .tag_hide-output, summary > svg"
BOOKKEEPING = re.compile(r"repeats its recorded run")
"""Printed lines that say a lab agrees with its record: they prove the page, not the point."""

# What latex2mathml lacks or draws worse, and what it draws well instead.
DIALECT = ((re.compile(r"\\arg(?![a-z])"), r"\\operatorname{arg}"),
           (re.compile(r"\\(?:begin|end)\{split\}(?=\s*(?:\\begin|$))"), ""),
           (re.compile(r"\{aligned\}"), "{split}"),
           (re.compile(r"\\([lr])Vert(?![a-z])"), r"\\big\1\\|"))
BRACKET = re.compile(r"\\[bB]igg?([lr])(?![a-z])")
GROWS = {"l": r"\left", "r": r"\right"}
# A tag; where a sentence ends, with what closes after it; and what ends in a full stop without.
TAG = re.compile(r"<(/?)(\w+)[^>]*?(/?)>")
END = re.compile(r"(?<=[.!?])((?:</[\w]+>|[”’\"')\]])*)\s+(?=(?:<[^>]+>|[“‘\"'(\[])*[^\sa-z)])")
SHORTENED = re.compile(r"(?:\bet al|\be\.g|\bi\.e|\bcf|\bvs|\bNo|\bFig|\bDr|\bpp?|\b[A-Z])\.$")
LEAST = 50
"""Characters of a sentence that says something alone."""
FULL = 900
"""Characters of a table on one slide."""
COLUMNS = 90
"""The longest printed line on a slide, in characters."""
VOID = {"br", "img", "hr", "input", "mspace", "wbr"}


def article(path: Path) -> Tag:
    """The text of a built page, made self-contained.

    Raises ``ValueError`` that names the page which holds no article with a title, or a picture
    without a file or a text alternative.
    """
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    found = soup.select_one("article section")
    if found is None or found.h1 is None:
        raise ValueError(f"{path.name}: no article with a title, expected a page of the built book")
    for noise in found.select(NOISE):
        noise.decompose()
    for formula in found.select(".math"):
        try:
            set_formula(formula)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    for picture in found.select("img"):
        embed(picture, path)
    for link in found.select("a"):
        if not link.get("href", "").startswith(("https://", "http://")):
            link.unwrap()
        else:
            link.attrs = {"href": link["href"]}
    for part in found.select(".proof section"):
        part.name = "div"  # a section would be a slide
    for element in found.select("[id]:not([data-scrubber])"):
        del element["id"]
    return found


def set_formula(element: Tag) -> None:
    """Replace the TeX of a formula by MathML; the number of an equation stays beside it.

    Raises ``ValueError`` with the TeX that cannot be drawn.
    """
    number = element.select_one(".eqno")
    label = number.extract().get_text() if number else ""
    drawn = draw(element.get_text().strip()[2:-2], "block" if element.name == "div" else "inline")
    element.clear()
    element.append(drawn)
    if element.name == "span":
        element.unwrap()
        return
    element.attrs = {"class": ["equation"], "tabindex": "0"}  # on a phone it may have to scroll
    if label:
        element.append(BeautifulSoup(f'<span class="eqno">{label}</span>', "html.parser"))


def draw(tex: str, display: str) -> BeautifulSoup:
    """The formula ``tex`` as MathML, ``display`` "block" or "inline"."""
    plain = tex.strip()
    for theirs, ours in DIALECT:
        plain = theirs.sub(ours, plain)
    if display == "block":  # limits stand below, as the book sets them
        plain = re.sub(r"\\(min|max|sup|inf)_", r"\\\1\\limits_", plain)
    # A pair of brackets that grows cannot hold the end of a line: then it stays as it is.
    for tried in (BRACKET.sub(lambda m: GROWS[m[1]], plain), BRACKET.sub("", plain)):
        drawn = BeautifulSoup(convert(tried, display=display), "html.parser")
        if not set("\\&") & set(drawn.get_text()):
            break
    else:
        raise ValueError(f"formula: {tex!r} given, expected TeX that latex2mathml draws")
    for name in drawn.find_all("mo", string=re.compile(r"^[a-z]{2,}$")):
        name.attrs |= {"lspace": "0.17em", "rspace": "0.17em"}
    return drawn


def embed(picture: Tag, page: Path) -> None:
    """Put the file of a picture into its address, and say how wide it is for its height."""
    source, alt = picture.get("src", ""), picture.get("alt", "").strip()
    if not alt:
        raise ValueError(f"{page.name}: no alternative text for {source[:60]}, expected one")
    if source.startswith("data:"):
        return
    file = page.parent / source
    if not file.is_file():
        raise ValueError(f"{page.name}: no picture {source}, expected a file of the built book")
    data = file.read_bytes()
    kind = mimetypes.guess_type(file.name)[0]
    picture.attrs = {"alt": alt, "src": f"data:{kind};base64,{base64.b64encode(data).decode()}"}
    if data.startswith(b"\x89PNG"):
        width, height = struct.unpack(">II", data[16:24])
        picture.attrs |= {"width": str(width), "height": str(height)}


def inner(element: Tag) -> str:
    """The HTML inside ``element``, on one line unless it is preformatted."""
    return element.decode_contents().strip()


def sentences(text: str) -> list[str]:
    """Split HTML text into sentences; none is cut inside an element or after "et al."."""
    parts, start = [], 0
    for match in END.finditer(text):
        piece = text[start:match.end(1)]
        if balanced(piece) and not SHORTENED.search(TAG.sub("", piece).rstrip()):
            parts.append(piece.strip())
            start = match.end()
    return [*parts, text[start:].strip()] if text[start:].strip() else parts


def balanced(text: str) -> bool:
    """Whether each element that ``text`` opens is closed in it."""
    depth = 0
    for closing, name, alone in TAG.findall(text):
        if not alone and name not in VOID:
            depth += -1 if closing else 1
    return depth == 0


def length(text: str) -> int:
    """Characters that a reader of the HTML ``text`` sees, roughly."""
    return len(TAG.sub("", text))


def first(text: str, most: int = 240) -> str:
    """The first sentences of ``text``: at least ``LEAST`` characters, then up to ``most``."""
    chosen: list[str] = []
    for sentence in sentences(text):
        so_far = sum(map(length, chosen))
        if so_far >= LEAST and so_far + length(sentence) > most:
            break
        chosen.append(sentence)
    return " ".join(chosen)


def last(text: str, most: int) -> str:
    """The last sentences of ``text``, at least one, up to ``most`` characters."""
    chosen: list[str] = []
    for sentence in reversed(sentences(text)):
        if chosen and sum(map(length, chosen)) + length(sentence) > most:
            break
        chosen.insert(0, sentence)
    return " ".join(chosen)


def unsaid(text: str, said: set[str]) -> str:
    """``text`` without the sentences ``said``, to which it is added; none if its last one is."""
    found = sentences(text)
    new = [sentence for sentence in found if sentence not in said]
    said.update(new)
    return " ".join(new) if found[-1:] == new[-1:] else ""


def told(text: str) -> str:
    """``text`` without what belongs to its neighbours in the lab, which a slide does not show.

    That is a beginning that goes on from an equation, and an end that leads to what comes next: a
    sentence that an equation would finish, a question, or a few words and a colon.
    """
    said = [s for s in sentences(text) if not s[:1].islower()]
    while said and not plain(said[-1]).rstrip("”’\"')").endswith((".", "!", "?", ":")):
        said.pop()
    asked = said and plain(said[0]).endswith("?")
    while said[1:] and not asked and (plain(said[-1]).endswith("?") or (
            plain(said[-1]).endswith(":") and length(said[-1]) < 40)):
        said.pop()
    return " ".join(said)


def plain(text: str) -> str:
    return TAG.sub("", text).strip()


def printed(cell: Tag) -> list[str]:
    """The lines that a cell of a lab printed, without those that only check its record.

    A line too long to be read from the last row is wrapped.
    """
    lines = [line for block in cell.select(".cell_output pre")
             for line in block.get_text().rstrip().splitlines() if not BOOKKEEPING.search(line)]
    return [part for line in lines
            for part in textwrap.wrap(line, COLUMNS, subsequent_indent="    ",
                                      drop_whitespace=False) or [""]]


def unwrapped(section: Tag) -> list[Tag]:
    """The elements of a section in order, those of its subsections among them."""
    found: list[Tag] = []
    for child in section.children:
        if isinstance(child, NavigableString):
            continue
        found += unwrapped(child) if child.name == "section" else [child]
    return found


def prose(elements: list[Tag]) -> str:
    """The paragraphs and the equations among ``elements``, for the speaker."""
    return "\n".join(f"<p>{inner(e)}</p>" if e.name == "p" else str(e) for e in elements
                     if e.get_text().strip() and (e.name == "p" or is_equation(e)))


def is_equation(element: Tag) -> bool:
    return "equation" in element.get("class", [])


def split_table(table: Tag) -> list[str]:
    """A table, cut between rows into parts of about one length where it would fill a slide."""
    rows = table.tbody.find_all("tr")
    sizes = [len(row.get_text()) for row in rows]
    count = -(-sum(sizes) // FULL)
    parts: list[list[Tag]] = [[] for _ in range(count)]
    for row, end in zip(rows, accumulate(sizes), strict=True):
        parts[min(count * (end - 1) // sum(sizes), count - 1)].append(row)
    return [f"<table>{table.thead or ''}<tbody>{''.join(map(str, part))}</tbody></table>"
            for part in filter(None, parts)]


def bullets(items: list[str], name: str = "ul") -> str:
    return f"<{name}>{''.join(f'<li>{item}</li>' for item in items)}</{name}>"


def picture_figure(picture: Tag) -> str:
    wide = int(picture.get("width", 2)) > 1.7 * int(picture.get("height", 1))
    return f'<figure class="{"wide" if wide else "tall"}">{picture}</figure>'


def results(lines: list[str]) -> str:
    """Printed lines, set as large as their number and length allow on a slide."""
    # A letter is 0.61 of the type's size wide, the padding 1.7; both fit into 1140 px, and all
    # lines into what a title and a sentence leave.
    size = min(26, int(1140 / (0.61 * max(map(len, lines)) + 1.7)), 350 // len(lines))
    text = html.escape("\n".join(lines), quote=False)
    return f'<pre class="results" style="--size: {size}px">{text}</pre>'


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
