"""Why gradient inversion will fail or mislead, said before any search.

The commonest question to authors of such attacks is why nothing comes out of an update of one's
own. Mostly the attacker does not simulate the client that sent it: other weights, buffers that
were not sent, another mode, more steps. Then the search ends at a low loss with an image of
nobody. :func:`diagnose` reads a view and the model, and lists what it finds, worst first:

* ``blocks``: an attack cannot start, or there is nothing in the update to find;
* ``misleads``: an attack runs, its loss falls, and the answer is wrong;
* ``weakens``: expect less.

Threat model: it needs what the attacker has, the view and the model. A hospital can ask the same
before it sends anything; but nothing found promises no leak prevented, and something found no
safety: only attacks like those here are judged.

Thresholds were measured by the uplift of reconstructions over the mean image, on ``conv_net`` at 28
pixels with chest phantoms and handwritten digits; the figures stand beside each. They were then
tried on 40 random settings with real radiographs: where nothing but kinks was found the uplift was
9 to 76 dB (14 settings), where something blocked or misled at most 4.1 dB (19), local steps set
aside: a search that unrolls them kept 21 to 57 dB where nothing else was wrong.

Where it fails: what leaves no trace in a payload. The client's scaling of its inputs, a difference
taken the wrong way round, augmentation, and activations called as functions instead of layers.
"""

from __future__ import annotations

from torch import nn

from leaklab.attacks.diagnose.finding import SEVERITIES, Finding
from leaklab.attacks.diagnose.network import buffer_findings, layer_findings
from leaklab.attacks.diagnose.numbers import answer_findings, number_findings
from leaklab.attacks.diagnose.payload import (
    UNREADABLE,
    known_records,
    payload_findings,
    record_findings,
    training_findings,
)
from leaklab.updates import View

__all__ = ["diagnose", "report"]


def diagnose(
    model: nn.Module, view: View, *, input_shape: tuple[int, ...] | None = None,
    batch_size: int | None = None,
) -> tuple[Finding, ...]:
    """What stands in the way of inverting ``view``, worst first; empty where nothing was found.

    ``input_shape`` is that of one record, such as (1, 28, 28). Without it nothing is asked of the
    model, and what depends on its answers or on the number of pixels is not judged.
    ``batch_size`` is the number of records; it defaults to the number of known labels, or to what
    the hospital's number of examples and its batches imply.

    Raises nothing on account of the view: what is wrong with it is the finding. ``model`` is left
    unchanged, and the same view gives the same findings.
    """
    records = batch_size or known_records(view)
    found = [*payload_findings(model, view), *training_findings(view, records),
             *record_findings(view, records), *layer_findings(model, view)]
    if not UNREADABLE & {finding.code for finding in found}:
        found += [*buffer_findings(model, view),
                  *number_findings(model, view, input_shape, records)]
        if input_shape is not None:
            found += answer_findings(model, view, input_shape, records)
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def report(findings: tuple[Finding, ...]) -> str:
    """The findings as text, two lines each: what was found, and what to try."""
    if not findings:
        return "Nothing found that stands in the way. Compare with the mean image all the same."
    return "\n".join(f"{f.severity:<9}{f.code}: {f.sentence}\n{'':9}-> {f.remedy}"
                     for f in findings)
