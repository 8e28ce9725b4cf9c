"""DoGE: sources whose gradient points where a target's does get more. On arrays, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from acclimate.training.control.online.weights import Vector

LARGEST = 5.0
"""Of a score, in learning rates [from code]."""
TINY = 1e-6
"""Beside the mean norm, in the denominator [from code]."""


def alignment(products: ArrayLike, norms: ArrayLike) -> Vector:
    """How far the gradient of each source points where the target's does.

    ``<g_j, G> / (mean_k ||g_k|| + 1e-6)``

    Args:
        products: [K] ``<g_j, G>``; G is the sum of the target's gradients.
        norms: [K] ``||g_j||``.

    Returns:
        [K] in the unit of G.

    Example:
        >>> alignment([2.0, 0.0], [1.0, 1.0]).round(4).tolist()
        [2.0, 0.0]

    Reference:
        DoGE, arXiv 2310.15393; Olivia-fsm/DoGE [from code].
    """
    return np.asarray(np.asarray(products, dtype=np.float64) / (np.asarray(norms, dtype=np.float64).mean() + TINY))


def bounded(aligned: ArrayLike, rate: float) -> Vector:
    """Scores: ``clip(lr aligned, 0, 5 lr)``.

    *They carry the learning rate*: a run of small rates returns the shares that it began with [ours].

    Args:
        aligned: [K] of :func:`alignment`.
        rate: lr, the step's learning rate.

    Example:
        >>> bounded([2.0, 9.0, -1.0], 0.001).tolist()
        [0.002, 0.005, 0.0]

    Reference:
        DoGE, arXiv 2310.15393; Olivia-fsm/DoGE [from code].
    """
    return np.clip(rate * np.asarray(aligned, dtype=np.float64), 0.0, LARGEST * rate)


def doge(shares: ArrayLike, scores: ArrayLike, mu: float = 0.01) -> Vector:
    """One step of the shares by mirror descent on the target's loss.

    ``a <- normalise(a e^(score / mu))``

    Args:
        shares: [K] a, above 0, summing to 1.
        scores: [K] of :func:`bounded`.
        mu: above 0; .01 as the authors' scripts have it, .05 the default of their arguments [from code].

    Returns:
        [K] the new shares, summing to 1.

    Example:
        >>> doge([0.5, 0.5], bounded(alignment([2.0, 0.0], [1.0, 1.0]), 1e-3)).round(6).tolist()
        [0.549834, 0.450166]

    Reference:
        DoGE, arXiv 2310.15393; formula and constants from Olivia-fsm/DoGE [from code].
    """
    logs = np.log(np.asarray(shares, dtype=np.float64)) + np.asarray(scores, dtype=np.float64) / mu
    return np.asarray(softmax(logs))


@dataclass(frozen=True)
class DoGE:
    """:func:`doge` at every step that measured gradients; one update stands for the steps since the last [ours].

    The formula is of plain gradient descent. Here AdamW moves the weights, and the score takes its rate [ours].

    Args:
        every: steps between two measurements, by which the rate is multiplied.
    """

    mu: float = 0.01
    every: int = 1
    reads: ClassVar[str] = "alignment/{source}"

    def scores(self, last: Vector, read: Vector, shares: Vector, rate: float, step: int) -> Vector:
        """A source absent from the measured step keeps its last score [ours]."""
        return np.where(np.isnan(read), last, bounded(read, rate * self.every))

    def shares(self, shares: Vector, scores: Vector, step: int) -> Vector:
        return doge(shares, scores, self.mu)
