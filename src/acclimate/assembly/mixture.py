"""Which sources are trained on, at which share, for how many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from acclimate.config import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.data.loader import epochs_goal, total_steps
from acclimate.data.mix import resolve_shares
from acclimate.errors import ConfigError, listed
from acclimate.objective.objective import Objective
from acclimate.plan import method_names, source_route

SMALL_SHARE = 0.1
"""A term whose sources have less than this share divides by its expected count."""


@dataclass(frozen=True)
class Mixture:
    """Which sources are trained on, at which share of trained tokens, for how many steps."""

    shares: dict[str, float]
    trained_tokens: dict[str, int | None]  # of one epoch; None of a stream
    total_steps: int
    expected: list[float | None]  # per term of the objective, trained tokens of one step
    forwards: float  # without gradient, for each trained token: of references, and of a first pass
    goal: int | None = None  # counted trained tokens with which a budget in epochs ends


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
    shares = resolve_shares({name: config.sources[name] for name in used})
    budget = config.budget
    if budget.count != "all" and budget.count not in used:
        raise ConfigError(
            f"budget.count: '{budget.count}' is not trained on by this method; count {listed([*used, 'all'])}."
        )
    trained = {
        name: None if corpora.sources[name].stream else int(by_route[name][objective.active].sum()) for name in used
    }
    counted = sum(trained[name] or 0 for name in (used if budget.count == "all" else [budget.count]))
    steps = total_steps(budget, counted, config.data.sequence_length)
    goal = epochs_goal(budget, counted)
    step_tokens = (goal / steps if goal else budget.batch_tokens) / shares.get(budget.count, 1.0)
    expected: list[float | None] = []
    for select in objective.selects.numpy():
        share = sum(
            shares[name] * by_route[name][select].sum() / by_route[name][objective.active].sum() for name in used
        )
        small = 0 < share < SMALL_SHARE and config.objective.average == "token"  # counts are of tokens only then
        expected.append(float(share * step_tokens) if small else None)
    forwards = sum(
        shares[name]
        for name in used
        for kind in (objective.compares > 0, objective.observes)
        if by_route[name][kind].any()
    )
    return Mixture(shares, trained, steps, expected, forwards, goal)


def all_tokens(config: RunConfig, mixture: Mixture) -> float:
    """Trained tokens of the run over all sources."""
    share = 1.0 if config.budget.count == "all" else mixture.shares[config.budget.count]
    return (mixture.goal or mixture.total_steps * config.budget.batch_tokens) / share


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
