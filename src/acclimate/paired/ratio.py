"""Differences of two models on the same items: paired, so that what makes an item hard for both cancels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from acclimate.paired.estimate import Estimate
from acclimate.paired.grouped import Groups, beyond, count, numbered, quantile, sums, tail
from acclimate.paired.resample import RESAMPLES, counts

FEWEST_DOCUMENTS = 3
"""Of two, half of all resamples are one document twice: their interval excludes the truth in 38 % of cases."""
MINIMUM_DOCUMENTS = 20
"""Of a gate: below, a divergence of which few documents hold most of the sum passes in more than 7 % of cases
(docs/log/index.md)."""
MINIMUM_DIVERGENCES = 60
"""Documents for the pass of a divergence: of 20, one in three misses a part of 5 % that holds most of the forgetting
(benchmarks/2026-11-29-gate-error.md)."""
MINIMUM_GROUPS = 8
"""For a pass, where documents belong to groups: of fewer, more than a third of all groups may be unlike them [ours]."""
POWER = 0.8
SPREAD_CAUTION = 12.0
"""How much the square of the error's own relative spread adds to a minimum detectable effect; chosen by simulation."""


def ratio(
    numerator: np.ndarray,
    denominator: np.ndarray,
    level: float = 0.95,
    groups: Groups | None = None,
) -> Estimate:
    """``sum(numerator) / sum(denominator)`` over items, with a studentised bootstrap interval.

    Each resample's deviation is divided by its own standard error (Efron and Tibshirani, *An Introduction to the
    Bootstrap*, 1993, chapter 12.5), linearised as in Cochran (*Sampling Techniques*, 1977, equation 6.13); their
    quantiles scale the sample's jackknife error. Percentile and BCa intervals end too early for few items and skewed
    sums, which would let a gate pass up to twice as often as it says (docs/log/index.md, 2026-11-22).

    Items of one group are drawn together: the sums of groups take the place of items. The interval is then at least as
    wide as Student's t with G - 1 degrees of freedom says, so that few groups are wide rather than wrong [ours]
    (benchmarks/2026-11-29-gate-error.md). A single group with a denominator tells nothing: the interval is infinite.

    Args:
        numerator, denominator: [M], one entry an item, M >= 2; denominators sum to more than 0.
        level: of the interval, equal-tailed.
        groups: [M] the group of each item; None: each is its own.

    >>> ratio(np.array([2.0, 2.0]), np.array([1.0, 1.0])).high
    2.0
    """
    return mean_ratio([(numerator, denominator)], level, [groups])


def mean_ratio(
    sets: Sequence[tuple[np.ndarray, np.ndarray]],
    level: float = 0.95,
    groups: Sequence[Groups | None] | None = None,
) -> Estimate:
    """The mean over sets of each one's :func:`ratio`, whatever their sizes: a macro average.

    The items of each set are drawn anew within it; sets are the ones there are, not drawn from others.

    Args:
        sets: (numerator [M], denominator [M]) of each.
        groups: of each set's items.
    """
    random = np.random.default_rng(0)
    grouped = [numbered(own) for own in groups or [None] * len(sets)]
    n = sum(len(numerator) for numerator, _ in sets)
    fewest = min(count(own, len(one[0])) for own, one in zip(grouped, sets, strict=True))
    number = None
    if any(own is not None for own in grouped):
        number = sum(count(own, len(one[0])) for own, one in zip(grouped, sets, strict=True))
        sets = [(sums(own, one[0]), sums(own, one[1])) for own, one in zip(grouped, sets, strict=True)]
        if any(np.count_nonzero(denominator) < 2 for _, denominator in sets):
            value = float(np.mean([numerator.sum() / denominator.sum() for numerator, denominator in sets]))
            return Estimate(value, n=n, p=1.0, groups=number)
    drawn = [_resampled(*one, random) for one in sets]
    value = float(np.mean([one.value for one in drawn]))
    error = math.sqrt(sum(one.error**2 for one in drawn)) / len(drawn)
    if error <= 1e-12 * abs(value):  # every item says the same: rounding is no spread
        p = 1.0 if value == 0 else 1 / (RESAMPLES + 1)
        return Estimate(
            value, value, value, n, p, 0.0, groups=number, error=0.0, items_to_tell_from=items_to_tell_from(value)
        )
    deviations = np.mean([one.deviations for one in drawn], axis=0)
    errors = np.sqrt(np.sum([one.errors**2 for one in drawn], axis=0)) / len(drawn)
    # A resample that but for rounding has no spread (sparse differences, few items) takes the sample's own error.
    studentised = deviations / np.where(errors > 1e-6 * error, errors, error)
    outside = (1 - level) / 2 if number is None else tail(level, fewest)
    upper, lower = np.quantile(studentised, [1 - outside, outside])
    further = min(np.sum(studentised >= value / error), np.sum(studentised <= value / error))
    p = min(1.0, 2 * (float(further) + 1) / (RESAMPLES + 1))
    if number is not None:
        least = quantile(level, fewest)
        upper, lower = max(upper, least), min(lower, -least)
        p = max(p, 2 * beyond(abs(value) / error, fewest))
    influence = np.concatenate([one.influence for one in drawn])
    skewness = float(np.sum(influence**3) / np.sum(influence**2) ** 1.5)  # of the estimate: falls with the root of n
    below = float(np.quantile(deviations - lower * errors, POWER))
    above = float(np.quantile(upper * errors - deviations, POWER))
    # The sample may have missed what makes the next one vary.
    caution = (1 + SPREAD_CAUTION * float(np.var(errors)) / error**2) * (1 + abs(skewness))
    return Estimate(
        value,
        low=float(value - upper * error),
        high=float(value - lower * error),
        n=n,
        p=p,
        mde=caution * max(below, above),
        groups=number,
        error=error,
        items_to_tell_from=items_to_tell_from(value, n, below, above),
    )


