"""Every matrix of a network by its kind: what LoRA could adapt, and what an adapter of it would do."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

SHARED = re.compile(r"shared?_(experts?|mlp)\w*")
ATTENTION = re.compile(r"\w*(attn|attention)\w*")


class Kind(Enum):
    """What a matrix is for."""

    ATTENTION = "attention"
    STATE = "state space"
    MLP = "mlp"
    SHARED = "shared experts"
    EXPERTS = "experts"
    ROUTER = "router"
    OTHER = "other layers"
    INDEXER = "indexer"
    EMBEDDINGS = "embeddings"
    HEAD = "head"
    TOWER = "other towers"


ALL_LINEAR = (Kind.ATTENTION, Kind.STATE, Kind.MLP, Kind.SHARED, Kind.OTHER)
"""What `all-linear` means in every family."""


@dataclass(frozen=True)
class Matrix:
    """One weight of a network.

    Args:
        name: of the parameter.
        shape: of the weight as it is computed with; three sides are a stack of one matrix for each expert.
        whole: a linear layer that computes nothing else, so that an adapter can stand beside it.
        idle: why an adapter would do nothing, or not what was meant; None where it is in order.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    whole: bool
    idle: str | None = None

    @property
    def module(self) -> str:
        """The module that holds it."""
        return self.name.rpartition(".")[0]

    @property
    def layer(self) -> str:
        """What a configuration calls it: the last name of a layer, or of an expert's parameter."""
        return self.name.split(".")[-2 if self.name.endswith(".weight") else -1]

    def factors(self, rank: int) -> int:
        """Parameters of an adapter of this rank."""
        stack = self.shape[0] if len(self.shape) == 3 else 1
        return rank * stack * sum(self.shape[-2:])


def matrices(network: Any) -> list[Matrix]:
    """All of a network's, adapted or not, in its own order; on the meta device, too.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> with torch.device("meta"):
    ...     network = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1))
    >>> [matrix.kind.value for matrix in matrices(network)].count("mlp")
    3
    """
    return list(_matrices(network))


def _matrices(network: Any) -> Iterator[Matrix]:
    places = Places(network)
    owners: dict[int, int] = {}
    for module in places.modules.values():
        for weight in _weights(module).values():
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    for name, module in places.modules.items():
        for key, weight in _weights(module).items():
            kind = places.kind(name, module, weight)
            linear = is_linear(module)
            if kind is None or not (linear or kind in (Kind.EMBEDDINGS, Kind.EXPERTS, Kind.ROUTER)):
                continue
            if kind is Kind.ROUTER and not linear and 1 in weight.shape:  # a bias for each expert
                continue
            idle = _idle(places, name, key, kind, weight)
            if idle is None and owners[id(weight)] > 1 and kind not in (Kind.EMBEDDINGS, Kind.HEAD):
                idle = "its weight is that of other layers, too, into which several adapters cannot be folded"
            whole = linear and _is_plain(module, calls=kind is not Kind.ROUTER)
            yield Matrix(f"{name}.{key}", kind, _shape(module, weight), whole, idle)


class Places:
    """Where in a network which kind is."""

    def __init__(self, network: Any) -> None:
        self.modules = {
            clean(name): module
            for name, module in network.named_modules()
            if ".lora_" not in name and not hasattr(module, "base_layer")
        }
        self.head = network.get_output_embeddings()
        decoder = _text_decoder(network, self.modules)
        self.decoder = decoder and f"{decoder}."
        self.foreign = [
            f"{self.decoder}{child}."
            for child, module in self.modules[decoder].named_children()
            if any(isinstance(inner, PreTrainedModel) for inner in module.modules())
        ]
        stacks = [name for name, module in self.modules.items() if _is_stack(module)]
        self.experts = [*stacks, *(name for name in self.modules if name.split(".")[-1] == "experts")]
        counts = {weight.shape[0] for name in stacks for weight in _weights(self.modules[name]).values()}
        counts |= {len(found) for name in self.experts if isinstance(found := self.modules[name], nn.ModuleList)}
        self.routers = self._routers(counts)
        self.states = [
            name
            for name, module in self.modules.items()
            if any(isinstance(child, nn.Conv1d) for child in module.children()) or hasattr(module, "A_log")
        ]

    def _routers(self, counts: set[int]) -> list[str]:
        """Modules that transformers records router logits of; else what stands beside experts, with a row for each."""
        classes = tuple({router for router, _ in recorded(self.modules.values())})
        found = [
            name
            for name, module in self.modules.items()
            if classes and isinstance(module, classes) and not any(e.startswith(f"{name}.") for e in self.experts)
        ]
        beside = {name.rpartition(".")[0] for name in self.experts}
        for name, module in self.modules.items():
            rows = {_shape(module, weight)[0] for weight in _weights(module).values()}
            if name.rpartition(".")[0] in beside and name not in self.experts and rows & counts:
                found += [name] if not isinstance(module, nn.Embedding) else []
        return list(dict.fromkeys(found))

    def kind(self, name: str, module: nn.Module, weight: Any) -> Kind | None:
        """Of a weight of the module; None of one that is no matrix of a layer."""
        if module is self.head:
            return Kind.HEAD
        inside = name.startswith(self.decoder) and not _under(name, self.foreign)
        if isinstance(module, nn.Embedding):
            return Kind.EMBEDDINGS if inside else Kind.TOWER
        if not inside:
            return Kind.TOWER
        if _in(name, self.routers):
            return Kind.ROUTER
        if _in(name, self.experts):
            return Kind.EXPERTS if weight.ndim == 3 or is_linear(module) or not name.endswith("experts") else None
        parts = name[len(self.decoder) :].split(".")
        if any(SHARED.fullmatch(part) for part in parts):
            return Kind.SHARED
        if any("indexer" in part for part in parts):
            return Kind.INDEXER
        if _in(name, self.states):
            return Kind.STATE
        if any(ATTENTION.fullmatch(part) for part in parts) or self._in_attention(name):
            return Kind.ATTENTION
        return Kind.MLP if any(part.isdigit() for part in parts) else Kind.OTHER

    def _in_attention(self, name: str) -> bool:
        """Families that call every mixer alike tell by the class."""
        parts = name.split(".")
        classes = (type(self.modules.get(".".join(parts[:n]))).__name__ for n in range(1, len(parts)))
        return any("Attention" in one and not re.search("Layer|Block|Model", one) for one in classes)


