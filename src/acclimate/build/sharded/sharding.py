"""Models of which each rank holds its part from the first byte on: read so, built empty, filled, then looked at.

Checks that run a network are collectives here: they come after its weights are spread.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.config.chosen.parallel import ParallelSection
from acclimate.config.load import RunConfig
from acclimate.config.schema import ModelSection
from acclimate.model.causal import CausalModel
from acclimate.model.changes import Change, token_tables
from acclimate.model.checkpoint.parts import NotCut, Parts, Split
from acclimate.model.checks.causality import check_causality
from acclimate.model.load import changed, load_network, load_parts, settle_attention
from acclimate.model.lora.stand_ins import stand_ins
from acclimate.model.packing.attention import set_attention
from acclimate.parallel.shard import fill, is_sharded, local, mesh_of, release, shard, whole
from acclimate.parallel.world import World

PREFIX = "network."
"""Of names of parameters in a CausalModel."""
Prepare = Callable[[Any], Any | None]
"""Says of a network what is trained: puts an adapter on it, whose PEFT model it returns, or freezes a part."""


@dataclass(frozen=True)
class Sharding:
    """How the models of a run are spread over its ranks.

    Args:
        device: that computes.
        say: told why a model is loaded whole by every rank, and spread only then.
    """

    world: World
    section: ParallelSection
    device: torch.device
    say: Callable[[str], None] = lambda note: None

    @classmethod
    def of(
        cls, config: RunConfig, world: World, device: torch.device, say: Callable[[str], None] = lambda note: None
    ) -> Sharding | None:
        """None where every process holds whole models."""
        if world.size == 1 or config.parallel.strategy != "fsdp":
            return None
        return cls(world, config.parallel, device, say)

    def opened(
        self,
        section: ModelSection,
        dtype: torch.dtype,
        tokenizer: Any,
        recorded: Sequence[Change] = (),
        prepare: Prepare | None = None,
        like: CausalModel | None = None,
        frozen: bool = False,
    ) -> CausalModel:
        """A model as :func:`opened` has it; a collective.

        Args:
            frozen: nothing of it is trained.
        """
        why = None
        with self.world.all_or_none():
            try:
                parts = self._parts(section, dtype)
            except NotCut as error:
                why = str(error)
        if why is not None:
            self.say(said_of_whole(section, why))
            with self.world.all_or_none():
                network = load_network(section, dtype, self.device, recorded)
                return CausalModel(network, tokenizer, prepare(network) if prepare is not None else None, like)
        with self.world.all_alike():
            return self._built(parts, section, dtype, tokenizer, recorded, prepare, like, frozen)

    def copy(self, model: CausalModel) -> CausalModel:
        """A frozen copy of a model's weights as they are, each rank of its own part; a collective."""
        assert model.blank is not None
        release(model)
        held = _by_name(model.network)
        network = copy.deepcopy(model.blank).requires_grad_(False)

        def spread(twin: CausalModel) -> None:
            self._place(twin, lambda name, empty: local(held[name]).detach().to(empty.dtype, copy=True), model.dtype)
            set_attention(network, model.attention, self.device)

        twin = CausalModel(network, model.tokenizer, like=model, spread=spread)
        release(twin)
        return twin

    def spread(self, model: CausalModel) -> CausalModel:
        """The same model, spread if it was loaded whole; a collective."""
        if not is_sharded(model):
            self._cut(model, model.dtype)
        model.agree = self.world.largest
        return model

    def _parts(self, section: ModelSection, dtype: torch.dtype) -> Parts:
        mesh = mesh_of(self.device.type, self.world.size, self.section.replicate)
        parts = mesh.size(mesh.ndim - 1)
        return load_parts(section, dtype, Split(parts, mesh.size() // parts, self.device.type))

    def _built(
        self,
        parts: Parts,
        section: ModelSection,
        dtype: torch.dtype,
        tokenizer: Any,
        recorded: Sequence[Change],
        prepare: Prepare | None,
        like: CausalModel | None,
        frozen: bool,
    ) -> CausalModel:
        network, tensors = parts.network, parts.tensors
        # 1. Changes and adapters before weights are spread: tables of tokens are whole for it, and nothing else.
        if recorded or section.add_tokens:
            _materialise(network, tensors, self.device)
            network = changed(network, section, recorded)
        held = {id(p): tensors[name] for name, p in _by_name(network).items() if p.is_meta}
        blank, peft = None if frozen else _blank(network), None
        if prepare is not None:
            with stand_ins(network, self.device):
                peft = prepare(network)
        if frozen:
            network.requires_grad_(False)
        here = {name: held[id(p)] for name, p in _by_name(network).items() if id(p) in held}
        tensors.clear()  # each is let go when it is in its place: kept longer than it was read, it is another one
        held.clear()

        # 2. As a module it is spread, filled, and then looked at.
        def spread(model: CausalModel) -> None:
            self._place(model, lambda name, _: _part(here.pop(name), self.device, self.section.cpu_offload), dtype)
            here.clear()
            check_causality(network, section.path)
            settle_attention(network, section, self.device)

        model = CausalModel(network, tokenizer, peft, like, spread)
        model.blank = blank if peft is None else None
        release(model)
        return model

    def _place(self, model: CausalModel, value: Callable[[str, Tensor], Tensor], dtype: torch.dtype) -> None:
        """Spreads a model on the meta device and fills it; its root's weights are whole afterwards."""
        self._cut(model, dtype)
        fill(model, lambda name, empty: value(name.removeprefix(PREFIX), empty))
        model.agree = self.world.largest
        model.begin()

    def _cut(self, model: CausalModel, dtype: torch.dtype) -> None:
        kept = shard(model, model.groups, self.world, self.section, self.device, dtype)
        model.shorter = {name.removeprefix(PREFIX): short for name, short in kept.items()}


def said_of_whole(section: ModelSection, why: str) -> str:
    """A note about a model that is loaded whole although it is spread."""
    return f"parallel.strategy: fsdp: every process loads all of '{section.path}' before it is spread, since {why}."


def opened(
    section: ModelSection,
    dtype: torch.dtype,
    device: torch.device,
    tokenizer: Any,
    recorded: Sequence[Change] = (),
    prepare: Prepare | None = None,
    like: CausalModel | None = None,
    frozen: bool = False,
    sharding: Sharding | None = None,
) -> CausalModel:
    """A model with its adapter: spread from the first byte on where there is a ``sharding``, else whole on ``device``.

    Raises:
        ModelError: as :func:`~acclimate.model.load.load_network` and CausalModel.
    """
    if sharding is not None:
        return sharding.opened(section, dtype, tokenizer, recorded, prepare, like, frozen)
    network = load_network(section, dtype, device, recorded)
    return CausalModel(network, tokenizer, prepare(network) if prepare is not None else None, like)


def _by_name(network: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = dict(network.named_parameters(remove_duplicate=False))
    return found | dict(network.named_buffers(remove_duplicate=False))


def _part(tensor: Tensor, device: torch.device, offload: bool) -> Tensor:
    """Offloaded weights lie in CPU memory; buffers, which are whole, do not."""
    part = local(tensor).detach()
    return part.to("cpu" if offload and part is not tensor else device)


def _materialise(network: Any, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Tables with a row a token, whole on every rank: rows are added to them that are means of others."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    whole_ones: dict[int, nn.Parameter] = {}
    for table in token_tables(network):
        for last, parameter in list(table.named_parameters(recurse=False)):
            if id(parameter) not in whole_ones:
                full = whole(tensors[names[id(parameter)]].detach()).to(device).clone()
                whole_ones[id(parameter)] = nn.Parameter(full, parameter.requires_grad)
            setattr(table, last, whole_ones[id(parameter)])


def _blank(network: Any) -> Any:
    """A copy on the meta device."""
    empty = {
        id(tensor): nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else torch.empty_like(tensor, device="meta")
        for tensor in _by_name(network).values()
    }
    return copy.deepcopy(network, empty)
