"""Measures held-out text while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from acclimate.evaluate.measure import measure
from acclimate.evaluate.summary import bits_per_byte
from acclimate.train.training import Training
from acclimate.types import Batch, Callback, Metrics


class Evaluate(Callback):
    """Adds ``eval/<set>/bits_per_byte`` to the metrics every ``every`` steps and at the last one.

    Comes before the callbacks that log or keep the best, so that they see its numbers.
    """

    def __init__(
        self, every: int, sets: Mapping[str, Sequence[tuple[Batch, Tensor]]], special_ids: Sequence[int]
    ) -> None:
        self.every, self.sets, self.special_ids = every, sets, special_ids

    def on_step_end(self, state: Training, metrics: Metrics) -> None:
        if state.step % self.every == 0 or state.step == state.total_steps:
            for name, batches in self.sets.items():
                scores, _ = measure(state.model, None, batches, self.special_ids, state.world)
                metrics[f"eval/{name}/bits_per_byte"] = bits_per_byte(scores)
