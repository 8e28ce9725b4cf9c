"""FSDP2: a model's weights spread over the ranks, and tensors that may be spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor

from acclimate.config.chosen.parallel import ParallelSection
from acclimate.parallel.world import World


def shard(model: nn.Module, layers: Iterable[nn.Module], world: World, section: ParallelSection) -> None:
    """Spreads every layer's weights over the ranks, and the rest (embeddings, final norm, head) as one root group.

    The head stays in the root group, whose weights are whole from the model's forward until its backward: the
    objective reads it as a plain tensor. Weights, gradients and activations keep the model's dtype; gradients are
    added over ranks in float32 (float64 for a float64 model). They are summed, not averaged: the objective divides
    by counts of the whole step.

    Args:
        layers: of the model's decoder.
        section: ``replicate``, ``cpu_offload`` and ``reshard_after_forward``.
    """
    device = next(model.parameters()).device
    mesh = mesh_of(device.type, world.size, section.replicate)
    dtype = next(model.parameters()).dtype
    precision = MixedPrecisionPolicy(reduce_dtype=torch.promote_types(dtype, torch.float32), cast_forward_inputs=False)
    offload = CPUOffloadPolicy() if section.cpu_offload else OffloadPolicy()
    options: dict[str, Any] = {"mesh": mesh, "mp_policy": precision, "offload_policy": offload}
    for layer in layers:
        fully_shard(layer, reshard_after_forward=section.reshard_after_forward, **options)
    fully_shard(model, reshard_after_forward=False, **options)
    register_fsdp_forward_method(model, "generate")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def mesh_of(device: str, size: int, replicate: int) -> DeviceMesh:
    """All ranks in a line; or with copies (HSDP) in ``replicate`` lines of ranks that follow each other, each of which
    holds one copy: weights travel along a line, and the sums of gradients also between lines."""
    if replicate == 1:
        return init_device_mesh(device, (size,))
    return init_device_mesh(device, (replicate, size // replicate), mesh_dim_names=("replicate", "shard"))


def release(model: nn.Module) -> None:
    """Gives the whole weights of the root group back after a forward that no backward follows."""
    if isinstance(model, FSDPModule):
        model.reshard()


def hold(model: nn.Module) -> None:
    """Makes the weights of the root group whole, as a forward would; a collective, until :func:`release`."""
    if isinstance(model, FSDPModule):
        model.unshard()


def is_sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def is_spread(tensor: Tensor) -> bool:
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor; a collective if it is spread."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def sum_of_parts(part: Tensor, like: Tensor) -> Tensor:
    """The sum over ranks of a small tensor that each made of its own part, where ``like`` is spread."""
    if not isinstance(like, DTensor):
        return part
    mesh = like.device_mesh
    sums = [Replicate() if placement.is_replicate() else Partial() for placement in like.placements]  # of one copy
    return DTensor.from_local(part.to(mesh.device_type), mesh, sums).full_tensor().to(part.device)


def spread_like(full: Tensor, like: Tensor) -> Tensor:
    """``full``, which every rank has, on the device of ``like`` and spread as it is; no communication."""
    moved = full.to(like.device)
    if not isinstance(like, DTensor):
        return moved
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def whole_state(state: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Full tensors on the CPU, one at a time; where ``keep`` is false, this rank only helps to gather.

    Names of one tensor (tied weights) stay names of one tensor.
    """
    found: dict[str, Tensor] = {}
    names: dict[int, str] = {}
    for name, tensor in state.items():
        first = names.setdefault(id(tensor), name)
        full = whole(tensor.detach()) if first == name else None
        if keep:
            found[name] = found[first] if full is None else full.cpu()
    return found
