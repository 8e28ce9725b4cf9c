"""What a run costs in forwards, counted on the very rows that it will train on, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from acclimate.build import build_loader, build_objective, mix
from acclimate.build.plan import compose
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora
from acclimate.data.deal.loader import Loader
from acclimate.model.packing.regrouped import Regrouped
from acclimate.objective.objective import Objective
from acclimate.parallel.world import World
from acclimate.types.central import IGNORE, Batch

DEALT = 500
"""Steps of a run whose rows are dealt to count it; those of a longer run cost what these do on average."""


class Forwards:
    """Tokens through one forward, a backward counting as two, or as one under LoRA: as ``provenance.json`` counts.

    Args:
        config: a plain run.
        corpora: its sources.
        ranks: processes that will train it.
        alone: whether each document has a row of its own.
    """

    def __init__(self, config: RunConfig, corpora: Corpora, ranks: int = 1, alone: bool = False) -> None:
        composition = compose(config)
        self._objective = build_objective(config, composition.terms, corpora)
        mixture = mix(config, corpora, self._objective)
        self.steps = mixture.total_steps
        """Of the run."""
        self.tokens = mixture.goal or mixture.total_steps * config.budget.batch_tokens
        """Counted trained tokens of the run."""
        loaders = [
            build_loader(config, corpora, self._objective, mixture, None, World(rank, ranks)) for rank in range(ranks)
        ]
        self._passes = 3 if config.lora is None else 2
        self._alone = alone
        self._found: list[float] = []
        self._dealt = accumulate(self._cost(step) for step in _dealt(loaders))

    def of(self, steps: int) -> float:
        """Of the first so many steps."""
        known = min(steps, DEALT)
        while len(self._found) < known:
            self._found.append(next(self._dealt))
        return self._found[known - 1] * (steps / known)

    def _cost(self, step: list[tuple[Batch, ...]]) -> float:
        """Of the micro-batches of a step, each as all ranks have theirs: what one rank needs a reference for, all run
        it for."""
        total = 0.0
        for batches in step:
            positions = sum(self._positions(batch) for batch in batches)
            routes = {route for batch in batches for route in set(batch.route[batch.labels != IGNORE].tolist())}
            total += positions * (self._passes + _without_gradient(self._objective, routes))
        return total

    def _positions(self, batch: Batch) -> int:
        if not self._alone:
            return batch.input_ids.numel()
        return Regrouped.of(batch.position_ids, lambda count: count).positions


def _dealt(loaders: list[Loader]) -> Iterator[list[tuple[Batch, ...]]]:
    while True:
        yield list(zip(*(loader.next_step() for loader in loaders), strict=True))


def _without_gradient(objective: Objective, routes: set[int]) -> int:
    """Forwards of a micro-batch with learned tokens on these routes: of references, and of a first pass."""
    terms = [
        routed
        for routed, selects in zip(objective.terms, objective.selects.tolist(), strict=True)
        if any(selects[route] for route in routes)
    ]
    references = {routed.reference for routed in terms if routed.reference is not None}
    observes = any(routed.weighting is not None and routed.weighting.means_of == "step" for routed in terms)
    return len(references) + observes
