"""The value every loader returns: arrays with the story of where they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Dataset"]

TAGS = ("REAL", "HYBRID", "SYNTHETIC")


@dataclass(frozen=True)
class Dataset:
    """Examples, their labels, whose they are, and their provenance.

    inputs
        float32, shape (n, ...): images (n, channels, height, width) in [0, 1], or a table (n, d).
    targets
        int64, shape (n,): class labels.
    patients
        shape (n,): the patient each example belongs to. Splits never cut through a patient.
    sites
        shape (n,): the hospital or scanner each example came from.
    tag
        ``"REAL"``, ``"HYBRID"`` (real outlines or labels in synthetic tissue) or ``"SYNTHETIC"``.

    Raises ``ValueError`` for lengths that differ and for another tag.
    """

    name: str
    inputs: np.ndarray
    targets: np.ndarray
    patients: np.ndarray
    sites: np.ndarray
    tag: str
    licence: str
    citation: str
    sha256: str
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] = ()

    def __post_init__(self):
        n = len(self.inputs)
        for field in ("targets", "patients", "sites"):
            given = len(getattr(self, field))
            if given != n:
                raise ValueError(f"{field}: {given} entries given, expected {n}, one per input")
        if self.tag not in TAGS:
            raise ValueError(f"tag: {self.tag!r} given, expected one of {TAGS}")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index) -> Dataset:
        """The examples at ``index`` (integers or a boolean mask), provenance unchanged."""
        return replace(
            self,
            inputs=self.inputs[index],
            targets=self.targets[index],
            patients=self.patients[index],
            sites=self.sites[index],
        )

    @property
    def provenance(self) -> str:
        """One line to print once in a lab or under a figure."""
        return f"{self.tag} {self.name}, {self.licence}"
