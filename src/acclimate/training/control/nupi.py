"""nuPI, the rule by which a multiplier follows a constraint, and its constants. Plain numbers, no torch."""

from __future__ import annotations

from dataclasses import dataclass

LOWEST, HIGHEST = -1.0, 2.0
"""Of the error: nothing can be below none of the budget, and one step's outlier counts as three budgets at most."""


@dataclass(frozen=True)
class Rule:
    """``du = eta (k_i e + k_p (xi - xi_before))`` with ``xi = nu xi_before + (1 - nu) e``.

    nuPI (arXiv 2406.04558, and its code in cooper) [from code], in the logarithm of the multiplier [ours]. The first
    error is its own past, as documented: the first step has no proportional part [from code].

    >>> rule, u, xi = Rule(eta=0.1, k_i=1.0, k_p=2.0, nu=0.5), 0.0, None
    >>> for error in (1.0, 0.5, -0.5):
    ...     change, xi = rule.change(error, xi)
    ...     u += change
    ...     print(round(u, 12))
    0.1
    0.1
    -0.075
    """

    eta: float
    k_i: float
    k_p: float
    nu: float

    def change(self, error: float, before: float | None) -> tuple[float, float]:
        """Of u, and the new xi.

        Args:
            error: measured over target, less 1.
            before: xi of the step before; None: there was none.
        """
        before = error if before is None else before
        now = self.nu * before + (1 - self.nu) * error
        return self.eta * (self.k_i * error + self.k_p * (now - before)), now


def error(measured: float, target: float) -> float:
    """
    >>> error(0.06, 0.05) < 0.21, error(1.0, 0.05), error(-0.1, 0.05)
    (True, 2.0, -1.0)
    """
    return min(max(measured / target - 1, LOWEST), HIGHEST)


@dataclass(frozen=True)
class Pace:
    """How fast a budget is followed [ours; the plants of tests/training/test_plants.py].

    ``kept`` is what a step leaves of the running mean of the training rows' signal; ``hold`` is how many steps the
    strength waits at most for the first of the signal; ``ratio_kept`` is what a check leaves of the logarithm of the
    ratio of held-out to training rows, which is clipped at ``ratio`` either way.
    """

    rule: Rule
    kept: float = 0.9
    hold: int = 100
    ratio_kept: float = 0.8
    ratio: float = 4.0


EACH_STEP = Pace(Rule(eta=0.05, k_i=0.5, k_p=10.0, nu=0.5))
"""Of methods whose training rows say how far the model has drifted."""
EACH_CHECK = Pace(Rule(eta=0.4, k_i=1.0, k_p=0.5, nu=0.0))
"""Of all others, which move once a check."""


def pace(each_step: bool, total_steps: int) -> Pace:
    """The constants of a run."""
    return EACH_STEP if each_step else EACH_CHECK
