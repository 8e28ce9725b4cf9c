"""The processes among which a trainer shares a step."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch.distributed as dist

from acclimate.parallel.world import PATIENCE, SOLO, World


def world_of(args: Any) -> World:
    """Of a ``TrainingArguments``; all ranks call it, in the same order."""
    if args.world_size == 1 or not dist.is_initialized():
        return SOLO
    return _joined(dist.get_rank(), dist.get_world_size(), max(args.local_rank, 0))


@cache
def _joined(rank: int, size: int, local_rank: int) -> World:
    return World(rank, size, local_rank, dist.new_group(backend="gloo", timeout=PATIENCE))
