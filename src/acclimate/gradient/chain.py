"""Gradient transforms in their fixed order, and their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from acclimate.types.central import GradientTransform, Metrics


class Chain:
    """Runs transforms by stage (observe, boost, penalty, project, clip), in the given order within a stage."""

    def __init__(self, transforms: Sequence[GradientTransform], params: Mapping[str, Tensor]) -> None:
        self.transforms = sorted(transforms, key=lambda transform: transform.stage)
        self.params = params
        self.states: list[dict[str, Tensor]] = [transform.init(params) for transform in self.transforms]

    def update(self, grads: Mapping[str, Tensor], step: int) -> Metrics:
        metrics: Metrics = {}
        for transform, state in zip(self.transforms, self.states, strict=True):
            metrics |= transform.update(grads, self.params, state, step)
        return metrics

    def state_dict(self) -> list[dict[str, Tensor]]:
        return self.states

    def load_state_dict(self, states: list[dict[str, Tensor]]) -> None:
        for state, loaded in zip(self.states, states, strict=True):
            state.clear()
            state.update(loaded)
