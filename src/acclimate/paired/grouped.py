"""Documents that belong together (chapters of a book, one template) are one draw: their sums are what is resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.int64]
"""[M] the group of each item, as a number from 0 on."""


def codes(names: Sequence[str | None]) -> Groups | None:
    """Numbers of groups by their names, in order of appearance; None where every item is a group of its own.

    An item without a name is one.

    >>> codes(["a", "b", None, "a"]).tolist()
    [0, 1, 2, 0]
    >>> codes(["a", None, None]) is None
    True
    """
    known: dict[str | int, int] = {}
    found = [known.setdefault(row if name is None else name, len(known)) for row, name in enumerate(names)]
    return None if len(known) == len(names) else np.array(found, dtype=np.int64)


def numbered(groups: NDArray[Any] | None) -> Groups | None:
    """Any labels [M] as numbers from 0 on without a gap; None where each item is a group of its own.

    >>> numbered(np.array([7, 3, 7])).tolist(), numbered(np.array([7, 3, 5]))
    ([1, 0, 1], None)
    """
    if groups is None or not len(groups):
        return None
    found = np.unique(groups, return_inverse=True)[1]
    return None if found.max() + 1 == len(found) else found


def subset(groups: Groups | None, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Groups | None:
    """Of a part of the items."""
    return None if groups is None else numbered(groups[chosen])


def count(groups: Groups | None, items: int) -> int:
    """How many groups there are; as many as items where each is its own."""
    return items if groups is None else int(groups.max()) + 1 if len(groups) else 0


def sums(groups: Groups | None, column: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., G] sums over the items [..., M] of each group.

    >>> sums(np.array([0, 0, 1]), np.array([1.0, 2.0, 4.0])).tolist()
    [3.0, 4.0]
    """
    if groups is None:
        return column
    table = np.zeros((*column.shape[:-1], count(groups, column.shape[-1])))
    np.add.at(table.T, groups, column.T)
    return table


@lru_cache(maxsize=1024)
def quantile(level: float, number: int) -> float:
    """Of Student's t with one degree of freedom less than groups: how many standard errors an interval is wide.

    Infinite for one group, which shows no spread. SciPy's ``stdtrit`` says the same to 1e-9, which is how far this one
    goes; it stays, since with it the intervals of summaries stay what they were, bit for bit.
    """
    if number < 2:
        return math.inf
    low, high = 0.0, 1e9
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle, number) > (1 - level) / 2 else (low, middle)
    return high


@lru_cache(maxsize=1024)
def beyond(distance: float, number: int) -> float:
    """The part of Student's t with one degree of freedom less than groups that lies above ``distance`` >= 0.

    ``Gamma((v + 1) / 2) / (sqrt(pi) Gamma(v / 2)) int cos^(v - 1)`` from ``arctan(distance / sqrt(v))`` to pi / 2.

    >>> round(beyond(2.228, 11), 4), round(beyond(12.706, 2), 4)
    (0.025, 0.025)
    """
    v = number - 1
    if v > LIKE_A_NORMAL:
        return NormalDist().cdf(-distance * (1 - 1 / (4 * v)) / math.sqrt(1 + distance**2 / (2 * v)))
    start = math.atan(distance / math.sqrt(v))
    half = (math.pi / 2 - start) / 2
    inner = float(np.sum(WEIGHTS * np.cos(start + half * (1 + NODES)) ** (v - 1)))
    return half * inner * math.exp(math.lgamma((v + 1) / 2) - math.lgamma(v / 2)) / math.sqrt(math.pi)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(100)
LIKE_A_NORMAL = 1000
"""Degrees of freedom beyond which a normal distribution is as near as 1e-6."""


def tail(level: float, number: int) -> float:
    """The part beyond each end of an interval of ``level`` over so many groups: less than ``(1 - level) / 2``.

    ``Phi(-t sqrt(G / (G - 1)))``, the expanded quantile of Hesterberg (*What teachers should know about the bootstrap*,
    The American Statistician 69, 2015): of few skewed groups a sample seldom has the ones that matter.
    """
    return NormalDist().cdf(-quantile(level, number) * math.sqrt(number / (number - 1)))


def widening(groups: Groups | None, level: float) -> float:
    """How much wider than a percentile bootstrap over G groups an interval must be; 1 where items are independent.

    ``t / z sqrt(G / (G - 1))``: draws of G groups show (G - 1) / G of their variance, with tails that end too early
    (Cameron, Gelbach and Miller, *Bootstrap-based improvements for inference with clustered errors*, 2008) [ours].
    """
    if groups is None:
        return 1.0
    number = count(groups, len(groups))
    if number < 2:
        return math.inf
    return quantile(level, number) / NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(number / (number - 1))
