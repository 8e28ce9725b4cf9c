"""Cross-entropy of the label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from acclimate.types.central import Chunk


@dataclass(frozen=True)
class CrossEntropy:
    """``-log p(label)`` in nats per token."""

    needs_reference: bool = False

    def __call__(self, chunk: Chunk) -> Tensor:
        return torch.nn.functional.cross_entropy(chunk.logits, chunk.labels, reduction="none")
