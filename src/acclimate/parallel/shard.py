"""FSDP2: a model's weights spread over the ranks, and tensors that may be spread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from acclimate.types.errors import ModelError, listed

FORWARDS = ("generate", "begin")
"""Methods that run a model as its forward does."""


def shard(
    model: nn.Module,
    groups: Iterable[nn.Module],
    world: World,
    section: ParallelSection,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, torch.dtype]:
    """Spreads the weights of every group over the ranks, and the rest (norm, head, tied embeddings) as the root's.

    The head stays in the root group, whose weights are whole from the model's forward until its backward: the
    objective reads it as a plain tensor. A group's are whole while it runs. Activations keep the model's dtype;
    gradients are added over ranks in float32 (float64 for a float64 model), and stay so. They are summed, not averaged:
    the objective divides by counts of the whole step.

    What is trained of a bfloat16 model is kept in float32, and gathered in bfloat16 a group at a time: a shard is its
    own master. Weights that a family keeps in float32 beside bfloat16 ones are groups of their own, gathered as they
    are.

    Args:
        groups: modules that are called as such: the decoder's layers, untied embeddings.
        section: ``replicate``, ``cpu_offload`` and ``reshard_after_forward``.
        device: that computes; weights on the meta device stay there, as shards without values.
        dtype: that the model computes in.

    Returns:
        Names of the parameters that are kept in float32 so, and ``dtype``.

    Raises:
        ModelError: one module has weights of both kinds.
    """
    mesh = mesh_of(device.type, world.size, section.replicate)
    options: dict[str, Any] = {
        "mesh": mesh,
        "offload_policy": CPUOffloadPolicy() if section.cpu_offload else OffloadPolicy(),
    }

    def precision(kept: torch.dtype) -> MixedPrecisionPolicy:
        longer = torch.promote_types(kept, torch.float32)
        return MixedPrecisionPolicy(param_dtype=kept, reduce_dtype=longer, cast_forward_inputs=False)

    widened = {
        name: dtype
        for name, p in model.named_parameters(remove_duplicate=False)
        if p.requires_grad and p.dtype == dtype and torch.promote_types(dtype, torch.float32) != dtype
    }
    for other, module in _of_other_types(model, dtype):
        fully_shard(module, reshard_after_forward=False, mp_policy=precision(other), **options)
    for group in groups:
        _widen(group, dtype)
        fully_shard(group, reshard_after_forward=section.reshard_after_forward, mp_policy=precision(dtype), **options)
    _widen(model, dtype)
    fully_shard(model, reshard_after_forward=False, mp_policy=precision(dtype), **options)
    for method in FORWARDS:
        register_fsdp_forward_method(model, method)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return widened


def mesh_of(device: str, size: int, replicate: int) -> DeviceMesh:
    """All ranks in a line; or with copies (HSDP) in ``replicate`` lines of ranks that follow each other, each of which
    holds one copy: weights travel along a line, and the sums of gradients also between lines."""
    if replicate == 1:
        return init_device_mesh(device, (size,))
    return init_device_mesh(device, (replicate, size // replicate), mesh_dim_names=("replicate", "shard"))


def _widen(module: nn.Module, dtype: torch.dtype) -> None:
    """A group at a time, so that no more than one is whole in float32."""
    for parameter in module.parameters():
        if parameter.requires_grad and parameter.dtype == dtype:
            parameter.data = parameter.data.to(torch.promote_types(dtype, torch.float32))


def _of_other_types(model: nn.Module, dtype: torch.dtype) -> list[tuple[torch.dtype, nn.Module]]:
    """Modules whose own weights are of another floating type than the model's, as some routers' are."""
    found = []
    for name, module in model.named_modules():
        types = {p.dtype for p in module.parameters(recurse=False) if p.is_floating_point()}
        if len(types) > 1:
            raise ModelError(
                f"parallel.strategy: fsdp cannot spread '{name}', whose own weights are of several types "
                f"({listed(sorted(map(str, types)))}); use ddp, or model.dtype: float32."
            )
        if types - {dtype}:
            found.append((types.pop(), module))
    return found


def fill(model: nn.Module, value: Callable[[str, Tensor], Tensor]) -> None:
    """Puts values into shards that are without any, and into buffers; before the model's first forward.

    Args:
        model: of :func:`shard`, on the meta device.
        value: this rank's part of a parameter, or a whole buffer, from its name and itself.
    """
    placed: dict[int, Tensor] = {}  # tied names stay names of one
    both = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    for name, empty in [found for named in both for found in named if found[1].is_meta]:
        if (tensor := placed.get(id(empty))) is None:
            tensor = placed[id(empty)] = _filled(empty, value(name, empty))
        module, _, last = name.rpartition(".")
        setattr(model.get_submodule(module), last, tensor)  # FSDP takes it up when it is first run


def _filled(empty: Tensor, part: Tensor) -> Tensor:
    if not isinstance(empty, nn.Parameter):
        return part
    assert isinstance(empty, DTensor)
    assert part.shape == empty.to_local().shape
    local_part, shape, stride = part.to(empty.dtype), empty.shape, empty.stride()
    spread = DTensor.from_local(
        local_part, empty.device_mesh, empty.placements, run_check=False, shape=shape, stride=stride
    )
    return nn.Parameter(spread, requires_grad=empty.requires_grad)


def release(model: nn.Module, root_alone: bool = False) -> None:
    """Gives whole weights back after a forward that no backward follows: the root's, and those of groups that keep
    theirs (``reshard_after_forward: false``)."""
    for module in (model,) if root_alone else model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


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


def whole_state(
    state: Mapping[str, Tensor], keep: bool, dtypes: Mapping[str, torch.dtype] | None = None
) -> dict[str, Tensor]:
    """Full tensors on the CPU, one at a time; where ``keep`` is false, this rank only helps to gather.

    Names of one tensor (tied weights) stay names of one tensor.

    Args:
        dtypes: of those that are rounded.
    """
    found: dict[str, Tensor] = {}
    names: dict[int, str] = {}
    for name, tensor in state.items():
        first = names.setdefault(id(tensor), name)
        kept = tensor.detach().to((dtypes or {}).get(name, tensor.dtype))
        full = whole(kept) if first == name else None
        if keep:
            found[name] = found[first] if full is None else full.cpu()
    return found
