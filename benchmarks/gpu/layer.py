"""One decoder layer, forward and backward: packed documents under a mask, and without one.

A row of T positions holds documents of 500 tokens, or one document. What a layer keeps for its backward is the memory
that stands after its forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from benchmarks.gpu.exact import attentions, why
from benchmarks.gpu.machine import Machine, gib, qwen3, spread, table
from transformers import Qwen3ForCausalLM

from acclimate.kernels.varlen import PACKED_VARLEN, with_bounds
from acclimate.types.batch import Bounds

LENGTHS, DOCUMENT = (2048, 8192, 32_768), 500


def run(on: Machine) -> str:
    shape = "rehearsal" if on.rehearsed else "8B"
    lengths, document = ((64,), 20) if on.rehearsed else (LENGTHS, DOCUMENT)
    with torch.device(on.device):
        torch.manual_seed(0)
        network = Qwen3ForCausalLM(qwen3(shape, num_hidden_layers=1, vocab_size=259)).to(on.dtype)
    decoder = network.get_decoder()
    lines: list[list[object]] = []
    for length in lengths:
        for size in (document, length):
            for name in attentions(on):
                lines.append([length, size, name, *_measured(on, network, decoder, name, length, size)])
    note = f"{why(on)}Shape: one layer of {shape} (embeddings of 259 rows are in it).\n\n"
    return note + table("T | documents of | attention | ms | kept, GiB | peak, GiB", lines)


def _measured(on: Machine, network: Any, decoder: Any, name: str, length: int, size: int) -> list[object]:
    network.set_attn_implementation(PACKED_VARLEN if name == "varlen" else name)
    ids = torch.randint(0, 259, (1, length), device=on.device)
    ends = sorted({*range(size, length, size), length})
    starts = [0, *ends]
    positions = torch.cat([torch.arange(b - a) for a, b in zip(starts, ends, strict=False)])[None].to(on.device)
    bounds = Bounds(
        torch.tensor(starts, dtype=torch.int32, device=on.device),
        max(b - a for a, b in zip(starts, ends, strict=False)),
    )
    given = with_bounds(positions, bounds) if name == "varlen" else {"position_ids": positions}
    kept: list[int] = []

    def work() -> None:
        network.zero_grad(set_to_none=True)
        with held(on, kept):
            states = decoder(input_ids=ids, use_cache=False, **given).last_hidden_state
        states.sum().backward()

    try:
        taken, peak = on.seconds(work, rounds=5), on.peak(work)
    except torch.OutOfMemoryError:
        network.zero_grad(set_to_none=True)
        return ["out of memory", "–", "–"]
    return [spread(taken), gib(kept[-1] if kept else None), gib(peak)]


@contextmanager
def held(on: Machine, found: list[int]) -> Iterator[None]:
    """Notes what stands after the block above what stood before."""
    if on.device.type != "cuda":
        yield
        return
    before = torch.cuda.memory_allocated(on.device)
    yield
    on.wait()
    found.append(torch.cuda.memory_allocated(on.device) - before)
