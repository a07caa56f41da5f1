"""Provisions and dates of the law pages, from ``book/law/dates.yml`` and never typed.

The role ``{law}`gdpr 33(1)``` prints *GDPR Article 33(1)*, leads to the text, and marks what was
not read in it. ``{date}`srb``` prints a date, and ``{date}`as_of``` the month of the last look.
``{leaklab-sources}`` lists what the page cites, ``{leaklab-timetable}`` every date of the file.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

FILE = Path(__file__).resolve().parents[1] / "law/dates.yml"
CITED = re.compile(r"\{(law|date)\}`([^`]+)`")
MARKS = {"text": "", "second-hand": "†", "memory": "°"}
READ = {"text": "wording read", "second-hand": "in an account of it", "memory": "from memory"}
KINDS = {"law": "law", "case": "judgment", "guidance": "guidance", "policy": "policy of an agency",
         "draft": "draft, for consultation", "proposal": "proposal, not law"}


@dataclass(frozen=True)
class Provision:
    """One pinpoint: its source's key, how it is printed, what it says, and how we know."""

    key: str
    printed: str
    says: str
    read: str
    url: str


@cache
def load(path: Path = FILE) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def printed(source: dict, pinpoint: str) -> str:
    """``pinpoint`` of ``source`` as lawyers write it."""
    if pinpoint == "summary":
        return f"{source['name']}, summary"
    if not re.search(r"\d|annex", pinpoint):
        return source["name"]  # the judgment, the guidelines as a whole
    if pinpoint.startswith("recital "):
        return f"{source['name']} {pinpoint.capitalize()}"
    if pinpoint.startswith("annex "):
        annex, _, point = pinpoint.removeprefix("annex ").partition(" ")
        return f"{source['name']} Annex {annex}" + (f", {point}" if point else "")
    if pinpoint.startswith("section "):
        return f"{source['name']}, {pinpoint}"
    form = source["form"]
    if re.fullmatch(r"\d+-\d+", pinpoint):
        pinpoint = pinpoint.replace("-", "–")
        form = form.replace("Article ", "Articles ").replace("paragraph ", "paragraphs ")
    return form.format(pinpoint)


def provision(reference: str, data: dict | None = None) -> Provision:
    """The provision that ``source pinpoint`` refers to.

    Raises ``ValueError`` for what the data file does not hold.
    """
    data = data or load()
    key, _, pinpoint = reference.strip().partition(" ")
    source = data["sources"].get(key)
    if source is None or pinpoint not in source["rules"]:
        raise ValueError(
            f"law: {reference!r} given, expected a source and a pinpoint of {FILE.name}")
    rule = source["rules"][pinpoint]
    return Provision(key, printed(source, pinpoint), rule["says"], rule["read"], source["url"])


def day(value: datetime.date) -> str:
    return f"{value.day} {value:%B %Y}"


def date(name: str, data: dict | None = None) -> tuple[str, str]:
    """A date as it is printed, and how we know it.

    Raises ``ValueError`` for a name that the data file does not hold.
    """
    data = data or load()
    if name == "as_of":
        return data["as_of"], "text"
    if name not in data["dates"]:
        raise ValueError(f"date: {name!r} given, expected a date of {FILE.name}")
    return day(data["dates"][name]["date"]), data["dates"][name]["read"]


def _row(data: dict, key: str, pinpoints: list[str]) -> str:
    source = data["sources"][key]
    rules = source["rules"]
    by_read = {read: [p for p in pinpoints if rules[p]["read"] == read] for read in READ}
    whole = all(not re.search(r"\d|annex", p) for p in pinpoints)
    said = "; ".join(READ[read] if whole else f"{READ[read]}: {', '.join(points)}"
                     for read, points in by_read.items() if points)
    name = f"[{source['name']}]({source['url']}) {{cite:p}}`{key}`"
    return f"| {name} | {KINDS[source['kind']]} | {said} |"


def sources(text: str, data: dict | None = None) -> str:
    """What the page ``text`` cites, as a Markdown table with how each pinpoint was read."""
    data = data or load()
    cited: dict[str, list[str]] = {}
    for role, reference in CITED.findall(text):
        if role == "law":
            key, _, pinpoint = reference.partition(" ")
            known = cited.setdefault(key, [])
            if pinpoint not in known:
                known.append(pinpoint)
    rows = [_row(data, key, cited[key]) for key in data["sources"] if key in cited]
    return "\n".join([
        f"As of {data['as_of']}. A mark says what was not read in the source itself: † in an "
        "account of it, ° from memory. Check those before you rely on the pinpoint.", "",
        "| Source | Kind | How its pinpoints were read |", "|---|---|---|", *rows])


def timetable(data: dict | None = None) -> str:
    """Every date of the file in order, as a Markdown table."""
    data = data or load()
    rows = []
    for entry in sorted(data["dates"].values(), key=lambda entry: entry["date"]):
        source = data["sources"][entry["source"]]
        place = printed(source, entry["pinpoint"]) if "pinpoint" in entry else source["name"]
        rows.append(f"| {day(entry['date'])}{MARKS[entry['read']]} | {entry['what']} | {place} | "
                    f"{KINDS[source['kind']]} |")
    return "\n".join(["| Date | What | Source | Kind |", "|---|---|---|---|", *rows])


def _marked(text: nodes.Node, read: str) -> list[nodes.Node]:
    return [text] + ([nodes.superscript("", MARKS[read])] if MARKS[read] else [])


class LawRole(SphinxRole):
    """A pinpoint that leads to its text and shows its rule when pointed at."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.env.note_dependency(str(FILE))
        try:
            found = provision(self.text)
        except ValueError as error:
            return _problem(self, error)
        link = nodes.reference("", found.printed, refuri=found.url, reftitle=found.says)
        return _marked(link, found.read), []


class DateRole(SphinxRole):
    """A date of the data file."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.env.note_dependency(str(FILE))
        try:
            said, read = date(self.text)
        except ValueError as error:
            return _problem(self, error)
        return _marked(nodes.Text(said), read), []


def _problem(role: SphinxRole, error: ValueError):
    message = role.inliner.reporter.error(str(error), line=role.lineno)
    return [role.inliner.problematic(role.rawtext, role.rawtext, message)], [message]


class Sources(SphinxDirective):
    """The sources of this page, its kind and how they were read."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(FILE))
        page = Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf-8")
        return self.parse_text_to_nodes(sources(page))


class Timetable(SphinxDirective):
    """All dates, in order."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(FILE))
        return self.parse_text_to_nodes(timetable())


def setup(app: Sphinx) -> dict[str, object]:
    app.add_role("law", LawRole())
    app.add_role("date", DateRole())
    app.add_directive("leaklab-sources", Sources)
    app.add_directive("leaklab-timetable", Timetable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
