"""Weights that a run could end with, measured on the documents that choices look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acclimate.measurement.measure import Scores
from acclimate.paired.estimate import Estimate, finite
from acclimate.paired.grouped import Groups, count, numbered
from acclimate.paired.metrics import BITS, METRICS
from acclimate.paired.ratio import FEWEST_DOCUMENTS, mean_ratio
from acclimate.training.control.budget import MEAN, Budget
from acclimate.training.probe import GroupsOf

Measured = Mapping[str, tuple[str, Scores, Scores]]
"""By set: its role, scores of the model and of its base."""

AIM, CLOSE, MOST = 0.985, 0.97, 8
"""A point of the line is near enough with so much of the budget spent, and so many are measured at most."""
LONGEST = 1.5
"""The furthest point of the line, whose end is 1 [ours]."""
NARROW = 0.01
"""Of a point's place, which is then known well enough."""


@dataclass(frozen=True)
class Candidate:
    """What was measured of weights: those of ``step``, moved by ``alpha`` of their way from the start.

    ``values`` are of the budget's metric, by limit; ``sets`` the same by set; ``domain`` is the mean change of the
    domain's bits per byte in percent, nan without any.
    """

    step: int
    alpha: float
    spent: float
    values: Mapping[str, Estimate]
    sets: Mapping[str, Estimate]
    domain: float

    @property
    def inside(self) -> bool:
        return self.spent <= 1

    @property
    def at_the_budget(self) -> bool:
        return CLOSE <= self.spent <= 1

    def record(self, budget: Budget) -> dict[str, Any]:
        limits = {name: budget.limits.get(name) for name in self.sets} | {
            name: budget.limits[name] for name in self.values
        }
        rows = dict(self.sets) | dict(self.values)
        return {
            name: {"value": row.value, "low": finite(row.low), "high": finite(row.high), "limit": limits[name]}
            for name, row in rows.items()
        }


def candidate(
    budget: Budget, measured: Measured, step: int, alpha: float = 1.0, groups: Mapping[str, GroupsOf] | None = None
) -> Candidate:
    """
    Args:
        measured: with these weights.
        groups: by set, of documents that were held out together, which are one draw.
    """
    sums = {name: _sums(budget, *measured[name][1:]) for name in budget.watched if name in measured}
    of = {name: groups[name](measured[name][1].document) if groups else None for name in sums}
    sets = {name: _estimate([one], [of[name]]) for name, one in sums.items()}
    values = {MEAN: _estimate(list(sums.values()), list(of.values()))} if budget.of_mean else sets
    spent = max(value.value / budget.limits[name] for name, value in values.items())
    domain = [_change(scores, before) for role, scores, before in measured.values() if role == "domain"]
    change = float(np.mean([100 * a.sum() / b.sum() for a, b in domain])) if domain else math.nan
    return Candidate(step, alpha, spent, values, sets, change)


def furthest_inside(at: Callable[[float], Candidate], last: Candidate) -> Candidate | None:
    """The largest alpha whose weights are inside of the budget, by bisection: between the start, which spends nothing,
    and the last weights where those are outside; beyond the last where they leave budget, up to ``LONGEST``.

    Drift grows about with the square of the way, so the root of what is spent is nearly a line [ours]: each guess lies
    where that would meet the budget, at least a tenth of the bracket from its ends.

    Args:
        at: measures the weights at an alpha.
    """
    (low, below), (high, above), found = (0.0, 0.0), (1.0, last.spent), None
    if last.inside:
        (low, below), (high, above) = (1.0, last.spent), (LONGEST, last.spent * LONGEST**2)
    for _ in range(MOST):
        if below >= CLOSE or high - low <= NARROW * high:
            break
        rise = _root(above) - _root(below)
        part = (_root(AIM) - _root(below)) / rise if rise > 0 else 0.5
        tried = at(low + (high - low) * min(max(part, 0.1), 0.9))
        if tried.inside:
            found, low, below = tried, tried.alpha, tried.spent
        else:
            high, above = tried.alpha, tried.spent
    return found


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """The best on the domain of those inside of the budget, the later of equals; if there is none, the least spent."""
    inside = [one for one in candidates if one.inside]
    if not inside:
        return min(candidates, key=lambda one: one.spent)
    return min(inside, key=lambda one: (one.domain if math.isfinite(one.domain) else 0.0, -one.step, -one.alpha))


def _root(value: float) -> float:
    return math.copysign(math.sqrt(abs(value)), value)


def _sums(budget: Budget, scores: Scores, before: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators by document, of which the budget's metric is the ratio."""
    if budget.metric == BITS:
        return _change(scores, before)
    metric, columns = METRICS[budget.metric], scores.columns(before)
    assert metric.below is not None
    return columns[metric.above], columns[metric.below]


def _change(scores: Scores, before: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Of bits per byte, relative to the base's own."""
    tuned, base, _, _ = METRICS[BITS].sums(scores.columns(before))
    return tuned - base, base


def _estimate(sets: Sequence[tuple[np.ndarray, np.ndarray]], groups: Sequence[Groups | None]) -> Estimate:
    if min(count(numbered(of), len(below)) for of, (_, below) in zip(groups, sets, strict=True)) < FEWEST_DOCUMENTS:
        return Estimate(float(np.mean([above.sum() / below.sum() for above, below in sets])))
    return mean_ratio(sets, groups=groups)
