"""The matrix as a picture: one narrow column of SVG that a phone shows without zooming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import matrix_cells
import measured

WIDTH, MARGIN, GAP = 360, 6, 3
NAME, CELL, HEADING = 20, 36, 26
# Each rule names .matrix: a style sheet inside a page's picture holds for the whole page. Cells
# carry their own light fill, and dark text upon it, in both themes of the book.
STYLE = """
  .matrix text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
    fill: var(--pst-color-text-base, #1b1b1b) }
  .matrix .asks { font-weight: 600 }
  .matrix .column { font-size: 12px; text-anchor: middle }
  .matrix :is(.lead, .often) { text-anchor: middle; fill: #1b1b1b }
  .matrix .often { font-size: 11px }
  .matrix .shown { stroke: #8a949e; stroke-width: 0.7 }
  .matrix .empty { fill: none; stroke: var(--pst-color-text-muted, #66788a); stroke-dasharray: 3 3 }
  .matrix .unshown { stroke: #1b1b1b; stroke-width: 2 }
  .matrix a text { fill: var(--pst-color-link, #0b5394); text-decoration: underline }
"""
SHADES = ("#ffffff", "#fbe3c3", "#f3c26b", "#e69f00", "#d98032")
"""From no lead over the guess to all of it: white to orange, dark text legible on each."""


def draw(cells: Sequence, data: dict, address: Callable[[str], str | None] | None = None) -> str:
    """The cells without a defence as SVG, in groups by what law asks.

    ``cells`` are rows of :mod:`matrix_cells`; ``address`` gives the page of a study's lab. A cell
    shows the lead of the best setting, in percent of the way from the guess to certainty, and under
    it how many settings lie above the guess. Its border is heavy where none was shown to.
    """
    plain = matrix_cells.undefended(cells)
    parts, y = [], MARGIN
    for key, question in data["questions"].items():
        mine = [name for name in plain if data["attacks"][name]["question"] == key]
        if mine:
            parts.append(_text(MARGIN, y + 16, question["asks"], "asks"))
            parts += [_text(_left(x) + _wide() / 2, y + 34, column["short"], "column")
                      for x, column in enumerate(data["observers"].values())]
            y += HEADING + 14
        for name in mine:
            row = [plain[name][observer] for observer in data["observers"]]
            parts.append(_name(name, y + 14, address and address(row[0].study)))
            parts += [_cell(_left(x), y + NAME, found.cell) for x, found in enumerate(row)]
            y += NAME + CELL + GAP
        y += 10 if mine else 0
    return _svg(parts, y, f"Matrix of {len(plain)} attacks and {len(data['observers'])} "
                f"observers. {summary(cells)}")


def summary(cells: Sequence) -> str:
    """The picture in a sentence: how many cells were measured, and how many stand above a guess."""
    plain = [row for seen in matrix_cells.undefended(cells).values() for row in seen.values()]
    found = [row for row in plain if row.cell]
    above = [row for row in found if row.cell.above]
    return (f"Of {len(plain)} cells {len(found)} were measured, and in {len(above)} of these at "
            "least one setting lies above the guess with its whole interval.")


def shade(advantage: float) -> str:
    return SHADES[min(int(advantage * (len(SHADES) - 1) + 0.999), len(SHADES) - 1)]


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="matrix" role="group" '
            f'aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}">\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n")


def _wide() -> float:
    return (WIDTH - 2 * MARGIN + GAP) / 6 - GAP


def _left(x: int) -> float:
    return round(MARGIN + x * (_wide() + GAP), 1)


def _text(x: float, y: float, said: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(said)}</text>'


def _name(name: str, y: float, target: str | None) -> str:
    shown = _text(MARGIN, y, name, "name")
    return f'<a href="{escape(target)}">{shown}</a>' if target else shown


def _cell(x: float, y: float, cell: object) -> str:
    """A box with the lead in percent, or a dashed one with a dash."""
    place = f'x="{x:g}" y="{y:g}" width="{_wide():g}" height="{CELL}" rx="4"'
    middle, base = x + _wide() / 2, y + 16
    if cell is None:
        return (f'<g><title>not measured</title><rect class="empty" {place}/>'
                + _text(middle, base + 6, "–", "column") + "</g>")
    kind = "shown" if cell.above else "unshown"
    often = f"{cell.above}/{cell.settings}"
    said = (f"{measured.estimate(cell.best)}; above the guess in {cell.above} of {cell.settings} "
            "settings")
    return (f'<g><title>{escape(said)}</title><rect class="{kind}" {place} '
            f'fill="{shade(cell.advantage)}"/>'
            + _text(middle, base, f"{100 * cell.advantage:.0f}", "lead")
            + _text(middle, base + 14, often, "often") + "</g>")
