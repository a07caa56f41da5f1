"""A server that crafts the model it sends, so that the updates give their records away.

``imprint``        sorts the records of a batch into bins of one measurement
``trap_weights``   dense weights so that each neuron fires for few records, at best for one
``inconsistency``  one hospital is sent the model, the others a dead one: their sum is one update
``readout``        which of the answers are records, known without the truth

Threat model: an active server, alone or behind secure aggregation. It chooses the model, follows
the protocol in everything else, and attacks with what any server sees. What a hospital can check
before it answers is in :mod:`leaklab.defences.detectors`. Each module follows the paper it names,
and none is fitted to pass those checks. All is simulated in one process: nothing here speaks to a
federation.

Nothing here searches, so there is no budget of evaluations to set: an answer is a difference and a
quotient, and the certificate runs the model once on each.
"""

from __future__ import annotations

from leaklab.updates import Observer

ACTIVE_SERVER_BEHIND_SECURE_AGGREGATION = Observer(
    "server behind secure aggregation", active=True)
