"""The worksheet: what holds for all inputs, its exports, and evidence that enters it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import jsonschema
import matplotlib.pyplot as plt
import pytest
import yaml
from conftest import promised_data
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binom
from scipy.stats import norm as Normal

from leaklab import evidence
from leaklab.assess import worksheet
from leaklab.assess.worksheet import export, findings, form, law, wording
from leaklab.assess.worksheet.risk import GRADES, grade
from leaklab.plots.assessment import likelihood_chart
from leaklab.teaching import impact
from worksheet_builders import (
    all_three,
    appetite,
    assess,
    context,
    incident,
    item,
    judgement,
    rate,
)

ROOT = Path(__file__).parents[1]
STATUSES = findings.STATUSES
FULL = dict(
    evidence=[item(37, 100, artefact="update", role="processor"),
              rate(0.04, 0.02, 0.06, defence="noise", guarantee=worksheet.Guarantee(
                  epsilon=3.0, delta=1e-3, unit="record", accountant="GDP", mu=1.0)),
              item(0, 100, id="study:sum", artefact="sum", role="independent recipient",
                   metric="records matched", defence="secure aggregation"),
              item(id="study:images", metric="similarity", hits=None, trials=None, value=20.0,
                   interval=(18.0, 22.0), baseline=19.0, synthetic=True)],
    judgements=[judgement("insignificant"), judgement("not personal data", role="processor"),
                judgement("low probability of compromise", artefact="update", role="outsider")],
    incident=incident(us={}, factors={}), defences=("noise", "secure aggregation"),
    categories=("health", "genetic"), jurisdictions=("EU", "UK", "US"), ehds_permit=True,
    exports=("update", "released model"), medical_device=True)


def full(**changes):
    given = {**FULL, **changes}
    return assess(*given.pop("evidence"), **given)


# --- Power -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tolerated", "needed"), [(0.01, 299), (0.001, 2995), (0.0001, 29956)])
def test_trials_needed_are_the_published_ones(tolerated, needed):
    assert worksheet.trials_needed(tolerated) == needed
    assert (1 - tolerated) ** needed <= 0.05 < (1 - tolerated) ** (needed - 1)


@pytest.mark.parametrize("rate_", [0.0, 1.0, -0.1])
def test_trials_for_an_impossible_rate_are_refused(rate_):
    with pytest.raises(ValueError, match=r"rate: .* given, expected a number between 0 and 1"):
        worksheet.trials_needed(rate_)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.data())
def test_the_upper_limit_is_that_of_the_binomial(trials, data):
    hits = data.draw(st.integers(0, trials - 1))
    limit = worksheet.upper_limit(item(hits, trials))
    assert binom.cdf(hits, trials, limit) == pytest.approx(0.05, rel=1e-6)


def test_an_interval_widened_for_clusters_is_taken_at_its_word():
    assert worksheet.upper_limit(item(0, 3000, interval=(0.0, 0.2))) == 0.2
    assert worksheet.upper_limit(item(0, 3000)) < 0.0011
    assert worksheet.upper_limit(item(20, 20)) == 1.0


# --- What holds for all inputs -----------------------------------------------------------------


@st.composite
def results(draw, name="study:a"):
    trials = draw(st.integers(1, 4000))
    return item(draw(st.integers(0, trials)), trials, id=name,
                metric=draw(st.sampled_from(("records read", "records matched", "labels read"))),
                artefact=draw(st.sampled_from(("update", "sum", "released model"))),
                role=draw(st.sampled_from(("processor", "public", "other hospital"))),
                contributors=draw(st.sampled_from((None, 2, 5))),
                defence=draw(st.sampled_from((None, "noise"))))


def gravity(a) -> dict:
    """Every finding of an assessment, as numbers that grow with what is wrong."""
    found = {(c.artefact, c.role, k): STATUSES.index(s) for c in a.cells
             for k, s in c.statuses.items()}
    found |= {(c.artefact, c.role, "gate"): findings.GATES.index(c.gate) for c in a.cells}
    return found | {(r.role, "inherent"): r.inherent_likelihood for r in a.risks
                    if r.inherent_likelihood}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.data())
def test_another_result_never_lowers_a_finding(seeds, data):
    items = [data.draw(results(f"study:{k}")) for k in range(len(seeds))]
    before, after = (gravity(assess(*some)) for some in (items[:-1], items))
    assert all(after[key] >= level for key, level in before.items() if level)


@settings(deadline=None, max_examples=60)
@given(results(), st.data())
def test_more_hits_never_lower_a_finding(weaker, data):
    hits = data.draw(st.integers(weaker.hits, weaker.trials))
    stronger = item(hits, weaker.trials, **{
        name: getattr(weaker, name) for name in ("id", "metric", "artefact", "role", "defence",
                                                 "contributors")})
    before, after = (gravity(assess(one, defences=("noise",))) for one in (weaker, stronger))
    assert all(after[key] >= level for key, level in before.items())


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(1, 20), st.data())
def test_more_trials_at_one_rate_never_lower_what_is_seen(trials, times, data):
    hits = data.draw(st.integers(1, trials))
    before, after = (assess(item(k * hits, k * trials)).findings[0].status for k in (1, times))
    assert before == after == "further analysis required", "a guess reads none: any hit counts"
    null = [assess(rate(0.01, 0.01 - wide, 0.01 + wide)).findings[0].status
            for wide in (0.009, 0.009 / times)]
    assert "further analysis required" not in null


def test_a_rule_that_takes_the_latest_result_would_be_caught(monkeypatch):
    def latest(first, *others, key=None, default=None):
        return max(first, *others) if others else [default, *first][-1]

    monkeypatch.setattr(findings, "max", latest, raising=False)
    strong, weak = item(37, 100), item(0, 3000, id="study:b")
    place = ("released model", "public", "isolation")
    assert gravity(assess(strong, weak))[place] < gravity(assess(strong))[place]


@settings(deadline=None, max_examples=40)
@given(st.lists(results(), max_size=1), st.booleans(), st.booleans())
def test_no_export_of_any_inputs_has_a_forbidden_word(items, device, permit):
    a = assess(*items, medical_device=device, ehds_permit=permit, exports=("update",),
               incident=incident(us={}), judgements=[judgement("insignificant")])
    for text in (worksheet.to_json(a), worksheet.to_markdown(a), worksheet.to_html(a),
                 worksheet.to_breach_sheet(a), worksheet.to_hipaa_memo(a),
                 json.dumps(worksheet.to_cnil_pia(a))):
        assert wording.forbidden(text) == []


@pytest.mark.parametrize("text", [
    "The model is anonymous.", "ANONYMOUS", "anonymised data", "Anonymized.", "a safe model",
    "Safely trained", "risk-free", "risk‑free", "fully compliant", "ａｎｏｎｙｍｏｕｓ",
    "ánonymous", "data_anonymous_v2", "fail-safe", "de-identified", "deidentified"])
def test_a_forbidden_word_is_refused_wherever_it_is_filled_in(text):
    for build in (lambda: context(purpose=text), lambda: item(statement=text),
                  lambda: item(id=text), lambda: appetite(reason=text),
                  lambda: judgement("insignificant", reason=text), lambda: incident(what=text),
                  lambda: worksheet.Signature(name=text, capacity="x", on=date(2026, 1, 1))):
        with pytest.raises(ValidationError, match="expected words for what was measured"):
            build()


@pytest.mark.parametrize("text", ["unsafe", "safeguards", "Guidelines on Anonymisation",
                                  "pseudonymised", "anonymity", "compliance"])
def test_other_words_pass(text):
    assert context(purpose=text).purpose == text


@pytest.mark.parametrize("text", ["anon\u00adymous", "anon\u200bymous", "two\nlines", "\u202eback",
                                  "nul\x00", "", "   ", "x" * 1001])
def test_hidden_characters_and_empty_words_are_refused(text):
    with pytest.raises(ValidationError):
        context(purpose=text)


def test_an_export_that_would_say_it_is_stopped():
    with pytest.raises(ValueError, match="expected none of these words"):
        export.checked("This model is safe.")


# --- Exports -----------------------------------------------------------------------------------

READABLE = {"json": worksheet.to_json, "markdown": worksheet.to_markdown,
            "html": worksheet.to_html}
NASTY = "</script><img src=x onerror=a> | ```json assessment # $x$ & [a](b) \\"


@pytest.mark.parametrize("name", READABLE)
def test_an_export_reads_back_as_what_it_was(name):
    for a in (full(), assess(), assess(*all_three(), judgements=[judgement("insignificant")])):
        assert worksheet.read(READABLE[name](a)) == a
        assert READABLE[name](worksheet.read(READABLE[name](a))) == READABLE[name](a)


@settings(deadline=None, max_examples=40)
@given(st.text(min_size=1, max_size=60), st.sampled_from(sorted(READABLE)))
def test_any_words_survive_every_export(words, name):
    try:
        a = full(purpose=words)
    except ValidationError:
        return
    assert worksheet.read(READABLE[name](a)) == a


class Page(HTMLParser):
    """Tags, attributes that load or run something, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [a for a, _ in attrs if a in ("src", "href", "action") or a.startswith("on")]

    def handle_data(self, data):
        self.words += data


