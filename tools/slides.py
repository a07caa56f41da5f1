"""Make one deck of slides a chapter from the built book: ``python tools/slides.py``.

A deck is one HTML file that opens from a disk, and no sentence in it is written for it alone:
``slide_deck`` takes title, outcomes, equations, tables, figures, results, control, quiz and limits
from the chapter's page and its lab as the book shows them, with their prose as speaker's notes.

reveal.js 5 shows them. It brings what a lecturer expects, and a script of our own would have to
repeat: scaling, steps, overview, touch, and a window for the speaker. The package sphinx-revealjs
carries it (112 kB, MIT), of which nothing else is used: its builder would need sources of its own,
as would the exporter of nbconvert, which loads reveal.js from a third party. Formulas become MathML
by latex2mathml, which browsers draw themselves; MathJax would add 2 MB to each deck.
"""

from __future__ import annotations

import html
import importlib.util
import operator
import re
import sys
from pathlib import Path
from string import Template

import yaml

import book
import chapter_map
import slide_deck
import slide_font
import slide_pages

MATH = re.compile(r"<math.*?</math>", re.DOTALL)
TARGET = book.ROOT / "_build/slides"
ASSETS = Path(__file__).with_name("slide_assets")
KINDS = {"idea": "Idea", "result": "Lab", "control": "Control", "quiz": "Quiz",
         "exercises": "Exercises", "reading": "Sources"}
"""What stands above the title of a slide; the others need no word."""
POLICY = ("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
          "img-src data:; font-src data:; frame-src file: http:; base-uri 'none'")
KEYS = (("→ ←", "forwards and back; an answer is a step"), ("Home End", "first and last"),
        ("F", "full screen"), ("S", "window with notes, clock and next slide"),
        ("N", "notes below the slide"), ("D", "dark or light"), ("Esc", "all slides at once"),
        ("Ctrl P", "print, or save as PDF: one slide a page"))


def library() -> tuple[str, str, str]:
    """The style of reveal.js, its script and that of its speaker window.

    Raises ``FileNotFoundError`` where the package that carries them is not installed.
    """
    package = importlib.util.find_spec("sphinx_revealjs")
    if package is None:
        raise FileNotFoundError("sphinx-revealjs is not installed, expected it to carry reveal.js; "
                                "`make slides` installs it")
    folder = Path(package.origin).parent / "_static/revealjs"
    style, script, notes = ((folder / name).read_text(encoding="utf-8") for name in (
        "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js"))
    return style, script, notes


def section(slide: slide_deck.Slide) -> str:
    """The HTML of one slide."""
    level = "h1" if slide.kind == "title" else "h2"
    kind = f'<p class="kind">{KINDS[slide.kind]}</p>' if slide.kind in KINDS else ""
    title = f"<{level}>{slide.title}</{level}>"
    body = f'<div class="body">{slide.body}</div>'
    if slide.kind == "title":
        body, title = f'<div class="body">{title}{slide.body}</div>', ""
    return (f'<section class="{slide.kind}">{kind}{title}\n{body}\n'
            f'<aside class="notes">{slide.notes}</aside></section>')


def render(deck: slide_deck.Deck, course: str, font: str) -> str:
    """The deck as one page of HTML; ``font`` is the style rule that holds the font of formulas."""
    style, *scripts = library()
    own = (ASSETS / "deck.css").read_text(encoding="utf-8")
    scripts.append((ASSETS / "deck.js").read_text(encoding="utf-8"))
    return Template((ASSETS / "deck.html").read_text(encoding="utf-8")).substitute(
        title=f"{html.escape(deck.title)} — {html.escape(course)}", policy=POLICY,
        style=font + style + own, slides="\n".join(map(section, deck.slides)),
        scripts="\n".join(f"<script>{script}</script>" for script in map(inline, scripts)))


def inline(script: str) -> str:
    """A script that can stand inside a page, though it holds the text of a page itself."""
    return script.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def index(decks: list[slide_deck.Deck], parts: list[chapter_map.Part], course: str) -> str:
    """The page that lists the decks and the keys."""
    made = {deck.name: deck for deck in decks}
    groups = [(part.name, [c.slug for c in part.chapters if c.slug in made]) for part in parts]
    lists = []
    for name, slugs in [*filter(operator.itemgetter(1), groups), ("After the course", ["exam"])]:
        items = "".join(f'<li><a href="{slug}.html">{html.escape(made[slug].title)}</a> '
                        f"<small>{len(made[slug].slides)} slides</small></li>" for slug in slugs)
        lists.append(f"<h2>{html.escape(name)}</h2>\n<ul>{items}</ul>")
    keys = "".join(f"<tr><th scope='row'>{key}</th><td>{does}</td></tr>" for key, does in KEYS)
    return Template((ASSETS / "index.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(course), lists="\n".join(lists), keys=keys,
        policy=POLICY, style=(ASSETS / "deck.css").read_text(encoding="utf-8"))


def write(built: Path, target: Path, root: Path = book.ROOT) -> list[Path]:
    """Write the decks of the book built in ``built`` and their index to ``target``.

    Raises ``ValueError`` that names a page and what it lacks.
    """
    parts = chapter_map.read_plan(root)
    course = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["title"]
    decks = []
    for chapter in (c for part in parts for c in part.chapters if c.ready):
        page, lab = (slide_pages.article(built / folder / f"{chapter.slug}.html")
                     for folder in ("book", "notebooks"))
        decks.append(slide_deck.deck(chapter.slug, page, lab))
    decks.append(slide_deck.examination(slide_pages.article(built / "book/exam.html")))
    target.mkdir(parents=True, exist_ok=True)
    font = slide_font.rule("".join(
        formula for deck in decks for slide in deck.slides
        for formula in MATH.findall(slide.title + slide.body + slide.notes)))
    files = {f"{deck.name}.html": render(deck, course, font) for deck in decks}
    files["index.html"] = index(decks, parts, course)
    for name, text in files.items():
        (target / name).write_text(text, encoding="utf-8")
    return [target / name for name in files]


def main() -> None:
    try:
        files = write(book.build().parents[1], TARGET)
    except (RuntimeError, ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    print(f"The slides: {files[-1]} (open it in a browser)")


if __name__ == "__main__":
    main()
