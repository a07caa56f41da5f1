"""Assessments as files: JSON, Markdown and a printable page that can be read back, and drafts.

    to_json, to_markdown, to_html    the assessment; ``read`` takes any of the three
    breach_facts, to_breach_sheet    facts for a notification, with blanks for what nobody measured
    to_hipaa_memo                    the four factors, with a line for a signature
    to_cnil_pia                      the risk of illegitimate access, for CNIL's PIA software
    write                            all of them into a new folder, or nothing

Reading assesses the inputs anew and refuses a file whose answers are not what its inputs give.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from datetime import datetime
from functools import partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leaklab.assess.worksheet import law
from leaklab.assess.worksheet.assessment import Assessment, assess_inputs
from leaklab.assess.worksheet.cnil import to_cnil_pia
from leaklab.assess.worksheet.incidents import Duty
from leaklab.assess.worksheet.inputs import EvidenceItem, Guarantee
from leaklab.assess.worksheet.wording import forbidden

MOST_BYTES = 10_000_000
"""No file larger than this is read."""
EMBEDDED = (re.compile(r'<script type="application/json" id="assessment">(.*?)</script>', re.S),
            re.compile(r"^```json assessment\n(.*?)^```$", re.S | re.M))
ASKED = {
    "true positive rate": "members recognised by someone who holds their record, with false "
                          "alarms on {} of others",
    "records matched": "records matched to their person", "labels read": "diagnoses or other "
    "labels read", "attributes filled in": "missing fields filled in",
    "AUC": "chance that a member ranks above a stranger", "similarity": "likeness of pictures"}
"""Metrics in words, where their names are not words."""
SPECIAL = re.compile(r"([\\`*_\[\]|<>&~$#]|^[-+](?=\s)|(?<=^\d)[.)]|(?<=^\d\d)[.)])")


def to_json(assessment: Assessment) -> str:
    """The assessment under its published schema, ``assessment.schema.json`` of this package."""
    return checked(json.dumps(assessment.model_dump(mode="json"), indent=1, ensure_ascii=False)
                   + "\n")


def read(text: str) -> Assessment:
    """The assessment in JSON, or inside a page or a Markdown file that was written here.

    Raises ``ValueError`` for a text that is too long, holds no assessment or not exactly one, does
    not fit the schema, or gives other answers than its inputs do.
    """
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"text: {len(text.encode())} bytes given, expected at most {MOST_BYTES}")
    body = text
    if not text.lstrip().startswith("{"):
        bodies = [found for pattern in EMBEDDED for found in pattern.findall(text)]
        if len(bodies) != 1:
            raise ValueError(f"text: {len(bodies)} assessments found, expected one")
        body = bodies[0]
    given = Assessment.model_validate_json(body)
    anew = assess_inputs(given.inputs)
    if anew != given:
        differ = [name for name in Assessment.model_fields
                  if getattr(anew, name) != getattr(given, name)]
        raise ValueError(f"text: {differ} given, expected what the inputs give; assess them anew "
                         "to see it")
    return given


def to_markdown(assessment: Assessment) -> str:
    """The assessment to read and to keep under version control, its JSON at the end."""
    return _render("assessment.md", a=assessment, embedded=to_json(assessment))


def to_html(assessment: Assessment) -> str:
    """One page to print, in one file that loads nothing; its JSON is inside, not shown."""
    embedded = to_json(assessment)
    for character in "<>&":  # no text can end the element that holds it
        embedded = embedded.replace(character, f"\\u{ord(character):04x}")
    return _render("assessment.html", a=assessment, embedded=Markup(embedded))


def breach_facts(assessment: Assessment) -> dict[str, str | None]:
    """What GDPR 33(3) asks for, as far as the inputs tell; ``None`` is for a person to fill in.

    Raises ``ValueError`` for an assessment without an incident.
    """
    context, incident = assessment.inputs.context, assessment.inputs.incident
    if incident is None:
        raise ValueError("assessment: no incident given, expected one")
    seen = [f"{_asked(item)}: {_rate(item)}, without it {_bare(item)}; {item.statement} [{item.id}"
            + (f", under {item.defence}]" if item.defence else "]")
            for item in _on(assessment, incident.artefact)]
    signed = incident.signed
    return {
        "33(3)(a) nature of the breach": incident.what,
        "33(3)(a) categories of people": ", ".join(context.subjects),
        "33(3)(a) categories of data": ", ".join(context.categories),
        "33(3)(a) people, about": None if incident.people is None else str(incident.people),
        "33(3)(a) records, about": None,
        "33(3)(b) contact point": None,
        "33(3)(c) likely consequences": None,
        "33(3)(c) measured on this artefact": " / ".join(seen) or "nothing",
        "33(3)(d) measures taken or proposed": None,
        "33(3)(d) defences in force": ", ".join(context.defences) or "none",
        "33(1) aware at": incident.aware_at.isoformat(),
        "33(1) reasons, if later than 72 hours": None,
        "answers signed by": f"{signed.name}, {signed.capacity}, {signed.on}" if signed else
                             "nobody",
        "controllers": ", ".join(context.controllers),
        "processors": ", ".join(context.processors) or "none",
    }


def to_breach_sheet(assessment: Assessment) -> str:
    """A draft fact sheet for a notification, in Markdown: facts and blanks, no conclusion."""
    return _render("breach.md", a=assessment, facts=breach_facts(assessment))


def to_hipaa_memo(assessment: Assessment) -> str:
    """A draft memo under 45 CFR 164.402(2), in Markdown, that a person completes and signs.

    Raises ``ValueError`` for an assessment without an incident under United States law.
    """
    if assessment.hipaa is None:
        raise ValueError("assessment: no incident with `us` given, expected one")
    return _render("hipaa.md", a=assessment,
                   measured=_on(assessment, assessment.inputs.incident.artefact))


def write(assessment: Assessment, folder: str | os.PathLike) -> tuple[Path, ...]:
    """Write every export that applies into the new ``folder``; return the files.

    All texts are made before the first is written, into a folder beside it that is renamed at the
    end: there is never half an assessment. Raises ``FileExistsError`` where ``folder`` exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"folder: {folder.name!r} given, which exists; expected a new one")
    texts = {"assessment.json": to_json(assessment), "assessment.md": to_markdown(assessment),
             "assessment.html": to_html(assessment), "cnil_pia.json": checked(json.dumps(
                 to_cnil_pia(assessment), indent=1, ensure_ascii=False) + "\n")}
    if assessment.inputs.incident is not None:
        texts["breach_facts.md"] = to_breach_sheet(assessment)
    if assessment.hipaa is not None:
        texts["hipaa_memo.md"] = to_hipaa_memo(assessment)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")
        os.chmod(part, 0o755)  # mkdtemp keeps it to its owner
        os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return tuple(folder / name for name in texts)


