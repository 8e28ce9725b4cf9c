"""PEFT's LoRA layer with its three products and nothing else.

PEFT computes ``W x + s * B(A x)`` operation by operation: scaling and adding walk over the layer's whole output, in
forward and in backward, which took a sixth of a layer's time here. Here the small product is added into the large one
(``addmm_``), both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora.layer import Linear, ParamWrapper
from torch import Tensor, nn
from torch.library import define, impl
from torch.nn import functional


def fuse(network: Any) -> None:
    """Lets every plain adapted layer of ``network`` compute as :class:`FusedLinear`.

    Others (quantised or transposed bases, dropout, a bias in B, DoRA and other variants) stay as PEFT has them. PEFT's
    wrapper of a parameter adds ``s B A`` to a copy of it in every forward; around a linear layer's weight it has the
    same two factors, and becomes a layer, too.
    """
    for module in network.modules():
        if type(module) in (Linear, ParamWrapper) and _is_plain(module):
            module.__class__ = FusedLinear


def _is_plain(module: Linear | ParamWrapper) -> bool:
    return (
        type(module.base_layer) is nn.Linear
        and list(module.lora_A) == ["default"]
        and type(module.lora_dropout["default"]) is nn.Identity
        and module.lora_B["default"].bias is None
        and not module.lora_variant
    )


class FusedLinear(Linear):  # type: ignore[misc]
    """``y = W x + b + s B A x``, equal to PEFT's layer but for rounding; the matrices are where PEFT has them."""

    one_operation = False
    """Whether torch sees the forward as one operation, whose result selective checkpointing may keep; the product of
    the frozen matrix alone, which is added to in place, it may not."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        a, b = self.lora_A["default"].weight, self.lora_B["default"].weight
        if args or kwargs or self.disable_adapters or self.merged or x.dtype != a.dtype:
            y: Tensor = super().forward(x, *args, **kwargs)
            return y
        base = self.base_layer
        product = torch.ops.acclimate.adapted if self.one_operation else adapted
        y = _Adapted.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, a, b, self.scaling["default"], product
        )
        return y


def adapted(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """``W x + b + s B A x`` [..., out], and ``A x`` [n, r]."""
    y = functional.linear(x, weight, bias)  # [..., out]; the very product that the base alone has
    low = x.flatten(0, -2) @ a.T  # [n, r]
    y.view(-1, y.shape[-1]).addmm_(low, b.T, alpha=scaling)
    return y, low


_SCHEMA = "(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b, float scaling) -> (Tensor, Tensor)"
define("acclimate::adapted", _SCHEMA)
impl("acclimate::adapted", "CompositeExplicitAutograd", adapted)


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        product: Callable[..., tuple[Tensor, Tensor]],
    ) -> Tensor:
        y, low = product(x, weight, bias, a, b, scaling)
        ctx.save_for_backward(x.flatten(0, -2), low, weight, a, b)
        ctx.scaling = scaling
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        (grad,) = grad_outputs
        wants_x, wants_weight, wants_bias, wants_a, wants_b, *_ = ctx.needs_input_grad
        flat = grad.flatten(0, -2)  # [n, out]
        low_grad = (flat @ b).mul_(ctx.scaling) if wants_x or wants_a else None  # [n, r]
        x_grad = None
        if wants_x:
            x_grad = (flat @ weight).addmm_(low_grad, a).view(*grad.shape[:-1], -1)
        return (
            x_grad,
            flat.T @ rows if wants_weight else None,  # statistics ask for the gradient of the dense matrix
            flat.sum(0) if wants_bias else None,
            low_grad.T @ rows if wants_a and low_grad is not None else None,
            (flat.T @ low).mul_(ctx.scaling) if wants_b else None,
            None,
            None,
        )
