"""One process's part of a checkpoint: transformers reads of each tensor the rows that FSDP2 keeps here.

What it loads is a network of its own, with FSDP2 groups of its own. Here that is no more than a bag of tensors by name,
for a network of the same class on the meta device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from acclimate.config.schema import ModelSection
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.whole.towers import decoder_of

WHOLE_ROWS = ("MergeModulelist", "Concatenate")
"""Of transformers' conversions, those that leave dimension 0 as it is cut: experts that are stacked along it, and what
is joined along another."""
ADOPTED = ("generation_config", "_weight_conversions", "all_tied_weights_keys")
"""What ``from_pretrained`` sets on a network beside its weights."""


class NotCut(Exception):
    """A checkpoint that no process can read a part of; says why, as the end of a sentence."""


@dataclass(frozen=True)
class Split:
    """The processes that share a checkpoint: ``parts`` that hold one of each tensor, ``replicas`` times."""

    parts: int
    replicas: int = 1
    device: str = "cpu"
    """The type of the mesh's devices."""

    def config(self, network: Any) -> Any:
        """For ``from_pretrained``.

        Raises:
            NotCut: the transformers that is installed does not know it, or would read for another device.
        """
        try:
            from transformers.distributed import DistributedConfig

            found = DistributedConfig(fsdp_size=self.parts, dp_replicate_size=self.replicas, fsdp_plan=_plan(network))
        except (ImportError, TypeError):
            import transformers

            raise NotCut(f"transformers {transformers.__version__} reads no parts; 5.23 does") from None
        own = torch._C._get_accelerator().type
        if own != self.device:
            raise NotCut(f"transformers reads parts for this machine's {own} alone, and model.device is {self.device}")
        return found


@dataclass(frozen=True)
class Parts:
    """A network on the meta device, and by its names what this process holds: DTensors, and whole buffers."""

    network: Any
    tensors: dict[str, Tensor]


def read_whole(section: ModelSection) -> str | None:
    """Why a checkpoint has no parts, where its setting tells."""
    if gguf_of(section.path) is not None:
        return "a GGUF file is multiplied out whole"
    if section.quantization is not None:
        return "its weights are quantised while they are loaded"
    if section.trust_remote_code:
        return "it brings its own code, of which nobody knows that it can be built without weights"
    return None


def parts_of(network: Any, loaded: Any) -> Parts:
    """What ``from_pretrained`` read for this process, for a ``network`` of its class that holds nothing.

    Raises:
        NotCut: it would be another model than a whole one.
    """
    for conversion in getattr(loaded, "_weight_conversions", None) or []:
        for operation in getattr(conversion, "operations", ()):
            kind, dim = type(operation).__name__, getattr(operation, "dim", None)
            if kind not in WHOLE_ROWS or (dim == 0) != (kind == "MergeModulelist"):
                raise NotCut(f"transformers' {kind} makes tensors of its checkpoint that cannot be cut before")
    tensors: dict[str, Tensor] = dict(loaded.named_parameters(remove_duplicate=False))
    tensors |= dict(loaded.named_buffers(remove_duplicate=False))
    for name in ADOPTED:
        if hasattr(loaded, name):
            setattr(network, name, getattr(loaded, name))
    network.config.name_or_path = loaded.config.name_or_path
    _tie_as(network, tensors)
    own = dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_buffers(remove_duplicate=False))
    if left := sorted(own.keys() ^ tensors.keys()):
        raise NotCut(f"'{left[0]}' is in one of two networks of its class alone")
    for name, tensor in own.items():
        read = tensors[name]
        if read.is_meta or read.shape != tensor.shape or isinstance(tensor, nn.Parameter) != isinstance(read, DTensor):
            raise NotCut(f"'{name}' was not read")
        if tensor.dtype != read.dtype:  # families keep some weights in float32
            tensor.data = tensor.data.to(read.dtype)
    if (loose := _loose(network)) is not None:
        raise NotCut(f"'{loose}' holds numbers that are neither weights nor buffers")
    for module in loaded.modules():  # its groups hold it in circles, and each weight shall go when it is used
        module._parameters.clear()
    return Parts(network, tensors)


def _loose(network: nn.Module) -> str | None:
    """The first module with a tensor that nobody would fill."""
    for name, module in network.named_modules():
        found: str = name
        for value in vars(module).values():
            values = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(one, Tensor) and one.is_meta for one in values):
                return found
    return None


def _plan(network: Any) -> dict[str, str]:
    """A group that is there in any decoder; which groups there are does not matter, only how tensors are cut."""
    layers = max(
        ((name, module) for name, module in decoder_of(network).named_modules() if isinstance(module, nn.ModuleList)),
        key=lambda found: sum(p.numel() for p in found[1].parameters()),
    )[1]
    name = next(name for name, module in network.named_modules() if module is layers)
    return {f"{re.sub(r'[.][0-9]+(?=[.]|$)', '.*', name)}.*": "free_full_weight"}


def _tie_as(network: Any, tensors: Mapping[str, Tensor]) -> None:
    """Names are of one tensor where they are of one in the checkpoint: a head may be untied, whatever is configured."""
    first: dict[int, str] = {}
    shared: dict[str, nn.Parameter] = {}
    for name, parameter in list(network.named_parameters(remove_duplicate=False)):
        of = first.setdefault(id(tensors.get(name, parameter)), name)
        module, _, last = name.rpartition(".")
        if of != name:
            setattr(network.get_submodule(module), last, shared[of])
            continue
        known = any(parameter is other for other in shared.values())
        shared[name] = nn.Parameter(torch.empty_like(parameter), parameter.requires_grad) if known else parameter
        setattr(network.get_submodule(module), last, shared[name])
