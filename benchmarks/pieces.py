"""Pieces of a step: the head's products, and attention over packed rows.   python benchmarks/pieces.py

Prints billions of operations a second of a head's product [256, 576] x [576, 49152] as float32, as float32 from
bfloat16 operands, and as bfloat16; and milliseconds of one layer's attention (9 heads, 3 key-value heads of 64; the
documents of two packed rows), forward and backward, under the mask and regrouped by document.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

from acclimate.kernels.attention import packed_sdpa, with_packing
from acclimate.kernels.head import Head
from acclimate.kernels.projection import Projection

ROWS = ((22, 38, 43, 61, 63, 77, 204), (73, 87, 94, 99, 157))  # tokens of each document


def milliseconds(work: Callable[[], Any], rounds: int = 9) -> float:
    work()
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return 1000 * median(found)


def products() -> None:
    hidden, weight = torch.randn(256, 576).bfloat16(), torch.randn(49152, 576).bfloat16()
    exact = hidden.double() @ weight.double().T
    for name, dtype, logits in (
        ("float32", torch.float32, torch.float32),
        ("float32 from bfloat16 operands", torch.bfloat16, torch.float32),
        ("bfloat16", torch.bfloat16, torch.bfloat16),
    ):
        projection, inputs = Projection(Head(weight.to(dtype)), logits), hidden.to(dtype)
        out = projection.buffer(256)
        spent = milliseconds(lambda p=projection, x=inputs, o=out: p.raw(x, o))
        error = ((out.double() - exact).norm() / exact.norm()).item()
        print(f"product, {name}: {2 * 256 * 576 * 49152 / spent / 1e6:.0f} Gop/s, relative error {error:.1e}")


def attention() -> None:
    width = max(map(sum, ROWS))
    rows = [torch.cat([torch.arange(n) for n in (*row, width - sum(row))]) for row in ROWS]
    positions = torch.stack(rows)
    document = (positions == 0).cumsum(1)
    mask = (document[:, :, None] == document[:, None, :]) & torch.ones(width, width, dtype=torch.bool).tril()
    module: Any = SimpleNamespace(num_key_value_groups=3, is_causal=True)
    for dtype in (torch.float32, torch.bfloat16):
        shapes = [(2, heads, width, 64) for heads in (9, 3, 3)]
        leaves = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
        grad = torch.randn(2, width, 9, 64, dtype=dtype)
        for name, marked in (("masked", positions), ("regrouped", with_packing(positions))):

            def work(ids: torch.Tensor = marked, leaves: Any = leaves, grad: torch.Tensor = grad) -> None:
                out, _ = packed_sdpa(module, *leaves, mask[:, None], position_ids=ids)
                out.backward(grad)

            print(f"attention, {dtype}, {name}: {milliseconds(work):.1f} ms".replace("torch.", ""))


if __name__ == "__main__":
    products()
    attention()
