"""Gradient clipping by global norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from acclimate.parallel.shard import whole
from acclimate.types.central import Metrics, Stage


@dataclass(frozen=True)
class ClipNorm:
    """``g <- g * min(1, max_norm / ||g||_2)`` over all parameters; reports ``gradient_norm`` before clipping.

    ``max_norm=None`` only measures.
    """

    max_norm: float | None = 1.0
    stage: Stage = Stage.CLIP

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    @torch.no_grad()
    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Tensor], step: int
    ) -> Metrics:
        norm = whole(torch.nn.utils.get_total_norm(grads.values()))
        if self.max_norm is not None and norm.isfinite() and norm > self.max_norm:
            torch._foreach_mul_(list(grads.values()), (self.max_norm / norm).item())
        return {"gradient_norm": norm.item()}
