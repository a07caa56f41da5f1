r"""The privacy budget of DP-SGD: what was spent over all rounds, and what it adds up to.

A history is a tuple of :class:`Spent`, which :func:`spend` extends; it is what Opacus' accountants
keep, as a value. An accountant that is made anew in each round, as one inside an engine easily is,
forgets all rounds before and reports too small an epsilon.

Accountants take each unit to be drawn by a coin of its own in each step. For batches cut from a
shuffled list they promise too much (:mod:`leaklab.attacks.sampler_audit` shows it).
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

__all__ = ["Spent", "epsilon", "noise_for"]

ACCOUNTANTS = ("prv", "rdp")
"""Opacus' accountants that never promise too much; its third, ``gdp``, is an approximation that
does."""


class Spent(NamedTuple):
    """So many steps at one noise and one rate: an entry in the history of Opacus' accountants.

    ``noise_multiplier`` is the standard deviation of the noise over the clipping norm,
    ``sample_rate`` the chance of a unit to be in a batch.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int


History = tuple[Spent, ...]


def spend(history: History, spent: Spent) -> History:
    """``history`` and one round more; rounds alike become one entry."""
    if history and history[-1][:2] == spent[:2]:
        return (*history[:-1], spent._replace(steps=history[-1].steps + spent.steps))
    return (*history, spent)


def epsilon(history: History, delta: float, *, units: int, accountant: str = "prv") -> float:
    r"""The epsilon at ``delta`` of all steps in ``history``, for adding or removing one unit.

    ``accountant`` is ``"prv"`` (Gopi, Lee and Wutschitz, 2021, arXiv:2106.02848; within 0.01, from
    above) or ``"rdp"`` (Mironov, 2017, arXiv:1702.07476; at once, and larger). Nothing spent is 0,
    no noise infinity. ``units`` is how many there are, taken for public: a ``delta`` of
    :math:`1/n` would allow to publish one unit as it is, and is refused; to be of use it lies far
    below. To exchange one unit for another is two changes, of twice the norm.

    Raises ``ValueError`` that names the argument.
    """
    if units < 1:
        raise ValueError(f"units: {units} given, expected 1 or more")
    if not 0 < delta < 1 / units:
        raise ValueError(f"delta: {delta} given, expected a number above 0 and below 1/{units}, "
                         "one over the number of units")
    if accountant not in ACCOUNTANTS:
        raise ValueError(f"accountant: {accountant!r} given, expected one of {ACCOUNTANTS}")
    for spent in history:
        if not (spent[0] >= 0 and 0 < spent[1] <= 1 and spent[2] >= 1):
            raise ValueError(f"history: {tuple(spent)} given, expected noise of 0 or more, a rate "
                             "above 0 and at most 1, and 1 step or more")
    if not history:
        return 0.0
    if min(spent.noise_multiplier for spent in history) == 0:
        return math.inf
    from opacus.accountants import create_accountant

    counting = create_accountant(accountant)
    counting.history = [tuple(spent) for spent in history]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return float(counting.get_epsilon(delta))


def noise_for(
    target_epsilon: float, delta: float, *, units: int, sample_rate: float, steps: int,
    accountant: str = "rdp", precision: float = 0.01,
) -> float:
    """The smallest noise multiplier whose epsilon is ``target_epsilon`` at most.

    Above it by no more than the share ``precision``. Arguments as of :func:`epsilon`. Raises
    ``ValueError`` for a target that is not above 0, or that noise of 1,000 does not reach.
    """
    def spent(noise: float) -> float:
        return epsilon((Spent(noise, sample_rate, steps),), delta, units=units,
                       accountant=accountant)

    low, high = 0.0, 1.0
    while high <= 1000 and spent(high) > target_epsilon:
        low, high = high, 2 * high
    if not target_epsilon > 0 or high > 1000:
        raise ValueError(f"target_epsilon: {target_epsilon} given, expected a number above 0 that "
                         "noise of 1,000 reaches")
    while high - low > precision * high:
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= target_epsilon else (middle, high)
    return high
