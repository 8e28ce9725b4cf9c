"""Exact and many tests: McNemar on items that flipped, Holm over a panel."""

from __future__ import annotations

from collections.abc import Sequence


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p-value of McNemar's exact test.

    Under no difference each item that flipped was as likely to be lost (right before, wrong after) as won, so
    ``p = 2 P(Binomial(lost + won, 1/2) <= min(lost, won))``, at most 1 (McNemar, 1947; exact form: Fleiss, 1981). It is
    ``scipy.stats.binomtest``'s, by the incomplete beta function that is below it: ``scipy.stats`` loads for a second.

    >>> mcnemar(1, 5)
    0.21875
    """
    from scipy.special import betainc  # here, since a run without panels needs none of it

    fewer, more = sorted((lost, won))
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5))) if more else 1.0


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
