"""Many slices of one array at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def concatenated(starts: ArrayLike, lengths: ArrayLike) -> NDArray[np.int64]:
    """Indices of ``[start, start + length)`` for every pair, one after the other.

    >>> concatenated([5, 0, 2], [2, 0, 3]).tolist()
    [5, 6, 2, 3, 4]
    """
    first, count = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    before = np.cumsum(count) - count
    indices: NDArray[np.int64] = np.arange(int(count.sum())) + np.repeat(first - before, count)
    return indices


def sums(values: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum of ``values[start:end]`` for every pair.

    >>> sums(np.array([1, 2, 3]), np.array([0, 1, 1]), np.array([2, 1, 3])).tolist()
    [3, 0, 5]
    """
    before = np.concatenate([[0], np.cumsum(values)])
    result: NDArray[np.int64] = before[ends] - before[starts]
    return result
