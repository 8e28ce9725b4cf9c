"""Differences of two models on the same items: paired, so that what makes an item hard for both cancels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 2000
DRAWN_AT_ONCE = 1 << 20  # numbers in memory: all resamples of many items at once would be too many
POWER = 0.8
POWER_QUANTILE = NormalDist().inv_cdf(POWER)


@dataclass(frozen=True)
class Estimate:
    """A difference with its interval and two-sided p-value (of no difference).

    ``error`` is its standard error (jackknife), ``error_spread`` the part by which that error itself may be off.
    """

    value: float
    low: float
    high: float
    error: float
    error_spread: float
    p: float
    n: int

    @property
    def mde(self) -> float:
        """Minimum detectable effect: a true difference that another such sample would tell from 0 with 80 % power."""
        return self._detectable((self.high - self.low) / 2)

    def _detectable(self, side: float) -> float:
        """``side + z_0.8 error``, for many items at 95 % ``(1.96 + 0.84) error``.

        The next sample's interval is as long as this one's only up to ``error_spread``, and so is the error that this
        is made of; with few items, leaving that out would promise 80 % and give 76 % (docs/log.md, 2026-11-22).
        """
        plain = side + POWER_QUANTILE * self.error
        unsure = self.error_spread * math.hypot(side, plain)
        return side + POWER_QUANTILE * math.hypot(self.error, unsure)

    def items_to_tell_from(self, limit: float) -> float:
        """How many items in all would tell the value from ``limit`` with 80 % power, were it the true one.

        The error falls with the square root of the number of items; infinite when the value is the limit itself.
        """
        gap = abs(limit - self.value)
        side = self.high - self.value if self.value < limit else self.value - self.low
        return self.n * (self._detectable(side) / gap) ** 2 if gap else math.inf


def ratio(numerator: np.ndarray, denominator: np.ndarray, level: float = 0.95, seed: int = 0) -> Estimate:
    """``sum(numerator) / sum(denominator)`` over items, with a studentised bootstrap interval.

    Each resample's deviation is divided by its own standard error (Efron and Tibshirani, *An Introduction to the
    Bootstrap*, 1993, chapter 12.5), linearised as in Cochran (*Sampling Techniques*, 1977, equation 6.13); their
    quantiles scale the sample's jackknife error. Percentile and BCa intervals end too early for few items and skewed
    sums, which would let a gate pass up to twice as often as it says (docs/log.md, 2026-11-22).

    Args:
        numerator, denominator: [M], one entry an item, M >= 2; denominators sum to more than 0.
        level: of the interval, equal-tailed.

    >>> ratio(np.array([2.0, 2.0]), np.array([1.0, 1.0])).high
    2.0
    """
    n, random = len(numerator), np.random.default_rng(seed)
    assert n >= 2
    value = float(numerator.sum() / denominator.sum())
    rest = numerator - value * denominator  # the ratio of a resample of it is how far that resample deviates
    moments = np.stack([rest, denominator, rest**2, rest * denominator, denominator**2], axis=1)  # [M, 5]
    without_one = (numerator.sum() - numerator) / (denominator.sum() - denominator)  # [M]
    error = float(np.sqrt((n - 1) * np.var(without_one)))
    if error <= 1e-12 * abs(value):  # every item says the same: rounding is no spread
        return Estimate(value, value, value, 0.0, 0.0, 1.0 if value == 0 else 1 / (RESAMPLES + 1), n)
    deviations, errors = [], []
    chunk = max(1, DRAWN_AT_ONCE // n)
    for size in (min(chunk, RESAMPLES - start) for start in range(0, RESAMPLES, chunk)):
        draws = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(draws.ravel(), minlength=size * n).reshape(size, n)  # how often each item was drawn
        deviation, drawn_error = _ratio_and_error(counts @ moments, n)
        # A resample that by chance has no spread (sparse differences, few items) takes the sample's own error.
        deviations.append(deviation / np.where(drawn_error > 1e-9 * error, drawn_error, error))
        errors.append(drawn_error)
    studentised = np.concatenate(deviations)
    upper, lower = np.quantile(studentised, [(1 + level) / 2, (1 - level) / 2])
    beyond = min(np.sum(studentised >= value / error), np.sum(studentised <= value / error))
    p = min(1.0, 2 * (float(beyond) + 1) / (RESAMPLES + 1))
    spread = float(np.std(np.concatenate(errors)) / error)
    return Estimate(value, float(value - upper * error), float(value - lower * error), error, spread, p, n)


def _ratio_and_error(sums: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Ratios [R] and their standard errors [R] from the sums [R, 5] of a, b, a², ab, b² over n items."""
    a, b, aa, ab, bb = sums.T
    value = a / b
    squares = np.maximum(aa - 2 * value * ab + value**2 * bb, 0.0)
    return value, np.sqrt(squares * n / (n - 1)) / b


def ratio_change(tuned: np.ndarray, base: np.ndarray, size: np.ndarray, level: float = 0.95) -> Estimate:
    """``sum(tuned) / sum(size) - sum(base) / sum(size)``, for example bits per byte tuned minus base.

    Both models have the same denominators, so the difference is itself one ratio, of ``tuned - base`` to ``size``.

    Args:
        tuned, base, size: [M], the same items in the same order.
    """
    return ratio(tuned - base, size, level)


def mean_change(tuned: np.ndarray, base: np.ndarray, level: float = 0.95) -> Estimate:
    """``mean(tuned) - mean(base)`` of scores by item, such as 0 and 1 for wrong and right.

    Where no item differs the interval is a point, which proves little: of n items, 3 / n may still differ (the rule
    of three, 95 %).
    """
    return ratio(tuned - base, np.ones(len(tuned)), level)
