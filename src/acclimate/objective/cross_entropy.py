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


@dataclass(frozen=True)
class ExcessCrossEntropy:
    """``max(-log p(label) + log q(label), 0)`` in nats per token: what the model p loses against its reference q.

    Without gradient: DoReMi watches it (arXiv 2305.10429, clipped a token and then averaged) [from code].
    """

    needs_reference: bool = True

    @torch.no_grad()
    def __call__(self, chunk: Chunk) -> Tensor:
        assert chunk.reference_logits is not None
        own, theirs = (
            torch.nn.functional.cross_entropy(logits, chunk.labels, reduction="none")
            for logits in (chunk.logits, chunk.reference_logits)
        )
        return (own - theirs).clamp_min(0)
