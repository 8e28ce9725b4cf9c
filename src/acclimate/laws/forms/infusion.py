"""Facts that are repeated in training: where retention peaks, if it does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import chi2

from acclimate.laws.form import Array
from acclimate.types.errors import UsageError

DRAWS = 499
FEWEST = 5
"""Repeat counts: of fewer, neighbours say too little of the noise. [ours]"""


@dataclass(frozen=True)
class Peak:
    """What a sweep of repeat counts says. ``repeats`` None is an answer: no peak is told.

    Args:
        repeats: the count of highest retention.
        low, high: the smallest and largest count that may be it, of those measured.
        rise, fall: p of no rise before and of no fall after a peak.
        reason: a sentence.
    """

    repeats: float | None
    low: float
    high: float
    rise: float
    fall: float
    reason: str


def peak(repeats: Array, retention: Array, noise: float | None = None, level: float = 0.95) -> Peak:
    """Where retention peaks over repeats, if both its rise and its fall are told from noise.

    A sweep that only rises is the null of a fall: its statistic is the squared distance to the nearest rising sequence
    (isotonic regression) over the noise, simulated at a flat truth, which gives the largest. The peak is that of the
    nearest sequence that rises and then falls; counts whose own such sequence is nearly as near may be it too. [ours]

    Args:
        repeats: f, [n] how often each fact was repeated, >= 5 different counts; any order, and a count several times.
        retention: [n] part of the facts that a probe finds, or any score.
        noise: standard error of one retention, known from the probe; otherwise from the distance of each middle count
            to the line through its neighbours, which is no less than the noise (Gasser, Sroka and Jennen-Steinmetz,
            1986 [unverified]).
        level: both p must be below 1 - level.

    Raises:
        UsageError: too few counts, numbers that are not finite, or a noise that is not above 0.

    Example:
        >>> repeats = np.array([1, 2, 5, 10, 20, 40, 80, 160.0])
        >>> found = peak(repeats, np.array([0.10, 0.16, 0.31, 0.47, 0.62, 0.70, 0.41, 0.22]), noise=0.02)
        >>> found.repeats, found.reason
        (40.0, 'Retention peaks at 40 repeats (40 to 40).')

    Reference: that retention peaks and collapses, arXiv 2509.19371, EMNLP 2025 [second-hand]; the law's form was not
    found, and the detector is ours.
    """
    counts, scores = np.asarray(repeats, dtype=np.float64), np.asarray(retention, dtype=np.float64)
    if counts.shape != scores.shape or not (
        np.isfinite(counts).all() and np.isfinite(scores).all() and (counts > 0).all()
    ):
        raise UsageError("A sweep is one finite retention for each repeat count, and counts are more than 0.")
    grid, place, times = np.unique(counts, return_inverse=True, return_counts=True)
    if len(grid) < FEWEST:
        raise UsageError(f"A peak is told from {FEWEST} repeat counts or more; the sweep has {len(grid)}.")
    if noise is not None and not noise > 0:
        raise UsageError(f"The noise of a retention is more than 0, not {noise:g}.")
    means = np.bincount(place, scores) / times
    weights = times.astype(np.float64)
    size = _noise(np.log(grid), means, weights) if noise is None else noise
    random = np.random.default_rng(0)
    null = []
    for _ in range(DRAWS):
        drawn = random.standard_normal(len(grid)) / np.sqrt(weights)
        null.append(
            _from_rising(drawn, weights) / (_noise(np.log(grid), drawn, weights) if noise is None else 1.0) ** 2
        )
    statistics = [_from_rising(one, weights) / size**2 if size > 0 else math.inf for one in (means, -means)]
    fall, rise = ((1 + np.sum(np.array(null) >= one)) / (DRAWS + 1) for one in statistics)
    if fall >= 1 - level or rise >= 1 - level:
        seen = "only rises" if rise < 1 - level else "only falls" if fall < 1 - level else "is flat within the noise"
        return Peak(None, math.nan, math.nan, float(rise), float(fall), f"No peak: retention {seen}.")

    distances = np.array([_from_peak(means, weights, index) for index in range(len(grid))])
    best = int(np.argmin(distances))
    near = grid[distances <= distances[best] + float(chi2.ppf(level, 1)) * size**2]
    said = f"Retention peaks at {grid[best]:g} repeats ({near[0]:g} to {near[-1]:g})."
    return Peak(float(grid[best]), float(near[0]), float(near[-1]), float(rise), float(fall), said)


def _from_rising(means: Array, weights: Array) -> float:
    """Squared distance to the nearest sequence that never falls."""
    nearest = isotonic_regression(means, weights=weights).x
    return float((weights * (means - nearest) ** 2).sum())


def _from_peak(means: Array, weights: Array, index: int) -> float:
    """Squared distance to the nearest sequence that rises up to ``index`` and falls after it."""
    # The peak belongs to the side that it is the end of; the other side has its own level, below or at it.
    left = _from_rising(means[: index + 1], weights[: index + 1]) + _from_rising(
        -means[index + 1 :], weights[index + 1 :]
    )
    right = _from_rising(means[:index], weights[:index]) + _from_rising(-means[index:], weights[index:])
    return max(left, right)


def _noise(places: Array, means: Array, weights: Array) -> float:
    """Standard error of one measurement, from each middle mean's distance to the line through its neighbours."""
    part = (places[2:] - places[1:-1]) / (places[2:] - places[:-2])
    distance = means[1:-1] - part * means[:-2] - (1 - part) * means[2:]
    spread = 1 / weights[1:-1] + part**2 / weights[:-2] + (1 - part) ** 2 / weights[2:]
    return float(np.sqrt(np.mean(distance**2 / spread)))
