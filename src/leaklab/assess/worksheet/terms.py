"""The words that may be filled in, the kinds of number, and what every value here is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Artefact = Literal["update", "sum", "difference", "released model"]
Role = Literal["processor", "independent recipient", "other hospital", "outsider", "public"]
Metric = Literal["true positive rate", "records read", "records matched", "relatives found",
                 "attributes filled in", "genotypes filled in", "labels read", "AUC", "similarity"]
Criterion = Literal["isolation", "linkage", "inference"]
Unit = Literal["record", "patient", "hospital"]

CRITERION: dict[str, Criterion | None] = {
    "true positive rate": "isolation", "records read": "isolation", "AUC": "isolation",
    "records matched": "linkage", "relatives found": "linkage",
    "attributes filled in": "inference", "genotypes filled in": "inference",
    "labels read": "inference", "similarity": None}
"""Which of the three criteria a metric informs; similarity tells how bad, not whether."""

GAINS = ("attributes filled in", "genotypes filled in")
"""Metrics that may be recorded as a difference from the better guess, which can be negative."""

AttackClass = Literal["data reconstruction", "membership inference", "property inference"]
Number = Annotated[float, Field(strict=True)]
Rate = Annotated[float, Field(strict=True, ge=0, le=1)]
Inside = Annotated[float, Field(strict=True, gt=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Level = Annotated[int, Field(strict=True, ge=1, le=4)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Category = Literal["health", "genetic", "biometric", "other"]
WP248 = Literal["evaluation or scoring", "automated decisions", "systematic monitoring",
                "sensitive data", "large scale", "matched or combined data sets",
                "vulnerable subjects", "innovative use", "prevents a right or service"]

Question = Literal["insignificant", "not personal data", "risk unlikely", "no high risk",
                   "low probability of compromise"]


class Value(BaseModel):
    """A frozen value without unknown fields, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