def items_to_tell_from(value: float, n: int = 0, below: float = 0.0, above: float = 0.0) -> Callable[[float], float]:
    """Of a limit, how many items would tell the value from it: the error falls with the square root of their number.

    Args:
        below, above: how far under or over a limit the truth must lie for 80 % of resamples to leave the limit out.
    """

    def needed(limit: float) -> float:
        gap, reach = abs(limit - value), below if value < limit else above
        return n * (reach / gap) ** 2 if gap else math.inf

    return needed


def ratio_error(numerator: np.ndarray, denominator: np.ndarray, groups: Groups | None = None) -> float:
    """The jackknife's standard error of ``sum(numerator) / sum(denominator)``; infinite of fewer than two groups.

    ``sqrt((n - 1) / n sum (r_i - mean r)^2)`` with ``r_i`` the ratio without item i (Efron and Tibshirani, 1993,
    chapter 11) [second-hand].

    Args:
        numerator, denominator: [M], one entry an item; denominators are positive.
        groups: [M] see :func:`ratio`.

    >>> ratio_error(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    1.0
    """
    groups = numbered(groups)
    numerator, denominator = sums(groups, numerator), sums(groups, denominator)
    n = len(numerator)
    if n < 2:
        return math.inf
    without_one = (numerator.sum() - numerator) / (denominator.sum() - denominator)  # [M]
    return float(np.sqrt((n - 1) * np.var(without_one)))


@dataclass(frozen=True)
class _Resampled:
    """A ratio, and R resamples of it."""

    value: float
    error: float
    influence: np.ndarray  # [M] of each item on the ratio
    deviations: np.ndarray  # [R] from the value
    errors: np.ndarray  # [R] each resample's own standard error


def _resampled(numerator: np.ndarray, denominator: np.ndarray, random: np.random.Generator) -> _Resampled:
    n = len(numerator)
    assert n >= 2
    value = float(numerator.sum() / denominator.sum())
    rest = numerator - value * denominator  # the ratio of a resample of it is how far that resample deviates
    moments = np.stack([rest, denominator, rest**2, rest * denominator, denominator**2], axis=1)  # [M, 5]
    error = ratio_error(numerator, denominator)
    found = [_ratio_and_error(times @ moments, n) for times in counts(random, n)]
    deviations, errors = np.concatenate(found, axis=1)
    return _Resampled(value, error, rest / denominator.sum(), deviations, errors)


def _ratio_and_error(sums: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Ratios [R] and their standard errors [R] from the sums [R, 5] of a, b, a², ab, b² over n items."""
    a, b, aa, ab, bb = sums.T
    value = a / b
    squares = np.maximum(aa - 2 * value * ab + value**2 * bb, 0.0)
    return value, np.sqrt(squares * n / (n - 1)) / b


def ratio_change(
    tuned: np.ndarray, base: np.ndarray, size: np.ndarray, level: float = 0.95, groups: Groups | None = None
) -> Estimate:
    """``sum(tuned) / sum(size) - sum(base) / sum(size)``, for example bits per byte tuned minus base.

    Both models have the same denominators, so the difference is itself one ratio, of ``tuned - base`` to ``size``.

    Args:
        tuned, base, size: [M], the same items in the same order.
        groups: [M] see :func:`ratio`.
    """
    return ratio(tuned - base, size, level, groups=groups)


def mean_change(tuned: np.ndarray, base: np.ndarray, level: float = 0.95, groups: Groups | None = None) -> Estimate:
    """``mean(tuned) - mean(base)`` of scores by item; of right and wrong answers see :mod:`.flips`."""
    return ratio(tuned - base, np.ones(len(tuned)), level, groups=groups)
