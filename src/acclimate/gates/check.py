"""One check: a drop or gain with its interval, against a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from acclimate.gates.policy import Margin
from acclimate.paired.estimate import Estimate, finite
from acclimate.paired.metrics import METRICS
from acclimate.paired.ratio import MINIMUM_DIVERGENCES, MINIMUM_GROUPS

Outcome = Literal["pass", "fail", "inconclusive"]
PRACTICAL = 100
"""More than so many times the items is said as such, not as a number."""


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
        # Of what compares the two models already, a small part of all text may hold most.
        if not METRICS[self.metric].paired and found.n < MINIMUM_DIVERGENCES:
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
            "set": self.set_name, "role": self.role, "check": self.kind, "metric": self.metric, "unit": found.unit,
            "value": found.value, "low": finite(found.low), "high": finite(found.high), "limit": self.limit.value,
            "n": found.n, "groups": found.groups, "unseen": self.unseen, "too_few": self.too_few or None,
            "mde": finite(found.mde), "outcome": self.outcome,
            "more_items": self.more_items if self.outcome == "inconclusive" and not self.too_few else None,
        }  # fmt: skip
