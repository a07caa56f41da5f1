r"""Secure aggregation: the server adds up masked updates and learns their sum alone.

Every two hospitals agree on a mask that one adds and the other subtracts, and each adds one of its
own: what it sends is uniform, and in the sum the masks between two cancel. If a hospital drops out,
the others hand out shares from which its masks are rebuilt; for one that is there, shares of its
own mask. So a late answer stays hidden, and so does the update of one that dropped out.

Against whom: an honest-but-curious server, alone or with fewer hospitals than the threshold, and
anyone on the network. Masks are bound to the hash of the model received, so a server that sends
different models (:mod:`leaklab.attacks.malicious_server.inconsistency`) learns noise. What else it
tells hospitals before they train belongs in ``Cohort.told``, or it could differ unseen.

What it does not defend against:

* the sum itself, and what it says of the records behind it: of two hospitals, each reads the other;
* a crafted model that all receive alike (:mod:`leaklab.attacks.malicious_server.imprint`);
* sums over changing sets of hospitals (:mod:`leaklab.attacks.disaggregation`);
* a server that invents hospitals, exchanges keys, or tells hospitals of different survivors: it
  takes signed keys and one more phase to stop that, as in section 6 of the paper;
* a hospital that sends nonsense, on purpose or not, or somebody on the way who changes what it
  sent: either spoils the round unseen, where in range; the second is what TLS is for;
* a server that lets a hospital mask twice in a round: a caller must not, see :func:`mask`.

``quantise``  whole numbers modulo 2^k     ``keys``      the cryptography, from libraries
``messages``  what is sent                 ``protocol``  the phases

A teaching implementation: not audited, no constant time, secrets are not wiped. Use none of it for
patients.

Sources: Bonawitz et al. (2017, doi:10.1145/3133956.3133982), the semi-honest protocol. Binding to
the model follows Pasquini et al. (2022, arXiv:2111.07380). Hashes of shares, by which an altered
one is named, and the range check of the sum are this package's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from leaklab.defences.secure_aggregation.keys import Secrets, draw_secrets
from leaklab.defences.secure_aggregation.messages import (
    Advert,
    Cohort,
    Masked,
    Opened,
    Revealed,
    Seat,
    Shares,
)
from leaklab.defences.secure_aggregation.protocol import (
    advertise,
    mask,
    open_sum,
    reveal,
    share,
    take_seat,
    unmask,
)
from leaklab.defences.secure_aggregation.quantise import Quantiser, RoundAborted, decode, encode
from leaklab.updates import State, Update

__all__ = ["secure_sum"]


def seats(cohort: Cohort) -> tuple[tuple[Advert, ...], tuple[Shares, ...], tuple[Seat, ...]]:
    """The first two phases in this process: what the server carried, and each hospital's seat."""
    drawn = {name: draw_secrets() for name in cohort.hospitals}
    adverts = tuple(advertise(name, own) for name, own in drawn.items())
    shares = tuple(share(cohort, name, own, adverts) for name, own in drawn.items())
    return adverts, shares, tuple(take_seat(cohort, name, own, adverts, shares)
                                  for name, own in drawn.items())


def secure_sum(updates: Sequence[Update], *, before: State | None = None, **settings) -> Opened:
    """A whole round in this process: what the server learns of ``updates``.

    ``before``: the model that the server moves by the mean, that of the first update by default.
    ``settings`` as in :func:`played`. Raises ``ValueError`` and :class:`RoundAborted` as the phases
    do.
    """
    cohort, *messages = played(updates, **settings)
    return open_sum(cohort, before or updates[0].before, *messages)


def played(
    updates: Sequence[Update], *, threshold: int | None = None, quantiser: Quantiser | None = None,
    bind_model: bool = True, absent: Sequence[str] = (),
) -> tuple[Cohort, tuple[Advert, ...], tuple[Shares, ...], list[Masked], list[Revealed]]:
    """All that the server holds before it takes off the masks.

    threshold
        See :class:`Cohort`; the smallest allowed by default.
    absent
        Hospitals that drop out after the keys are exchanged and send no masked update.
    """
    names = tuple(update.hospital for update in updates)
    cohort = Cohort(names, len(names) // 2 + 1 if threshold is None else threshold,
                    updates[0].round, quantiser or Quantiser(), bind_model)
    adverts, shares, places = seats(cohort)
    there = [(seat, update) for seat, update in zip(places, updates, strict=True)
             if seat.hospital not in absent]
    masked = [mask(seat, update) for seat, update in there]
    survivors = [answer.hospital for answer in masked]
    return cohort, adverts, shares, masked, [reveal(seat, survivors) for seat, _ in there]
