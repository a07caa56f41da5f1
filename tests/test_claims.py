"""The ledger holds 34 claims; each has a verdict, a reason without typed numbers, and a basis."""

import copy
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book/_ext"))

import claims  # noqa: E402
import law  # noqa: E402
import measured  # noqa: E402

DATA = yaml.safe_load((ROOT / "book/claims.yml").read_text(encoding="utf-8"))
LEDGER = claims.ledger(DATA)
PAGE = (ROOT / "book/claims.md").read_text(encoding="utf-8")
BIBLIOGRAPHY = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book/references.bib").read_text(),
                              re.M))
NUMBER = re.compile(r"\d\s?%|\bper cent\b|\d\.\d|\b(?:19|20)\d\d\b")
STATUS = re.compile(r"\banonymous(?:ly)?\b|\bsafe(?:ly|r|st)?\b|\bunhackable\b", re.IGNORECASE)


def plain(text: str) -> str:
    """What a reader sees of ``text`` without roles and directives."""
    text = re.sub(r"```\{leaklab-[\w-]+\}.*?```", "", text, flags=re.S)
    return re.sub(r"\{[\w:]+\}`[^`]+`", "", text)


def baseless(claim: claims.Claim) -> bool:
    """Whether nothing stands behind a verdict that says more than that nothing was found."""
    return not (claim.sources or claim.evidence or "{law}" in claim.reason
                or claim.verdict == "unsupported")


def test_there_are_34_claims_in_order_and_the_parts_hold_each_once():
    assert [claim.id for claim in LEDGER] == list(range(1, 35))
    held = [k for ends in DATA["parts"].values() for k in range(ends["from"], ends["to"] + 1)]
    assert held == list(range(1, 35))
    assert [f"{{leaklab-claims}} {name}" in PAGE for name in DATA["parts"]] == [True] * 3
    assert len({claim.claim for claim in LEDGER}) == 34


@pytest.mark.parametrize("claim", LEDGER, ids=lambda claim: str(claim.id))
def test_a_claim_has_a_reason_of_one_sentence_and_a_basis(claim):
    assert claim.claim.endswith(".") and claim.reason.endswith(".")
    assert len(re.findall(r"[.?!](?:\s|$)", plain(claim.reason))) == 1
    assert NUMBER.findall(plain(claim.reason)) == []
    assert STATUS.findall(plain(claim.reason)) == []
    assert not baseless(claim)


@pytest.mark.parametrize("text", 
    ["In 92 % of cases.", "Half a per cent.", "At 0.5.", "Since 2019."])
def test_a_typed_number_is_noticed(text):
    assert NUMBER.search(text)


@pytest.mark.parametrize("claim", LEDGER, ids=lambda claim: str(claim.id))
def test_everything_a_claim_leads_to_exists(claim):
    assert set(claim.sources) <= BIBLIOGRAPHY
    for reference in re.findall(r"\{law\}`([^`]+)`", claim.reason):
        assert law.provision(reference).key in BIBLIOGRAPHY
    for page in claim.pages:
        assert (ROOT / f"book/law/{page}.md").exists()
    chapters = yaml.safe_load((ROOT / "book/chapters.yml").read_text())
    assert set(claim.labs) <= {int(slug[:2]) for part in chapters for slug in part["chapters"]}
    for _, reference in claim.evidence:
        study, item = measured.find(reference)
        assert measured.estimate(item) and int(study[:2]) in claim.labs


def spoilt(id: int, **changes) -> dict:
    data = copy.deepcopy(DATA)
    data["claims"][id - 1].update(changes)
    return data


@pytest.mark.parametrize(("changes", "error"), [
    ({"evidence": []}, "claim 1: no evidence given, expected some for 'measured here'"),
    ({"evidence": ["label | 01_federated_averaging:never_measured"]}, "'never_measured' given"),
    ({"evidence": ["label | 01_federated_averaging"]}, "expected study:name"),
    ({"verdict": "true"}, "claim 1: verdict 'true' given"),
    ({"verdict": None}, "claim 1: verdict None given"),
    ({"sources": {"mcmahan2017": "skimmed"}}, "claim 1: sources .* given, expected read as"),
    ({"proof": "none"}, r"claim 1: \['proof'\] given"),
])
def test_a_claim_without_what_its_verdict_needs_is_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        claims.ledger(spoilt(1, **changes))


def test_evidence_of_a_study_that_was_never_run_is_refused():
    with pytest.raises(FileNotFoundError, match="99_nothing"):
        claims.ledger(spoilt(2, evidence=["label | 99_nothing:x"]))


def test_a_verdict_with_nothing_behind_it_is_noticed():
    bare = {"sources": {}, "evidence": [], "reason": "So we think."}
    assert baseless(claims.ledger(spoilt(9, **bare))[8])
    assert not baseless(claims.ledger(spoilt(9, **bare, verdict="unsupported"))[8])


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="part: 'poetry' given"):
        claims.part("poetry", DATA)


def test_a_card_holds_the_number_its_interval_and_the_way_on():
    card = claims.card(LEDGER[6])
    assert card.startswith("::::{div} claim wrong\n(claim-7)=\n*7. ")
    assert "**Wrong.** " in card and card.endswith("\n::::")
    assert "{evidence}`11_membership_across_rounds:privacy_1.0_server_whitened_tpr`" in card
    assert "{cite:t}`ziller2024`; {cite:t}`hayes2023`°" in card
    assert re.search(r"noise for ε = \d\.\d per record over ten rounds: ", card)
    assert "by a guess 1.0 % (as many members as others accused)" in card


def test_a_percentage_of_a_claim_is_not_torn_apart():
    assert "78\N{NO-BREAK SPACE}%" in claims.card(LEDGER[23])


def test_the_verdicts_are_counted():
    lines = claims.verdicts(DATA).splitlines()[2:]
    assert [line.split(" | ")[0][2:] for line in lines] == list(DATA["verdicts"])
    assert sum(int(line.split(" | ")[2]) for line in lines) == 34
    assert "[24](#claim-24)" in next(line for line in lines if line.startswith("| unsupported"))


def test_every_source_is_listed_once_with_how_it_was_read():
    listed = re.findall(r"\{cite:t\}`([^`]+)`", claims.sources(DATA))
    assert sorted(listed) == sorted({key for claim in LEDGER for key in claim.sources})
    read = {}
    for claim in LEDGER:
        for key, how in claim.sources.items():
            assert read.setdefault(key, how) == how, key
    assert "- **Read: from memory °.**" in claims.sources(DATA)


def test_the_page_types_no_number_names_no_publisher_and_checks_the_audit():
    body = plain(PAGE)
    assert NUMBER.findall(body) == [] and STATUS.findall(body) == []
    steps = PAGE.partition("five minutes")[2].partition(":::")[0]
    assert len(re.findall(r"^\d\. \*\*", steps, re.M)) == 5
    assert re.findall(r"https?://", body) == []
    for reference in re.findall(r"\{law\}`([^`]+)`", PAGE):
        assert law.provision(reference)
    assert "book/claims\n" in (ROOT / "_toc.yml").read_text()
