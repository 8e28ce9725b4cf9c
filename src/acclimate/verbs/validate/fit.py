"""Whether a run fits into a memory, and what to switch on where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from acclimate.config.load import RunConfig, parse_config
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.checkpoint.quantisation import quantisation_of
from acclimate.model.load import empty_network, load_config_of
from acclimate.model.lora.adapter import attach_lora
from acclimate.types.errors import AcclimateError
from acclimate.verbs.limits import available_memory
from acclimate.verbs.memory import GIB, SPARE, Room
from acclimate.verbs.pace import usual_rate
from acclimate.verbs.validate.cost import memory


def room_on(device: torch.device) -> Room:
    """What is free on this machine."""
    if device.type == "cuda":
        return Room(int(torch.cuda.mem_get_info(device)[0]), "on the GPU", SPARE)
    return Room(available_memory(), "of memory", SPARE)


def footprint(config: RunConfig, references: Sequence[str] = ()) -> float:
    """Bytes of a run, by the estimate that `validate` prints.

    Args:
        references: frozen models that it compares with; ``base`` costs nothing beside an adapter on it.
    """
    network = empty_network(config.model)
    if config.lora is not None:
        attach_lora(network, config.lora)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return memory(config, network, trained, network.num_parameters(), copies_of(config, references))


def copies_of(config: RunConfig, references: Sequence[str]) -> int:
    """Networks in memory beside the one that is trained."""
    apart_or_full = config.lora is None or config.model.base is not None
    return sum(name != "base" or apart_or_full for name in set(references))


@dataclass(frozen=True)
class Fit:
    """Whether a run fits, and with which settings it would."""

    room: Room
    needs: float
    """Bytes of the run as it is configured."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Dotted path -> value of what makes it smaller; empty where it fits, or nothing does."""
    then: float = 0.0
    """Bytes with these changes."""

    @property
    def fits(self) -> bool:
        return self.needs <= self.room.usable * self.room.size

    @property
    def sentence(self) -> str:
        """What a person reads."""
        size, needs = f"{self.room.size / GIB:.1f} GiB {self.room.where}", f"{self.needs / GIB:.1f}"
        if self.fits:
            return f"The run fits: about {needs} of {size}."
        said = f"The run does not fit: it needs about {needs} GiB, and of {size} {self.room.usable:.0%} can be used."
        if not self.changes:
            return f"{said} {NOTHING_LEFT}"
        switches = " ".join(f"--set {path}={_written(value)}" for path, value in self.changes.items())
        if self.then <= self.room.usable * self.room.size:
            return f"{said} It takes about {self.then / GIB:.1f} GiB with {switches}"
        return f"{said} Even {switches} leaves {self.then / GIB:.1f} GiB. {NOTHING_LEFT}"


NOTHING_LEFT = (
    "A smaller model, a shorter data.sequence_length, or several GPUs with parallel.strategy: fsdp would need less."
)


def fit_of(config: RunConfig, room: Room, references: Sequence[str] = (), beside: float = 0.0) -> Fit:
    """Whether the run fits, and the settings that make it fit: those first that change least.

    Args:
        beside: bytes that no setting here changes.
    """
    needs = footprint(config, references) + beside
    found = Fit(room, needs)
    if found.fits:
        return found
    for changes in _smaller(config):
        try:
            then = footprint(changed(config, changes), references) + beside
        except AcclimateError:  # this model takes no adapter, or cannot be quantised
            continue
        found = Fit(room, needs, changes, then)
        if then <= room.usable * room.size:
            break
    return found


def changed(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """The configuration with these settings, by dotted path."""
    data = config.model_dump(mode="json")
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        target = data
        for part in parents:
            if target[part] is None:
                target[part] = {}
            target = target[part]
        target[leaf] = value
    return parse_config(data, config.places)


def _smaller(config: RunConfig) -> Iterator[dict[str, Any]]:
    """Settings that take less and less memory: slower first, then an adapter, then its base in 4 bits."""
    changes: dict[str, Any] = {}
    rows = config.training.micro_batch_size
    while rows > 1:
        rows //= 2
        changes = changes | {"training.micro_batch_size": rows}
        yield changes
    if not config.training.gradient_checkpointing:
        changes = changes | {"training.gradient_checkpointing": True}
        yield changes
    if config.lora is None:
        rate = usual_rate(empty_network(config.model).num_parameters(), lora=True)
        changes = changes | {"lora.rank": 16, "optimizer.learning_rate": rate}
        yield changes
    section = config.model
    dense = gguf_of(section.path) is None and quantisation_of(load_config_of(section)) is None
    if section.quantization is None and dense and config.parallel.strategy != "fsdp":
        yield changes | {"model.quantization": "nf4"}


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
