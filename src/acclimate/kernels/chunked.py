"""Hidden states to a scalar loss in token chunks, with the gradient computed in the forward pass.

Full logits [N, V] never exist. A chunk's logits are made by one matrix product, replaced by their own gradient, and
multiplied back into hidden states. Computing the gradient at once (instead of recomputing the chunk in backward)
costs one product less than checkpointing, and is a single node for DDP, where per-chunk ``backward`` calls would mark
a parameter ready more than once.

Between the products, a chunk is walked in blocks of a few rows that stay in the processor's cache, and each block's
gradient comes from autograd: a loss term is written as its formula, and still costs little more than the products
around it (`docs/howto/performance.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acclimate.kernels.head import Head
from acclimate.kernels.projection import Projection

BLOCK_BYTES = 2**21
"""Logits that are worked on at one time on a CPU: the second-level cache of one core."""

BlockLoss = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""(positions [m], logits [m, V], {reference: its logits [m, V]}) to their part of the loss, a scalar."""


@dataclass(frozen=True)
class Group:
    """Tokens that share one loss."""

    positions: Tensor  # [n], into the hidden states
    references: Mapping[str, tuple[Tensor, Projection]]  # name -> hidden states [P, D] of a frozen model, and its head
    loss: BlockLoss
    chunk_tokens: int
    """Most tokens whose logits exist at one time."""


def chunked_loss(hidden: Tensor, head: Head, projection: Projection, groups: Sequence[Group]) -> Tensor:
    """Sum of the groups' losses, differentiable in ``hidden`` and in the head's parameters.

    Args:
        hidden: [P, D], all positions of a micro-batch.
        head: the student's, whose parameters get a gradient if they ask for one.
        projection: of ``head``. A reference with this very projection shares the student's products.
        groups: disjoint sets of positions.

    Returns:
        A scalar in the projection's dtype.
    """
    loss: Tensor = _GradientInForward.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, projection, groups
    )
    return loss


class _GradientInForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        student: Projection,
        groups: Sequence[Group],
    ) -> Tensor:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        learns = wants_hidden or wants_weight or wants_bias
        dtype = student.dtype
        grad_hidden = torch.zeros_like(hidden, dtype=dtype) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=dtype) if wants_weight else None
        grad_bias = torch.zeros_like(bias, dtype=dtype) if wants_bias and bias is not None else None
        total = hidden.new_zeros((), dtype=dtype)
        workspace: dict[int, Tensor] = {}
        for group in groups:
            for positions in torch.tensor_split(group.positions, math.ceil(len(group.positions) / group.chunk_tokens)):
                inputs = hidden[positions]  # [n, D]
                raw, references = _products(inputs, positions, student, group.references, workspace)
                for here in _blocks(raw):
                    total += _block(group.loss, positions[here], raw[here], references, here, student, learns)
                grad = student.operand(raw) if grad_hidden is not None or grad_weight is not None else raw
                if grad_hidden is not None:
                    grad_hidden[positions] = student.hidden_gradient(grad)
                if grad_weight is not None:
                    student.add_weight_gradient(grad, inputs, grad_weight)
                if grad_bias is not None:
                    grad_bias += raw.sum(0)
        ctx.save_for_backward(
            None if grad_hidden is None else grad_hidden.to(hidden.dtype),
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        if scale == 1:  # the ordinary case; a trained head's gradient is large
            return (*ctx.saved_tensors, None, None)
        return (*(None if g is None else g * scale.to(g.dtype) for g in ctx.saved_tensors), None, None)


def _products(
    inputs: Tensor,
    positions: Tensor,
    student: Projection,
    references: Mapping[str, tuple[Tensor, Projection]],
    workspace: dict[int, Tensor],
) -> tuple[Tensor, dict[str, tuple[Tensor, Projection]]]:
    """``raw`` of the student [n, V] and of each reference; those that share a head are one product."""
    n = len(positions)
    raws: dict[str, tuple[Tensor, Projection]] = {}
    shared = [name for name, (_, projection) in references.items() if projection is student]
    stacked = torch.cat([inputs, *(references[name][0][positions] for name in shared)])
    parts = torch.split(student.raw(stacked, _room(workspace, student, len(stacked))), n)
    raws |= {name: (part, student) for name, part in zip(shared, parts[1:], strict=True)}
    for name, (states, projection) in references.items():
        if projection is not student:
            raws[name] = (projection.raw(states[positions], _room(workspace, projection, n)), projection)
    return parts[0], raws


def _room(workspace: dict[int, Tensor], projection: Projection, rows: int) -> Tensor:
    """A buffer that the chunks share: fresh memory of this size costs page faults each time."""
    if id(projection) not in workspace or len(workspace[id(projection)]) < rows:
        workspace[id(projection)] = projection.buffer(rows)
    return workspace[id(projection)][:rows]


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Of rows that stay in the processor's cache."""
    size = len(logits)
    if logits.device.type == "cpu":
        size = max(1, BLOCK_BYTES // (logits.shape[1] * logits.element_size()))
    return (slice(start, start + size) for start in range(0, max(len(logits), 1), size))


def by_blocks(compute: Callable[..., Tensor], logits: Tensor, *others: Tensor) -> Tensor:
    """``compute(logits, *others)`` [k, n] of tensors [n, ...], a few rows at a time: a third of the time on a CPU.

    Without gradients, for measuring; ``compute`` must treat every row by itself.
    """
    return torch.cat([compute(logits[here], *(other[here] for other in others)) for here in _blocks(logits)], 1)


def _block(
    loss: BlockLoss,
    positions: Tensor,
    raw: Tensor,
    references: Mapping[str, tuple[Tensor, Projection]],
    here: slice,
    student: Projection,
    learns: bool,
) -> Tensor:
    """The loss of one block; ``raw`` [m, V] is replaced by its gradient."""
    reference_logits = {name: projection.shape(other[here]) for name, (other, projection) in references.items()}
    if not learns:
        return loss(positions, student.shape(raw), reference_logits)
    with torch.enable_grad():
        leaf = raw.detach().requires_grad_()
        value = loss(positions, student.shape(leaf), reference_logits)
        (gradient,) = torch.autograd.grad(value, leaf)
    raw.copy_(gradient)
    return value.detach()
