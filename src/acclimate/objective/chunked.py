"""Hidden states to a scalar loss in token chunks, with the gradient computed in the forward pass.

Full logits [N, V] never exist: each chunk's logits are made, used and dropped. Computing the gradient at once
(instead of recomputing the chunk in backward) costs one product less than checkpointing, and is a single node
for DDP, where per-chunk ``backward`` calls would mark a parameter ready more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from acclimate.model.head import Head

ChunkLoss = Callable[[Tensor], Tensor]
"""Logits [n, V] of one chunk to its part of the loss, a scalar."""


def chunked_loss(
    hidden: Tensor, head: Head, chunks: Sequence[tuple[Tensor, ChunkLoss]], logits_dtype: torch.dtype
) -> Tensor:
    """Sum of the chunks' losses, differentiable in ``hidden`` and in the head's parameters.

    Args:
        hidden: [P, D], all positions of a micro-batch.
        chunks: (positions [n] into ``hidden``, their loss) pairs.
        logits_dtype: dtype of the head's product and of the logits.

    Returns:
        A scalar in ``logits_dtype``.
    """
    loss: Tensor = _GradientInForward.apply(hidden, head.weight, head.bias, head, chunks, logits_dtype)  # type: ignore[no-untyped-call]
    return loss


class _GradientInForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        chunks: Sequence[tuple[Tensor, ChunkLoss]],
        logits_dtype: torch.dtype,
    ) -> Tensor:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        cast = head.cast(logits_dtype)
        grad_hidden = torch.zeros_like(hidden, dtype=logits_dtype) if wants_hidden else None
        grad_weight = torch.zeros_like(cast.weight) if wants_weight else None
        grad_bias = torch.zeros_like(cast.bias) if wants_bias and cast.bias is not None else None
        total = torch.zeros((), dtype=logits_dtype, device=hidden.device)
        for positions, chunk_loss in chunks:
            inputs = hidden[positions].to(logits_dtype)  # [n, D]
            raw = cast.raw(inputs)  # [n, V]
            if not any(ctx.needs_input_grad[:3]):
                total += chunk_loss(cast.shape(raw))
                continue
            with torch.enable_grad():
                raw.requires_grad_()
                loss = chunk_loss(cast.shape(raw))
                (grad_raw,) = torch.autograd.grad(loss, raw)
            total += loss.detach()
            if grad_hidden is not None:
                grad_hidden[positions] = grad_raw @ cast.weight
            if grad_weight is not None:
                grad_weight.addmm_(grad_raw.T, inputs)
            if grad_bias is not None:
                grad_bias += grad_raw.sum(0)
        ctx.save_for_backward(
            None if grad_hidden is None else grad_hidden.to(hidden.dtype),
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        scaled = (None if g is None else g * scale.to(g.dtype) for g in ctx.saved_tensors)
        return (*scaled, None, None, None)
