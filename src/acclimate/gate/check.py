"""One check: a drop or gain with its interval, against a limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from acclimate.gate.policy import Margin
from acclimate.paired.estimate import NOT_NEGATIVE, Estimate, Range, finite
from acclimate.paired.flips import score_change
from acclimate.paired.grouped import subset
from acclimate.paired.ratio import (
    MINIMUM_DIVERGENCES,
    MINIMUM_GROUPS,
    mean_change,
    ratio,
    ratio_change,
)

Outcome = Literal["pass", "fail", "inconclusive"]
PRACTICAL = 100
"""More than so many times the items is said as such, not as a number."""
DIVERGENCES = ("kl_base_tuned", "top1_agreement")
"""Metrics of which a small part of all text may hold most."""


@dataclass(frozen=True)
class Check:
    """``found`` is a drop that may be ``limit`` at most (max_drop), or a gain that must be more (min_gain)."""

    set_name: str
    role: str
    kind: str
    metric: str
    found: Estimate
    limit: Margin
    items: str = "documents"  # what is counted

    @property
    def outcome(self) -> Outcome:
        below, above = self.found.high < self.limit.value, self.found.low > self.limit.value
        if not below and not above:
            return "inconclusive"
        if below != (self.kind == "max_drop"):
            return "fail"
        return "inconclusive" if self.too_few else "pass"

    @property
    def too_few(self) -> str:
        """Why so small a sample is not let pass, whatever its interval says; empty where it is large enough."""
        found = self.found
        if found.groups is not None and found.groups < MINIMUM_GROUPS:
            return (
                f"its {found.n:,} {self.items} belong to {found.groups} group{'s' * (found.groups > 1)}, and a pass "
                f"needs {MINIMUM_GROUPS}"
            )
        if self.metric in DIVERGENCES and found.n < MINIMUM_DIVERGENCES:
            return f"a divergence passes on {MINIMUM_DIVERGENCES} {self.items} or more, and these are {found.n}"
        return ""

    @property
    def unseen(self) -> float:
        """Part of all documents that may be unlike every measured one, with 95 % confidence: 3 / n, the rule of three.

        Reference: Hanley and Lippman-Hand, *If nothing goes wrong, is everything all right?*, JAMA 249, 1983; n is the
        number of groups where documents have them [second-hand].
        """
        return min(1.0, 3 / self.found.independent)

    @property
    def more_items(self) -> int | None:
        """How many more items would decide, with 80 % power, if what was found is true; None: over 100 times."""
        needed = self.found.items_to_tell_from(self.limit.value)
        return math.ceil(needed - self.found.n) if needed <= PRACTICAL * self.found.n else None

    @property
    def remedy(self) -> str:
        """What would decide an inconclusive check."""
        if self.too_few:
            return self.too_few
        if self.more_items is None:
            return f"it lies so close to the limit that even {PRACTICAL} times the {self.items} would not decide"
        groups = "" if self.found.groups is None else f", in groups as large as these {self.found.groups:,}"
        return (
            f"about {self.more_items:,} more {self.items} ({self.found.n:,} now{groups}) would decide, in 80 % of cases"
        )

    def as_json(self) -> dict[str, Any]:
        found = self.found
        return {
            "set": self.set_name, "role": self.role, "check": self.kind, "metric": self.metric, "unit": self.limit.unit,
            "value": found.value, "low": finite(found.low), "high": finite(found.high), "limit": self.limit.value,
            "n": found.n, "groups": found.groups, "unseen": self.unseen, "too_few": self.too_few or None,
            "mde": finite(found.mde), "outcome": self.outcome,
            "more_items": self.more_items if self.outcome == "inconclusive" and not self.too_few else None,
        }  # fmt: skip


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "bits_per_byte": ("nats", "base_nats", "bytes"),
    "kl_base_tuned": ("kl_base_tuned", "tokens"),
    "top1_agreement": ("agree", "tokens"),
    "accuracy": ("right", "base_right"),
    "accuracy_norm": ("right_norm", "base_right_norm"),
    "word_nats": ("word_nats", "base_word_nats"),
}
"""Metric -> the columns of scores that it is made of; a set without them does not have it."""


def metrics_of(scores: Mapping[str, np.ndarray]) -> list[str]:
    return [metric for metric, columns in COLUMNS.items() if all(column in scores for column in columns)]


def estimate(kind: str, metric: str, unit: str, scores: Mapping[str, np.ndarray], level: float) -> Estimate:
    """The drop (max_drop) or gain (min_gain) of a metric, in its unit.

    bits_per_byte: ``bits tuned - bits base`` over bytes, or over the base's bits in percent; a gain is the reverse.
    kl_base_tuned: nats over tokens; the base's own is 0.
    top1_agreement: tokens with another most likely successor, in percent of tokens ("points"); the base's own is 0.
    accuracy, accuracy_norm: items right before less items right now, in percent of items; a gain is the reverse.
    word_nats: nats tuned less nats of the base by word; a gain is the reverse.

    ``scores["group"]``, where it is there, numbers the group of each document: they are drawn together.
    """
    columns, groups = [scores[name] for name in COLUMNS[metric]], scores.get("group")
    if metric == "kl_base_tuned":
        return ratio(columns[0], columns[1], level, groups=groups).within(NOT_NEGATIVE)
    if metric == "top1_agreement":
        return ratio(100 * (columns[1] - columns[0]), columns[1], level, groups=groups).within((0.0, 100.0))
    tuned, base = columns[:2]
    if metric.startswith("accuracy"):
        better, worse = (base, tuned) if kind == "max_drop" else (tuned, base)
        return score_change(better, worse, level, unit=100, groups=groups)
    first, second = (tuned, base) if kind == "max_drop" else (base, tuned)
    sign = 1.0 if kind == "max_drop" else -1.0
    if metric == "word_nats":
        return mean_change(first, second, level, groups).within(_possible(float(base.mean()), sign))
    text = columns[2] > 0
    groups = subset(groups, text)
    if unit == "%":
        return ratio(100 * (first - second)[text], base[text], level, groups=groups).within(_possible(100.0, sign))
    bits, size = base[text].sum() / math.log(2), columns[2][text]
    found = ratio_change(first[text] / math.log(2), second[text] / math.log(2), size, level, groups)
    return found.within(_possible(float(bits / size.sum()), sign))


def _possible(base: float, sign: float) -> Range:
    """Of a rise (sign 1) or fall (-1) of what is not negative: it falls by all that the base has at most."""
    return (-base, math.inf) if sign > 0 else (-math.inf, base)
