"""The worksheet: measured leakage, a described context and signed thresholds give an assessment.

    assessment = assess(context, evidence, appetite, incident, judgements)
    write(assessment, "assessment")

It turns attack results into findings with limits. It sets no threshold of its own: those are the
controller's, with a reason and a signature. It draws no conclusion of law: a person signs those,
and the worksheet refuses what the trials cannot carry. Where a fact is missing it takes the graver
branch. The law is as of November 2026, drafts are called drafts, and part of the pinpoints was
checked second-hand; the book's law pages say which.

Needs the extra ``leaklab[assess]``.
"""

from leaklab.assess.worksheet.assessment import Assessment, Inputs, assess, assess_inputs
from leaklab.assess.worksheet.cnil import to_cnil_pia
from leaklab.assess.worksheet.export import (
    breach_facts,
    read,
    schema,
    to_breach_sheet,
    to_hipaa_memo,
    to_html,
    to_json,
    to_markdown,
    write,
)
from leaklab.assess.worksheet.findings import trials_needed, upper_limit
from leaklab.assess.worksheet.inputs import (
    Appetite,
    Context,
    EvidenceItem,
    FourFactors,
    Group,
    Guarantee,
    Incident,
    Judgement,
    Severity,
    Signature,
    UsIncident,
)
from leaklab.assess.worksheet.intake import from_evidence

__all__ = [
    "Appetite", "Context", "EvidenceItem", "Incident", "Judgement", "Severity", "Signature",
    "assess", "from_evidence", "read", "write",
]
