"""The controller that keeps a forgetting budget: it moves the strength of what holds the model. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from acclimate.paired.metrics import BITS
from acclimate.training.control.budget import Budget, shown
from acclimate.training.control.nupi import Pace, error
from acclimate.types.dials import Dial

STRENGTH = "strength"
"""Name of the dial."""
SPENT = "retain/spent"
"""Of a check: the part of the budget that is used up, on its most exhausted set."""
ALLOWED = "retain/allowed"
"""Of a check: how many budgets the controller aims at, while the learning rate is still to fall."""
ANNEALED = 0.35
"""Of the budget, how much drift falls by while the learning rate falls from its peak to 0 [ours, measured]."""
PATIENCE = 3
"""Checks at the largest strength and outside of the budget, after which it counts as infeasible."""
REACHED = 0.5
"""The strength waits until the signal is at this part of its target."""


@dataclass
class Followed:
    """What a resumed run needs beside the dial itself; plain data.

    ``means`` are running means of the training rows' signal by source, ``sums`` and ``counts`` of the same since the
    last check, ``ratio`` the logarithm of held-out over training rows, ``past`` nuPI's xi.
    """

    steps: int = 0
    means: dict[str, float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    ratio: float | None = None
    past: float | None = None
    holding: bool = True
    at_bound: int = 0
    spent: float | None = None
    checks: list[list[float]] = field(default_factory=list)  # step, part of the budget, strength


class Retention:
    """Moves ``strength`` so that held-out text comes to spend the whole budget, and not more.

    Two time scales [ours]. Each step the training rows' own drift m is held at its target; each check corrects the
    ratio of held-out rows to training rows, which sets the target. Both are parts of the budget:

        m = kept m + (1 - kept) drift of the step's rows      target = exp(-l)      e = clip(m / target - 1, -1, 2)
        l = q at the first check, then ratio_kept l + (1 - ratio_kept) q,   q = ln(held-out / rows since the last check)

    Drift falls with the learning rate. So target is multiplied by 1 + ANNEALED times what the rate still falls by
    [ours]: a run that met its budget while the rate is high would end below it.

    Without such rows each check moves it by held-out text alone. It begins when the signal is at half of its target, or
    after ``hold`` steps: before anything has drifted, a controller would only let go.

    Args:
        budget: of held-out sets.
        rows: metric of a step -> source and what its nats are multiplied by to be comparable with drift; of training
            rows that are held to the base. Empty: there are none.
        steered: whether a dial is moved; otherwise the budget is only watched.
        ahead: step -> what the learning rate falls by after it, as a part of its peak.
    """

    name = "retain"

    def __init__(
        self,
        budget: Budget,
        pace: Pace,
        rows: Mapping[str, tuple[str, float]] | None = None,
        steered: bool = True,
        ahead: Callable[[int], float] = lambda step: 0.0,
    ) -> None:
        self.budget, self.pace, self.rows, self.steered, self.ahead = budget, pace, dict(rows or {}), steered, ahead
        self.trained = budget.of(source for source, _ in self.rows.values())
        self.state = Followed()

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.budget.metric == BITS else (self.budget.metric,)

    @property
    def infeasible(self) -> str | None:
        if self.state.at_bound < PATIENCE or self.state.spent is None:
            return None
        return (
            f"retain: the budget is not kept: at the largest strength, held-out text spends {shown(self.state.spent)}, "
            f"and more than it at the last {self.state.at_bound} checks."
        )

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> dict[str, float]:
        state, dial = self.state, dials.get(STRENGTH) if self.steered else None
        state.steps += 1
        for key, (source, factor) in self.rows.items():
            if key in measured:
                value = measured[key] * factor
                before = state.means.get(source, value)
                state.means[source] = self.pace.kept * before + (1 - self.pace.kept) * value
                state.sums[source] = state.sums.get(source, 0.0) + value
                state.counts[source] = state.counts.get(source, 0) + 1
        parts = self.budget.spent(measured)
        told = {f"{SPENT}/{name}": part for name, part in parts.items()}
        if parts:
            state.spent = max(parts.values())
            told |= {SPENT: state.spent, ALLOWED: self.allowed}
            self._checked(state.spent, dial)
        signal, target = self._signal()
        if signal is None:
            return told
        wrong = error(signal, target)
        if dial is not None and (self.rows or parts):
            self._move(dial, wrong, signal >= REACHED * target)
        return told | {"retain/signal": signal, "retain/target": target, "retain/error": wrong}

    @property
    def allowed(self) -> float:
        """Budgets that may be spent after the step; 1 at the end."""
        return 1 + ANNEALED * max(0.0, self.ahead(self.state.steps)) if self.steered else 1.0

    def _signal(self) -> tuple[float | None, float]:
        """What is compared with what, in parts of the budget."""
        if not self.rows:
            return self.state.spent, self.allowed
        parts = self.trained.parts(self.state.means)
        return (max(parts.values()) if parts else None), self.allowed * math.exp(-(self.state.ratio or 0.0))

    def _checked(self, spent: float, dial: Dial | None) -> None:
        state = self.state
        since = state.steps - (int(state.checks[-1][0]) if state.checks else 0)
        state.at_bound = (
            state.at_bound + 1 if dial is not None and spent > self.allowed and float(dial) >= dial.high else 0
        )
        state.checks.append([state.steps, spent, float(dial) if dial is not None else 1.0])
        means = {source: total / state.counts[source] for source, total in state.sums.items()}
        means = state.means if self.pace.rising else means
        rows = max(self.trained.parts(means).values(), default=0.0)
        if spent > 0 and rows > 0:
            limit = math.log(self.pace.ratio)
            found = min(max(math.log(spent / rows), -limit), limit)
            kept = self.pace.ratio_kept_over(since)
            state.ratio = found if state.ratio is None else kept * state.ratio + (1 - kept) * found
        state.sums, state.counts = {}, {}

    def _move(self, dial: Dial, wrong: float, reached: bool) -> None:
        state = self.state
        if state.holding and not reached and state.steps < self.pace.hold:
            return
        state.holding = False
        change, state.past = self.pace.rule.change(wrong, state.past)
        dial.move(math.exp(math.log(float(dial)) + change))

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = Followed(**state)
