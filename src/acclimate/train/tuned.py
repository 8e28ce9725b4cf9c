"""A run between its last step and its ``model/``: what a step after training may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from acclimate.model.pair import Pair
from acclimate.train.training import Training
from acclimate.types import Batch


@dataclass(frozen=True)
class Tuned:
    """The trained weights, what they are measured against, and held-out text that no report is made of."""

    training: Training
    pair: Pair
    validation: Mapping[str, tuple[str, Sequence[tuple[Batch, Tensor]]]]  # set -> role, batches with label bytes
    special_ids: Sequence[int]
    seed: int
    run_dir: Path
