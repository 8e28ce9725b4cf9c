"""What a loaded network's checkpoint had, so that what is saved has it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Kept on the network itself, so that copies, adapters and shards of it know it too.

    Args:
        folder: of the checkpoint; None of a GGUF file, whose tensors have other names.
        noise: rates of dropout that are switched off, by their place in the configuration.
        towers: modules and loose parameters that text never passes.
    """

    folder: Path | None = None
    noise: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    towers: tuple[str, ...] = ()


def origin_of(network: Any) -> Origin:
    """Of a network that was made in memory, nothing is known."""
    found: Origin = getattr(network, "origin", Origin())
    return found
