"""Which weights a run with a forgetting budget ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from acclimate.config.load import RunConfig
from acclimate.parallel.shard import local
from acclimate.training.callbacks.exceeded import Exceeded
from acclimate.training.control.candidate import Candidate, best_of, candidate, furthest_inside
from acclimate.training.control.outcome import outcome
from acclimate.training.control.retention import STRENGTH, Retention
from acclimate.training.tuned import TunedRun
from acclimate.types.plan import Settled


def settle(config: RunConfig, tuned: TunedRun, best: tuple[Mapping[str, Tensor], Mapping[str, Any]]) -> Settled:
    """Puts the weights into the model that are best on the domain among those inside of the budget.

    There are those of the last step, the best check's, and the furthest inside on the line from where training started
    to the last ones and beyond. All are measured on the validation documents.

    Args:
        best: weights and facts of ``checkpoints/best``.
    """
    section, training = config.retain, tuned.training
    kept = next(controller for controller in training.controllers if isinstance(controller, Retention))
    watched = next(callback for callback in training.callbacks if isinstance(callback, Exceeded))
    assert section is not None

    def measured(step: int, alpha: float = 1.0) -> Candidate:
        groups = training.probe.groups if training.probe is not None else None
        return candidate(kept.budget, tuned.scores(), step, alpha, groups)

    def place(alpha: float) -> None:
        tuned.place((name, torch.lerp(tuned.start[name], end, alpha)) for name, end in tuned.end.items())

    def at(alpha: float) -> Candidate:
        place(alpha)
        return measured(training.step, alpha)

    last = measured(training.step)
    candidates, moved, own = [last], section.rescale and not last.at_the_budget, dict[str, Tensor]()
    if moved and (furthest := furthest_inside(at, last)) is not None:
        candidates.append(furthest)
    weights, facts = best
    if facts["step"] != training.step:
        ends = tuned.end if moved else {}  # a second copy of them is not needed
        for name, master in training.weights.masters.items():
            own[name] = ends[name] if name in ends else local(master).detach().clone()
        training.weights.load_state_dict(weights)
        candidates.append(measured(facts["step"]))
    chosen = best_of(candidates)
    if chosen.step == training.step:
        tuned.place(own.items())
        if moved:
            place(chosen.alpha)
    found = outcome(config, kept.budget, kept.state, chosen, last)
    record: dict[str, Any] = {
        "metric": kept.budget.metric,
        "limits": dict(kept.budget.limits),
        "outcome": found.word,
        "says": found.says,
        "helps": list(found.helps),
        "step": chosen.step,
        "alpha": chosen.alpha,
        "sets": chosen.record(kept.budget),
        "strength": _strength(training.dials.get(STRENGTH)),
        "domain_change_percent": chosen.domain,
        "exceeded": list(watched.steps),
        "rolled_back": list(watched.rolled_back),
        "tried": [
            {"step": one.step, "alpha": one.alpha, "spent": one.spent, "domain_change_percent": one.domain}
            for one in candidates
        ],
    }
    return Settled(found.says, record)


def _strength(dial: Any) -> dict[str, float] | None:
    if dial is None:
        return None
    return {"first": 1.0, "last": float(dial), "low": dial.low, "high": dial.high}
