"""The course as its labs describe it: what each needs, takes and fetches; and whole teaching plans.

A lab's opening says "**You need** labs 2 and 10. Study time about 60 minutes. ... Download 6 MB".
These sentences are the only source: what is shown of them anywhere is made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class LabNeeds:
    """One lab: the labs it builds on, minutes of study, what it downloads, and what it teaches."""

    slug: str
    title: str
    needs: tuple[int, ...]
    study_minutes: int
    download: str
    outcomes: tuple[str, ...]

    @property
    def number(self) -> int:
        return int(self.slug.partition("_")[0])


@dataclass(frozen=True)
class Week:
    """One week of a plan: the labs done in it, and what else happens."""

    labs: tuple[int, ...]
    work: str


def lab_numbers(words: str) -> tuple[int, ...]:
    """The labs that a phrase such as "labs 2 to 5" or "labs 2, 3 and 7" names; none for others."""
    named = re.match(r"labs? ([\d, ]+(?:(?:and|to) \d+)?)", words)
    if not named:
        return ()
    found = [int(n) for n in re.findall(r"\d+", named[1])]
    return tuple(range(found[0], found[1] + 1)) if " to " in named[1] else tuple(found)


def parse(slug: str, text: str) -> LabNeeds:
    """Read the opening of the lab ``slug``.

    Raises ``ValueError`` where ``text`` lacks the title or a part of the paragraph "You need".
    """
    found = re.search(r"^# Lab \d+: (?P<title>.+?)$.*?^\*\*You will be able to\*\*"
                      r"(?P<outcomes>.*?)^\*\*You need\*\* (?P<needs>[^.]+)\. "
                      r"Study time (?:about )?(?P<minutes>\d+) minutes\..*?"
                      r"Downloads? (?P<download>\d+ [kM]B|none|nothing)", text, re.M | re.S)
    if not found:
        raise ValueError(f"{slug}: no title and paragraph 'You need' found, expected both")
    download = found["download"] if found["download"][0].isdigit() else "none"
    outcomes = re.findall(r"^- (.+?)[.;]?$", found["outcomes"], re.M)
    return LabNeeds(slug, found["title"], lab_numbers(found["needs"]), int(found["minutes"]),
                    download, tuple(outcomes))


def read_labs(root: Path = ROOT) -> list[LabNeeds]:
    """All labs, in order."""
    texts = sorted((root / "notebooks/text").glob("[0-9][0-9]_*.md"))
    return [parse(text.stem, text.read_text(encoding="utf-8")) for text in texts]


def read_times(root: Path = ROOT) -> dict[str, dict[str, object]]:
    """What tools/lab_times.py measured, by lab."""
    return yaml.safe_load((root / "book/lab_times.yml").read_text(encoding="utf-8"))


def read_plans(root: Path = ROOT) -> dict[str, list[Week]]:
    """The plans of book/plans.yml, by name."""
    plans = yaml.safe_load((root / "book/plans.yml").read_text(encoding="utf-8"))
    return {name: [Week(tuple(week["labs"]), week["work"]) for week in weeks]
            for name, weeks in plans.items()}


def unprepared(plan: Sequence[Week], labs: Sequence[LabNeeds]) -> list[str]:
    """Complaints about labs that a plan sets before one that they need, twice, or not at all."""
    by_number, done, found = {lab.number: lab for lab in labs}, set(), []
    for lab in (n for week in plan for n in week.labs):
        if lab not in by_number or lab in done:
            found.append(f"lab {lab}: expected once, and among the labs that exist")
        elif missing := sorted(set(by_number[lab].needs) - done):
            found.append(f"lab {lab}: comes before {missing}, which it needs")
        done.add(lab)
    return found


def depths(labs: Sequence[LabNeeds]) -> dict[int, int]:
    """How many labs have to come before each, one after another: 0 for one that needs none."""
    depth: dict[int, int] = {}
    for lab in sorted(labs, key=lambda lab: lab.number):  # a lab needs only earlier ones
        depth[lab.number] = max((depth[n] + 1 for n in lab.needs), default=0)
    return depth


def direct(labs: Sequence[LabNeeds]) -> dict[int, tuple[int, ...]]:
    """The needs of each lab without those that another need already brings along."""
    needs = {lab.number: set(lab.needs) for lab in labs}
    behind: dict[int, set[int]] = {}
    for number in sorted(needs):
        behind[number] = needs[number].union(*(behind[n] for n in needs[number]))
    return {number: tuple(sorted(n for n in own if not any(n in behind[m] for m in own)))
            for number, own in needs.items()}


# --- As Markdown ----------------------------------------------------------------------------


def labs_table(labs: Sequence[LabNeeds], times: Mapping[str, Mapping[str, object]]) -> str:
    """Each lab with what it needs, how long it takes, and what it asks of a machine."""
    rows = ["| Lab | Needs | Study, min | CPU, s | Memory, GB | Download |",
            "|---|---|---|---|---|---|"]
    for lab in labs:
        needs = ", ".join(map(str, lab.needs)) or "none"
        cost = times.get(lab.slug)
        run = (f"{cost['cpu_seconds']} | {cost['peak_memory_mb'] / 1000:.1f}" if cost
               else "not measured | not measured")
        rows.append(f"| [{lab.number}: {lab.title}](/notebooks/{lab.slug}.ipynb) | {needs} | "
                    f"{lab.study_minutes} | {run} | {lab.download} |")
    return "\n".join(rows)


def outcomes_list(labs: Sequence[LabNeeds]) -> str:
    """What each lab says that its student can do afterwards, folded by lab."""
    return "\n".join(f":::{{dropdown}} Lab {lab.number}: {lab.title}\n"
                     + "\n".join(f"- {outcome}" for outcome in lab.outcomes) + "\n:::\n"
                     for lab in labs)


def plan_table(plan: Sequence[Week], labs: Sequence[LabNeeds]) -> str:
    """A plan, week by week, with the hours that its labs take."""
    by_number = {lab.number: lab for lab in labs}
    rows = ["| Week | Labs | Lab time | Besides |", "|---|---|---|---|"]
    for number, week in enumerate(plan, start=1):
        links = "; ".join(f"[{n}](/notebooks/{by_number[n].slug}.ipynb)" for n in week.labs)
        minutes = sum(by_number[n].study_minutes for n in week.labs)
        spent = f"{minutes / 60:.1f} h" if minutes else "–"
        rows.append(f"| {number} | {links or '–'} | {spent} | {week.work} |")
    return "\n".join(rows)
