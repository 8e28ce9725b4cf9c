"""What values a metric can have. An interval is cut off there: no share is below 0, and no divergence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from acclimate.paired.estimate import ANY, NOT_NEGATIVE, SHARE, Range

RANGES: Mapping[str, Range] = {
    "bits_per_byte": NOT_NEGATIVE,
    "kl_base_tuned": NOT_NEGATIVE,
    "kl_tuned_base": NOT_NEGATIVE,
    "word_nats": NOT_NEGATIVE,
    "top1_agreement": SHARE,
    "accuracy": SHARE,
    "accuracy_norm": SHARE,
}
"""Metric -> its range; one that is not here (a task's own, a change of entropy) may have any value."""


def range_of(metric: str) -> Range:
    return RANGES.get(metric, ANY)


def change_range(metric: str, base: float) -> Range:
    """Of the metric's change from ``base``: what is not negative falls by all of it at most, a share by 1.

    >>> change_range("bits_per_byte", 1.5), change_range("accuracy", 0.25), change_range("entropy_change", 2.0)
    ((-1.5, inf), (-1.0, 1.0), (-inf, inf))
    """
    least, most = range_of(metric)
    return (-most, most) if most < math.inf else (least - base, most)
