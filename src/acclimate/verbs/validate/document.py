"""The plan as a machine reads it."""

from __future__ import annotations

from typing import Any

from acclimate.build.plan import method_names
from acclimate.verbs.validate.preflight import Preflight


def document(found: Preflight) -> dict[str, Any]:
    """Plain data; sizes in bytes, times in seconds."""
    config = found.config
    return {
        "name": config.name,
        "run": str(config.run_dir),
        "method": method_names(config),
        "model": config.model.path,
        "dtype": config.model.dtype,
        "lora_rank": None if config.lora is None else config.lora.rank,
        "attention": found.attention,
        "trained_parameters": found.trained_parameters,
        "total_parameters": found.total_parameters,
        "memory_bytes": found.memory_bytes,
        "memory": {
            "at": found.memory.at,
            "parts": found.memory.parts,
            "counted": found.memory.counted,
            "gradient_checkpointing": config.training.gradient_checkpointing,
        },
        "seconds": found.seconds,
        "writing_seconds": found.writing_seconds,
        **found.data,
        "adapted": [vars(row) for row in found.reached],
        "turn_ends": found.turn_ends,
        "search": None if found.search is None else found.search.says,
        "notes": found.warnings,
    }
