"""The claims ledger, from ``book/claims.yml``; numbers come from the recorded evidence.

``{leaklab-claims} technique`` prints the claims of a part, ``{leaklab-verdicts}`` counts verdicts
and says what each means, ``{leaklab-claim-sources}`` lists what the claims rest on and how each
source was read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import measured
import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FILE = Path(__file__).resolve().parents[1] / "claims.yml"
MARKS = {"text": "", "abstract": "", "second-hand": "†", "memory": "°"}
READ = {"text": "in the source", "abstract": "its abstract", "second-hand": "an account of it",
        "memory": "from memory"}


@dataclass(frozen=True)
class Claim:
    """One claim and what was found of it; the fields are those of the file."""

    id: int
    claim: str
    verdict: str
    reason: str
    evidence: tuple[tuple[str, str], ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    labs: tuple[int, ...] = ()
    pages: tuple[str, ...] = ()


@cache
def load(path: Path = FILE) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def ledger(data: dict | None = None) -> list[Claim]:
    """The claims in order.

    Raises ``ValueError`` for an unknown field, verdict or way of reading, for evidence that was
    not recorded, and for *measured here* without evidence.
    """
    data = data or load()
    return [_claim(raw, data["verdicts"]) for raw in data["claims"]]


def _claim(raw: dict, verdicts: dict[str, str]) -> Claim:
    unknown = sorted(set(raw) - set(Claim.__dataclass_fields__))
    if unknown:
        raise ValueError(f"claim {raw.get('id')}: {unknown} given, expected fields of Claim")
    pairs = tuple(_pair(line) for line in raw.get("evidence", ()))
    claim = Claim(**{**raw, "evidence": pairs, "labs": tuple(raw.get("labs", ())),
                     "pages": tuple(raw.get("pages", ()))})
    where = f"claim {claim.id}"
    if claim.verdict not in verdicts:
        raise ValueError(f"{where}: verdict {claim.verdict!r} given, expected {list(verdicts)}")
    if set(claim.sources.values()) - set(READ):
        raise ValueError(f"{where}: sources {claim.sources} given, expected read as {list(READ)}")
    if claim.verdict == "measured here" and not pairs:
        raise ValueError(f"{where}: no evidence given, expected some for 'measured here'")
    return claim


def _pair(line: str) -> tuple[str, str]:
    """The label and the reference of one line of evidence, both checked against the record."""
    label, _, reference = (part.strip() for part in line.rpartition("|"))
    _, item = measured.find(reference)
    return label.format(**item.setting), reference


def card(claim: Claim) -> str:
    """One claim as Markdown: what is said, the verdict, the numbers and the sources."""
    lines = [f"::::{{div}} claim {claim.verdict.replace(' ', '-')}", f"(claim-{claim.id})=",
             f"*{claim.id}. {claim.claim}*".replace(" %", "\N{NO-BREAK SPACE}%"), "",
             f"**{claim.verdict.capitalize()}.** {claim.reason}", ""]
    lines += [_measured(label, reference) for label, reference in claim.evidence]
    return "\n".join([*lines, "", *_ways_on(claim), "::::"])


def _measured(label: str, reference: str) -> str:
    _, item = measured.find(reference)
    other = measured.without(item)
    return f"- {label}: {{evidence}}`{reference}`" + (f"; by a guess {other}" if other != "–"
                                                      else "")


def _ways_on(claim: Claim) -> list[str]:
    """Sources, labs and law pages, on a line each, where there are any."""
    cited = "; ".join(f"{{cite:t}}`{key}`{MARKS[read]}" for key, read in claim.sources.items())
    labs = ", ".join(measured.lab(f"{number:02d}_") for number in claim.labs)
    pages = ", ".join(f"[](law/{page}.md)" for page in claim.pages)
    said = (("Sources: ", cited), ("Work on it: ", labs), ("Law: ", pages))
    return [f"{head}{text}.  " for head, text in said if text]


def part(name: str, data: dict | None = None) -> str:
    """The claims of one part as Markdown.

    Raises ``ValueError`` for an unknown part.
    """
    data = data or load()
    if name not in data["parts"]:
        raise ValueError(f"part: {name!r} given, expected one of {list(data['parts'])}")
    ends = data["parts"][name]
    return "\n\n".join(card(claim) for claim in ledger(data)
                       if ends["from"] <= claim.id <= ends["to"])


def verdicts(data: dict | None = None) -> str:
    """How many claims each verdict has, and which, as Markdown."""
    data = data or load()
    claims = ledger(data)
    rows = []
    for verdict, meaning in data["verdicts"].items():
        mine = [f"[{c.id}](#claim-{c.id})" for c in claims if c.verdict == verdict]
        rows.append(f"| {verdict} | {meaning} | {len(mine)} | {', '.join(mine) or 'none'} |")
    return "\n".join(["| Verdict | It means | Claims | Which |", "|---|---|---|---|", *rows])


def sources(data: dict | None = None) -> str:
    """The sources of all claims and how each was read, as Markdown."""
    by_read: dict[str, list[str]] = {}
    seen = set()
    for claim in ledger(data):
        for key, read in claim.sources.items():
            if key not in seen:
                seen.add(key)
                by_read.setdefault(read, []).append(f"{{cite:t}}`{key}`")
    return "\n".join(f"- **Read: {READ[read]}{' ' + MARKS[read] if MARKS[read] else ''}.** "
                     + "; ".join(by_read[read]) + "." for read in READ if read in by_read)


class Directive(SphinxDirective):
    """Markdown made from the file; the page is read again when it or a record changes."""

    def made(self, text: str) -> list[nodes.Node]:
        studies = set(re.findall(r"\|\s*(\w+):", FILE.read_text(encoding="utf-8")))
        for path in (FILE, *(measured.RECORDED / f"{study}.json" for study in sorted(studies))):
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(text)


class Claims(Directive):
    """The claims of one part."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        try:
            return self.made(part(self.arguments[0]))
        except (ValueError, FileNotFoundError) as error:
            raise self.error(str(error)) from None


class Verdicts(Directive):
    """Verdicts, their meaning and their claims."""

    def run(self) -> list[nodes.Node]:
        return self.made(verdicts())


class Sources(Directive):
    """Sources by how they were read."""

    def run(self) -> list[nodes.Node]:
        return self.made(sources())


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("leaklab-claims", Claims)
    app.add_directive("leaklab-verdicts", Verdicts)
    app.add_directive("leaklab-claim-sources", Sources)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
