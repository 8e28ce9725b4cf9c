"""Our loss from hidden states, as the benchmarks of the head call it; it imports no other benchmark."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acclimate.kernels.chunked import Group, chunked_loss
from acclimate.kernels.head import Head
from acclimate.kernels.projection import Projection
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.types.central import Chunk


def head_loss(
    hidden: Tensor, other: Tensor, weight: Tensor, kind: str, chunk: int, logits_dtype: torch.dtype = torch.float32
) -> Tensor:
    """Summed over tokens.

    Args:
        hidden: [N, D].
        other: [N, D], the reference's.
        weight: [V, D], the head's. A frozen one is the same for both, as under LoRA; a trained one faces another head.
        kind: ce, or one of Divergence's.
        chunk: tokens whose logits are there at a time.
    """
    head = Head(weight)
    projection = Projection(head, torch.promote_types(hidden.dtype, logits_dtype))
    labels = torch.arange(len(hidden), device=hidden.device) * 37 % len(weight)
    term: Any = CrossEntropy() if kind == "ce" else Divergence(kind)  # type: ignore[arg-type]

    def chunked(positions: Tensor, logits: Tensor, references: Any) -> Tensor:
        found: Tensor = term(Chunk(logits, labels[positions], positions, references.get("base"))).sum()
        return found

    beside = projection if not weight.requires_grad else Projection(Head(weight.detach()), projection.dtype)
    references = {} if kind == "ce" else {"base": (other, beside)}
    group = Group(torch.arange(len(hidden), device=hidden.device), references, chunked, chunk)
    return chunked_loss(hidden, head, projection, [group])
