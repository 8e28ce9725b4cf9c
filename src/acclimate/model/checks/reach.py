"""How long a row may be in which every document is computed as it is by itself.

A few families decide something by the longest position of a whole forward, or by a token's place in its row: there a
document would get other hidden states beside a longer one, or further to the right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LIMITLESS = 2**20
"""Positions of a network that names no limit: what any text fits in."""


@dataclass(frozen=True)
class Reach:
    """The most positions of a row, the key of the model's config.json that sets them, and why."""

    positions: int
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.positions} positions {self.reason}"


def reach_of(config: Any) -> Reach:
    """Reads the limit off a Hugging Face configuration.

    ==================================  ===============================================================
    max_position_embeddings             what the model was made for
    original_max_position_embeddings    LongRoPE: one longer document switches a whole batch to other
                                        frequencies [from code: transformers' modeling_rope_utils]
    attention_chunk_size                Llama 4: chunks are counted from the beginning of a row
    floor_scale                         Llama 4: the temperature of attention, by the place in a row
    ==================================  ===============================================================

    Dynamic NTK changes its frequencies above max_position_embeddings, YaRN and Llama 3 never do.
    """
    return min(_limits(config.get_text_config()), key=lambda limit: limit.positions)


def _limits(config: Any) -> Iterator[Reach]:
    known = getattr(config, "max_position_embeddings", None)
    yield Reach(int(known or LIMITLESS), "max_position_embeddings", "this model was made for")
    for rope in _ropes(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)):
        key = "original_max_position_embeddings"
        original = rope.get(key) or getattr(config, key, None)
        if original and rope.get("rope_type", rope.get("type")) in ("longrope", "su"):
            reason = f"of its {key}, above which one long document changes the frequencies of all documents beside it"
            yield Reach(int(original), key, reason)
    chunk, layers = getattr(config, "attention_chunk_size", None), getattr(config, "layer_types", None)
    if chunk and (layers is None or "chunked_attention" in layers):
        reason = "of its attention_chunk_size: chunks are counted from the beginning of a row, not of a document"
        yield Reach(int(chunk), "attention_chunk_size", reason)
    if getattr(config, "attn_temperature_tuning", None) and getattr(config, "floor_scale", None):
        reason = "below its floor_scale, where the temperature of attention changes with the place in a row"
        yield Reach(int(config.floor_scale) - 1, "floor_scale", reason)


def _ropes(parameters: Any) -> Iterator[dict[str, Any]]:
    """Of one kind of layers, or of several by their names."""
    if isinstance(parameters, dict):
        nested = [value for value in parameters.values() if isinstance(value, dict)]
        yield from nested or [parameters]
