"""DoReMi: sources on which the model loses most against a reference get more. On arrays, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from acclimate.training.control.online.weights import Vector


def doremi(shares: ArrayLike, excess: ArrayLike, eta: float = 1.0, smoothing: float = 1e-4) -> Vector:
    """One step of the shares by exponentiated gradient ascent on excess loss.

    ``a <- normalise(a e^(eta l));  a <- (1 - c) a + c / K``

    Args:
        shares: [K] a, above 0, summing to 1.
        excess: [K] l in nats a token: of a source the mean over its tokens of ``max(l_proxy - l_ref, 0)``, clipped a
            token and then averaged [from code].
        eta: rate of the ascent, above 0; 1 [from code].
        smoothing: c, from 0 to 1; 1e-4 [from code].

    Returns:
        [K] the new shares, summing to 1.

    Example:
        >>> doremi([0.5, 0.5], [0.2, 0.0]).round(6).tolist()  # without smoothing (.549834, .450166)
        [0.549829, 0.450171]

    Reference:
        DoReMi, arXiv 2305.10429; formula and constants from sangmichaelxie/doremi [from code].
    """
    a = softmax(np.log(np.asarray(shares, dtype=np.float64)) + eta * np.asarray(excess, dtype=np.float64))
    return np.asarray((1 - smoothing) * a + smoothing / len(a))


@dataclass(frozen=True)
class DoReMi:
    """:func:`doremi` after every step, by what a source's rows of the step said, or the last ones that had any.

    The authors sample at fixed rates and weigh the proxy's loss by a; here rows are dealt by a [ours].
    """

    eta: float = 1.0
    smoothing: float = 1e-4
    reads: ClassVar[str] = "loss/{source}/excess"

    def scores(self, last: Vector, read: Vector, shares: Vector, rate: float, step: int) -> Vector:
        """A source absent from a step keeps its last score [from code]."""
        return np.where(np.isnan(read), last, read)

    def shares(self, shares: Vector, scores: Vector, step: int) -> Vector:
        return doremi(shares, scores, self.eta, self.smoothing)
