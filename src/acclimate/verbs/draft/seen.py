"""What a look at a model and a memory gave; and that look, by files alone."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

from acclimate.config.load import RunConfig, parse_config
from acclimate.model.checkpoint.outline import Outline
from acclimate.verbs.limits import available_memory
from acclimate.verbs.memory import SPARE, Room, Sizes, needed

ROWS = 2
LENGTH = 512
RANK = 16
GPUS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""Files of a machine whose GPU torch may use: of NVIDIA's driver, of AMD's, of Windows' subsystem for Linux."""


@dataclass(frozen=True)
class Seen:
    """Of a model, and of the memory that it would be trained in."""

    weights: int
    positions: int
    chats: bool
    room: Room
    needs: float
    """Bytes of a run, with the settings that make it fit."""
    takes: dict[str, Any] = field(default_factory=dict)
    """These settings, by dotted path."""
    short: tuple[str, ...] = ()
    """A sentence where it does not fit even so."""


def by_files(outline: Outline, model: str, gpu: Room | None) -> Seen | None:
    """Looks without torch, whose import takes longer than all else here.

    ``dtype: auto`` may be either on a CPU. float32 takes more, so a run that fits in it fits.

    Returns:
        None where files are not enough: the run may not fit, or this machine may have a GPU.
    """
    if gpu is None and (sys.platform == "win32" or any(map(os.path.exists, GPUS))):
        return None
    room = gpu or Room(available_memory(), "of memory", SPARE)
    config = as_template(model, outline.positions, "float32" if gpu is None else "bfloat16")
    trained = outline.adapter(RANK)
    sizes = Sizes(outline.weights + trained, trained, outline.vocabulary, outline.hidden, outline.depth)
    needs = needed(config, sizes, copies=0)  # the reference is the adapter's own base
    fits = needs <= room.usable * room.size
    return Seen(outline.weights, outline.positions, outline.chats, room, needs) if fits else None


def as_template(model: str, positions: int, dtype: str = "auto") -> RunConfig:
    """The configuration as the template has it."""
    return parse_config(
        {
            "model": {"path": model, "dtype": dtype},
            "lora": {"rank": RANK, "alpha": 2 * RANK},
            "sources": {"domain": {"path": "data"}},
            "budget": {"epochs": 1},
            "training": {"micro_batch_size": ROWS},
            "data": {"sequence_length": min(LENGTH, positions)},
        }
    )
