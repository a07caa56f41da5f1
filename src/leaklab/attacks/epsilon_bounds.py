r"""What guesses about canaries prove about epsilon: lower bounds that hold at their stated level.

A mechanism that is :math:`(\varepsilon, \delta)`-differentially private lets nobody tell, better
than that allows, who was in the data. Turned round: whoever guesses well has shown that
:math:`\varepsilon` is not small. Each bound here is wrong, that is above the truth, in at most
``1 - level`` of the audits, provided that what it was computed from was fixed in advance: the
number of guesses, the threshold, ``delta``. To try several and report the best is to bet on every
horse.

* One run, many canaries: Steinke, Nasr and Jagielski, Privacy Auditing with One (1) Training Run
  (NeurIPS 2023, arXiv:2305.08846), for any mechanism; Mahloujifar, Melis and Chaudhuri, Auditing
  f-Differential Privacy in One Run (ICML 2025, arXiv:2410.22235), tighter, for a mechanism whose
  trade-off curve is that of a Gaussian.
* Many runs, one canary: exact binomial limits of the two error rates (Jagielski, Ullman and Oprea
  2020, arXiv:2006.07709), and the same under a Gaussian trade-off curve (Nasr et al. 2023,
  arXiv:2302.07956).

The bounds in mu are of Gaussian differential privacy (Dong, Roth and Su 2019, arXiv:1905.02383):
they assume what the mechanism claims, that its curve is Gaussian, and bound how noisy it can be.
Where that is not so (sampled batches, few steps) only the bounds in epsilon are proofs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, expit, ndtr, ndtri
from scipy.stats import binom

LARGEST = 64.0
"""No bound is searched beyond; at 64, every guess is as good as right."""


# --- One run, many canaries -------------------------------------------------------------------


def one_run_p_value(correct: int, guesses: int, canaries: int, epsilon: float,
                    delta: float) -> float:
    r"""How likely a mechanism of :math:`(\varepsilon, \delta)` lets so many guesses be right.

    Of ``canaries``, each in the data by a fair coin of its own, ``guesses`` were guessed at, in or
    out, and ``correct`` of the guesses are right. At ``delta`` 0 this is the upper tail of a
    binomial distribution with :math:`e^\varepsilon / (1 + e^\varepsilon)`; else the paper's
    correction for ``delta`` is added. An upper limit of the probability; infinite ``epsilon``
    gives 1. Source: Steinke et al. (2023), theorem 5.2 and appendix D.
    """
    _check_guesses(correct, guesses, canaries)
    _check_delta(delta)
    right = expit(epsilon)
    tail = binom.sf(correct - 1, guesses, right)
    steps = np.arange(1, correct + 1)
    # P[correct - i <= correct guesses < correct] / i, at its largest
    below = np.cumsum(binom.pmf(correct - steps, guesses, right)) / steps
    return float(min(tail + 2 * canaries * delta * below.max(initial=0), 1))


def one_run_epsilon(correct: int, guesses: int, canaries: int, *, delta: float,
                    level: float = 0.95) -> float:
    """The largest epsilon that so many correct guesses reject: a lower bound of the true one.

    0 where nothing is rejected. Arguments as of :func:`one_run_p_value`; ``guesses`` must have
    been fixed in advance. Raises ``ValueError`` that names the argument for counts that cannot be,
    a ``delta`` outside [0, 1) or a ``level`` outside (0, 1).
    """
    _check_level(level)

    def excess(epsilon):
        return one_run_p_value(correct, guesses, canaries, epsilon, delta) - (1 - level)

    return _last_rejected(excess)


def one_run_mu(correct: int, guesses: int, canaries: int, *, level: float = 0.95) -> float:
    """The same for a Gaussian mechanism: a lower bound of its mu.

    :func:`leaklab.bounds.epsilon_of` turns it into one of epsilon. Source: Mahloujifar et al.
    (2025), algorithm 3 with abstention, for two possible guesses.
    """
    _check_guesses(correct, guesses, canaries)
    _check_level(level)
    low, high = 0.0, LARGEST
    for _ in range(4):  # each time, the 32nd part of the interval
        grid = np.linspace(low, high, 33)
        rejected = _rejected(grid, correct, guesses, canaries, 1 - level)
        first = 33 if rejected.all() else int(rejected.argmin())
        if first in (0, 33):
            return low if first == 0 else high
        low, high = grid[first - 1], grid[first]
    return float(low)


def _rejected(mu: np.ndarray, correct: int, guesses: int, canaries: int,
              alpha: float) -> np.ndarray:
    right = np.full(mu.shape, alpha * correct / canaries)
    wrong = np.full(mu.shape, alpha * (guesses - correct) / canaries)
    for i in range(correct - 1, -1, -1):
        larger = np.maximum(wrong, ndtr(ndtri(right) - mu))
        right = np.minimum(right + i / (guesses - i) * (larger - wrong), 1)
        wrong = larger
    return right + wrong > guesses / canaries


# --- Many runs, one canary --------------------------------------------------------------------


class ManyRuns(NamedTuple):
    """Lower bounds from many runs: of epsilon for any mechanism, of mu for a Gaussian one."""

    epsilon: float
    mu: float


def many_run_bounds(false_alarms: int, without: int, misses: int, within: int, *, delta: float,
                    level: float = 0.95) -> ManyRuns:
    r"""From the errors of one test of whether a canary was in the data.

    ``false_alarms`` of the ``without`` runs that lacked the canary were called to have it, and
    ``misses`` of the ``within`` runs that had it were not. With upper limits :math:`a, b` of the
    two error rates, each at half of ``1 - level`` (Clopper and Pearson):
    :math:`\varepsilon \ge \log((1 - \delta - a)/b)`, likewise with the two exchanged, and
    :math:`\mu \ge \Phi^{-1}(1 - a) - \Phi^{-1}(b)`. Both are 0 where nothing is shown.

    The test's threshold must come from other runs. Raises ``ValueError`` that names the argument.
    """
    _check_delta(delta)
    _check_level(level)
    for name, errors, runs in (("false_alarms", false_alarms, without),
                               ("misses", misses, within)):
        _require(0 <= errors <= runs and runs >= 1,
                 f"{name}: {errors} of {runs} given, expected 0 to {runs} of at least one run")
    a = upper_limit(false_alarms, without, (1 - level) / 2)
    b = upper_limit(misses, within, (1 - level) / 2)
    ratios = [(1 - delta - one) / other for one, other in ((a, b), (b, a))]
    return ManyRuns(max(0.0, *(math.log(r) for r in ratios if r > 0), 0.0),
                    max(0.0, float(-ndtri(a) - ndtri(b))))


def upper_limit(errors: int, runs: int, alpha: float) -> float:
    """Clopper and Pearson's one-sided limit: the rate is above it in ``alpha`` of all repeats."""
    return 1.0 if errors == runs else float(betaincinv(errors + 1, runs - errors, 1 - alpha))


# --- Checks -----------------------------------------------------------------------------------


def _last_rejected(excess) -> float:
    """Where the rising ``excess`` passes 0, from below; 0 where it is never below."""
    if excess(0.0) >= 0:
        return 0.0
    high = 1.0
    while excess(high) < 0 and high < LARGEST:
        high *= 2
    return high if excess(high) < 0 else float(brentq(excess, 0, high, xtol=1e-9))


def _check_guesses(correct: int, guesses: int, canaries: int) -> None:
    _require(0 <= correct <= guesses <= canaries and guesses >= 1,
             f"correct, guesses, canaries: {correct}, {guesses}, {canaries} given, expected "
             "0 <= correct <= guesses <= canaries and at least one guess")


def _check_delta(delta: float) -> None:
    _require(0 <= delta < 1, f"delta: {delta} given, expected 0 or more and below 1")


def _check_level(level: float) -> None:
    _require(0 < level < 1, f"level: {level} given, expected between 0 and 1")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)
