"""The full measurements behind the labs: ``python -m studies`` runs them (`make evidence`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby


def by_condition(results: list[tuple[dict, dict]]) -> Iterator[tuple[dict, list[dict]]]:
    """The outcomes of each condition, in the order of the seeds, from (setting, outcome) pairs."""
    def condition(result: tuple[dict, dict]) -> dict:
        return {key: value for key, value in result[0].items() if key != "seed"}

    for setting, group in groupby(results, condition):
        yield setting, [outcome for _, outcome in group]
