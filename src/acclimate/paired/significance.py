"""Exact and many tests: McNemar on items that flipped, Holm over a panel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p-value of McNemar's exact test.

    Under no difference each item that flipped was as likely to be lost (right before, wrong after) as won, so
    ``p = 2 P(Binomial(lost + won, 1/2) <= min(lost, won))``, at most 1 (McNemar, 1947; exact form: Fleiss, 1981).

    >>> mcnemar(1, 5)
    0.21875
    """
    flipped = lost + won
    tail = sum(math.comb(flipped, k) for k in range(min(lost, won) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**flipped)))  # exact: 2**flipped overflows a float


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down method, in the order given: the chance of any false claim stays at alpha.

    The i-th smallest of m is multiplied by ``m - i + 1``, and is never below one before it (Holm, *A simple
    sequentially rejective multiple test procedure*, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
