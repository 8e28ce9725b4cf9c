"""The head's products against float64: float32 results of bfloat16 operands are not rounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acclimate.kernels import projection as kernel
from acclimate.kernels.head import Head
from acclimate.kernels.projection import Projection

N, D, V = 64, 256, 2048


def error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    ("dtype", "logits_dtype", "forward", "backward"),
    [
        (torch.float64, torch.float64, 1e-14, 1e-14),
        (torch.float32, torch.float32, 1e-6, 1e-6),
        (torch.bfloat16, torch.float32, 1e-6, 3e-3),
        (torch.bfloat16, torch.bfloat16, 3e-3, 5e-3),
    ],
)
def test_products(dtype: torch.dtype, logits_dtype: torch.dtype, forward: float, backward: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(*s, generator=generator).to(dtype) for s in ((V, D), (V,)))
    hidden = torch.randn(N, D, generator=generator).to(dtype)
    grad = torch.randn(N, V, generator=generator).to(logits_dtype)
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    projection = Projection(Head(weight, bias), logits_dtype)
    assert error(projection.logits(hidden), hidden.double() @ weight.double().T + bias.double()) < forward
    assert error(projection.hidden_gradient(grad), grad.double() @ weight.double()) < backward
    total = torch.ones(V, D, dtype=logits_dtype)
    projection.add_weight_gradient(grad, hidden, total)
    assert error(total - 1, grad.double().T @ hidden.double()) < backward
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # type: ignore[attr-defined]


def test_products_as_a_gpu_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for CUDA's products of bfloat16 operands with float32 results; the gradient is rounded once, and the
    head's is added where it lies."""
    calls: list[str] = []

    def mm(a: Tensor, b: Tensor, *, out_dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
        assert a.dtype == b.dtype == torch.bfloat16
        assert out_dtype == torch.float32
        calls.append("mm")
        found = a.float() @ b.float()
        return found if out is None else out.copy_(found)

    def addmm(total: Tensor, a: Tensor, b: Tensor, *, out_dtype: torch.dtype, out: Tensor) -> Tensor:
        assert (a.dtype, b.dtype, total.dtype, out_dtype) == (torch.bfloat16,) * 2 + (torch.float32,) * 2
        assert out is total
        calls.append("addmm")
        return out.add_(a.float() @ b.float())

    generator = torch.Generator().manual_seed(0)
    weight, hidden = (torch.randn(*s, generator=generator).bfloat16() for s in ((V, D), (N, D)))
    grad = torch.randn(N, V, generator=generator)
    projection = Projection(Head(weight), torch.float32)
    assert projection.operand(grad) is grad
    projection._keeps_weight, projection.weight = True, weight
    for adds, expected in ((True, ["mm", "mm", "addmm"]), (False, ["mm", "mm", "mm"])):
        monkeypatch.setattr(kernel, "ADDS_FLOAT32", adds)
        monkeypatch.setattr(torch, "mm", mm)
        monkeypatch.setattr(torch, "addmm", addmm)
        del calls[:]
        short, total = projection.operand(grad), torch.ones(V, D)
        assert projection.operand(short) is short
        assert error(projection.logits(hidden), hidden.double() @ weight.double().T) < 1e-6
        assert error(projection.hidden_gradient(short), grad.double() @ weight.double()) < 3e-3
        projection.add_weight_gradient(short, hidden, total)
        assert error(total - 1, grad.double().T @ hidden.double()) < 3e-3
        assert calls == expected
