"""Two runs of a report, document by document: how much more one moved or learned than the other.

Intervals of two runs say little of their difference: what makes a document hard for both is in each, and cancels in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from acclimate.paired.estimate import Estimate
from acclimate.paired.significance import holm
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.words import number
from acclimate.runs.comparison import compare_seeds
from acclimate.runs.folder import TextSet

NOT_PAIRED = "the two were not measured on the same documents, so they cannot be compared pairwise"


@lru_cache(maxsize=256)
def against(data: ReportData, run: Run, item: TextSet, metric: str) -> Mapping[str, Estimate]:
    """``run`` less each other run over the documents of both, by label; without those that share too few with it.

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
    return {label: replace(estimate, p=p) for (label, estimate), p in zip(found.items(), adjusted, strict=True)}


def told(difference: Estimate | None) -> str:
    """By what two runs are told apart, or are not."""
    if difference is None:
        return NOT_PAIRED
    p = number.probability(difference.p)
    return f"paired over {difference.n} documents, p {p if p.startswith('<') else f'= {p}'}"
