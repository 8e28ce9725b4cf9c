"""The least value of a function of shares, beside what equal shares give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, minimize

from acclimate.laws.form import Array
from acclimate.types.errors import UsageError

STARTS = 16
"""Random mixtures to begin at, beside the equal one."""


@dataclass(frozen=True)
class Optimum:
    """A mixture, and the control that belongs beside it: no method beats equal shares consistently (arXiv 2411.05735
    [second-hand]).

    Args:
        shares: [k], they sum to 1.
        value: there.
        uniform: the value at equal shares.
    """

    shares: Array
    value: float
    uniform: float


def minimum(objective: Callable[[Array], float], count: int, *, low: float = 1e-6, high: float = 1.0) -> Optimum:
    """The shares of least value, by SLSQP from the equal mixture and from random ones (the same each time).

    Formula: min f(h) over low <= h_i <= high, sum h_i = 1

    Args:
        objective: h [k] -> a loss; convex, or the lowest of several ends is taken.
        count: k >= 2.
        low: of each share; above 0, since laws of shares have infinite slopes there.
        high: of each share, for example what a small corpus may supply.

    Raises:
        UsageError: no mixture keeps the bounds, or the objective has no finite value at any start.

    Example:
        >>> found = minimum(lambda h: float(1 / (h[0] ** 0.5 + 2 * h[1] ** 0.5)), 2)
        >>> found.shares.round(4), round(1 / found.value, 6)
        (array([0.2, 0.8]), 2.236068)

    Reference: SciPy's SLSQP, as in arXiv 2508.11953 [second-hand]; starts [ours].
    """
    if count < 2 or not (0 <= low * count <= 1 <= high * count):
        raise UsageError(f"No {count} shares between {low:g} and {high:g} sum to 1; a mixture has two or more.")
    equal = np.full(count, 1 / count)
    random = np.random.default_rng(0).dirichlet(np.ones(count), STARTS)
    starts = [equal, *(low + (1 - count * low) * random)]
    ends = [
        minimize(
            objective,
            np.clip(start, low, high),
            method="SLSQP",
            bounds=Bounds(low, high),
            constraints=LinearConstraint(np.ones((1, count)), 1.0, 1.0),
            options={"ftol": 1e-13, "maxiter": 500},
        )
        for start in starts
        if np.isfinite(objective(start))
    ]
    kept = [end for end in ends if np.isfinite(end.fun) and abs(end.x.sum() - 1) < 1e-8]
    if not kept:
        raise UsageError("The objective has no finite value at any mixture that was tried.")
    best = min(kept, key=lambda end: float(end.fun))
    return Optimum(best.x, float(best.fun), float(objective(equal)))
