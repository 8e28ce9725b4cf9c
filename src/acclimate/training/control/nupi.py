"""nuPI, the rule by which a multiplier follows a constraint, and its constants. Plain numbers, no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    let_go: float = 1.0
    """On k_i, where the error is below 0 [ours]."""

    def change(self, error: float, before: float | None) -> tuple[float, float]:
        """Of u, and the new xi.

        Args:
            error: measured over target, less 1.
            before: xi of the step before; None: there was none.
        """
        before = error if before is None else before
        now = self.nu * before + (1 - self.nu) * error
        k_i = self.k_i * self.let_go if error < 0 else self.k_i
        return self.eta * (k_i * error + self.k_p * (now - before)), now


def error(measured: float, target: float) -> float:
    """
    >>> error(0.06, 0.05) < 0.21, error(1.0, 0.05), error(-0.1, 0.05)
    (True, 2.0, -1.0)
    """
    return min(max(measured / target - 1, LOWEST), HIGHEST)


KEPT = 0.9
"""Of the running mean of the training rows' signal, from one step to the next."""


@dataclass(frozen=True)
class Pace:
    """How fast a budget is followed [ours].

    ``kept`` is what a step leaves of the running mean of the training rows' signal; ``hold`` is how many steps the
    strength waits at most for the first of the signal; ``ratio_kept`` is what a check leaves of the logarithm of the
    ratio of held-out to training rows, which is clipped at ``ratio`` either way.
    """

    rule: Rule
    kept: float = KEPT
    hold: int = 100
    ratio_kept: float = 0.8
    ratio: float = 4.0
    rising: bool = False
    """Of few steps, in which the signal still rises from one check to the next: the ratio is to its running mean, not
    to its mean since the check before, which lags behind."""
    whole: int = 1500
    """Steps of the run, of which a check looks back at 1/30 or more."""

    def ratio_kept_over(self, steps: int) -> float:
        """Of so many steps between two checks: where checks are few, each counts more.

        >>> [round(Pace(EACH_STEP, whole=300).ratio_kept_over(steps), 2) for steps in (5, 10, 30)]
        [0.8, 0.8, 0.51]
        """
        return float(self.ratio_kept ** max(1.0, CHECKS * steps / self.whole))


EACH_STEP = Rule(eta=0.05, k_i=0.5, k_p=10.0, nu=0.5)
"""Of methods whose training rows say how far the model has drifted."""
EACH_CHECK = Rule(eta=0.4, k_i=1.0, k_p=0.5, nu=0.0)
"""Of all others, which move once a check."""
STEPS, CHECKS, SHORTEST = 1500, 30, 75
"""The constants are of runs of so many steps, with so many checks; shorter runs than the shortest are as it is."""


def pace(each_step: bool, total_steps: int) -> Pace:
    """The constants of a run: from 1500 steps on they are as they are.

    A shorter run has less time for the same way, and its learning rate falls meanwhile. With s = 1500 / steps, k_i is
    s^0.6 times as large for letting go and s^0.3 for holding, k_p s^0.1, and the running mean forgets s^0.4 times as
    fast; of methods that move at checks eta is s^0.3 and k_p s^0.25 times as large. To hold too late costs little,
    since weights outside of the budget are moved back after training, and what was not learned for holding too hard is
    lost: on plants larger constants are as good, and on a real model they send the strength to its bound within two
    steps (benchmarks/2026-11-30-budget.md) [ours]. The wait for the first signal is a quarter of the run.

    >>> pace(True, 1500).rule == EACH_STEP, pace(True, 5000).hold, pace(True, 150).hold
    (True, 100, 38)
    >>> short = pace(True, 150)
    >>> round(short.rule.k_i, 2), round(short.rule.let_go, 2), round(short.rule.k_p, 1), round(short.kept, 2)
    (1.0, 2.0, 12.6, 0.75)
    """
    scale, rule = max(1.0, STEPS / max(total_steps, SHORTEST)), EACH_STEP if each_step else EACH_CHECK
    if each_step:
        rule = replace(rule, k_i=rule.k_i * scale**0.3, k_p=rule.k_p * scale**0.1, let_go=scale**0.3)
    else:
        rule = replace(rule, eta=rule.eta * scale**0.3, k_p=rule.k_p * scale**0.25)
    hold = min(100, max(1, round(total_steps / 4)))
    return Pace(
        rule, kept=1 - (1 - KEPT) * scale**0.4, hold=hold, rising=total_steps < STEPS, whole=max(total_steps, 1)
    )