def checked(text: str) -> str:
    """``text``, or ``ValueError`` where it holds a word that the worksheet never prints."""
    if found := forbidden(text):
        raise ValueError(f"text: {found} in an export, expected none of these words")
    return text


def schema() -> dict:
    """The JSON Schema of :func:`to_json`, as shipped in ``assessment.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema",
            **Assessment.model_json_schema(mode="serialization")}


# --- Templates --------------------------------------------------------------------------------


def _escaped(value: object) -> str:
    """A value as plain words in Markdown: no markup, no cell of a table, no HTML."""
    return SPECIAL.sub(r"\\\1", str(value))


def _share(value: float | None) -> str:
    """A rate in percent, to a digit that means something."""
    if value is None:
        return "not measured"
    percent = 100 * value
    return f"{percent:.1f} %" if abs(percent) >= 1 or percent == 0 else f"{percent:.2g} %"


def _rate(item: EvidenceItem) -> str:
    low, high = item.interval
    if item.metric in ("AUC", "similarity"):
        return f"{item.value:.3g} ({low:.3g} to {high:.3g})"
    return f"{_share(item.value)} ({_share(low)} to {_share(high)})"


def _asked(item: EvidenceItem) -> str:
    """What the rate counts, for a reader who knows no metric by its name."""
    said = ASKED.get(item.metric, item.metric)
    return said.format(_share(item.fpr)) if item.metric == "true positive rate" else said


def _on(assessment: Assessment, artefact: str) -> list[EvidenceItem]:
    """The measurements on ``artefact``, each once, in however many hands it stands."""
    return list({i.id: i for i in assessment.inputs.evidence if i.artefact == artefact}.values())


def _promise(guarantee: Guarantee) -> str:
    how = {"add or remove": "one more or fewer", "replace": "one in another's place"}
    return (f"epsilon {guarantee.epsilon:.3g}, delta {guarantee.delta:.2g}, for one "
            f"{guarantee.unit}, {how[guarantee.adjacency]}, accountant: {guarantee.accountant}")


def _bare(item: EvidenceItem) -> str:
    plain = item.metric in ("AUC", "similarity")
    return f"{item.baseline:.3g}" if plain else _share(item.baseline)


def _due(duty: Duty) -> str:
    if duty.due is None:
        return "no fixed date"
    return f"by {duty.due:%Y-%m-%d %H:%M} UTC" if isinstance(duty.due, datetime) else (
        f"by {duty.due}")


def _render(template: str, **values: object) -> str:
    page = template.endswith(".html")
    environment = Environment(
        loader=PackageLoader("leaklab.assess.worksheet", "templates"), undefined=StrictUndefined,
        autoescape=page, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"asked": _asked, "promise": _promise, "md": _escaped, "share": _share,
                            "due": _due, "rate": _rate, "bare": _bare,
                            "zip_with": partial(zip, strict=True)}
    text = environment.get_template(template).render(as_of=law.AS_OF, **values)
    return checked(text)
