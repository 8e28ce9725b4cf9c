"""Two runs of a report, document by document: how much more one moved or learned than the other.

Intervals of two runs say little of their difference: what makes a document hard for both is in each, and cancels in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from acclimate.evaluate.comparison import compare_seeds
from acclimate.paired.significance import holm
from acclimate.report import number
from acclimate.report.collect import ReportData, Run
from acclimate.report.folder import TextSet

ALPHA = 0.05
NOT_PAIRED = "the two were not measured on the same documents, so they cannot be compared pairwise"


@dataclass(frozen=True)
class Difference:
    """One run less another over the ``n`` documents of both; ``p`` is adjusted for all runs that it is held against."""

    value: float
    low: float
    high: float
    p: float
    n: int

    @property
    def apart(self) -> bool:
        return self.p < ALPHA and (self.low > 0 or self.high < 0)

    @property
    def below(self) -> bool:
        return self.apart and self.value < 0

    @property
    def above(self) -> bool:
        return self.apart and self.value > 0

    def __str__(self) -> str:
        p = number.probability(self.p)
        return f"paired over {self.n} documents, p {p if p.startswith('<') else f'= {p}'}"


@lru_cache(maxsize=256)
def against(data: ReportData, run: Run, item: TextSet, metric: str) -> Mapping[str, Difference]:
    """``run`` less each other run, by label; without those that it shares too few documents with.

    The p-values of the others are adjusted together by Holm's method. Several seeds are paired by seed where both runs
    have the same two or more; otherwise their means are compared, and the luck of both is added.
    """
    found = {}
    for other in data.runs:
        if other is not run and all(one.measure(item.name, metric) for one in (run, other)):
            mine, theirs = ({seed.seed: seed.path for seed in one.seeds} for one in (run, other))
            if estimate := compare_seeds(mine, theirs, item.name, metric):
                found[other.label] = estimate
    adjusted = holm([estimate.p for estimate in found.values()])
    return {
        label: Difference(estimate.value, estimate.low, estimate.high, p, estimate.n)
        for (label, estimate), p in zip(found.items(), adjusted, strict=True)
    }


def told(difference: Difference | None) -> str:
    """By what two runs are told apart, or are not."""
    return NOT_PAIRED if difference is None else str(difference)