def _idle(places: Places, name: str, key: str, kind: Kind, weight: Any) -> str | None:
    if kind is Kind.EXPERTS and weight.ndim == 2 and not is_linear(places.modules[name]):
        return "all experts lie in one matrix, which PEFT cannot adapt where it is read from outside"
    if kind is Kind.TOWER:
        return "it belongs to another tower than the text's, which is frozen"
    if kind is Kind.INDEXER:
        return "it only chooses which tokens are looked at, and no gradient comes through a choice"
    if kind in (Kind.EXPERTS, Kind.ROUTER, Kind.EMBEDDINGS, Kind.HEAD):
        return None
    parent, _, child = name.rpartition(".")
    if re.search(rf"\bself\.{child}\.{key}\b(?!\.(dtype|device|shape))", _source(places.modules[parent].__class__)):
        return "the layer around it takes its weight past an adapter, in the fused kernels at least"
    return None


def recorded(modules: Any) -> Iterator[tuple[type[nn.Module], int]]:
    """Class of each router that transformers records logits of, and their place in what it returns."""
    for module in modules:
        found = (getattr(module, "_can_record_outputs", None) or {}).get("router_logits")
        for recorder in found if isinstance(found, list) else [found]:
            router = getattr(recorder, "target_class", recorder)
            if isinstance(router, type):
                yield router, getattr(recorder, "index", 0)


def is_linear(module: nn.Module) -> bool:
    """GPT-2 calls a transposed linear layer Conv1D."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def clean(name: str) -> str:
    """A module's name without adapters around it."""
    return name.replace(".base_layer", "")


def _text_decoder(network: Any, modules: dict[str, nn.Module]) -> str:
    """The innermost model that holds the embeddings of text."""
    embeddings = network.get_input_embeddings()
    place = next((name for name, module in modules.items() if module is embeddings), "")
    parts = place.split(".")
    inner = [name for n in range(len(parts)) if isinstance(modules.get(name := ".".join(parts[:n])), PreTrainedModel)]
    return inner[-1] if inner else ""


def _weights(module: nn.Module) -> dict[str, Any]:
    """Of two sides or more, less convolutions; parametrised ones are none."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return {}
    return {key: weight for key, weight in module.named_parameters(recurse=False) if weight.ndim in (2, 3)}


def _is_stack(module: nn.Module) -> bool:
    """Holds one matrix for each of its experts in one parameter."""
    count = getattr(module, "num_experts", None)
    return any(weight.ndim == 3 and weight.shape[0] == count for weight in _weights(module).values())


def _shape(module: nn.Module, weight: Any) -> tuple[int, ...]:
    """Of a quantised layer that which it stands for."""
    return (module.out_features, module.in_features) if isinstance(module, nn.Linear) else tuple(weight.shape)


def _is_plain(module: Any, calls: bool) -> bool:
    """Rows in, rows out: no groups, no tuple of results. A quantised layer is PEFT's own business.

    Args:
        calls: tries it where its class does not tell.
    """
    if not isinstance(module, nn.Linear) or type(module).forward is nn.Linear.forward:
        return True
    if not module.weight.is_floating_point() or not calls:
        return calls
    rows = torch.zeros(2, 3, module.in_features, dtype=module.weight.dtype, device=module.weight.device)
    try:
        with torch.no_grad():
            found = module(rows)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    return isinstance(found, torch.Tensor) and found.shape == (2, 3, module.out_features)


@functools.cache
def _source(owner: type) -> str:
    try:
        return inspect.getsource(owner)
    except (OSError, TypeError):  # written at run time
        return ""


def _in(name: str, places: list[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _under(name: str, prefixes: list[str]) -> bool:
    return any(f"{name}.".startswith(prefix) for prefix in prefixes)
