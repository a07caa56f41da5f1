"""Draw which lab needs which, as a picture inside a page; the order comes from tools/course.py.

Rows are depths: how many labs have to come before. A line over several rows gets a free place in
each row between (Sugiyama, Tagawa and Toda 1981, doi:10.1109/TSMC.1981.4308636), so that it
crosses no circle; within a row everything is sorted by the mean place of what lies above it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

import course

WIDTH, ROW, RADIUS, TOP = 360, 70, 16, 24
Bend = tuple[int, int, int]
"""A place that a line passes: the lab it comes from, the lab it leads to, and the row."""
# Each rule names .needs: a style sheet inside a page's picture holds for the whole page.
STYLE = """
  .needs text { font: 600 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
    text-anchor: middle; fill: var(--pst-color-primary-text, #fff) }
  .needs circle { fill: var(--pst-color-primary, #0072b2) }
  .needs path { stroke: var(--pst-color-text-muted, #66788a); stroke-width: 1.5; fill: none }
"""


def chains(labs: Sequence[course.LabNeeds]) -> list[list[int | Bend]]:
    """For each direct need: the lab needed, a bend for each row between, the lab that needs it."""
    depth = course.depths(labs)
    return [[start, *((start, end, row) for row in range(depth[start] + 1, depth[end])), end]
            for end, needs in course.direct(labs).items() for start in needs]


def places(labs: Sequence[course.LabNeeds]) -> dict[int | Bend, tuple[float, float]]:
    """Where the circle of each lab lies, and each bend of a line."""
    depth, lines = course.depths(labs), chains(labs)
    rows: dict[int, list[int | Bend]] = {row: [] for row in range(max(depth.values()) + 1)}
    for point in dict.fromkeys([*depth, *(point for line in lines for point in line)]):
        rows[point[2] if isinstance(point, tuple) else depth[point]].append(point)
    above: dict[int | Bend, list[int | Bend]] = {}
    for line in lines:
        for upper, lower in pairwise(line):
            above.setdefault(lower, []).append(upper)
    place: dict[int | Bend, tuple[float, float]] = {}
    for row, points in rows.items():
        mean = {p: sum(place[a][0] for a in above.get(p, [])) / max(1, len(above.get(p, [])))
                for p in points}
        for i, point in enumerate(sorted(points, key=mean.__getitem__)):
            place[point] = (WIDTH * (i + 0.5) / len(points), TOP + ROW * row)
    return place


def draw(labs: Sequence[course.LabNeeds], address: Callable[[str], str]) -> str:
    """An SVG whose circles lead to the labs; a line goes down from a lab to those that need it."""
    place = places(labs)
    height = max(y for _, y in place.values()) + TOP
    paths = []
    for line in chains(labs):
        points = [place[point] for point in line]
        steps = [f"C{u:.0f} {(v + y) / 2:.0f} {x:.0f} {(v + y) / 2:.0f} {x:.0f} {y:.0f}"
                 for (u, v), (x, y) in pairwise(points)]
        paths.append(f'<path d="M{points[0][0]:.0f} {points[0][1]:.0f} {" ".join(steps)}"/>')
    circles = [_circle(lab, *place[lab.number], address(lab.slug)) for lab in labs]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="needs" role="group" '
            f'aria-label="Which lab needs which; the table below says the same" '
            f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">\n'
            f"<style>{STYLE}</style>\n" + "\n".join([*paths, *circles]) + "\n</svg>\n")


def _circle(lab: course.LabNeeds, x: float, y: float, address: str) -> str:
    return (f'<a href="{escape(address)}" aria-label="Lab {lab.number}: {escape(lab.title)}">'
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{RADIUS}"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}">{lab.number}</text></a>')
