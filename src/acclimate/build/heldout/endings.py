"""What may end a run before its budget of steps is spent, or take it back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.training.callbacks.exceeded import Exceeded, GoBack, Judge
from acclimate.training.callbacks.plateau import Plateau
from acclimate.training.callbacks.rollback import KeptState
from acclimate.training.control.budget import Budget
from acclimate.training.probe import Probe
from acclimate.training.weights import Weights
from acclimate.types.central import Callback


@dataclass(frozen=True)
class Endings:
    """Callbacks before those that log and save, and after them."""

    exceeded: Exceeded | None = None
    plateau: Plateau | None = None

    @property
    def first(self) -> tuple[Callback, ...]:
        return tuple(callback for callback in (self.exceeded, self.plateau) if callback is not None)

    @property
    def last(self) -> tuple[Callback, ...]:
        return (GoBack(self.exceeded),) if self.exceeded is not None and self.exceeded.kept is not None else ()

    @property
    def kept(self) -> KeptState | None:
        return self.exceeded.kept if self.exceeded is not None else None

    @property
    def rate(self) -> float:
        """Factor on the learning rate."""
        return self.exceeded.rate if self.exceeded is not None else 1.0


def endings(
    config: RunConfig,
    corpora: Corpora,
    budget: Budget | None,
    probe: Probe | None,
    weights: Weights,
    optimizer: torch.optim.Optimizer,
    steps: int,
    say: Callable[[str], None],
) -> Endings:
    """
    Args:
        budget: a forgetting budget.
        steps: of the run.
    """
    if probe is None:
        return Endings()
    section, retain = config.training, config.retain
    peak = None if config.schedule.type == "constant" else config.optimizer.learning_rate
    plateau = exceeded = None
    if section.patience is not None:
        domain = [name for name, corpus in corpora.sources.items() if corpus.role == "domain"]
        plateau = Plateau(section.patience, domain, peak)
    if budget is not None and retain is not None:
        judge = Judge.of(budget, probe.independent, math.ceil(steps / probe.every))
        kept = KeptState(weights, optimizer) if section.on_budget_exceeded == "roll_back" else None
        exceeded = Exceeded(judge, section.on_budget_exceeded, retain.steer, say, peak, kept)
    return Endings(exceeded, plateau)