def test_the_page_loads_nothing_and_shows_words_as_words():
    page = worksheet.to_html(full(purpose=NASTY, name=NASTY))
    read = Page(page)
    assert read.loads == [] and "img" not in read.tags
    assert read.tags.count("script") == 1 and "default-src 'none'" in page
    assert not re.search(r"https?:|url\(|@import", page)
    assert NASTY in read.words
    assert worksheet.read(page).inputs.context.purpose == NASTY


def test_words_in_markdown_break_no_table_and_open_no_fence():
    text = worksheet.to_markdown(full(purpose=NASTY))
    assert worksheet.read(text).inputs.context.purpose == NASTY
    row = next(line for line in text.splitlines() if line.startswith("| purpose"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.search(r"(?<!\\)<img", text.partition("## The same for machines")[0])


def test_the_published_schema_is_the_one_that_is_generated_and_holds():
    shipped = json.loads((resources.files("leaklab.assess.worksheet")
                          / "assessment.schema.json").read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(worksheet.schema())), "run tools/worksheet_schema.py"
    checker = jsonschema.Draft202012Validator(shipped)
    checker.check_schema(shipped)
    good = json.loads(worksheet.to_json(full()))
    checker.validate(good)
    for spoil in (lambda d: d.pop("limits"), lambda d: d["inputs"].update(verdict="fine"),
                  lambda d: d["cells"][0].update(gate="public knowledge"),
                  lambda d: d["inputs"]["evidence"][0].update(trials=0)):
        bad = json.loads(worksheet.to_json(full()))
        spoil(bad)
        assert not checker.is_valid(bad)


def test_a_finding_that_was_edited_is_noticed():
    document = json.loads(worksheet.to_json(full()))
    document["findings"][0]["status"] = "no failure seen"
    with pytest.raises(ValueError, match=r"\['findings'\] given, expected what the inputs give"):
        worksheet.read(json.dumps(document))
    document = json.loads(worksheet.to_json(full()))
    document["inputs"]["evidence"][0].update(hits=0, value=0.0, interval=[0.0, 0.04])
    with pytest.raises(ValueError, match="inputs_sha256"):
        worksheet.read(json.dumps(document))


@pytest.mark.parametrize(("text", "complaint"), [
    ("# A page\n", "0 assessments found"), ("{", "Invalid JSON"), ('{"a": 1}', "Field required"),
    ("x" * 10_000_001, "10000001 bytes given")])
def test_what_is_no_assessment_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        worksheet.read(text)


def test_two_assessments_in_one_file_are_refused():
    with pytest.raises(ValueError, match="2 assessments found, expected one"):
        worksheet.read(2 * worksheet.to_markdown(assess()))


def test_the_same_inputs_give_the_same_bytes():
    assert [write(full()) for write in READABLE.values()] == [
        write(full()) for write in READABLE.values()]
    assert full().inputs_sha256 != full(hospitals=6).inputs_sha256


def test_the_breach_sheet_holds_each_fact_and_blanks_for_the_rest():
    a = full(incident=incident(what="Copied | from a disk"))
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in worksheet.to_breach_sheet(a).splitlines()
            if line.startswith("| ")][1:]
    read = {k.strip().replace("\\", ""): v.strip().replace("\\", "") or None for k, v in rows}
    assert read == worksheet.breach_facts(a)
    assert read["33(3)(a) nature of the breach"] == "Copied | from a disk"
    assert [name for name, fact in read.items() if fact is None] == [
        "33(3)(a) records, about", "33(3)(b) contact point", "33(3)(c) likely consequences",
        "33(3)(d) measures taken or proposed", "33(1) reasons, if later than 72 hours"]
    assert "study:records" in read["33(3)(c) measured on this artefact"]


def test_a_draft_names_a_measurement_once_and_in_words_of_its_reader():
    seen = [rate(0.4, 0.3, 0.5, artefact="update", role=role) for role in ("processor", "outsider")]
    a = assess(*seen, incident=incident(us={}), jurisdictions=("EU", "US"), medical_device=True)
    words = "members recognised by someone who holds their record, with false alarms on 1.0 %"
    for text in (worksheet.to_breach_sheet(a), worksheet.to_hipaa_memo(a)):
        assert text.count(words) == text.count("40.0 % (30.0 % to 50.0 %), without it 1.0 %") == 1
    assert {entry.provision: entry.evidence for entry in a.technical_file}["AI Act 15(5)"] == (
        "study:tpr",)
    assert worksheet.to_markdown(a).count(words) == worksheet.to_html(a).count(words) == 2


def test_drafts_about_an_incident_need_one():
    with pytest.raises(ValueError, match="no incident given"):
        worksheet.to_breach_sheet(assess())
    with pytest.raises(ValueError, match="expected one"):
        worksheet.to_hipaa_memo(assess(incident=incident()))


def test_the_memo_gives_the_factors_and_leaves_the_signature_open():
    memo = worksheet.to_hipaa_memo(full())
    assert "| (iii) actually acquired or viewed | no |" in memo
    assert memo.rstrip().endswith("signature: ______________________________")


def test_the_pia_document_has_the_form_that_the_software_reads():
    a = full()
    document = json.loads(json.dumps(worksheet.to_cnil_pia(a)))
    assert set(document) == {"pia", "answers", "measures", "evaluations", "comments"}
    answers = {answer["reference_to"]: answer["data"] for answer in document["answers"]}
    assert set(answers) == set(range(321, 327))
    assert all(set(data) == {"text", "gauge", "list"} for data in answers.values())
    assert answers[325]["gauge"] == a.inputs.context.severity.level
    assert answers[324]["list"] == list(a.inputs.context.defences)
    assert [m["title"] for m in document["measures"]] == list(a.inputs.context.defences)
    rated = worksheet.to_cnil_pia(assess(item(37, 100)))["answers"][5]["data"]
    assert rated["gauge"] == assess(item(37, 100)).risks[0].residual_likelihood == 4
    unset = worksheet.to_cnil_pia(assess())["answers"][5]["data"]
    assert unset["gauge"] is None and unset["text"].startswith("not set")


def test_all_files_are_written_or_none(tmp_path, monkeypatch):
    files = worksheet.write(full(), tmp_path / "out")
    assert {f.name for f in files} == {"assessment.json", "assessment.md", "assessment.html",
                                       "cnil_pia.json", "breach_facts.md", "hipaa_memo.md"}
    assert worksheet.read(files[2].read_text(encoding="utf-8")) == full()
    assert len(worksheet.write(assess(), tmp_path / "plain")) == 4
    with pytest.raises(FileExistsError, match="'out' given, which exists"):
        worksheet.write(full(), tmp_path / "out")
    before = sorted(p.name for p in tmp_path.iterdir())

    def broken(path, text, **_):
        if path.name == "assessment.html":
            raise OSError("disk full")
        return len(text)

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        worksheet.write(full(), tmp_path / "half")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_text_that_cannot_be_made_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "to_hipaa_memo", lambda a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        worksheet.write(full(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# --- Risk --------------------------------------------------------------------------------------


def test_the_matrix_rises_in_both_directions():
    levels = [[GRADES.index(grade(s, k)) for k in (1, 2, 3, 4)] for s in (1, 2, 3, 4)]
    assert levels == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 2], [0, 1, 2, 2]]


def test_a_guarantee_and_what_was_measured_stand_side_by_side():
    promise = dict(delta=1e-5, unit="record", accountant="stated")
    ceilings = [findings.ceiling(rate(0.002, 0.0, 0.004, fpr=0.001, baseline=0.001, exchange=False,
                                      guarantee=worksheet.Guarantee(epsilon=e, **promise)))
                for e in (1.0, 3.0, 5.0, 8.0)]
    assert [c.ceiling for c in ceilings] == pytest.approx([0.0027, 0.0201, 0.1484, 0.9997],
                                                           abs=1e-4)
    assert [c.vacuous for c in ceilings] == [False, False, False, True]
    (found,) = full().ceilings
    assert found.reason.endswith("it counts twice, since one comes in where another goes out")
    assert found.gaussian_ceiling == pytest.approx(Normal.cdf(Normal.ppf(0.01) + 2.0))


@pytest.mark.parametrize(("exchange", "adjacency", "times"), [
    (False, "add or remove", 1), (True, "add or remove", 2), (True, "replace", 1)])
def test_an_exchange_counts_twice_what_adding_one_counts_once(exchange, adjacency, times):
    promise = worksheet.Guarantee(epsilon=0.5, delta=0.0, unit="record", accountant="stated",
                                  mu=0.7, adjacency=adjacency)
    found = findings.ceiling(rate(0.02, 0.01, 0.03, exchange=exchange, guarantee=promise))
    assert found.ceiling == pytest.approx(0.01 * math.exp(0.5 * times))
    assert found.gaussian_ceiling == pytest.approx(Normal.cdf(Normal.ppf(0.01) + 0.7 * times))


def test_certainty_follows_bayes():
    found = {c.prior: c.estimate for c in assess(rate(0.05, 0.04, 0.06, fpr=0.001,
                                                      baseline=0.001)).certainties}
    assert found == pytest.approx({0.01: 0.3356, 0.5: 0.9804}, abs=1e-4)


# --- Evidence of the studies -------------------------------------------------------------------

ROUNDS = evidence.load("11_membership_across_rounds")
EXACT = evidence.load("03_exact_leakage")


def enter(study, recorded, **changes):
    return worksheet.from_evidence(study, recorded, **{
        **dict(role="processor", metric="records read", attack="data reconstruction"), **changes})


def test_a_record_enters_with_its_numbers_defence_and_guarantee():
    recorded = ROUNDS["privacy_1.0_server_whitened_tpr"]
    found = enter("11", recorded, metric="true positive rate", attack="membership inference")
    assert (found.value, found.interval, found.baseline, found.fpr) == (
        recorded.value, recorded.interval, 0.01, 0.01)
    assert (found.artefact, found.defence) == ("update", recorded.defence)
    assert (found.guarantee.epsilon, found.guarantee.mu, found.guarantee.unit) == (
        pytest.approx(3.13867), 1.0, "record")
    assert not found.synthetic


def test_a_sum_is_one_under_secure_aggregation_of_so_many():
    found = enter("11", ROUNDS["looks_sum_whitened_tpr_10"], metric="true positive rate")
    assert (found.artefact, found.contributors, found.defence) == ("sum", 5, "secure aggregation")
    client = enter("11", ROUNDS["looks_client_whitened_tpr_10"], metric="true positive rate")
    assert (client.artefact, client.contributors) == ("difference", 4)


def test_one_measurement_may_stand_in_several_hands():
    a = assess(*(item(37, 100, artefact="update", role=role) for role in ("processor", "outsider")),
               judgements=[judgement("not personal data", artefact="update", role="outsider")])
    assert [cell.gate for cell in a.cells] == ["personal data by role", "presumed personal data"]
    assert worksheet.read(worksheet.to_markdown(a)) == a
    assert len(a.rulings[0].reasons) == 4, "three criteria, and no group worst hit"


def test_a_gain_may_be_negative_and_a_rate_may_not():
    recorded = evidence.load("12_hidden_attributes")[
        "patient_one_step_new_5_server_sex_whitened_strangers_gain"]
    found = enter("12", recorded, metric="attributes filled in", attack="property inference")
    assert found.interval[1] < 0
    assert assess(found).findings[0].status == "no failure seen"
    with pytest.raises(ValidationError, match="expected rates from 0 to 1"):
        enter("12", recorded, metric="records read")


def test_every_counted_share_of_the_course_can_enter():
    entered = 0
    for study in ("03_exact_leakage", "08_clinical_notes", "09_radiology_case_study"):
        for recorded in evidence.load(study).values():
            if recorded.trials and recorded.view and recorded.unit.startswith("share"):
                enter(study, recorded, artefact="update",
                      baseline=None if recorded.baseline is not None else 0.0)
                entered += 1
    assert entered > 200


def test_runs_that_all_agree_exclude_nothing():
    found = enter("10", evidence.load("10_membership")["heart_labels_only_tpr_1"],
                  metric="true positive rate", attack="membership inference")
    assert found.interval == (0.0, 0.0) and found.trials is None
    assert assess(found).findings[0].status == "no failure seen, too few trials"
    assert assess(found).risks[0].inherent_likelihood == 4


def test_a_guarantee_for_an_unknown_unit_is_refused():
    recorded = replace(ROUNDS["privacy_1.0_server_whitened_tpr"], privacy_unit="class")
    with pytest.raises(ValueError, match="a guarantee for 'class' given"):
        enter("11", recorded, metric="true positive rate")


@pytest.mark.parametrize(("name", "changes", "complaint"), [
    ("privacy_1.0_accuracy", {}, "names no observer"),
    ("looks_public_loss_tpr", dict(baseline=0.0), "expected exactly one of the two")])
def test_a_record_that_does_not_fit_is_named(name, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        enter("11", ROUNDS[name], **changes)


def test_the_lab_repeats_a_run_of_the_study():
    with promised_data():
        named = impact.named_under_noise(3, mu=1.0)
    assert named == pytest.approx(ROUNDS["privacy_1.0_server_whitened_tpr"].runs[3], abs=0.01)


def test_the_chart_marks_what_decides():
    ax = likelihood_chart({"a": (-0.1, 0.02, 0.3), "b": (0.4, 0.5, 0.6)}, (0.01, 0.05, 0.2),
                          title="Two rates")
    squares = [line for line in ax.lines if line.get_marker() == "s"]
    assert [float(line.get_xdata()[0]) for line in squares] == [0.3, 0.6]
    assert min(float(x) for line in ax.lines for x in line.get_xdata()) == 1e-3
    plt.close(ax.figure)
    with pytest.raises(ValueError, match=r"cuts: \(0.2, 0.1, 0.3\) given, expected three rising"):
        likelihood_chart({}, (0.2, 0.1, 0.3), title="None")


# --- Law, form ---------------------------------------------------------------------------------


def test_dates_are_those_of_the_law_pages():
    book = yaml.safe_load((ROOT / "book/law/dates.yml").read_text(encoding="utf-8"))
    held = {name: book["dates"][name]["date"] for name in
            ("ai_annex_i", "ehds_secondary", "ehds_genomes")}
    assert held == {"ai_annex_i": law.AI_ACT_DEVICES, "ehds_secondary": law.EHDS_SECONDARY,
                    "ehds_genomes": law.EHDS_GENOMES}
    assert book["as_of"] == law.AS_OF


def test_what_was_not_read_is_said_as_the_law_pages_say_it():
    sources = yaml.safe_load((ROOT / "book/law/dates.yml").read_text(encoding="utf-8"))["sources"]
    printed = {
        "EDPS v SRB paragraph 76": [("srb2025", "76")],
        "45 CFR 164.414": [("hipaa164402", "164.414")],
        "WP 248": [("wp248", "guidelines")], "45 CFR 160.103": [("hipaa160103", "160.103")],
        "AI Act 10 and Annex IV": [("aiact", "10"), ("aiact", "annex IV")]}
    marks = {name: {sources[s]["rules"][rule]["read"] for s, rule in places}
             for name, places in printed.items()}
    assert marks == ({name: {"second-hand"} for name in law.SECOND_HAND}
                     | {name: {"memory"} for name in law.FROM_MEMORY})
    for source, rules in (("edpb022026", ("15", "17", "36", "77", "79", "section 3.4")),
                          ("edpb282024", ("34", "43")), ("srb2025", ("77", "85"))):
        assert {sources[source]["rules"][rule]["read"] for rule in rules} == {"text"}


def test_an_assessment_says_what_it_rests_on_and_what_nobody_signed():
    said = " ".join(full().limits)
    assert "Measured on: REAL table, CC BY 4.0." in said
    assert "noise, epsilon 3 for a record; secure aggregation) is not checked" in said
    assert "02/2026 paragraph 79" in said and "apply from 2028-08-02" in said
    assert "Nobody signed the answers about the incident" in said
    signed = full(incident=incident(signed=appetite().signed))
    assert "Nobody signed" not in " ".join(signed.limits)
    assert worksheet.breach_facts(signed)["answers signed by"].startswith("A. Signatory")


def test_a_sheet_says_under_which_defence_a_rate_was_measured():
    for text in (worksheet.to_breach_sheet(full(incident=incident(us={}, artefact="sum"))),
                 worksheet.to_hipaa_memo(full(incident=incident(us={}, artefact="sum")))):
        assert "under secure aggregation" in text


def test_the_form_gives_back_what_it_started_from():
    start = context(defences=("noise",))
    assert form.context_form(start, defences=("noise", "secure aggregation")).read() == start


def test_the_form_asks_for_a_guarantee_and_keeps_what_it_does_not_ask():
    promise = worksheet.Guarantee(epsilon=3.0, delta=1e-3, unit="patient", accountant="GDP", mu=1.0,
                                  adjacency="replace")
    shown = form.context_form(context(guarantee=promise))
    assert shown.read().guarantee == promise
    shown.fields["epsilon"].value = 2.0
    assert shown.read().guarantee == promise.model_copy(update={"epsilon": 2.0, "mu": None})
    shown.fields["epsilon"].value = 0.0
    assert shown.read().guarantee is None
    shown.fields["epsilon"].value = -1.0
    with pytest.raises(ValidationError, match="epsilon"):
        shown.read()


def test_a_guarantee_is_printed_with_its_unit_and_a_weaker_one_in_force_is_named():
    weak = worksheet.Guarantee(epsilon=8.0, delta=1e-5, unit="record", accountant="stated")
    a = full(guarantee=weak)
    printed = "epsilon 8, delta 1e-05, for one record, one more or fewer, accountant: stated"
    assert printed in worksheet.to_markdown(a) and printed in worksheet.to_html(a)
    assert "epsilon 3, delta 0.001, for one record" in worksheet.to_html(a)
    assert "stronger guarantee than the one in force, and not counted for the risk: study:tpr" in (
        " ".join(a.limits))
    assert "stronger guarantee" not in " ".join(full().limits)
    assert "| none stated |" in worksheet.to_markdown(full())


def test_a_sum_at_a_processor_is_said_to_be_contested_and_an_update_is_not():
    for artefact, said in (("update", False), ("sum", True), ("released model", False)):
        a = assess(item(artefact=artefact, role="processor"))
        for text in (worksheet.to_markdown(a), worksheet.to_html(a)):
            assert (f"for a {artefact} that is prudence, and contested" in text) == said


def test_an_assessment_says_where_no_group_worst_hit_is_given():
    for worst, said in ((None, True), (0.005, False)):
        limits = " ".join(assess(*all_three(worst=worst)).limits)
        assert ("Where no group worst hit is given, a rate is a mean" in limits) == said
        assert "severity times likelihood, low to 4 of 16, high from 9" in limits


def test_the_form_says_what_is_wrong_and_what_came_out():
    shown = form.context_form(context(), defences=("noise",), done=lambda c: f"<{c.hospitals}>")
    *_, button, said = shown.box.children
    shown.fields["hospitals"].value = 7
    shown.fields["defences"].value = ("noise",)
    button.click()
    assert said.value == "<pre>&lt;7&gt;</pre>" and shown.read().defences == ("noise",)
    shown.fields["purpose"].value = "An anonymous <b>model</b>"
    button.click()
    assert "purpose: " in said.value and "<b>" not in said.value
