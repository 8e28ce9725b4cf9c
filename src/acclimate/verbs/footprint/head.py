"""What the output head takes beside hidden states: logits of a chunk, what terms make of them, and its own gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acclimate.kernels.chunked import BLOCK_BYTES
from acclimate.model.packing.states import UNFIT
from acclimate.types.central import Chunk, RoutedTerm
from acclimate.verbs.footprint.live import LiveBytes

FLOAT = 4
MOST = 18
"""Times the logits that a term makes of them at one time, where its formula cannot be run: Jensen-Shannon's, the most
that was counted [ours]."""


@dataclass(frozen=True)
class HeadSizes:
    """Of a micro-batch's way through the head."""

    tokens: int
    """Positions of the micro-batch."""
    vocabulary: int
    hidden: int
    width: int
    """Bytes of a weight."""
    trained: bool
    copies: int
    """Frozen heads beside the student's."""
    chunk: int
    """Tokens whose logits exist at one time."""
    cpu: bool


@dataclass(frozen=True)
class HeadBytes:
    """By how long they are there."""

    chunk: float
    """While the loss is computed."""
    step: float
    """Also in the backward: gradients of hidden states and head, and copies of the heads' weights."""


def head_bytes(sizes: HeadSizes, terms: Sequence[RoutedTerm]) -> HeadBytes:
    """What :func:`acclimate.kernels.chunked.chunked_loss` holds, with what the terms' formulas make of a chunk.

    On a CPU the formulas see blocks of the chunk, and a bfloat16 head is read as float32; on CUDA they see the chunk.
    """
    chunk, table = min(sizes.chunk, sizes.tokens), sizes.vocabulary * sizes.hidden
    logits = chunk * sizes.vocabulary * FLOAT
    block = min(logits, BLOCK_BYTES) if sizes.cpu else logits
    compared = any(routed.reference is not None for routed in terms)
    made = max((_times(routed) for routed in terms), default=0.0) * block
    back = chunk * sizes.vocabulary * sizes.width if sizes.width < FLOAT and not sizes.cpu else 0
    casts = table * FLOAT * (1 + sizes.copies) if sizes.cpu and sizes.width < FLOAT else 0
    own = (sizes.tokens * sizes.hidden + (table if sizes.trained else 0)) * FLOAT
    rounded = own * sizes.width / FLOAT if sizes.width < FLOAT else 0
    buffers = logits * (2 if compared else 1)
    return HeadBytes(buffers + made + max(back, rounded) + own + casts, (rounded or own) + casts)


def _times(routed: RoutedTerm) -> float:
    """How many times the logits' bytes a term's forward and backward make at one time."""
    rows, vocabulary = 64, 1024  # what is made a row of the logits, and not a logit, is not seen beside these
    try:
        with LiveBytes() as live:
            leaf = torch.empty(rows, vocabulary, device="meta", requires_grad=True)
            labels = torch.zeros(rows, dtype=torch.int64, device="meta")
            other = torch.empty(rows, vocabulary, device="meta") if routed.reference is not None else None
            live.begin("term")
            nats: Tensor = routed.term(Chunk(leaf, labels, labels, other))
            if nats.requires_grad:
                torch.autograd.grad(nats.sum(), leaf)
            return float(live.at_peak["term"]) / (rows * vocabulary * FLOAT)
    except UNFIT:
        return MOST
