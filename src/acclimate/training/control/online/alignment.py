"""Measures where the gradients of a step's sources point, against the gradient of held-out text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from acclimate.model.causal import CausalModel
from acclimate.objective.objective import Objective
from acclimate.objective.step import Step
from acclimate.parallel.world import World
from acclimate.training.control.online.doge import alignment
from acclimate.training.weights import Weights
from acclimate.types.central import IGNORE, Batch, Metrics


class Aligned(Protocol):
    """What is asked of a run."""

    @property
    def step(self) -> int: ...

    @property
    def model(self) -> CausalModel: ...

    @property
    def objective(self) -> Objective: ...

    @property
    def weights(self) -> Weights: ...

    @property
    def world(self) -> World: ...


@dataclass(frozen=True)
class Target:
    """Micro-batches of held-out sets of a kind, and what their gradient counts in the target's."""

    sets: Sequence[Sequence[Batch]]
    weight: float

    def batch(self, turn: int) -> Batch:
        """One micro-batch: sets take turns, and in each its micro-batches."""
        rows = self.sets[turn % len(self.sets)]
        return rows[turn // len(self.sets) % len(rows)]


@dataclass(frozen=True)
class Alignment:
    """``alignment/<source>`` every ``every`` steps: ``<g_j, G> / (mean_k ||g_k|| + 1e-6)`` over trained parameters.

    g_j is the gradient of the source's own loss terms over its rows of the step, each term a mean over the source's own
    tokens, with the weights after the step. G is that of cross-entropy on held-out rows, one micro-batch of
    each target. A source that the step holds none of is absent. In several processes g_j is over the rows of all ranks,
    and G over the same rows on each.

    It costs the step's rows and the target's once more, forward and backward, and room for one more gradient.

    Args:
        sources: whose gradients are compared.
        targets: held-out sets by kind.
        loss: of the held-out rows.
    """

    every: int
    sources: Sequence[str]
    targets: Sequence[Target]
    loss: Objective

    def measured(self, training: Aligned, batches: Sequence[Batch]) -> Metrics:
        """What is to be known after this step: nothing, in most.

        Args:
            batches: this rank's micro-batches of the step.
        """
        if training.step % self.every:
            return {}
        target = {name: gradient.clone() for name, gradient in self._of_target(training).items()}
        training.weights.drop()
        own = replace(training.objective, expected=None, balance=0.0)
        found: dict[str, tuple[float, float]] = {}
        for source in self.sources:
            rows = [rows_of(batch, source, own) for batch in batches]
            gradients = gradients_of(training, own.step(rows, before=training.step), rows)
            if gradients is not None:
                product = sum(_product(gradients[name], target[name]) for name in target)
                found[source] = product, sum(_product(g, g) for g in gradients.values()) ** 0.5
            training.weights.drop()
        if not found:
            return {}
        aligned = alignment(*(list(values) for values in zip(*found.values(), strict=True)))
        return {f"alignment/{source}": value for source, value in zip(found, aligned.tolist(), strict=True)}

    def _of_target(self, training: Aligned) -> Mapping[str, Tensor]:
        world, turn = training.world, training.step // self.every - 1
        for target in self.targets:
            batch = target.batch(turn).to(training.model.device)  # the same on all ranks, as of one
            step = self.loss.step([batch])
            (target.weight * step.loss(training.model, batch)).backward()  # type: ignore[no-untyped-call]
            training.weights.accumulate()
        return training.weights.reduce(world)


def rows_of(batch: Batch, source: str, objective: Objective) -> Batch:
    """The rows that hold labels of the source, which alone are learned; one row at least, as ranks have equally many
    micro-batches."""
    own = torch.tensor([route.source == source for route in objective.routes], device=batch.route.device)
    labels = torch.where(own[batch.route], batch.labels, IGNORE)
    rows = (labels != IGNORE).any(1)
    rows[0] |= not rows.any()
    return replace(batch, labels=labels).map(lambda tensor: tensor[rows])


def gradients_of(training: Aligned, step: Step, batches: Sequence[Batch]) -> Mapping[str, Tensor] | None:
    """Of the loss of a step of these rows over all ranks; None where no rank has a token of them."""
    if not step.counts.any():
        return None
    step.observe(training.model)
    for batch in batches:
        if (batch.labels != IGNORE).any():
            step.loss(training.model, batch).backward()  # type: ignore[no-untyped-call]
            training.weights.accumulate()
    return training.weights.reduce(training.world)


def _product(one: Tensor, other: Tensor) -> float:
    return float((one.double() * other.double()).sum())
