"""Drawing anew, with replacement: items, or groups of them. Every interval that draws draws here.

Each function is given its generator, so that a seed, the number of items and :data:`RESAMPLES` settle every draw.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from acclimate.paired.grouped import Groups, widening

RESAMPLES = 2000
DRAWN_AT_ONCE = 1 << 20  # numbers in memory: all resamples of many items at once would be too many

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def indices(random: np.random.Generator, *sizes: int) -> Iterator[tuple[Indices, ...]]:
    """For each set of M items [r, M] which were drawn, a few resamples at once until there are ``RESAMPLES``.

    The sets of one resample are drawn one after the other.
    """
    chunk = max(1, DRAWN_AT_ONCE // max(sizes))
    for start in range(0, RESAMPLES, chunk):
        many = min(chunk, RESAMPLES - start)
        if len(sizes) == 1:
            yield (random.integers(0, sizes[0], (many, sizes[0])),)
            continue
        drawn = [[random.integers(0, size, size) for size in sizes] for _ in range(many)]
        yield tuple(np.stack(own) for own in zip(*drawn, strict=True))


def counts(random: np.random.Generator, items: int) -> Iterator[Indices]:
    """[r, M] how often each of M items was drawn, the same draws as :func:`indices`."""
    for (drawn,) in indices(random, items):
        many = len(drawn)
        places = drawn + items * np.arange(many)[:, None]
        yield np.bincount(places.ravel(), minlength=many * items).reshape(many, items)


@lru_cache(maxsize=64)
def shared_counts(name: str, items: int, groups: tuple[int, ...]) -> Array:
    """[R, M] how often each item of a set is drawn, with its group: the same wherever the set's name is.

    What was measured on one set by several models is then paired, draw by draw.
    """
    random = np.random.default_rng(zlib.crc32(name.encode()))
    drawn = max(groups) + 1 if groups else items
    times = random.multinomial(drawn, np.full(drawn, 1 / drawn), RESAMPLES).astype(np.float64)
    return times[:, list(groups)] if groups else times


def widened(drawn: Array, value: float | Array, groups: Groups | None, level: float) -> Array:
    """Draws of groups, stretched from the value, since few show too little (:mod:`acclimate.paired.grouped`).

    Draws of a single group, which shows nothing, stay as they are.
    """
    if groups is None or not math.isfinite(wider := widening(groups, level)):
        return drawn
    return value + wider * (drawn - value)


def two_sided(drawn: Array) -> float:
    """The p-value of 0: twice the part of resamples on its rarer side, never 0.

    >>> two_sided(np.array([1.0, 2.0, 3.0]))
    0.5
    """
    rarer = float(min(np.sum(drawn <= 0), np.sum(drawn >= 0)))
    return min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))
