"""How many tokens have logits at one time, where the configuration leaves it open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CPU_TOKENS = 256
"""Measured on two cores: fewer lose matrix units, more lose the cache (docs/howto/performance.md)."""
MOST_COMPARED, MOST_ALONE, FEWEST = 1024, 2048, 64
"""On CUDA, of a term with a reference and of one without [ours, by arithmetic]: from there on launches and the head's
gradient are a small part of a chunk. Not measured on a GPU."""
FREE_PART = 0.25
"""Of the free memory, that a chunk may take [ours]: optimizer states and gradients may still come."""
KL_COPIES, JS_COPIES, CE_COPIES = 7.0, 18.0, 4.0
"""Tensors of the logits' size that are alive at once while a chunk's gradient is taken (tests/model/test_chunk_size.py
counts them)."""


def chunk_size(device: torch.device, vocabulary: int, compared: bool, copies: float) -> int:
    """Tokens of a chunk: on a CPU 256; on CUDA what the memory holds that is free at the first micro-batch.

    Args:
        vocabulary: rows of the head.
        compared: whether the chunk has a reference's logits, too.
        copies: tensors of the logits' size at once.
    """
    if device.type != "cuda":
        return CPU_TOKENS
    from torch.cuda import mem_get_info  # what reckons from files alone loads no torch

    free, _ = mem_get_info(device)
    return fitting(free, vocabulary, compared, copies)


def fitting(free: int, vocabulary: int, compared: bool, copies: float) -> int:
    """The largest power of two of tokens whose float32 logits, ``copies`` times, fit a part of ``free`` bytes.

    ``tokens * vocabulary * 4 * copies <= free / 4``, from 64 to 1,024 with a reference and to 2,048 without.

    >>> [fitting(free << 30, 152_000, True, KL_COPIES) for free in (4, 8, 60)]
    [128, 256, 1024]
    >>> fitting(60 << 30, 49_152, False, CE_COPIES)
    2048
    """
    room = FREE_PART * free / (4 * vocabulary * copies)
    size = MOST_COMPARED if compared else MOST_ALONE
    while size > room and size > FEWEST:
        size //= 2
    return size
