"""The risk of illegitimate access to data, in the format that CNIL's PIA software imports.

The software keeps answers under the numbers of its questions. Those of illegitimate access are
321 (impacts), 322 (threats), 323 (sources), 324 (measures), 325 (severity) and 326 (likelihood);
its gauges run from 1 to 4 as ours do. The format was read off an example in the software's public
repository (LINCnil/pia, cypress/fixtures/pia.json); the import itself has not been tried.
"""

from __future__ import annotations

from leaklab.assess.worksheet.assessment import Assessment
from leaklab.assess.worksheet.risk import LEVELS

IMPACTS, THREATS, SOURCES, MEASURES, SEVERITY, LIKELIHOOD = range(321, 327)


def to_cnil_pia(assessment: Assessment) -> dict:
    """The document to import. A likelihood that nobody measured is left unset."""
    context = assessment.inputs.context
    rated = [risk.residual_likelihood for risk in assessment.risks
             if risk.residual_likelihood is not None]
    unrated = [risk.role for risk in assessment.risks if risk.residual_likelihood is None]
    likelihood = max(rated) if rated and not unrated else None
    threats = [f"{item.attack} on {item.artefact}: {item.statement} ({item.id})"
               for item in assessment.inputs.evidence]
    words = (f"{LEVELS[likelihood]}: residual, the largest over all hands" if likelihood else
             f"not set: no rate was measured for {', '.join(unrated) or 'anybody'}")
    answers = [
        _answer(IMPACTS, items=[context.severity.reason]),
        _answer(THREATS, items=threats),
        _answer(SOURCES, items=list(dict.fromkeys(i.role for i in assessment.inputs.evidence))),
        _answer(MEASURES, items=list(context.defences)),
        _answer(SEVERITY, text=context.severity.reason, gauge=context.severity.level),
        _answer(LIKELIHOOD, text=words, gauge=likelihood),
    ]
    return {
        "pia": {"id": 1, "status": 0, "is_example": 0, "is_archive": 0, "name": context.name,
                "category": "Federated learning", "author_name": "", "evaluator_name": "",
                "validator_name": "", "structure_id": ""},
        "answers": [{"id": k, **answer} for k, answer in enumerate(answers, start=1)],
        "measures": [{"id": k, "pia_id": 1, "title": name, "content": ""}
                     for k, name in enumerate(context.defences, start=1)],
        "evaluations": [], "comments": [],
    }


def _answer(question: int, *, text: str | None = None, gauge: int | None = None,
            items: list[str] | None = None) -> dict:
    return {"pia_id": 1, "reference_to": question,
            "data": {"text": text, "gauge": gauge, "list": items or []}}
