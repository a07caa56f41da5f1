r"""An audit of how batches are drawn: shuffling hides a record less than a Poisson sample does.

Accountants of DP-SGD count for batches that each record enters by a coin of its own. Many programs
shuffle the records and cut them into batches instead, and print the same epsilon. The data on which
this shows: every record but one pulls the gradient one way by its clipping norm, and the one pulls
the other way. Shuffled batches are all of one size, so all sums but the one with that record are
known, and it stands out. Poisson batches differ in size, which hides it.

Threat model: that of differential privacy; the auditor sees every noisy sum, chooses the data, and
knows how many records a batch has. Each run is one pass of the sampler, with the record's gradient
there or 0; the scores go to :func:`leaklab.attacks.canaries.many_run_audit`.

Sources: Chua et al., How Private are DP-SGD Implementations? (2024, arXiv:2403.17673), for the
data; Annamalai et al., To Shuffle or not to Shuffle (2024, arXiv:2411.10614), who audit by it.
Where it fails: with little noise or few batches the accountant promises so little that thousands
of runs prove less; then the audit is silent, and says nothing for the sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from leaklab.runtime import progress

Sampler = Callable[[int, float, int, torch.Generator], Iterable[Sequence[int]]]


def sampler_scores(
    sampler: Sampler, included: Tensor, *, units: int, steps: int, noise_multiplier: float,
    generator: torch.Generator,
) -> Tensor:
    r"""How much each run looks as if record 0 had been there; (runs,).

    included
        bool (runs,): whether record 0 has its gradient, or one of 0.
    units, steps
        Records, and batches of one pass, in which each enters ``units / steps`` on average.

    Of shuffled batches the score is the likelihood ratio, in logarithms: one of the noisy sums,
    nobody knows which, has mean 2 above the others where the record is there, and 1 where not.

    Raises ``ValueError`` for noise that is not above 0, or more steps than units.
    """
    if not noise_multiplier > 0:
        raise ValueError(f"noise_multiplier: {noise_multiplier} given, expected a number above 0")
    if not 1 <= steps <= units:
        raise ValueError(f"steps: {steps} given, expected 1 to {units}, the number of units")
    sums = torch.empty(len(included), steps, dtype=torch.float64)
    for run, there in enumerate(progress(included.tolist(), "runs of the sampler")):
        batches = sampler(units, 1 / steps, steps, generator)
        sums[run] = torch.tensor([(1 + there) * (0 in batch) - len(batch) for batch in batches])
    noise = torch.randn(sums.shape, generator=generator, dtype=sums.dtype)
    above = sums + noise_multiplier * noise + units / steps
    with_it, without = ((shift * above - shift**2 / 2) / noise_multiplier**2 for shift in (2, 1))
    return with_it.logsumexp(1) - without.logsumexp(1)
