"""An audit as JSON, for machines."""

from __future__ import annotations

import json
from dataclasses import asdict

import leaklab
from leaklab.assess.audit.appetite import Verdict
from leaklab.assess.audit.findings import findings, gaps
from leaklab.assess.audit.running import Audit

SCHEMA = 1


def to_json(audit: Audit, verdict: Verdict | None = None) -> str:
    """The audit without its pictures; the same audit gives the same bytes."""
    training = asdict(audit.federation.training)
    document = {
        "schema": SCHEMA, "leaklab": leaklab.__version__, "model": audit.model,
        "parameters": audit.parameters, "kind": audit.kind, "records": audit.records,
        "seed": audit.seed, "effort": asdict(audit.effort),
        "federation": {"hospitals": audit.federation.hospitals,
                       "batch_sizes": list(audit.federation.batch_sizes), "training": training},
        "warnings": list(audit.warnings),
        "diagnosis": [asdict(finding) for finding in audit.diagnosis],
        "findings": list(findings(audit)), "not_measured": list(gaps(audit)),
        "results": [asdict(result) | {"above": result.above} for result in audit.results],
        "verdict": None if verdict is None else asdict(verdict),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
