"""Bootstrap intervals over documents."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from acclimate.paired.flips import design_effect
from acclimate.paired.grouped import Groups, numbered, sums, widening
from acclimate.paired.ratio import FEWEST_DOCUMENTS, chunks

Interval = tuple[float, float | None, float | None]
"""Value, low and high, with no bounds where there are too few documents to tell."""


def mean_interval(scores: np.ndarray, level: float = 0.95, groups: Groups | None = None) -> Interval:
    """The mean of scores by item and its interval: of right and wrong ones Wilson's, of others :func:`ratio_interval`.

    Items in groups count as so many as tell as much (:func:`~acclimate.paired.flips.design_effect`).
    No draw from items that are all right, or all wrong, has another mean, though the next item may be.

    Reference: Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22, 1927.

    >>> value, low, high = mean_interval(np.ones(20))
    >>> value, round(low, 3), high
    (1.0, 0.839, 1.0)
    """
    if len(scores) < FEWEST_DOCUMENTS or not np.isin(scores, (0, 1)).all():
        return ratio_interval(scores, np.ones(len(scores)), level=level, groups=groups)
    groups = numbered(groups)
    effect = 1.0 if groups is None else design_effect(scores, groups, level)
    if math.isinf(effect):
        return float(scores.mean()), None, None
    right, n, square = float(scores.sum()) / effect, len(scores) / effect, NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (right + square / 2) / (n + square)
    half = math.sqrt(square * (right * (n - right) / n + square / 4)) / (n + square)
    return right / n, max(0.0, middle - half), min(1.0, middle + half)


def ratio_interval(
    numerator: np.ndarray,
    denominator: np.ndarray,
    seed: int = 0,
    level: float = 0.95,
    groups: Groups | None = None,
) -> Interval:
    """A ratio of sums over documents and its percentile bootstrap interval.

    ``sum(numerator) / sum(denominator)``, documents drawn with replacement (Efron and Tibshirani, 1993, chapter 13).

    Args:
        numerator, denominator: [M], one entry a document.
        groups: [M] the group of each document, drawn together; None: each is its own.

    Returns:
        (value, low, high); no bounds of fewer than ``FEWEST_DOCUMENTS`` documents or groups, of which draws are nearly
        all alike.

    >>> ratio_interval(np.array([2.0, 2.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    (2.0, 2.0, 2.0)
    >>> ratio_interval(np.array([2.0, 3.0]), np.array([1.0, 1.0]))
    (2.5, None, None)
    """
    value = float(numerator.sum() / denominator.sum())
    groups = numbered(groups)
    wider = widening(groups, level)
    numerator, denominator = sums(groups, numerator), sums(groups, denominator)
    if len(numerator) < FEWEST_DOCUMENTS:
        return value, None, None
    random = np.random.default_rng(seed)
    ratios: list[float] = []
    for size in chunks(len(numerator)):
        draws = random.integers(0, len(numerator), (size, len(numerator)))
        ratios += (numerator[draws].sum(1) / denominator[draws].sum(1)).tolist()
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    if groups is not None:
        low, high = value + wider * (low - value), value + wider * (high - value)
    return value, float(low), float(high)
