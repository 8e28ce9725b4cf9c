"""The head's matrix products in the dtype of the logits, without losing the speed of the model's dtype."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from acclimate.kernels.head import Head

ADDS_FLOAT32 = torch.__version__ >= "2.10"
"""Whether ``addmm`` of bfloat16 operands adds to a float32 matrix: before, that had to be bfloat16 [from code]
(pytorch #154086, mended by #167931). torch.compile does not know it (pytorch #163880), and nothing here is compiled."""


class Projection:
    """A detached head that is ready for products with results in ``dtype``.

    Near the base a KL gradient needs float32 logits: rounding logits to bfloat16 is wrong by 20-86 % there. It does
    not need float32 *operands*: hidden states and weights of a bfloat16 model are bfloat16 values, their products
    are exact in float32, and matrix units add them up in float32. So ``dtype=float32`` on a bfloat16 model reads its
    operands as bfloat16 and never rounds the result. Only the gradient of the logits is rounded to bfloat16 on its
    way back, as every other gradient in a bfloat16 model is.

    On a CPU that takes a float32 copy of the weight, and oneDNN's switch for such products (where the processor has
    no bfloat16 instructions oneDNN keeps float32 products). On CUDA the weight stays as it is and the product asks
    for a float32 result; not run on a GPU here.

    Args:
        head: the head as the model has it.
        dtype: of the logits: float32, or the head's own dtype.
    """

    def __init__(self, head: Head, dtype: torch.dtype) -> None:
        weight = head.weight.detach()
        self.dtype = dtype
        self.short = weight.dtype == torch.bfloat16 and dtype == torch.float32
        self._keeps_weight = self.short and weight.is_cuda
        self.weight = weight if self._keeps_weight else weight.to(dtype)  # [V, D]
        self.bias = None if head.bias is None else head.bias.detach().to(dtype)  # [V]
        self.shape = head.shape

    def raw(self, hidden: Tensor, out: Tensor) -> Tensor:
        """``h W^T + b``: [n, D] to [n, V], written to ``out``."""
        self._product(hidden, self.weight.T, out)
        return out if self.bias is None else out.add_(self.bias)

    def logits(self, hidden: Tensor, room: Tensor | None = None) -> Tensor:
        """[n, D] to logits [n, V], in a buffer of at least so many rows or in fresh memory, which costs page faults."""
        return self.shape(self.raw(hidden, self.buffer(len(hidden)) if room is None else room[: len(hidden)]))

    def buffer(self, rows: int) -> Tensor:
        """Room for the products of that many tokens, [rows, V]."""
        return torch.empty(rows, self.weight.shape[0], dtype=self.dtype, device=self.weight.device)

    def operand(self, grad: Tensor) -> Tensor:
        """The gradient of ``raw`` [n, V] as the two products of the way back read it: on CUDA rounded here, once."""
        return grad.to(self.weight.dtype) if self._keeps_weight else grad

    def hidden_gradient(self, grad: Tensor) -> Tensor:
        """Gradient of ``raw`` [n, V] to that of the hidden states [n, D]."""
        out = torch.empty(len(grad), self.weight.shape[1], dtype=self.dtype, device=grad.device)
        return self._product(grad, self.weight, out)

    def add_weight_gradient(self, grad: Tensor, hidden: Tensor, total: Tensor) -> None:
        """Adds the weight's gradient [V, D], from that of ``raw`` [n, V] and hidden states [n, D], to ``total``."""
        if self._keeps_weight:
            grad = self.operand(grad)
            if ADDS_FLOAT32:  # a product of its own would be written, read and added: 10 GB at V = 152k and D = 4096
                torch.addmm(total, grad.T, hidden, out_dtype=self.dtype, out=total)
            else:
                total += torch.mm(grad.T, hidden, out_dtype=self.dtype)
            return
        with _bfloat16_operands(self.short):
            total.addmm_(grad.T, hidden.to(self.dtype))

    def _product(self, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        if self._keeps_weight:
            torch.mm(a.to(b.dtype), b, out_dtype=self.dtype, out=out)
            return out
        with _bfloat16_operands(self.short):
            torch.mm(a.to(self.dtype), b, out=out)
        return out


@contextmanager
def _bfloat16_operands(on: bool) -> Iterator[None]:
    """float32 products on a CPU read their operands as bfloat16 and add up in float32."""
    if not on:
        yield
        return
    switch = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = switch.fp32_precision
    switch.fp32_precision = "bf16"
    try:
        yield
    finally:
        switch.fp32_precision = before
