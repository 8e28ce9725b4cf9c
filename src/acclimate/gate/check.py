"""One check: a drop or gain with its interval, against a limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from acclimate.evaluate.paired import Estimate, ratio, ratio_change
from acclimate.gate.policy import Margin

Outcome = Literal["pass", "fail", "inconclusive"]
PRACTICAL = 100
"""More than so many times the documents is said as such, not as a number."""


@dataclass(frozen=True)
class Check:
    """``found`` is a drop that may be ``limit`` at most (max_drop), or a gain that must be more (min_gain)."""

    set_name: str
    role: str
    kind: str
    metric: str
    found: Estimate
    limit: Margin

    @property
    def outcome(self) -> Outcome:
        below, above = self.found.high < self.limit.value, self.found.low > self.limit.value
        if not below and not above:
            return "inconclusive"
        return "pass" if below == (self.kind == "max_drop") else "fail"

    @property
    def more_items(self) -> int | None:
        """How many more documents would decide, with 80 % power, if what was found is true; None: over 100 times."""
        needed = self.found.items_to_tell_from(self.limit.value)
        return math.ceil(needed - self.found.n) if needed <= PRACTICAL * self.found.n else None

    @property
    def remedy(self) -> str:
        """What would decide an inconclusive check."""
        if self.more_items is None:
            return f"it lies so close to the limit that even {PRACTICAL} times the documents would not decide"
        return f"about {self.more_items:,} more documents ({self.found.n:,} now) would decide, in 80 % of cases"

    def as_json(self) -> dict[str, Any]:
        found = self.found
        return {
            "set": self.set_name, "role": self.role, "check": self.kind, "metric": self.metric, "unit": self.limit.unit,
            "value": found.value, "low": found.low, "high": found.high, "limit": self.limit.value, "n": found.n,
            "mde": found.mde, "outcome": self.outcome,
            "more_items": self.more_items if self.outcome == "inconclusive" else None,
        }  # fmt: skip


def estimate(kind: str, metric: str, unit: str, scores: Mapping[str, np.ndarray], level: float) -> Estimate:
    """The drop (max_drop) or gain (min_gain) of a metric, in its unit.

    bits_per_byte: ``bits tuned - bits base`` over bytes, or over the base's bits in percent; a gain is the reverse.
    kl_base_tuned: nats over tokens; the base's own is 0.
    top1_agreement: tokens with another most likely successor, in percent of tokens ("points"); the base's own is 0.
    """
    if metric == "kl_base_tuned":
        return ratio(scores["kl_base_tuned"], scores["tokens"], level)
    if metric == "top1_agreement":
        return ratio(100 * (scores["tokens"] - scores["agree"]), scores["tokens"], level)
    text = scores["bytes"] > 0
    tuned, base, size = (scores[name][text] for name in ("nats", "base_nats", "bytes"))
    first, second = (tuned, base) if kind == "max_drop" else (base, tuned)
    if unit == "%":
        return ratio(100 * (first - second), base, level)
    return ratio_change(first / math.log(2), second / math.log(2), size, level)
