"""A forgetting budget: what is measured, and how much of it may be spent on which set. Plain numbers, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from acclimate.paired.metrics import BITS

MEAN = "mean"
"""Stands in the place of a set where one limit holds for the mean over all of them, each weighing the same."""


def shown(spent: float) -> str:
    """
    >>> shown(0.974), shown(1.5), shown(44.0)
    ('97 % of the budget', '150 % of the budget', '44 times the budget')
    """
    return f"{spent:.0%}".replace("%", " % of the budget") if spent < 10 else f"{spent:,.0f} times the budget"


@dataclass(frozen=True)
class Budget:
    """Limits of a metric on held-out text that is not the domain's.

    Args:
        metric: nats a token of drift from the base, or bits per byte, whose relative rise is then limited.
        limits: by set, of which the most exhausted counts; or of the mean alone.
        sets: that the mean is over.

    >>> budget = Budget("kl_base_tuned", {"mean": 0.05}, ("chat", "general"))
    >>> budget.spent({"eval/chat/kl_base_tuned": 0.02, "eval/general/kl_base_tuned": 0.04, "eval/domain/x": 1.0})
    {'mean': 0.6}
    """

    metric: str
    limits: Mapping[str, float]
    sets: tuple[str, ...] = ()

    @property
    def of_mean(self) -> bool:
        return MEAN in self.limits and bool(self.sets)

    @property
    def watched(self) -> tuple[str, ...]:
        """The sets that are measured for it."""
        return self.sets if self.of_mean else tuple(self.limits)

    def spent(self, measured: Mapping[str, float]) -> dict[str, float]:
        """Of a step's metrics, the part of each limit that is used up; empty where nothing was measured."""
        name, part = ("change_percent", 100.0) if self.metric == BITS else (self.metric, 1.0)
        keys = {one: f"eval/{one}/{name}" for one in self.watched}
        return self.parts({one: measured[key] / part for one, key in keys.items() if key in measured})

    def parts(self, values: Mapping[str, float]) -> dict[str, float]:
        """The same of the metric's values by set."""
        if not values:
            return {}
        if self.of_mean:
            return {MEAN: fmean(values.values()) / self.limits[MEAN]}
        return {one: value / self.limits[one] for one, value in values.items()}

    def of(self, trained: Iterable[str]) -> Budget:
        """The same over rows of other sets, those that are trained on."""
        names = tuple(trained)
        known = {name: self.limits[name] for name in names if name in self.limits}
        if self.of_mean or not known:
            return Budget(self.metric, {MEAN: min(self.limits.values())}, names)
        return Budget(self.metric, known)
