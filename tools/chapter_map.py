"""Draw the map of chapters: ``python tools/chapter_map.py`` writes book/_assets/chapter_map.svg.

The plan comes from book/chapters.yml; a chapter is ready once _toc.yml lists its page. The
picture is one narrow column, so that it can be read on a phone without zooming. Its colours are
those of the page's theme; where there is none, as in the file itself, each text still stands on a
fill of its own, so that it can be read on a light page and on a dark one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "book/_assets/chapter_map.svg"

WIDTH, MARGIN, INDENT = 360, 8, 20
ROW, GAP, PART_GAP = 28, 4, 14
# Each rule names .chapter-map: a style sheet inside a page's picture holds for the whole page.
STYLE = """
  .chapter-map text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
  .chapter-map .part { fill: var(--pst-color-border, #33475b) }
  .chapter-map .part-name { fill: var(--pst-color-text-base, #fff); font-weight: 600 }
  .chapter-map .line { stroke: var(--pst-color-text-muted, #7d8fa1); stroke-width: 3 }
  .chapter-map .ready { fill: var(--pst-color-primary, #0072b2) }
  .chapter-map :is(.ready-name, .ready-note) { fill: var(--pst-color-primary-text, #fff) }
  .chapter-map .planned { fill: var(--pst-color-surface, #eef1f4);
    stroke: var(--pst-color-text-muted, #66788a); stroke-dasharray: 4 3 }
  .chapter-map .planned-name { fill: var(--pst-color-text-muted, #26333f) }
  .chapter-map .planned-note { fill: var(--pst-color-text-muted, #4a5a69) }
  .chapter-map :is(.ready-note, .planned-note) { font-size: 12px; text-anchor: end }
  .chapter-map a { text-decoration: none }
  .chapter-map a .ready-name { text-decoration: underline }
"""


@dataclass(frozen=True)
class Chapter:
    """One chapter of the plan; ``ready`` once the table of contents lists its page."""

    slug: str
    title: str
    ready: bool

    @property
    def number(self) -> int:
        return int(self.slug.partition("_")[0])


@dataclass(frozen=True)
class Part:
    """A part of the course and its chapters, in order."""

    name: str
    chapters: tuple[Chapter, ...]


def files(contents: object) -> Iterator[str]:
    """Each page that a table of contents names, from top to bottom."""
    if isinstance(contents, dict):
        yield from filter(None, [contents.get("file")])
        contents = list(contents.values())
    for child in contents if isinstance(contents, list) else []:
        yield from files(child)


def read_plan(root: Path = ROOT) -> list[Part]:
    """The parts of book/chapters.yml, with what _toc.yml says is ready."""
    plan = yaml.safe_load((root / "book/chapters.yml").read_text(encoding="utf-8"))
    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    listed = set(files(contents))
    return [Part(entry["part"], tuple(Chapter(slug, title, f"book/{slug}" in listed)
                                      for slug, title in entry["chapters"].items()))
            for entry in plan]


def summary(plan: list[Part]) -> str:
    """The picture in a sentence, for those who do not see it."""
    chapters = [chapter for part in plan for chapter in part.chapters]
    ready = [f"{c.number} {c.title}" for c in chapters if c.ready]
    parts = "; ".join(f"{part.name}, chapters {part.chapters[0].number} to "
                      f"{part.chapters[-1].number}" for part in plan)
    return (f"Map of the {len(chapters)} chapters in {len(plan)} parts: {parts}. "
            f"{'Chapters' if len(ready) == len(chapters) else 'Ready so far'}: "
            f"{', '.join(ready) or 'none'}.")


def draw(plan: list[Part], address: Callable[[Chapter], str] | None = None) -> str:
    """The plan as SVG: a picture, or, where ``address`` gives a ready chapter's page, a group of
    links for the inside of a page.
    """
    rows, y = [], MARGIN
    complete = all(chapter.ready for part in plan for chapter in part.chapters)
    for part in plan:
        rows.append(_box("part", MARGIN, y, part.name))
        top, y = y + ROW, y + ROW + GAP
        for chapter in part.chapters:
            kind = "ready" if chapter.ready else "planned"
            box = _box(kind, MARGIN + INDENT, y, f"{chapter.number}  {chapter.title}",
                       "" if complete else kind)
            if chapter.ready and address:
                box = f'<a href="{escape(address(chapter))}">{box}</a>'
            rows.append(box)
            rows.append(f'<path class="line" d="M{MARGIN + 8} {top}V{y + ROW // 2}h{INDENT - 9}" '
                        'fill="none"/>')
            top, y = y + ROW // 2, y + ROW + GAP
        y += PART_GAP - GAP
    height = y - PART_GAP + MARGIN
    # A picture hides from screen readers what is inside it; a group is read out.
    role, label = ("group", "Map of the chapters") if address else ("img", summary(plan))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="chapter-map" role="{role}" '
            f'aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}">\n'
            f"<style>{STYLE}</style>\n" + "\n".join(rows) + "\n</svg>\n")


def _box(kind: str, x: int, y: int, name: str, note: str = "") -> str:
    """A filled row with a name on the left and a note on the right."""
    width, baseline = WIDTH - MARGIN - x, y + ROW // 2 + 5
    right = f'<text class="{kind}-note" x="{x + width - 10}" y="{baseline}">{note}</text>'
    return (f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{ROW}" rx="6"/>'
            f'<text class="{kind}-name" x="{x + 10}" y="{baseline}" xml:space="preserve">'
            f"{escape(name)}</text>{right if note else ''}")


def main() -> None:
    part = TARGET.with_suffix(".part")
    part.write_text(draw(read_plan()), encoding="utf-8")
    os.replace(part, TARGET)


if __name__ == "__main__":
    main()
