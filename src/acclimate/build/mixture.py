"""Which sources are trained on, at which share, for how many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from acclimate.build.plan import method_names, source_route
from acclimate.build.schedule import Asked, Planned, anchors_of, schedule_of
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.data.deal.dealt import LOOKED_AT, Dealt, Expectation
from acclimate.data.deal.loader import epochs_goal, total_steps
from acclimate.data.deal.shares import Delayed, Shares
from acclimate.objective.objective import Expected, Objective
from acclimate.training.control.ramp import AnchorRamp
from acclimate.types.errors import ConfigError, listed


@dataclass(frozen=True)
class Mixture:
    """Which sources are trained on, at which share of trained tokens, for how many steps."""

    shares: dict[str, float]  # of all trained tokens of the run
    planned: Planned  # how they come about
    asked: Asked  # by each step
    expectation: Expectation
    trained_tokens: dict[str, int | None]  # of one epoch; None of a stream
    total_steps: int
    expected: Expected  # per term of the objective, its denominator where that is no count of the step
    forwards: float  # without gradient, for each trained token: of references, and of a first pass
    row_lengths: dict[str, int]  # per source, up to which its documents share a row
    absent: list[float]  # per term of the objective, part of the steps that hold none of it
    goal: int | None = None  # counted trained tokens with which a budget in epochs ends

    @property
    def schedule(self) -> Shares:
        """Shares as they are planned."""
        return self.planned.shares

    @property
    def first(self) -> dict[str, float]:
        """Shares at the first step."""
        return dict(self.planned.first or self.schedule(0.0))

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Where shares move: from which part of the run on each source is to give how many trained tokens."""
        if not self.schedule.moving:
            return []
        parts = self.planned.parts
        return [
            {"from": part, "tokens": {name: round(count) for name, count in tokens.items()}}
            for part, tokens in zip(parts, self.asked.between(parts, self.total_steps), strict=True)
        ]

    def expected_of(self, moved: Delayed) -> Expected:
        """The same under shares that are given while training."""

        def expected(before: int) -> list[float | None]:
            asked = self.asked.by(moved.of_step(before + 1))
            return self.expectation(asked, self.row_lengths)

        return expected


def mix(config: RunConfig, corpora: Corpora, objective: Objective) -> Mixture:
    """Shares over the sources that the objective trains on, and the steps that the budget buys.

    Raises:
        ConfigError: the budget counts a source that is not trained on.
    """
    by_route = {
        name: corpus.train.route_counts(len(corpora.routes))
        for name, corpus in corpora.sources.items()
        if config.sources[name].share != 0
    }
    _check_reached(config, objective, corpora, sum(by_route.values(), np.zeros(len(corpora.routes))))
    used = [name for name, counts in by_route.items() if counts[objective.active].sum() > 0]
    budget = config.budget
    if budget.count != "all" and budget.count not in used:
        raise ConfigError(
            f"budget.count: '{budget.count}' is not trained on by this method; count {listed([*used, 'all'])}."
        )
    trained = {
        name: None if corpora.sources[name].stream else int(by_route[name][objective.active].sum()) for name in used
    }
    counted = sum(trained[name] or 0 for name in (used if budget.count == "all" else [budget.count]))
    steps, goal = total_steps(budget, counted, config.data.sequence_length), epochs_goal(budget, counted)
    step_tokens = goal / steps if goal else budget.batch_tokens
    planned = schedule_of(config, used, trained, step_tokens * steps)
    schedule = planned.shares
    asked = Asked(schedule, budget.count, step_tokens)
    shares = asked.shares(steps)
    dealt = Dealt(
        {name: corpora.sources[name].train for name in used},
        asked.mean(steps),
        tuple(used) if budget.count == "all" else (budget.count,),
        objective.selects.numpy(),
        [route.name for route in corpora.routes],
        config.data.sequence_length,
    )
    forwards = sum(
        shares[name]
        for name in used
        for kind in (objective.compares > 0, objective.observes)
        if by_route[name][kind].any()
    )
    row_lengths, expectation = dealt.row_lengths(), dealt.expectation(config.objective.average)
    first = [asked(step) for step in range(min(steps, LOOKED_AT))] if schedule.moving else []
    return Mixture(
        shares=shares,
        planned=planned,
        asked=asked,
        expectation=expectation,
        trained_tokens=trained,
        total_steps=steps,
        expected=(
            (lambda before: expectation(asked(before), row_lengths))
            if schedule.moving
            else dealt.denominators(config.objective.average)
        ),
        forwards=forwards,
        row_lengths=row_lengths,
        absent=dealt.absent(row_lengths, steps, config.seed, first),
        goal=goal,
    )


def anchor_ramp(config: RunConfig, corpora: Corpora, mixture: Mixture) -> AnchorRamp:
    """What moves the shares of a ramp that follows drift.

    Raises:
        ConfigError: none of its sources has held-out text.
    """
    ramp = config.mixture.ramp if config.mixture is not None else None
    assert ramp is not None
    assert ramp.drift is not None
    shares = mixture.schedule(0.0)
    anchors = anchors_of(config, shares)
    sets = [name for name in anchors if len(corpora.sources[name].heldout)]
    if not sets:
        raise ConfigError(
            f"mixture.ramp.drift: none of {listed(anchors)} holds documents out, so no drift is measured there; set "
            "heldout, or give until in place of drift."
        )
    return AnchorRamp(shares, anchors, sets, ramp.start, ramp.drift)


def all_tokens(config: RunConfig, mixture: Mixture) -> float:
    """Trained tokens of the run over all sources."""
    share = 1.0 if config.budget.count == "all" else mixture.shares[config.budget.count]
    return (mixture.goal or mixture.total_steps * config.budget.batch_tokens) / share  # also where shares move: a mean


def epochs(config: RunConfig, mixture: Mixture, name: str) -> float | None:
    """Passes over a source that the budget buys; None for a stream."""
    if (tokens := mixture.trained_tokens[name]) is None:
        return None
    return all_tokens(config, mixture) * mixture.shares[name] / tokens


def _check_reached(config: RunConfig, objective: Objective, corpora: Corpora, tokens: Any) -> None:
    """Every route that a term names must have a token; a term that no token reaches would have no effect."""
    for routed in objective.terms:
        for name in routed.routes:
            if sum(int(tokens[r]) for r, route in enumerate(corpora.routes) if route.name == name) == 0:
                found = listed(
                    f"'{source}' (route {source_route(source, s)}{', share 0' if s.share == 0 else ''})"
                    for source, s in config.sources.items()
                )
                raise ConfigError(
                    f"method: '{'+'.join(method_names(config))}' learns {routed.name} from route '{name}', but no "
                    f"token is on it; the sources are {found}. Name a source '{name}' or set its route: {name}."
                )
