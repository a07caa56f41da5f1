r"""Defences in layers: what each observer of a federation is still allowed to learn of one patient.

Noise is made in one of three places, and secure aggregation hides who sent what. Everything an
observer sees is then a Gaussian mechanism on the patient's clipped gradients, and the only question
is how much noise that observer cannot take away. :func:`exposure` answers in :math:`\mu`: 0 is
nothing, infinity is no bound at all. A stack *holds* against an observer where its exposure is at
most the :math:`\mu` that it was made for.

The three tiers of chapter 18: what is finite is proven, given the trust that :func:`rests_on`
names, in a server, in hospitals or in cryptography; noise at each hospital needs none. Where the
answer is infinite, what protects is a heuristic, or hiding among others, and no theorem. Nothing
here is measured: what a stack costs in accuracy is for a study to say.

Counted: K hospitals that each take part in every round; observers on their own, of whom a client
knows its own noise. Hospitals that side with the server take their shares away: up to ``colluding``
of them leave it ``mu`` at most. Not counted: what leaves the federation another way, such as losses
or run times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

OBSERVERS = ("eavesdropper", "server", "active server", "client", "public")
PLACES = ("nowhere", "server", "shares", "hospital")


@dataclass(frozen=True)
class Stack:
    """What a federation does, layer by layer.

    name
        To print.
    noise
        Where it is made: ``"nowhere"``; by the ``"server"`` on the mean (central); as ``"shares"``
        by the hospitals, so that their sum has enough; by each ``"hospital"`` enough for itself.
    secure
        Secure aggregation: the server opens the sum and nothing else.
    bound
        Masks depend on the model that each hospital was sent, so that another model for one of
        them opens nothing.
    encrypted
        Transport is under TLS.
    colluding
        Hospitals whose shares of the noise are not counted on.

    Raises ``ValueError`` for another place, or fewer than 0 colluding.
    """

    name: str
    noise: str = "nowhere"
    secure: bool = False
    bound: bool = False
    encrypted: bool = True
    colluding: int = 0

    def __post_init__(self):
        if self.noise not in PLACES:
            raise ValueError(f"noise: {self.noise!r} given, expected one of {PLACES}")
        if self.colluding < 0:
            raise ValueError(f"colluding: {self.colluding} given, expected 0 or more")


STACKS = (
    Stack("plain line", encrypted=False),
    Stack("TLS"),
    Stack("TLS, secure sum", secure=True, bound=True),
    Stack("TLS, noise at the server", "server"),
    Stack("TLS, secure sum, shares of noise", "shares", secure=True, bound=True, colluding=1),
    Stack("TLS, noise at each hospital", "hospital"),
)
"""From nothing to noise that needs no trust; shares allow for one hospital that keeps its own."""


def noise_in_sum(stack: Stack, hospitals: int) -> float:
    r"""Standard deviation of all noise in the sum, in units of what :math:`\mu` needs: its price.

    0 without noise, 1 at the server, :math:`\sqrt{K/(K - c)}` in shares and :math:`\sqrt K` at each
    hospital. Raises ``ValueError`` where no hospital's share is counted on.
    """
    _require_hospitals(stack, hospitals)
    return {"nowhere": 0.0, "server": 1.0,
            "shares": math.sqrt(hospitals / max(1, hospitals - stack.colluding)),
            "hospital": math.sqrt(hospitals)}[stack.noise]


def share_of_noise(stack: Stack, hospitals: int) -> float:
    """Standard deviation of what one hospital adds itself, in the same units."""
    alone = noise_in_sum(stack, hospitals) / math.sqrt(hospitals)
    return 0.0 if stack.noise == "server" else alone


def exposure(stack: Stack, observer: str, *, mu: float, hospitals: int) -> float:
    r"""How much ``observer`` may learn of one patient under ``stack`` made for ``mu``, as a mu.

    *eavesdropper*: nothing under TLS, else what the server receives. *server*: single updates, or
    their sum. *active server*: the same noise, but of a sum it may silence everyone else, which
    matters only where there is no noise to silence; bound masks do not change a proof. *client*:
    the mean less its own part and its own noise. *public*: the mean.

    Infinity where nothing is proven. Raises ``ValueError`` for an unknown observer, a mu that is
    not above 0, or too few hospitals.
    """
    if observer not in OBSERVERS:
        raise ValueError(f"observer: {observer!r} given, expected one of {OBSERVERS}")
    if not mu > 0:
        raise ValueError(f"mu: {mu} given, expected a number above 0")
    _require_hospitals(stack, hospitals)
    if observer == "eavesdropper" and stack.encrypted:
        return 0.0
    total, own = noise_in_sum(stack, hospitals), share_of_noise(stack, hospitals)
    left = {"public": total, "client": math.sqrt(max(0.0, total**2 - own**2))}.get(observer)
    if left is None:  # what reaches the server, before it adds anything
        left = math.sqrt(hospitals) * own if stack.secure else own
    return mu / left if left > 0 else math.inf


def rests_on(stack: Stack, observer: str) -> str:
    """Whom or what a finite :func:`exposure` has to trust, beside a hospital's own noise, in words.

    ``"nobody"`` where that noise is all it takes, and ``"nothing is proven"`` where it is infinite.
    Raises ``ValueError`` for an unknown observer.
    """
    if exposure(stack, observer, mu=1.0, hospitals=stack.colluding + 2) == math.inf:
        return "nothing is proven"
    if observer == "eavesdropper" and stack.encrypted:
        return "the cryptography of TLS"
    others = f"all hospitals' noise but {stack.colluding}"
    inside = observer not in ("client", "public") and stack.secure
    return {"server": "the server's noise", "hospital": "nobody",
            "shares": f"the secure sum, {others}" if inside else others}[stack.noise]


def exposures(mu: float, hospitals: int) -> dict[str, dict[str, float]]:
    """What each of :data:`STACKS`, made for ``mu``, leaves each of :data:`OBSERVERS`, by name."""
    return {stack.name: {observer: exposure(stack, observer, mu=mu, hospitals=hospitals)
                         for observer in OBSERVERS} for stack in STACKS}


def holds(stack: Stack, observer: str, *, mu: float, hospitals: int) -> bool:
    """Whether ``observer`` may learn no more than ``mu``."""
    return exposure(stack, observer, mu=mu, hospitals=hospitals) <= mu * (1 + 1e-9)


def cheapest(observer: str, *, mu: float, hospitals: int) -> Stack | None:
    """The stack of :data:`STACKS` with the least noise that holds; ``None`` where none does.

    Of stacks with equal noise the first, which asks for the least else. Noise is the only price
    here: trust (:func:`rests_on`), keys and traffic are not counted.
    """
    able = [stack for stack in STACKS if holds(stack, observer, mu=mu, hospitals=hospitals)]
    return min(able, key=lambda stack: noise_in_sum(stack, hospitals)) if able else None


def _require_hospitals(stack: Stack, hospitals: int) -> None:
    if hospitals < 2 or hospitals <= stack.colluding:
        raise ValueError(f"hospitals: {hospitals} given, expected 2 or more, and more than the "
                         f"{stack.colluding} that collude")
