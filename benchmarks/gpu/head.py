"""The head's loss from hidden states: chunk sizes, beside bare products and full logits.

Forward and backward. `products` are the matrix products of the trained head alone (three of N x D x V for CE, five for
KL with a head of its own for the reference). The error is of the hidden states' gradient, over its norm, against
float64 at the smallest size.
"""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.gpu.loss import head_loss
from benchmarks.gpu.machine import Machine, gib, spread, table
from torch import Tensor

from acclimate.kernels.chunk_size import CE_COPIES, JS_COPIES, KL_COPIES, chunk_size

SHAPES = [(49_152, 576), (151_936, 1024), (151_936, 2560), (128_256, 4096)]  # V, D
TOKENS, CHUNKS = (2048, 16_384), (256, 1024, 2048, 4096)
COPIES = {"ce": CE_COPIES, "reverse": KL_COPIES, "js": JS_COPIES}
PRODUCTS = {"ce": 3, "reverse": 4, "js": 4}


def run(on: Machine) -> str:
    shapes = [(300, 16)] if on.rehearsed else SHAPES
    tokens = (64,) if on.rehearsed else TOKENS
    lines: list[list[object]] = []
    for vocabulary, width in shapes:
        for many in tokens:
            for kind in COPIES:
                for trained in (True, False):
                    lines += _lines(on, kind, many, vocabulary, width, trained)
    return table("V x D | tokens | loss | head | chunk | ms | peak, GiB | products alone, ms | of the whole", lines)


def _lines(on: Machine, kind: str, many: int, vocabulary: int, width: int, trained: bool) -> list[list[object]]:
    torch.manual_seed(0)
    options: dict[str, Any] = {"device": on.device, "dtype": on.dtype}
    hidden, other = (torch.randn(many, width, **options).requires_grad_(first) for first in (True, False))
    weight = torch.nn.Parameter(torch.randn(vocabulary, width, **options) * width**-0.5, requires_grad=trained)
    count = PRODUCTS[kind] - (not trained)
    bare = on.seconds(lambda: [_product(hidden, weight) for _ in range(count)], rounds=5)
    auto = chunk_size(on.device, vocabulary, kind != "ce", COPIES[kind])
    found: list[list[object]] = []
    for chunk in (16, 32) if on.rehearsed else sorted({*CHUNKS, auto}):
        if 4 * COPIES[kind] * chunk * vocabulary > 40e9:
            continue

        def work(size: int = chunk) -> None:
            hidden.grad = weight.grad = None
            head_loss(hidden, other, weight, kind, size).backward()  # type: ignore[no-untyped-call]

        taken, peak = on.seconds(work, rounds=5), on.peak(work)
        named = f"{chunk}{' (auto)' * (chunk == auto)}"
        share = f"{bare[0] / taken[0]:.0%}"
        found.append(
            [f"{vocabulary} x {width}", many, kind, "trained" if trained else "frozen", named, spread(taken), gib(peak),
             f"{bare[0] * 1000:.2f}", share]
        )  # fmt: skip
    return found


def _product(hidden: Tensor, weight: Tensor) -> None:
    """One of N x D x V, in slices, so that no N x V tensor is needed."""
    for part in hidden.detach().split(2048):
        part @ weight.detach().T
