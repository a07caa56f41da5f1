"""What a search had reached after how many evaluations and how much CPU time; for any attack.

A hook on the network sees the guess at every evaluation, whoever calls it. Both sides of a
benchmark are measured by it, each in its own process.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from torch import Tensor, nn

from leaklab.metrics.reconstruction import match, psnr

THRESHOLDS = (20, 30)  # dB


def decibels(guess: Tensor, truth: Tensor) -> float:
    """Mean PSNR of a batch whose images are matched to the true ones first."""
    guess = guess.detach().clamp(0, 1)
    return float(psnr(guess[match(guess, truth)], truth).mean())


@dataclass
class Trace:
    """Follows the guesses that a network is given, from the moment it is made.

    CPU time is that of the process, without what scoring takes. Evaluations after ``budget`` are
    not counted: an attack may look at its answer once more.
    """

    truth: Tensor
    budget: int
    evaluations: int = 0
    seconds: float = 0.0
    reached: dict[str, dict] = field(default_factory=dict)
    _scoring: float = 0.0
    _begun: float = field(default_factory=time.process_time)

    def follow(self, network: nn.Module) -> None:
        """Score what ``network`` is given from now on."""
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            if self.evaluations < self.budget:
                self._note(given[0])
        network.register_forward_pre_hook(note)

    def _note(self, guess: Tensor) -> None:
        now = time.process_time()
        self.evaluations += 1
        self.seconds = now - self._begun - self._scoring
        score = decibels(guess, self.truth)
        for threshold in THRESHOLDS:
            if score >= threshold and str(threshold) not in self.reached:
                self.reached[str(threshold)] = {"evaluations": self.evaluations,
                                                "seconds": round(self.seconds, 4)}
        self._scoring += time.process_time() - now

    def figures(self, guess: Tensor) -> dict:
        """All of it, with the score of the ``guess`` that the attack answers with."""
        return {"evaluations": self.evaluations, "seconds": round(self.seconds, 4),
                "reached": self.reached, "final": round(decibels(guess, self.truth), 2)}
