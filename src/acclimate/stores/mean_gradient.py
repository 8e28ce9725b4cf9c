"""The mean gradient over a corpus (DBA)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from acclimate.model.load import DTYPES
from acclimate.stores.lowrank import Matrices, shortened
from acclimate.stores.recorder import Recorded, Recorder
from acclimate.types.central import Metrics, TrainingState
from acclimate.types.errors import UsageError

HALVES = ("even", "odd")


@dataclass
class MeanGradient(Recorder):
    """``g_G = (1/s) sum_i g_i`` over s optimizer steps at learning rate 0, each a mean over its trained tokens.

    Even and odd steps are summed apart: the cosine of the two halves tells signal from noise. A matrix is kept as
    ``rank`` singular triplets where that is smaller than the matrix (512 in the paper [second-hand]).

    Args:
        rank: singular triplets; None keeps every matrix dense.
        dtype: in which the store keeps it: bfloat16 or float32.
    """

    kind: ClassVar[str] = "mean-gradient"

    rank: int | None = None
    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise UsageError(f"--rank: {self.rank} should be 1 or more; leave it out to keep matrices dense.")

    def settings(self) -> dict[str, Any]:
        return {"rank": self.rank, "dtype": self.dtype}

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        return {f"{half}/{name}": torch.zeros_like(p) for half in HALVES for name, p in params.items()}

    @torch.no_grad()
    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Any], step: int
    ) -> Metrics:
        half = HALVES[step % 2]
        torch._foreach_add_([state[f"{half}/{name}"] for name in grads], list(grads.values()))
        return {}

    def result(self, training: TrainingState, state: Mapping[str, Tensor]) -> Recorded:
        """``facts``: norm of g_G, cosine of its halves (null of a single step), and of the stored form its relative
        Frobenius error and cosine with the exact one, over all parameters."""
        kept: dict[str, Tensor] = {}
        sums = torch.zeros(6, dtype=torch.float64)
        for name in training.weights.masters:
            halves = [state[f"{half}/{name}"].cpu() for half in HALVES]
            exact = (halves[0] + halves[1]) / training.total_steps
            short = {name + suffix: t for suffix, t in shortened(exact, self.rank, DTYPES[self.dtype]).items()}
            stored = Matrices(short)[name].to(exact.dtype)
            kept |= short
            pairs = ((exact, exact), (stored, stored), (exact, stored), (halves[0], halves[1]))
            sums += torch.tensor([*map(_dot, pairs), *(_dot((half, half)) for half in halves)])
        exact2, stored2, both, across, even2, odd2 = sums.tolist()
        facts = {
            "norm": exact2**0.5,
            "split_half_cosine": across / (even2 * odd2) ** 0.5 if even2 * odd2 > 0 else None,
            "relative_error": max(exact2 + stored2 - 2 * both, 0.0) ** 0.5 / exact2**0.5 if exact2 else None,
            "stored_cosine": both / (exact2 * stored2) ** 0.5 if exact2 * stored2 > 0 else None,
        }
        return Recorded(kept, facts)


def _dot(pair: tuple[Tensor, Tensor]) -> float:
    return float(pair[0].flatten().double().dot(pair[1].flatten().double()))
