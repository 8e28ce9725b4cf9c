"""The gradient noise scale: the batch beyond which more tokens a step bring little."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acclimate.laws.form import Array
from acclimate.paired.estimate import Estimate
from acclimate.paired.ratio import ratio
from acclimate.types.errors import UsageError


@dataclass(frozen=True)
class NoiseScale:
    """Args:
    signal: |G|^2, the squared norm of the true gradient.
    noise: tr Sigma, the variance of one example's gradient.
    batch: B_simple = noise / signal, in the unit of the batch sizes, with its interval; infinite bounds where the
        signal is not told from 0.
    """

    signal: float
    noise: float
    batch: Estimate


def noise_scale(small: Array, large: Array, batch: float, larger_batch: float, level: float = 0.95) -> NoiseScale:
    """B_simple from squared gradient norms at two batch sizes b < B.

    Formula: |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b), S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B), B_simple = S / |G|^2

    Both estimators are unbiased; one pair alone is far off. So many pairs are averaged first: a ratio of means.

    Args:
        small, large: |g_b|^2 and |g_B|^2, [n] pairs of the same step, n >= 2.
        batch, larger_batch: b and B, in examples or tokens.
        level: of the interval, over pairs.

    Raises:
        UsageError: too few pairs, other lengths, numbers that are not finite, or b not below B.

    Example:
        >>> found = noise_scale(np.array([5.0, 7.0]), np.array([2.0, 3.0]), 1, 4)
        >>> round(found.signal, 3), round(found.noise, 3), round(found.batch.value, 3)
        (1.333, 4.667, 3.5)

    Reference: arXiv 1812.06162 [unverified]; the algebra is checked [ours].
    """
    few, many = np.asarray(small, dtype=np.float64), np.asarray(large, dtype=np.float64)
    if (
        few.ndim != 1
        or few.shape != many.shape
        or len(few) < 2
        or not (np.isfinite(few).all() and np.isfinite(many).all())
    ):
        raise UsageError("A noise scale is of two or more pairs of finite squared norms, one of each batch size.")
    if not 0 < batch < larger_batch:
        raise UsageError(
            f"The small batch is below the large one and above 0; {batch:g} and {larger_batch:g} were given."
        )
    signals = (larger_batch * many - batch * few) / (larger_batch - batch)
    noises = (few - many) / (1 / batch - 1 / larger_batch)
    signal, noise = float(signals.mean()), float(noises.mean())
    told = ratio(signals, np.ones_like(signals), level)
    if told.low <= 0:  # the denominator may be 0: no batch is too large to be it
        return NoiseScale(signal, noise, Estimate(noise / signal if signal > 0 else math.inf, n=len(few)))
    return NoiseScale(signal, noise, ratio(noises, signals, level))
