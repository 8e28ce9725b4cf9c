"""Exact and many tests: McNemar on items that flipped, Holm over a panel, a bound that holds at every look."""

from __future__ import annotations

import math
from collections.abc import Sequence

from acclimate.paired.grouped import quantile


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p-value of McNemar's exact test.

    Under no difference each item that flipped was as likely to be lost (right before, wrong after) as won, so
    ``p = 2 P(Binomial(lost + won, 1/2) <= min(lost, won))``, at most 1 (McNemar, 1947; exact form: Fleiss, 1981). It is
    ``scipy.stats.binomtest``'s, by the incomplete beta function that is below it: ``scipy.stats`` loads for a second.

    >>> round(mcnemar(1, 5), 5)
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


def bound_at_every_look(
    values: Sequence[float], errors: Sequence[float], items: Sequence[int], looks: int, level: float = 0.95
) -> float:
    """A lower bound of the mean of sets' values, too high at any of so many looks with probability ``1 - level``.

    ``mean(v) - t sqrt(sum e^2) / S``, Student's t of the fewest items at ``(1 - level) / looks`` (Bonferroni) [ours].
    All looks are at the same items while what is measured of them moves. No item comes anew, so a confidence sequence
    (Howard et al., 2021, arXiv 1810.08240 [second-hand]) has nothing to gather, and an empirical Bernstein bound
    (Waudby-Smith and Ramdas, 2024, arXiv 2010.09686 [second-hand]) wants values with a known bound, which a divergence
    has not. Looks at the same items are alike, so the chance of a false claim is lower than it says. So it is where
    large values are rare: a sample that holds too many of them has a large error, too.

    Args:
        values, errors: of each set, a mean over items and its standard error.
        items: of each set, that were drawn apart from each other.
        looks: planned.

    >>> round(bound_at_every_look([0.08, 0.06], [0.003, 0.004], [40, 60], looks=1), 4)  # 0.07 - 1.685 * 0.0025
    0.0658
    """
    wide = quantile(1 - 2 * (1 - level) / looks, min(items))
    error = math.sqrt(sum(error**2 for error in errors)) / len(errors)
    return sum(values) / len(values) - wide * error
