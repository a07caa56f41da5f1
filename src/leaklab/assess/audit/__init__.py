"""Point the attacks of the course at a model of your own, before a federation trains it.

    found = audit(model, loss, Batch(inputs, targets), federation=Federation(hospitals=5))
    print("\\n".join(findings(found)))

Rounds are played with records that the auditor holds; every artefact that leaves a hospital is
attacked by all that fits, as each observer could; every figure stands beside that of a guess
without the artefact. On the command line: ``leaklab audit --help``.

Threat model: passive observers who know the model, how hospitals train, and records of the same
kind. What a server does that sends a changed model (:mod:`leaklab.attacks.malicious_server`), what
adds up over many rounds, and attackers with more computing time are not tried. No finding is no
safety: only the attacks listed were run, with the budget given.
"""

from leaklab.assess.audit.findings import findings
from leaklab.assess.audit.inputs import KINDS, Batch, Effort, Federation
from leaklab.assess.audit.running import Audit, Result, audit

__all__ = ["Audit", "Batch", "Effort", "Federation", "Result", "audit", "findings"]
