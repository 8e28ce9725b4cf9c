"""Ends a run that learns nothing more of its domain."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from acclimate.training.control.retention import SPENT
from acclimate.training.probe import CHANGE
from acclimate.types.central import Callback, Metrics, TrainingState

NEARLY_PEAK = 0.2
"""From this part of its peak on, a run that ends early says what its learning rate was."""


class Plateau(Callback):
    """Ends the run when ``patience`` measurements in a row brought no new best of the domain's bits per byte, the mean
    over its sets of the change from the base.

    With a budget a measurement outside of it neither counts nor begins anew: its weights are none that the run could
    end with, and what brings them back is the budget's business.

    Args:
        domain: names of the sets.
        peak: of the learning rate, where it falls towards the end; None where it stays.
    """

    name = "patience"

    def __init__(self, patience: int, domain: Sequence[str], peak: float | None) -> None:
        self.patience, self.domain, self.peak = patience, domain, peak
        self.best: float | None = None
        self.step, self.since = 0, 0

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        found = [metrics[key] for name in self.domain if (key := f"eval/{name}/{CHANGE}") in metrics]
        if not found or metrics.get(SPENT, 0.0) > 1:
            return
        change = fmean(found)
        if self.best is None or change < self.best:
            self.best, self.step, self.since = change, state.step, 0
            return
        self.since += 1
        if self.since >= self.patience and state.step < state.total_steps:
            inside = " inside of the budget" if SPENT in metrics else ""
            state.end(
                f"Ended after step {state.step} of {state.total_steps} (training.patience): {self.since} measurements "
                f"in a row{inside} brought no new best of the domain, which was {self.best:+.1f} % bits per byte at "
                f"step {self.step}.{unfinished(state, metrics['learning_rate'], self.peak, self.step)}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "step": self.step, "since": self.since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.step, self.since = state["best"], state["step"], state["since"]


def unfinished(state: TrainingState, rate: float, peak: float | None, enough: int) -> str:
    """What a run that ends early leaves out of its schedule, as a sentence to follow another, or nothing."""
    if peak is None or rate < NEARLY_PEAK * peak:
        return ""
    return (
        f" Its learning rate was still {rate / peak:.0%} of the peak, since it falls over {state.total_steps} steps: a "
        f"run with budget.steps: {enough} would end with a low one."
    )
