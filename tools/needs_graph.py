"""Draw which lab needs which, as a picture inside a page; the order comes from tools/course.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from html import escape

import course

WIDTH, ROW, RADIUS = 360, 74, 17
# Each rule names .needs: a style sheet inside a page's picture holds for the whole page.
STYLE = """
  .needs text { font: 600 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
    text-anchor: middle; fill: var(--pst-color-primary-text, #fff) }
  .needs circle { fill: var(--pst-color-primary, #0072b2) }
  .needs path { stroke: var(--pst-color-text-muted, #66788a); stroke-width: 1.5; fill: none }
"""


def places(labs: Sequence[course.LabNeeds]) -> dict[int, tuple[float, float]]:
    """Where each lab's circle lies: a row for each depth, spread over the width."""
    rows: dict[int, list[int]] = defaultdict(list)
    for number, depth in course.depths(labs).items():
        rows[depth].append(number)
    return {number: (WIDTH * (i + 1) / (len(row) + 1), ROW * depth + RADIUS + 8)
            for depth, row in rows.items() for i, number in enumerate(sorted(row))}


def draw(labs: Sequence[course.LabNeeds], address: Callable[[str], str]) -> str:
    """An SVG whose circles lead to the labs; a line goes down from a lab to those that need it."""
    place = places(labs)
    height = max(y for _, y in place.values()) + RADIUS + 8
    lines = []
    for number, needs in course.direct(labs).items():
        x, y = place[number]
        for u, v in (place[n] for n in needs):
            middle = (v + y) / 2
            lines.append(f'<path d="M{u:.0f} {v:.0f} C{u:.0f} {middle:.0f} {x:.0f} {middle:.0f} '
                         f'{x:.0f} {y:.0f}"/>')
    circles = [f'<a href="{escape(address(lab.slug))}" aria-label="Lab {lab.number}: '
               f'{escape(lab.title)}"><circle cx="{place[lab.number][0]:.0f}" '
               f'cy="{place[lab.number][1]:.0f}" r="{RADIUS}"/>'
               f'<text x="{place[lab.number][0]:.0f}" y="{place[lab.number][1] + 5:.0f}">'
               f"{lab.number}</text></a>" for lab in labs]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="needs" role="group" '
            f'aria-label="Which lab needs which; the table below says the same" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}">\n'
            f"<style>{STYLE}</style>\n" + "\n".join([*lines, *circles]) + "\n</svg>\n")
