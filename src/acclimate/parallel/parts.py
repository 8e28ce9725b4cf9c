"""This rank's part of a tensor: of one that is spread, the rows that it holds, reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from acclimate.disk.tensorfiles import SavedTensors
from acclimate.parallel.shard import local, spread_like
from acclimate.parallel.world import World


@torch.no_grad()
def placed(state: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """``state[name]`` on the device of ``like``, and spread as it is; no communication.

    Of a tensor in files only this rank's rows are read.
    """
    if not isinstance(state, SavedTensors) or not isinstance(like, DTensor):
        return spread_like(state[name], like)
    if any(isinstance(placement, Shard) and placement.dim != 0 for placement in like.placements):
        return spread_like(state[name], like)
    shape, offset = compute_local_shape_and_global_offset(like.shape, like.device_mesh, like.placements)
    rows = state.rows(name, offset[0], offset[0] + shape[0])
    found = torch.empty_like(like, dtype=rows.dtype, requires_grad=False)
    local(found).copy_(rows)
    return found


def placed_if_alike(state: Mapping[str, Tensor], name: str, like: Tensor | None) -> Tensor | None:
    """The same where both have one shape, else None: of a step count beside its parameter, for one."""
    if like is None:
        return None
    shape = state.shape(name) if isinstance(state, SavedTensors) else state[name].shape
    return placed(state, name, like) if shape == like.shape else None


def is_written_here(tensor: Tensor, world: World) -> bool:
    """Whether this rank writes the tensor, or its part of one that is spread: of copies the first."""
    if not isinstance(tensor, DTensor):
        return world.is_main
    at: Sequence[int] = tensor.device_mesh.get_coordinate() or ()
    return all(i == 0 for i, placement in zip(at, tensor.placements, strict=True) if placement.is_replicate())


def parts_written_here(tensors: Mapping[str, Tensor], world: World) -> dict[str, Tensor]:
    """Those parts by name, where they are."""
    return {key: local(t).detach() for key, t in tensors.items() if is_written_here(t, world)}
