"""Several runs of other seeds on the same items: an interval over both the luck of training and the choice of items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acclimate.evaluate.paired import RESAMPLES


@dataclass(frozen=True)
class CrossedEstimate:
    """The mean over seeds with its interval, and the value of every seed."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    n: int  # items


def crossed_ratio(
    numerators: np.ndarray, denominator: np.ndarray, level: float = 0.95, seed: int = 0
) -> CrossedEstimate:
    """The mean over seeds of ``sum(numerator) / sum(denominator)``, seeds and items drawn anew independently.

    Percentile interval of the pigeonhole bootstrap (Owen, *The pigeonhole bootstrap*, 2007). Drawing S seeds anew
    shows (S - 1) / S of their variance, so with two or three seeds the interval is still too narrow: read the seeds.

    Args:
        numerators: [S, M], for example bits tuned minus base of each run, by item.
        denominator: [M], the same for every seed.
    """
    random = np.random.default_rng(seed)
    seeds, items = numerators.shape
    drawn = np.empty(RESAMPLES)
    for index in range(RESAMPLES):  # one draw at a time: all at once would be RESAMPLES x M numbers
        times = np.bincount(random.integers(0, items, items), minlength=items)  # [M]
        ratios = numerators @ times / (denominator @ times)  # [S]
        drawn[index] = ratios[random.integers(0, seeds, seeds)].mean()
    own = numerators.sum(1) / denominator.sum()
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return CrossedEstimate(float(own.mean()), float(low), float(high), tuple(own.tolist()), items)
