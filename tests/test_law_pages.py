"""The law pages cite what the bibliography holds, date what the data file holds, type no number,
and claim no status."""

import datetime
import re
import sys
from pathlib import Path

import pytest
import yaml
from pybtex import database

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import law  # noqa: E402
import measured  # noqa: E402

from leaklab.evidence import Evidence  # noqa: E402

DATA = law.load()
PAGES = {path.stem: path.read_text(encoding="utf-8")
         for path in sorted((ROOT / "book/law").glob("*.md"))}
ARTICLES = {name: text for name, text in PAGES.items() if name != "index"}
PLAYBOOK = (ROOT / "book/playbook.md").read_text(encoding="utf-8")
ALL = {**PAGES, "playbook": PLAYBOOK}
BIBLIOGRAPHY = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book/references.bib").read_text(), re.M))
SECTIONS = ["Read the rule", "Apply it in a federation", "Bring the numbers",
            "Say what no number can establish", "Decide the cases", "Check the sources"]
MONTHS = "|".join(datetime.date(2000, m, 1).strftime("%B") for m in range(1, 13))


def roles(text: str, role: str) -> list[str]:
    return re.findall(rf"\{{{role}\}}`([^`]+)`", text)


def prose(text: str) -> str:
    """What a reader sees of ``text``, without roles, directives' lines and targets of links."""
    text = re.sub(r"```\{leaklab-[\w-]+\}.*?```", "", text, flags=re.S)
    text = re.sub(r"\{[\w:]+\}`[^`]+`", "", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def references(text: str) -> list[str]:
    tables = re.findall(r"```\{leaklab-evidence\}\n(.*?)```", text, flags=re.S)
    rows = [line for table in tables for line in table.splitlines() if line.strip()]
    return roles(text, "evidence") + [row.rpartition("|")[2].strip() for row in rows]


# --- Form -----------------------------------------------------------------------------------


def ill_formed(text: str) -> list[str]:
    """Complaints about the five sections of a page and its cases with folded answers."""
    headings = re.findall(r"^## (.+)$", text, re.M)
    if headings != SECTIONS:
        return [f"sections {headings}, expected {SECTIONS}"]
    parts = dict(zip(headings, re.split(r"^## .+$", text, flags=re.M)[1:], strict=True))
    cases = re.findall(r"^\d\. .+?\n\n   :::\{dropdown\} Answer\n   .+?\n   :::$",
                       parts["Decide the cases"], re.M | re.S)
    found = [] if 3 <= len(cases) <= 4 else [f"{len(cases)} answered cases, expected 3 or 4"]
    if len(cases) != len(re.findall(r"^\d\. ", parts["Decide the cases"], re.M)):
        found.append("a case without an answer")
    if "```{leaklab-evidence}" not in parts["Bring the numbers"]:
        found.append("no recorded evidence among the numbers")
    if not roles(parts["Read the rule"], "law"):
        found.append("no provision in the rule")
    if "```{leaklab-sources}" not in parts["Check the sources"]:
        found.append("no list of sources")
    return found


@pytest.mark.parametrize("name", ARTICLES)
def test_a_page_has_its_parts_and_cases(name):
    assert ill_formed(ARTICLES[name]) == []


GOOD = ARTICLES["breach"]


@pytest.mark.parametrize("spoilt", [
    GOOD.replace("## Bring the numbers", "## Numbers"),
    GOOD.replace("## Say what no number can establish", "Nothing"),
    GOOD.replace(":::{dropdown} Answer", ":::{dropdown} Hint", 1),
    GOOD.replace("{leaklab-evidence}", "{note}"),
    GOOD.replace("{leaklab-sources}", "{note}"),
])
def test_a_page_that_lacks_a_part_is_noticed(spoilt):
    assert ill_formed(spoilt)


def test_every_page_is_in_the_contents_and_on_the_first_page():
    contents = (ROOT / "_toc.yml").read_text()
    for name in ARTICLES:
        assert f"book/law/{name}\n" in contents
        assert f"]({name}.md)" in PAGES["index"]
    assert "book/playbook\n" in contents


# --- Provisions and dates -------------------------------------------------------------------


def test_the_bibliography_can_be_read():
    entries = database.parse_file(ROOT / "book/references.bib").entries
    assert set(entries) == BIBLIOGRAPHY  # an entry that lost its brace swallows the next one


@pytest.mark.parametrize("name", ALL)
def test_every_pinpoint_is_in_the_data_file_and_its_source_in_the_bibliography(name):
    for reference in roles(ALL[name], "law"):
        assert law.provision(reference).key in BIBLIOGRAPHY
    for key in (k for keys in roles(ALL[name], "cite:[pt]") for k in keys.split(",")):
        assert key in BIBLIOGRAPHY


TYPED_PINPOINT = re.compile(
    r"(?:\bArt(?:icle|\.)s?|\bRecital|§|\b[Pp]aragraphs?|\b[Ss]ections?|\bCFR|¶)\s*\d"
    r"|\bC-\d+/\d\d|\bAnnex [IV]+, \d")


@pytest.mark.parametrize("name", ALL)
def test_no_pinpoint_is_typed(name):
    assert TYPED_PINPOINT.findall(prose(ALL[name])) == []


@pytest.mark.parametrize("typed", ["see Article 33", "45 CFR 164.402", "case C-582/14", "§ 171",
                                   "Recital 26", "paragraph 46", "Annex I, 17.2"])
def test_a_typed_pinpoint_is_noticed(typed):
    assert TYPED_PINPOINT.search(typed)


def typed_dates(text: str) -> list[str]:
    """Dates in ``text`` that should come from the file: days, months of a year, coming years."""
    return re.findall(rf"(?:\d{{1,2}} )?(?:{MONTHS}) (?:19|20)\d\d|(?:19|20)\d\d-\d\d(?:-\d\d)?"
                      r"|\b20(?:2[4-9]|3\d)\b", prose(text))


@pytest.mark.parametrize("name", ALL)
def test_dates_come_from_the_data_file(name):
    assert typed_dates(ALL[name]) == []
    assert all(law.date(date) for date in roles(ALL[name], "date"))


@pytest.mark.parametrize("text", ["on 4 September 2025", "in March 2029", "2027-03-26", "by 2031"])
def test_a_typed_date_is_noticed(text):
    assert typed_dates(text)


def test_the_data_file_is_complete_and_says_how_each_thing_is_known():
    for key, source in DATA["sources"].items():
        assert key in BIBLIOGRAPHY, key
        assert source["kind"] in law.KINDS and source["url"].startswith("https://")
        assert source["form"].count("{}") == 1
        assert source["rules"]
        for rule in source["rules"].values():
            assert rule["says"] and rule["read"] in law.READ
    for entry in DATA["dates"].values():
        assert isinstance(entry["date"], datetime.date) and entry["read"] in law.READ
        assert entry["source"] in DATA["sources"]
        assert "pinpoint" not in entry \
            or entry["pinpoint"] in DATA["sources"][entry["source"]]["rules"]


def test_nothing_in_the_data_file_is_idle():
    ledger = [(ROOT / f"book/claims.{kind}").read_text(encoding="utf-8") for kind in ("md", "yml")]
    cited = {reference for text in (*ALL.values(), *ledger) for reference in roles(text, "law")}
    held = {f"{key} {pinpoint}" for key, source in DATA["sources"].items()
            for pinpoint in source["rules"]}
    dated = {f"{d['source']} {d['pinpoint']}" for d in DATA["dates"].values() if "pinpoint" in d}
    assert held - cited - dated == set()


def test_the_addresses_are_those_of_the_bibliography():
    text = (ROOT / "book/references.bib").read_text()
    entries = {re.match(r"\w+\{([^,]+),", e)[1]: e for e in re.split(r"^@", text, flags=re.M)[1:]}
    for key, source in DATA["sources"].items():
        assert f"url = {{{source['url']}}}" in entries[key], key


@pytest.mark.parametrize(("reference", "printed"), [
    ("gdpr 33(1)", "GDPR Article 33(1)"), ("gdpr 13-14", "GDPR Articles 13–14"),
    ("gdpr recital 26", "GDPR Recital 26"), ("mdr annex I 17.4", "MDR Annex I, 17.4"),
    ("aiact annex IV", "AI Act Annex IV"),
    ("edpb282024 129-131", "EDPB Opinion 28/2024, paragraphs 129–131"),
    ("ot2022 judgment", "OT"), ("hipaa164402 164.402(2)", "45 CFR 164.402(2)"),
    ("edpb022026 section 3.4", "draft EDPB Guidelines 02/2026, section 3.4"),
])
def test_a_pinpoint_is_printed_as_lawyers_write_it(reference, printed):
    assert law.provision(reference).printed == printed


@pytest.mark.parametrize("reference", ["gdpr 99(9)", "gdpr", "nothing 1", ""])
def test_an_unknown_provision_is_refused(reference):
    with pytest.raises(ValueError, match=r"given, expected a source and a pinpoint of dates\.yml"):
        law.provision(reference)


def test_an_unknown_date_is_refused():
    with pytest.raises(ValueError, match=r"date: 'never' given"):
        law.date("never")


SMALL = yaml.safe_load("""
as_of: May 2000
sources:
  act: {name: Act, form: "Act section {}", kind: law, url: https://a.example/act,
        rules: {"1": {says: one, read: text}, "2": {says: two, read: memory}}}
  case: {name: X v Y, form: "X v Y, paragraph {}", kind: case, url: https://a.example/case,
         rules: {judgment: {says: so, read: second-hand}}}
dates:
  late: {date: 2002-02-03, what: later, source: act, pinpoint: "2", read: second-hand}
  early: {date: 2001-12-31, what: sooner, source: case, read: text}
""")


def test_the_sources_of_a_page_say_how_each_pinpoint_was_read():
    table = law.sources("{law}`act 2`, {law}`act 1`, {law}`act 2`, {law}`case judgment`", SMALL)
    assert "As of May 2000." in table
    assert "| [Act](https://a.example/act) {cite:p}`act` | law | " \
        "wording read: 1; from memory: 2 |" in table
    assert table.endswith("| judgment | in an account of it |")
    assert "X v Y" not in law.sources("{law}`act 1`", SMALL)


def test_the_timetable_is_in_order_and_marked():
    rows = law.timetable(SMALL).splitlines()[2:]
    assert rows == ["| 31 December 2001 | sooner | X v Y | judgment |",
                    "| 3 February 2002† | later | Act section 2 | law |"]


# --- Numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_number_of_a_lab_is_recorded_and_none_is_typed(name):
    for reference in references(ALL[name]):
        study, item = measured.find(reference)
        assert measured.estimate(item) and measured.lab(study)
    body = prose(ALL[name]).partition("## Decide the cases")[0]  # cases are invented
    assert re.findall(r"\d\s?%|\b\d+\.\d+\b|\bper cent\b", body) == []


def test_tables_of_evidence_can_be_drawn():
    for text in ALL.values():
        for table in re.findall(r"```\{leaklab-evidence\}\n(.*?)```", text, flags=re.S):
            lines = [line for line in table.splitlines() if line.strip()]
            assert len(measured.table(lines).splitlines()) == 2 + len(lines)


def item(unit="share of records", value=0.25, interval=(0.2, 0.3), baseline=0.01, **changes):
    fields = dict(name="x", statement="s", value=value, unit=unit, interval=interval,
                  interval_kind="95 % t over trials", baseline=baseline,
                  baseline_kind="chance; more", runs=(), seeds=(), data="REAL table",
                  data_sha256="", scale="fast", version="0")
    return Evidence(**{**fields, **changes})


@pytest.mark.parametrize(("given", "printed"), [
    (item(), "25.0 % (20.0 to 30.0)"),
    (item(value=1.0, interval=(0.5, 1.0)), "100 % (50.0 to 100)"),
    (item(value=0.000443, interval=(0.0, 0.001)), "0.04 % (0 to 0.1)"),
    (item("difference in share", -0.05, (-0.1, 0.0)), "−5.0 points (−10.0 to +0.0)"),
    (item("AUC", 0.5, (0.4, 0.6)), "AUC 0.50 (0.40 to 0.60)"),
    (item("dB", 12.34, (12.0, 13.0)), "12.3 dB (12.0 to 13.0)"),
    (item("relative distance", 2e-6, (0.0, 3e-6)),
     "relative distance 2 × 10⁻⁶ (0 to 3 × 10⁻⁶)"),
    (item(interval_kind="smallest and largest trial"),
     "25.0 % (20.0 to 30.0, smallest and largest trial)"),
])
def test_an_estimate_is_printed_with_its_interval(given, printed):
    assert measured.estimate(given) == printed


def test_what_is_reached_without_the_update_is_said_beside():
    assert measured.without(item()) == "1.0 % (chance)"
    assert measured.without(item(baseline=None)) == "–"
    assert measured.without(item("difference of shares", 0.1, (0.0, 0.2), 0.0)) == "–"


@pytest.mark.parametrize("reference", ["10_membership", "10_membership:no_such_thing"])
def test_evidence_that_is_not_recorded_is_refused(reference):
    with pytest.raises(ValueError, match=r"evidence: .* given, expected"):
        measured.find(reference)


def test_a_lab_without_a_page_is_named_without_a_link(tmp_path):
    (tmp_path / "notebooks").mkdir()
    assert measured.lab("14_relatives", tmp_path) == "lab 14"
    (tmp_path / "notebooks/14_imputation.ipynb").write_text("")
    assert measured.lab("14_relatives", tmp_path) == "[lab 14](/notebooks/14_imputation.ipynb)"


# --- Words ----------------------------------------------------------------------------------


def status_claims(text: str) -> list[str]:
    """Words of status: "anonymous" outside quotation marks, and "safe" anywhere but in a name."""
    said = re.sub(r"[\"'](?:anonymous|Safe Harbor)[\"']|Safe-Harbor list", "", prose(text))
    return re.findall(r"\banonymous(?:ly)?\b|\bsafe(?:ly|r|st)?\b|\bunhackable\b", said,
                      re.IGNORECASE)


@pytest.mark.parametrize("name", ALL)
def test_no_page_claims_a_status(name):
    assert status_claims(ALL[name]) == []


@pytest.mark.parametrize("text", ["The sum is anonymous.", "This is safe.", "Safely stored."])
def test_a_claim_of_status_is_noticed(text):
    assert status_claims(text)


def test_it_is_said_once_that_this_is_not_legal_advice():
    said = {name: len(re.findall(r"legal advice", text)) for name, text in ALL.items()}
    assert {name: n for name, n in said.items() if n} == {"index": 1}


def unknown_terms(text: str) -> list[str]:
    """Terms that ``text`` sends its reader to the glossary for, and that are not there."""
    held = re.findall(r"^(\S[^\n]*)\n  \S", (ROOT / "book/glossary.md").read_text(), re.M)
    named = [re.sub(r".*<(.+)>", r"\1", term) for term in roles(text, "term")]
    return sorted({term.lower() for term in named} - {entry.lower() for entry in held})


@pytest.mark.parametrize("name", sorted(set(ALL) - {"index"}))
def test_a_page_sends_its_reader_to_the_glossary_for_words_of_technique(name):
    assert roles(ALL[name], "term")
    assert unknown_terms(ALL[name]) == []
    assert unknown_terms("{term}`masks <mask>`, {term}`Update` and {term}`widget`") == ["widget"]


def without_reason(text: str) -> list[str]:
    """Items of the playbook whose reason names neither a number nor a source."""
    body = text.partition("## Print the checklists")[0]
    items = re.findall(r"^(\*\*.+)\n: (.+)$", body, re.M)
    sound = re.compile(r"\*Why:\*.*(?:\{(?:evidence|law|cite:t)\}`|were found)")
    return [said for said, reason in items if not sound.match(reason)]


def test_every_item_of_the_playbook_has_its_reason_and_every_role_its_list():
    body = PLAYBOOK.partition("## Print the checklists")[0]
    assert len(re.findall(r"^\*\*", body, re.M)) == len(re.findall(r"^: \*Why:\*", body, re.M)) > 20
    assert without_reason(PLAYBOOK) == []
    assert without_reason("**Do it.** Now.\n: *Why:* everybody does.\n\n## Print the checklists")
    lists = PLAYBOOK.partition("## Print the checklists")[2].split(":::{div} checklist")[1:]
    assert len(lists) == 3 and all(part.count("- [ ]") >= 8 for part in lists)
