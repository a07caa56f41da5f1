"""Recorded evidence inside the text: the number, its interval and the lab, never typed.

The role ``{evidence}`study:name``` prints one estimate and leads to its lab. The directive
``{leaklab-evidence}`` holds lines ``label | study:name`` and prints a table of them, each beside
what someone without the update would reach.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

import leaklab
from leaklab import evidence

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path(leaklab.__file__).parent / "recorded"
SHARES = ("share", "probability")
DIFFERENCES = ("difference in share", "difference of shares", "difference")
# The name comes before the number.
NAMED = ("AUC", "SSIM", "cosine", "correlation", "relative distance", "epsilon")
DECIMALS = {"AUC": ".2f", "SSIM": ".2f", "cosine": ".2f", "correlation": ".2f",
            "dB": ".1f", "relative distance": ".0e"}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
HEAD = ("| What was measured | Measured, with its 95 % interval | Without it | Lab and data |\n"
        "|---|---|---|---|")


@cache
def load(study: str) -> dict[str, evidence.Evidence]:
    return evidence.load(study)


def find(reference: str) -> tuple[str, evidence.Evidence]:
    """The study and the recorded evidence that ``study:name`` refers to.

    Raises ``ValueError`` if the reference is malformed or names nothing recorded.
    """
    study, colon, name = reference.strip().partition(":")
    if not colon:
        raise ValueError(f"evidence: {reference!r} given, expected study:name")
    recorded = load(study)
    if name not in recorded:
        raise ValueError(f"evidence: {name!r} given, expected a name that {study} recorded")
    return study, recorded[name]


def number(value: float, unit: str) -> str:
    """``value`` as a reader of the book meets it: shares in percent, differences in points."""
    if unit.startswith(DIFFERENCES):
        return f"{100 * value:+.1f}".replace("-", "−")
    if unit.startswith(SHARES):
        text = f"{100 * value:.1f}"
        if text == "0.0" and value > 1e-6:
            return f"{100 * value:.1g}"  # a small chance is not none
        return text.removesuffix(".0") if text in ("0.0", "100.0") else text
    text, exponent, power = f"{value:{DECIMALS.get(unit, '.3g')}}".partition("e")
    if not exponent:
        return text
    return f"{text} × 10{str(int(power)).translate(SUPERSCRIPT)}" if value else "0"


def with_unit(printed: str, unit: str) -> str:
    if unit.startswith(DIFFERENCES):
        return f"{printed} points"
    if unit.startswith(SHARES):
        return f"{printed} %"
    return f"{unit} {printed}" if unit in NAMED else f"{printed} {unit}"


def estimate(item: evidence.Evidence) -> str:
    """The estimate with its interval, and the interval's kind where it is not one of 95 %."""
    low, high = (number(end, item.unit) for end in item.interval)
    kind = "" if item.interval_kind.startswith("95 %") else f", {item.interval_kind}"
    return f"{with_unit(number(item.value, item.unit), item.unit)} ({low} to {high}{kind})"


def without(item: evidence.Evidence) -> str:
    """What is reached without the thing measured, and by whom."""
    if item.baseline is None or item.unit.startswith(DIFFERENCES):
        return "–"  # a difference has its comparison inside
    who = item.baseline_kind.partition(";")[0]  # what follows speaks of other evidence
    return f"{with_unit(number(item.baseline, item.unit), item.unit)} ({who})"


def lab(study: str, root: Path = ROOT) -> str:
    """The lab of ``study`` as a link in Markdown, or its name alone while there is no such lab."""
    name = f"lab {int(study[:2])}"
    pages = sorted((root / "notebooks").glob(f"{study[:2]}_*.ipynb"))
    return f"[{name}](/notebooks/{pages[0].name})" if pages else name


def table(lines: list[str]) -> str:
    """The rows ``label | study:name`` as a Markdown table.

    A label may name a condition of the study in braces, such as ``{epsilon:.1f}``.
    """
    rows = []
    for label, _, reference in (line.rpartition("|") for line in lines if line.strip()):
        study, item = find(reference)
        cells = (label.strip().format(**item.setting), estimate(item), without(item),
                 f"{lab(study)}, {item.data.split()[0]}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([HEAD, *rows])


class EvidenceRole(SphinxRole):
    """One estimate, which leads to the lab that reruns a part of it."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            study, item = find(self.text)
        except (ValueError, FileNotFoundError) as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        self.env.note_dependency(str(RECORDED / f"{study}.json"))
        said = estimate(item).removesuffix(")")
        return [nodes.Text(f"{said}, "), self.link(lab(study)), nodes.Text(")")], []

    def link(self, markdown: str) -> nodes.Node:
        """The Markdown of a link to a notebook, or plain text, as a node."""
        found = re.fullmatch(r"\[(.+)\]\(/(.+)\.ipynb\)", markdown)
        if not found:
            return nodes.Text(markdown)
        address = self.env.app.builder.get_relative_uri(self.env.docname, found[2])
        return nodes.reference("", found[1], internal=True, refuri=address)


class EvidenceTable(SphinxDirective):
    """A table of recorded evidence."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        for study in re.findall(r"\|\s*(\w+):", "\n".join(self.content)):
            self.env.note_dependency(str(RECORDED / f"{study}.json"))
        try:
            return self.parse_text_to_nodes(table(list(self.content)))
        except (ValueError, FileNotFoundError) as error:
            raise self.error(str(error)) from None


def setup(app: Sphinx) -> dict[str, object]:
    app.add_role("evidence", EvidenceRole())
    app.add_directive("leaklab-evidence", EvidenceTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
