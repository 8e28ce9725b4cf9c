"""Elementwise work on several tensors of one size, in pieces that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**17
"""Elements. Of four float32 tensors and two temporaries this is 3 MiB: intermediate results never reach memory."""


def blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Flat views of the same elements of every tensor; whole tensors on a GPU, where launches cost and caches do not.

    Args:
        tensors: contiguous, of one size.
    """
    size = BLOCK if tensors[0].device.type == "cpu" else max(tensors[0].numel(), 1)
    return zip(*(torch.split(tensor.view(-1), size) for tensor in tensors), strict=True)
