"""What becomes of a run that is outside of its forgetting budget beyond doubt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from acclimate.paired.metrics import BITS
from acclimate.paired.significance import bound_at_every_look
from acclimate.training.callbacks.plateau import unfinished
from acclimate.training.callbacks.rollback import KeptState
from acclimate.training.control.budget import Budget
from acclimate.training.control.retention import ALLOWED, SPENT
from acclimate.training.probe import CHANGE
from acclimate.types.central import Callback, Metrics, TrainingState

EXCEEDED, ROLLED_BACK = "retain/exceeded", "retain/rolled_back"
"""In the metrics of a step: 1 where the budget was first exceeded beyond doubt; the step that weights went back to."""
MOST = 3
"""Times that a run is rolled back."""
SETTLING = 0.25
"""Of a run's steps, in which a controller that steers may be outside [ours; the slowest of the planted plants is inside
after a fifth of its run]."""


@dataclass(frozen=True)
class Judge:
    """Says whether a budget is exceeded beyond doubt, of what a check measured.

    Args:
        metric: as the probe names it: ``eval/<set>/<metric>``, with ``_error`` beside it.
        limits: by set, or one for ``mean``, that of all sets in ``items``, each weighing the same.
        items: set -> documents, or groups of them, that were drawn apart from each other.
        looks: checks that are planned.
    """

    metric: str
    limits: Mapping[str, float]
    items: Mapping[str, int]
    looks: int

    @classmethod
    def of(cls, budget: Budget, items: Mapping[str, int], looks: int) -> Judge:
        metric, part = (CHANGE, 100.0) if budget.metric == BITS else (budget.metric, 1.0)
        known = {name: items[name] for name in budget.watched if name in items}
        limits = {name: part * limit for name, limit in budget.limits.items() if budget.of_mean or name in known}
        return cls(metric, limits, known, looks)

    def spelt(self, value: float) -> str:
        """As a person reads it."""
        return f"{value:.2f} %" if self.metric == CHANGE else f"{value:.3g} nats a token"

    def sets(self, name: str) -> list[str]:
        """What a limit is of."""
        return [name] if name in self.items else list(self.items)

    def exceeded(self, metrics: Metrics) -> tuple[str, float, float] | None:
        """The limit's name, the value, and what it is at least, of the limit that is exceeded most.

        While the learning rate is still to fall, the limit is the part of it that a controller aims at.
        """
        found, allowed = [], metrics.get(ALLOWED, 1.0)
        for name, limit in self.limits.items():
            sets = self.sets(name)
            values = [metrics[f"eval/{one}/{self.metric}"] for one in sets]
            errors = [metrics.get(f"eval/{one}/{self.metric}_error", math.inf) for one in sets]
            looks = self.looks * len(self.limits)
            least = bound_at_every_look(values, errors, [self.items[one] for one in sets], looks)
            if least > allowed * limit:
                found.append((name, sum(values) / len(values), least))
        return max(found, key=lambda one: one[2] / self.limits[one[0]], default=None)


class Exceeded(Callback):
    """Warns, ends the run, or has it go back, when a check is outside of the budget beyond doubt.

    It is said once, and again only after a check inside. The first callback of a run: what it notes is logged.

    Args:
        then: ``training.on_budget_exceeded``.
        steered: a controller brings the run to its budget, from above at first: nothing is said in the first quarter
            of the steps, and of a check that spends less than the one before it.
        say: prints a note.
        peak: of the learning rate, where it falls towards the end.
        kept: what to go back to.
    """

    name = "exceeded"

    def __init__(
        self,
        judge: Judge,
        then: str,
        steered: bool,
        say: Callable[[str], None],
        peak: float | None = None,
        kept: KeptState | None = None,
    ) -> None:
        self.judge, self.then, self.steered, self.say = judge, then, steered, say
        self.peak, self.kept = peak, kept
        self.inside = 0
        """Step of the last check inside; the beginning is, too, since nothing has been forgotten yet."""
        self.outside, self.pending, self.why = False, False, ""
        self.before = 0.0
        """What the check before spent."""
        self.steps: list[int] = []
        self.rolled_back: list[int] = []

    @property
    def rate(self) -> float:
        """Factor on the learning rate."""
        return float(0.5 ** len(self.rolled_back))

    def on_start(self, state: TrainingState) -> None:
        if self.kept is not None and not self.kept.tensors:
            self.kept.keep()

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        if SPENT not in metrics:
            return
        spent, before = metrics[SPENT], self.before
        self.before = spent
        if spent <= 1:
            self.outside, self.inside = False, state.step
            if self.kept is not None:
                self.kept.keep()
            return
        settling = self.steered and (state.step < SETTLING * state.total_steps or spent < before)
        if self.outside or settling or (found := self.judge.exceeded(metrics)) is None:
            return
        name, value, least = found
        spelt = self.judge.spelt
        of = f"'{name}'" if name in self.judge.items else "the mean over other text than the domain's"
        what = "bits per byte rose" if self.judge.metric == CHANGE else "the model drifted"
        self.why = (
            f"after step {state.step} {what} by {spelt(value)} on {of}, by at least {spelt(least)} whatever documents "
            f"were drawn; the budget is {spelt(self.judge.limits[name])}"
        )
        self.outside = True
        self.steps.append(state.step)
        metrics[EXCEEDED] = 1.0
        if self.then == "warn" or state.step >= state.total_steps:
            self.say(f"{self.why}.")
        elif self.kept is not None and len(self.rolled_back) < MOST:
            self.pending = True  # until what logs, saves and chooses has seen these weights
            metrics[ROLLED_BACK] = float(self.inside)
        else:
            state.end(
                f"Ended after step {state.step} of {state.total_steps} (training.on_budget_exceeded: {self.then}"
                f"{f', after {MOST} times back' if self.rolled_back else ''}): {self.why}."
                f"{unfinished(state, metrics['learning_rate'], self.peak, self.inside) if self.inside else ''}"
            )

    def go_back(self, step: int) -> None:
        """To the last check inside, with half the learning rate from here on."""
        assert self.kept is not None
        self.kept.restore()
        self.rolled_back.append(step)
        self.outside = self.pending = False
        self.say(
            f"{self.why}: weights and moments go back to those of step {self.inside}, and the learning rate is "
            f"{self.rate:g} of the schedule's from here on ({len(self.rolled_back)} of at most {MOST} times)."
        )

    def state_dict(self) -> dict[str, Any]:
        names = ("before", "inside", "outside", "pending", "why", "steps", "rolled_back")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class GoBack(Callback):
    """The last callback of a run: it puts earlier weights in the place of those that the others have seen."""

    def __init__(self, exceeded: Exceeded) -> None:
        self.exceeded = exceeded

    def on_start(self, state: TrainingState) -> None:
        """A checkpoint is written before."""
        self._go(state)

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        self._go(state)

    def _go(self, state: TrainingState) -> None:
        if self.exceeded.pending:
            self.exceeded.go_back(state.step)
