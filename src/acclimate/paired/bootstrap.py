"""Bootstrap intervals over documents."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from acclimate.paired.estimate import Estimate
from acclimate.paired.flips import design_effect
from acclimate.paired.grouped import Groups, count, numbered, sums
from acclimate.paired.ratio import FEWEST_DOCUMENTS
from acclimate.paired.resample import indices, widened


def mean_interval(scores: np.ndarray, level: float = 0.95, groups: Groups | None = None) -> Estimate:
    """The mean of scores by item and its interval: of right and wrong ones Wilson's, of others :func:`ratio_interval`.

    Items in groups count as so many as tell as much (:func:`~acclimate.paired.flips.design_effect`), which need not be
    whole: SciPy's, of ``binomtest``, takes whole numbers only.
    No draw from items that are all right, or all wrong, has another mean, though the next item may be.

    Reference: Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22, 1927.

    >>> found = mean_interval(np.ones(20))
    >>> found.value, round(found.low, 3), found.high
    (1.0, 0.839, 1.0)
    """
    if len(scores) < FEWEST_DOCUMENTS or not np.isin(scores, (0, 1)).all():
        return ratio_interval(scores, np.ones(len(scores)), level=level, groups=groups)
    groups = numbered(groups)
    effect = 1.0 if groups is None else design_effect(scores, groups, level)
    number = None if groups is None else count(groups, len(scores))
    if math.isinf(effect):
        return Estimate(float(scores.mean()), n=len(scores), groups=number)
    right, n, square = float(scores.sum()) / effect, len(scores) / effect, NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (right + square / 2) / (n + square)
    half = math.sqrt(square * (right * (n - right) / n + square / 4)) / (n + square)
    return Estimate(right / n, max(0.0, middle - half), min(1.0, middle + half), len(scores), groups=number)


def ratio_interval(
    numerator: np.ndarray,
    denominator: np.ndarray,
    seed: int = 0,
    level: float = 0.95,
    groups: Groups | None = None,
) -> Estimate:
    """A ratio of sums over documents and its percentile bootstrap interval.

    ``sum(numerator) / sum(denominator)``, documents drawn with replacement (Efron and Tibshirani, 1993, chapter 13).

    Args:
        numerator, denominator: [M], one entry a document.
        groups: [M] the group of each document, drawn together; None: each is its own.

    Returns:
        No bounds of fewer than ``FEWEST_DOCUMENTS`` documents or groups, of which draws are nearly all alike.

    >>> found = ratio_interval(np.array([2.0, 2.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    >>> found.value, found.low, found.high
    (2.0, 2.0, 2.0)
    >>> ratio_interval(np.array([2.0, 3.0]), np.array([1.0, 1.0])).bounded
    False
    """
    value, n = float(numerator.sum() / denominator.sum()), len(numerator)
    groups = numbered(groups)
    numerator, denominator = sums(groups, numerator), sums(groups, denominator)
    found = Estimate(value, n=n, groups=None if groups is None else len(numerator))
    if len(numerator) < FEWEST_DOCUMENTS:
        return found
    random = np.random.default_rng(seed)
    ratios = [numerator[drawn].sum(1) / denominator[drawn].sum(1) for (drawn,) in indices(random, len(numerator))]
    ends = np.quantile(np.concatenate(ratios), [(1 - level) / 2, (1 + level) / 2])
    low, high = widened(ends, value, groups, level).tolist()
    return replace(found, low=low, high=high)
