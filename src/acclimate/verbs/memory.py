"""What a run takes of a memory: an estimate from sizes alone, so that files are enough to reckon it from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from acclimate.config.load import RunConfig
from acclimate.kernels.chunk_size import CPU_TOKENS
from acclimate.types.errors import UsageError

PROCESS_BYTES = 2**29
"""Of Python, torch and the other libraries: 420 to 490 MiB were measured on a CPU [ours]. A GPU has a context of about
that size [unverified]."""
GIB = 2**30
SPARE = 0.8
"""Of the memory that is free: other programs take some, and the estimate is one."""
CARD = 0.9
"""Of a whole GPU, whose allocator loses a part."""
KEPT = 39
"""Hidden-sized tensors that a layer keeps of each token: 28 to 39 were counted in Llama and Qwen3, whose heads may be
wider than the hidden states [ours]. Korthikanti et al., 2022, arXiv 2205.05198, count 34 bytes in 16 bit, without the
attention matrix [paper]."""
LOGITS = 8
"""Times the logits of a chunk that a divergence makes of them at one time [ours]."""
UNITS = {"": GIB, "g": GIB, "gb": GIB, "gib": GIB, "m": 2**20, "mb": 2**20, "mib": 2**20}
"""A card of 24 GB has 24 GiB, nearly."""


@dataclass(frozen=True)
class Room:
    """A memory that a run may have."""

    size: float
    """Bytes."""
    where: str
    """``on a GPU of 24 GB``."""
    usable: float
    """Part of it that a run may take."""
    asked: bool = False
    """Whether somebody named it."""


def gpu_of(text: str) -> Room:
    """The GPU that ``--gpu`` names by its memory.

    Raises:
        UsageError: it is no size.

    >>> gpu_of("24GB")
    Room(size=25769803776, where='on a GPU of 24GB', usable=0.9, asked=True)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(found[2].lower()) if found is not None else None
    if found is None or unit is None or not float(found[1]) > 0:
        raise UsageError(f"--gpu: '{text}' is no size of a GPU's memory; write it as 24GB.")
    return Room(int(float(found[1]) * unit), f"on a GPU of {text.strip()}", CARD, asked=True)


@dataclass(frozen=True)
class Sizes:
    """Of a network."""

    total: int
    """Weights."""
    trained: int
    """Those of them that are tuned, or an adapter's."""
    vocabulary: int
    """Rows of the head."""
    hidden: int
    """Width of what the head gets."""
    depth: int
    """Layers of the decoder."""


def needed(config: RunConfig, sizes: Sizes, copies: int) -> float:
    """Bytes, at most and without torch: weights, frozen copies, masters, gradients, AdamW's two moments, activations,
    one chunk of logits. :func:`acclimate.verbs.footprint.estimate` counts what this guesses.

    Args:
        copies: frozen networks beside the one that is trained.
    """
    width = width_of(config)
    masters = 4 * sizes.trained if width == 2 else 0
    states = sizes.trained * (4 + 8) + masters + (width * sizes.trained if masters else 0)
    rows = config.training.micro_batch_size * config.data.sequence_length
    activations = activation_bytes(config, rows, sizes.hidden, sizes.depth)
    asked = config.objective.chunk_tokens
    tokens = CPU_TOKENS if asked == "auto" else asked  # on a GPU auto takes more, of memory that is free by then
    logits = LOGITS * tokens * sizes.vocabulary * 4
    learns = config.lora is None or bool(config.model.add_tokens)
    heads = 4 * sizes.vocabulary * sizes.hidden * (1 + learns + copies)  # float32 casts, gradient
    return float(PROCESS_BYTES + width * sizes.total * (1 + copies) + states + activations + logits + heads)


def activation_bytes(config: RunConfig, tokens: int, hidden: int, depth: int) -> float:
    """What the layers of a plain transformer keep of a micro-batch, at most, where they cannot be run to count it."""
    kept = {True: 3, "selective": 24}.get(config.training.gradient_checkpointing, KEPT)
    return float(tokens * hidden * depth * kept * width_of(config))


def width_of(config: RunConfig) -> int:
    """Bytes of a weight."""
    return 2 if config.model.dtype == "bfloat16" else 4
