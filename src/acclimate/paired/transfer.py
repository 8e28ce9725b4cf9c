"""One number for what was gained and one for what was lost, relative to the base. Read the raw changes first."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Transfer:
    """Mean improvements over sets, and one number for both."""

    target_improvement: float
    backward_transfer: float

    @property
    def harmonic_s(self) -> float:
        """Harmonic mean of ``1 + target improvement`` and ``1 + backward transfer``; 1 is the base, never below 0.

        It hides absolute drops: a large gain on the domain outweighs a large loss elsewhere.
        """
        return statistics.harmonic_mean([max(0.0, 1 + self.target_improvement), max(0.0, 1 + self.backward_transfer)])


def improvement(base: float, tuned: float) -> float:
    """``1 - tuned / base``: the part of the base's bits per byte that went away; negative where they rose."""
    return 1 - tuned / base


def transfer(domain: Sequence[float], kept: Sequence[float]) -> Transfer:
    """Target improvement over domain sets, and backward transfer over those that should stay; negative is forgetting.

    Backward transfer after Lopez-Paz and Ranzato (*Gradient Episodic Memory*, 2017, section 2), relative to the base.

    Args:
        domain, kept: improvement of each set, at least one of either.

    >>> found = transfer([0.25], [-0.25, -0.25])
    >>> found.target_improvement, found.backward_transfer, found.harmonic_s
    (0.25, -0.25, 0.9375)
    """
    return Transfer(statistics.fmean(domain), statistics.fmean(kept))
