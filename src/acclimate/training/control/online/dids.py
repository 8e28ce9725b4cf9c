"""DIDS: sources that are near to held-out sets which improve get more. On arrays, no torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeWarning, curve_fit

from acclimate.training.control.online.weights import Vector

LEAST_UTILITY = 1e-7
"""What a utility below it becomes; the authors lift negative ones to it [from code]."""
FITTED = 5
"""Losses from which on a forecast is made [from code]."""
AHEAD = 5
"""The forecast is of evaluation ``n + 5``, counted from 0, of which the last one was ``n - 1`` [from code]."""


def influence(values: ArrayLike) -> Vector:
    """Of each set, which part of its progress is credited to which source: ``max_k v_ke - v_de``, summing to 1.

    The smallest value gets most, and **the largest gets nothing, however close it is** [from code]. The turn fits a
    distance. The released code gives it the product of gradients, which is large where they agree: so that code credits
    sources that agree least. The distance stands commented out beside it [from code].

    Args:
        values: [K, E] of sources on held-out sets, in any unit that a set's values share.

    Returns:
        [K, E]; columns sum to 1, or to 0 where all sources are alike [from code].

    Example:
        >>> influence([[0.0], [1.0], [0.5]]).round(4).tolist()
        [[0.6667], [0.0], [0.3333]]

    Reference:
        DIDS, arXiv 2504.13227 [abstract only]; shiweijiezero/DIDS, mixture_DIDS.py [from code].
    """
    values = np.asarray(values, dtype=np.float64)
    turned = values.max(0) - values
    total = turned.sum(0)
    return np.asarray(np.divide(turned, total, out=np.zeros_like(turned), where=total > 0))


def forecast(losses: Sequence[float]) -> float:
    """By how much the loss of a set is still to fall: the last loss, less that of ``a e^(-b x) + c`` at ``x = n + 5``.

    The curve is fitted by least squares to all n losses at x = 0 to n - 1. So it is asked six evaluations after the
    last one [from code].

    Args:
        losses: [n] nats a token, oldest first.

    Returns:
        Nats a token. 0 of fewer than five losses [ours]: the authors take 1 there, which is no difference of losses
        [from code]. 0 where no curve is found [from code]. No loss is expected below 0 [ours].

    Example:
        >>> losses = [2 * 0.5**x + 1 for x in range(5)]
        >>> round(forecast(losses), 6), 2 * 0.5**4 - 2 * 0.5**10
        (0.123047, 0.123046875)
        >>> forecast(losses[:4])
        0.0

    Reference:
        DIDS, arXiv 2504.13227 [abstract only]; calculate_potential_factor [from code].
    """
    count = len(losses)
    if count < FITTED:
        return 0.0

    def decay(x: Vector, a: float, b: float, c: float) -> Vector:
        return np.asarray(a * np.exp(-b * x) + c)

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", OptimizeWarning)  # a straight line has no covariance
            guess = [losses[0] - losses[-1], 0.1, losses[-1]]
            found, _ = curve_fit(decay, np.arange(count, dtype=np.float64), losses, p0=guess, maxfev=2000)
            then = float(decay(np.array(float(count + AHEAD)), *found))
    except (RuntimeError, ValueError):  # no curve after 2,000 trials, or a loss that is no number
        return 0.0
    return losses[-1] - max(then, 0.0) if np.isfinite(then) else 0.0


def progress(losses: Sequence[float]) -> float:
    """What a set improved since the evaluation before, and what it is still to improve.

    ``(loss_(n-2) - loss_(n-1)) + forecast``

    Args:
        losses: [n] nats a token, two or more, oldest first.

    Example:
        >>> round(progress([3.0, 2.5]), 4)
        0.5

    Reference:
        DIDS, arXiv 2504.13227 [abstract only]; mixture_DIDS.py [from code].
    """
    return losses[-2] - losses[-1] + forecast(losses)


def utilities(credit: ArrayLike, shares: ArrayLike) -> Vector:
    """What a source brought for its share: ``max(credit_d / a_d, 1e-7)``.

    Args:
        credit: [K] mean over sets of influence times progress, in nats a token.
        shares: [K] a by which it was dealt, above 0.

    Example:
        >>> utilities([0.2, -0.1], [0.5, 0.5]).tolist()
        [0.4, 1e-07]

    Reference:
        DIDS, arXiv 2504.13227 [abstract only]; mixture_DIDS.py [from code].
    """
    return np.maximum(np.asarray(credit, dtype=np.float64) / np.asarray(shares, dtype=np.float64), LEAST_UTILITY)


def dids(shares: ArrayLike, utility: ArrayLike, beta: float = 0.2) -> Vector:
    """Part of the old shares, and of the utilities the rest.

    ``a <- beta a + (1 - beta) u / sum u``

    Args:
        shares: [K] a, summing to 1.
        utility: [K] u, above 0.
        beta: from 0 to below 1; .2 as the authors' main calls it, .1 the default of the argument [from code].

    Returns:
        [K] the new shares, summing to 1, which are mostly new at each update.

    Example:
        >>> dids([0.5, 0.5], [0.3, 0.1]).round(4).tolist()
        [0.7, 0.3]

    Reference:
        DIDS, arXiv 2504.13227 [abstract only]; mixture_DIDS.py [from code].
    """
    utility = np.asarray(utility, dtype=np.float64)
    return np.asarray(beta * np.asarray(shares, dtype=np.float64) + (1 - beta) * utility / utility.sum())


@dataclass(frozen=True)
class DIDS:
    """:func:`dids` at every step that measured, from the one on that knows a credit of every source [ours]."""

    beta: float = 0.2
    reads: ClassVar[str] = "credit/{source}"

    def scores(self, last: Vector, read: Vector, shares: Vector, rate: float, step: int) -> Vector:
        return np.where(np.isnan(read), last, utilities(read, shares))

    def shares(self, shares: Vector, scores: Vector, step: int) -> Vector:
        return dids(shares, scores, self.beta) if scores.all() else shares
