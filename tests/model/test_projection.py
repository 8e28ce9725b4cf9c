"""The head's products against float64: float32 results of bfloat16 operands are not rounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

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
