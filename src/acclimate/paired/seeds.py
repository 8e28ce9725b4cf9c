"""Several runs of other seeds on the same items: an interval over both the luck of training and the choice of items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acclimate.paired.estimate import ANY, Estimate, Range
from acclimate.paired.grouped import Groups, numbered, sums
from acclimate.paired.resample import RESAMPLES, counts, two_sided, widened


@dataclass(frozen=True)
class Luck:
    """The luck of training in a mean over seeds: its standard error, known with so many degrees of freedom."""

    error: float
    freedom: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Luck:
        """Of S seeds' values: ``s / sqrt(S)`` with S - 1 degrees of freedom; one seed shows no luck."""
        if len(values) < 2:
            return cls(0.0, 1.0)
        return cls(float(np.std(values, ddof=1)) / math.sqrt(len(values)), len(values) - 1.0)

    def beside(self, other: Luck) -> Luck:
        """Of the difference of two means whose seeds are not the same (Welch, 1947)."""
        one, two = self.error**2, other.error**2
        if one + two == 0:
            return self
        freedom = (one + two) ** 2 / (one**2 / self.freedom + two**2 / other.freedom)
        return Luck(math.sqrt(one + two), freedom)

    def draws(self) -> NDArray[np.float64]:
        """[RESAMPLES] deviations by Student's t, whose wide tails are what two or three seeds do not show."""
        return self.error * np.random.default_rng(0).standard_t(self.freedom, RESAMPLES)


def crossed_ratio(
    numerators: np.ndarray,
    denominator: np.ndarray,
    level: float = 0.95,
    possible: Range = ANY,
    groups: Groups | None = None,
    luck: Luck | None = None,
) -> Estimate:
    """The mean over seeds of ``sum(numerator) / sum(denominator)``, with an interval over items and seeds.

    Items are drawn anew for all seeds together (percentile bootstrap); the luck of training is added by Student's t
    [ours]. Drawing two or three seeds anew instead shows (S - 1) / S of their variance and none of what is not known
    about it: it errs in 30 and 20 % of cases instead of 5 (docs/log/index.md, 2026-11-22).

    Args:
        numerators: [S, M], for example bits tuned minus base of each run, by item.
        denominator: [M], the same for every seed.
        possible: values that the quantity can have, which Student's t knows nothing of.
        groups: [M] the group of each item, drawn together; None: each is its own.
        luck: of training, where it is not that of these rows.
    """
    random = np.random.default_rng(0)
    n, groups = numerators.shape[1], numbered(groups)
    numerators, denominator = sums(groups, numerators), sums(groups, denominator)
    items = numerators.shape[1]
    own = numerators.sum(1) / denominator.sum()
    if items < 2:
        return Estimate(float(own.mean()), n=n, p=1.0)
    # One draw at a time, though they are made in chunks: a product of matrices rounds otherwise.
    drawn = np.array(
        [(numerators @ times).mean() / (denominator @ times) for chunk in counts(random, items) for times in chunk]
    )
    drawn = widened(drawn, own.mean(), groups, level) + (luck or Luck.of(own)).draws()
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(own.mean()), float(low), float(high), n, two_sided(drawn)).within(possible)
