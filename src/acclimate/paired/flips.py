"""Right and wrong answers of two models to the same items: only those that flipped tell of a difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from acclimate.paired.estimate import Estimate
from acclimate.paired.grouped import Groups, count, numbered, quantile, sums
from acclimate.paired.ratio import POWER, mean_change
from acclimate.paired.significance import mcnemar

HALVINGS = 60  # of an interval at most 2 long: to below the rounding of a float


@dataclass(frozen=True)
class Flips:
    """Of ``n`` items, ``won`` that only the model has right, and ``lost`` that only its base has: a change of accuracy.

    Args:
        effect: how many items of this sample tell as much as one of independent ones (see :func:`design_effect`).
    """

    won: int
    lost: int
    n: int
    level: float = 0.95
    effect: float = 1.0
    grouped: bool = False

    def estimate(self, unit: float = 1.0, groups: int | None = None) -> Estimate:
        """The change of accuracy, and what is known of it.

        Args:
            unit: of all numbers, as parts of an item: 1 for shares, 100 for points.
        """

        def needed(limit: float) -> float:
            return self.items_to_tell(abs(limit - value) / unit)

        value = unit * (self.won - self.lost) / self.n
        return Estimate(
            value,
            unit * self.low,
            unit * self.high,
            self.n,
            self.p,
            unit * self.mde,
            groups=groups,
            items_to_tell_from=needed,
        )

    @property
    def low(self) -> float:
        """The lower end of Tango's score interval, which no item that flipped does not make a point.

        It holds every difference that its score test would not reject. Of simpler ones, Wald's would let a gate pass
        in up to 12 % of cases, and those with added counts in 6 % (docs/log/index.md, 2026-11-22).

        Reference: Tango, *Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design*, Statistics in Medicine 17, 1998, equations 11 and 12.
        """
        return _root(lambda change: self._score(change) < self._quantile, -1.0, (self.won - self.lost) / self.n)

    @property
    def high(self) -> float:
        """The upper end of the same interval."""
        return _root(lambda change: self._score(change) < -self._quantile, (self.won - self.lost) / self.n, 1.0)

    @property
    def p(self) -> float:
        """Two-sided, of no difference: McNemar's exact test.

        Of items in groups it is that for as many items as tell as much, or the score test's where that is larger.
        """
        if not self.grouped:
            return mcnemar(self.lost, self.won)
        score = 2 * NormalDist().cdf(-abs(self._score(0.0))) if self.won + self.lost else 1.0
        return max(score, mcnemar(round(self.lost / self.effect), round(self.won / self.effect)))

    @property
    def mde(self) -> float:
        """Minimum detectable effect: a change that McNemar's exact test would find in 80 % of such samples.

        Infinite of so few items that it would not find even one in which all of them flip.
        """
        if not self._found_in(self.n, 1.0):
            return math.inf
        return _root(lambda change: self._found_in(self.n, change), 0.0, 1.0)

    def items_to_tell(self, gap: float) -> float:
        """How many items in all would tell a change from one so far from it with 80 % power, were it the true one."""
        if gap == 0 or math.isinf(self.effect):
            return math.inf
        needed = 1.0
        while not self._found_in(needed, gap):
            needed *= 1.01
        return needed

    def _found_in(self, n: float, change: float) -> bool:
        """Whether ``n`` items have the power: ``n change >= 1 + z_0.975 sqrt(n f) + z_0.8 sqrt(n (f - change^2))``.

        ``f`` is the part of items that flip (Connor, 1987); the 1 is for a test of whole items. Where one flipped in
        this sample, two may in the next.
        """
        flipped = max((self.won + self.lost + 1) / (self.n + 1), change)
        n /= self.effect
        spread = self._quantile * math.sqrt(n * flipped) + _POWER * math.sqrt(n * max(flipped - change**2, 0.0))
        return n * change >= 1 + spread

    @property
    def _quantile(self) -> float:
        return NormalDist().inv_cdf((1 + self.level) / 2)

    def _score(self, change: float) -> float:
        """Observed less expected ``won - lost`` over its standard error, were the true change this one."""
        a = 2 * self.n
        b = -self.won - self.lost + (2 * self.n - self.won + self.lost) * change
        c = -self.lost * change * (1 - change)
        lost = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # likeliest part of items that are lost
        variance = self.n * (2 * lost + change * (1 - change))
        apart = self.won - self.lost - self.n * change
        variance *= self.effect
        return apart / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, apart)


_POWER = NormalDist().inv_cdf(POWER)


def design_effect(changes: np.ndarray, groups: Groups, level: float) -> float:
    """By how much the variance of a mean over items in groups is larger than over as many independent ones.

    ``G / (G - 1) sum_g (sum_i d_i - m n_g)^2 / sum_i (d_i - m)^2``, at least 1, times ``(t / z)^2`` for few groups
    (Rao and Scott, *A simple method for the analysis of clustered binary data*, Biometrics 48, 1992) [second-hand].
    Where fewer groups than ``FEWEST_FLIPPED`` hold a flip they cannot show how alike they are, and it is at least the
    mean size of an item's group, as if all of a group flipped together [ours].

    Args:
        changes: [M] of -1, 0 and 1.
        groups: [M].
    """
    number = count(groups, len(changes))
    if number < 2:
        return math.inf
    sizes = sums(groups, np.ones(len(changes)))
    rest = changes - changes.mean()
    spread = float(np.sum(rest**2))
    found = number / (number - 1) * float(np.sum(sums(groups, rest) ** 2)) / spread if spread > 0 else 1.0
    if np.count_nonzero(sums(groups, np.abs(changes))) < FEWEST_FLIPPED:
        found = max(found, float(np.sum(sizes**2)) / len(changes))
    few = quantile(level, number) / NormalDist().inv_cdf((1 + level) / 2)
    return max(found, 1.0) * few**2


FEWEST_FLIPPED = 10


def flips(
    right: np.ndarray,
    base_right: np.ndarray,
    level: float = 0.95,
    unit: float = 1.0,
    groups: Groups | None = None,
) -> Estimate:
    """The change of accuracy by the items that flipped.

    Args:
        right, base_right: [M] bool, whether model and base answered each item rightly.
        groups: [M] the group of each item; None: each is its own.

    >>> flips(np.array([True] * 5), np.array([True] * 4 + [False])).value
    0.2
    """
    won, lost, n = int(np.sum(right & ~base_right)), int(np.sum(base_right & ~right)), len(right)
    if (groups := numbered(groups)) is None:
        return Flips(won, lost, n, level).estimate(unit)
    effect = design_effect(right.astype(float) - base_right, groups, level)
    return Flips(won, lost, n, level, effect, grouped=True).estimate(unit, count(groups, n))


def score_change(
    scores: np.ndarray,
    base_scores: np.ndarray,
    level: float = 0.95,
    unit: float = 1.0,
    groups: Groups | None = None,
) -> Estimate:
    """The mean change of scores by item: of right and wrong ones their flips, of others a studentised interval."""
    both = np.concatenate([scores, base_scores])
    if np.isin(both, (0, 1)).all():
        return flips(scores > 0, base_scores > 0, level, unit, groups)
    return mean_change(unit * scores, unit * base_scores, level, groups)


def _root(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``holds`` begins to be true, by halving; it is false at ``low`` or below and true from there on.

    It needs a predicate alone. SciPy's root finders need a finite function with one zero: Tango's score is infinite
    where nothing flips, and multiplied out it has a second zero at the value itself.
    """
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
