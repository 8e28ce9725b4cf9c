"""Whether a run fits into a memory, and what to switch on where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from acclimate.config.load import RunConfig, parse_config
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.checkpoint.quantisation import quantisation_of
from acclimate.model.load import empty_network, load_config_of
from acclimate.model.lora.adapter import attach_lora
from acclimate.model.whole.chosen import train_only
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.types.central import RoutedTerm
from acclimate.types.errors import AcclimateError
from acclimate.verbs.footprint.estimate import Estimate, Work, estimate
from acclimate.verbs.limits import available_memory
from acclimate.verbs.memory import GIB, SPARE, Room
from acclimate.verbs.pace import usual_rate


def room_on(device: torch.device) -> Room:
    """What is free on this machine."""
    if device.type == "cuda":
        return Room(int(torch.cuda.mem_get_info(device)[0]), "on the GPU", SPARE)
    return Room(available_memory(), "of memory", SPARE)


USUAL = Work(
    (
        RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),
        RoutedTerm("reverse_kl", Divergence(), ("general",), reference="base"),
    )
)
"""What is learned where no method is chosen yet."""


def structure(config: RunConfig) -> Any:
    """The network that is trained, on the meta device: with its adapter, and without gradient where it is frozen.

    Raises:
        ConfigError, ModelError: there is no such network, or it cannot be trained so.
    """
    network = empty_network(config.model)
    train_only(network, config.model.train, bool(config.model.add_tokens))
    if config.lora is not None:
        attach_lora(network, config.lora)
    return network


def footprint(config: RunConfig, references: Sequence[str] = (), work: Work = USUAL, device: str = "cuda") -> Estimate:
    """What a run takes, as `validate` prints it.

    Args:
        references: frozen models that it compares with; ``base`` costs nothing beside an adapter on it.
        work: all of it but the copies, which follow from the references.
        device: its type.
    """
    work = replace(work, copies=copies_of(config, references))
    return estimate(config, structure(config), work, device == "cpu")


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
    parts: str = ""
    """What they are for, where it does not fit."""
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
        said = f"{said} {self.parts}" if self.parts else said
        if not self.changes:
            return f"{said} {NOTHING_LEFT}"
        switches = " ".join(f"--set {path}={_written(value)}" for path, value in self.changes.items())
        if self.then <= self.room.usable * self.room.size:
            return f"{said} It takes about {self.then / GIB:.1f} GiB with {switches}"
        return f"{said} Even {switches} leaves {self.then / GIB:.1f} GiB. {NOTHING_LEFT}"


NOTHING_LEFT = (
    "A smaller model, a shorter data.sequence_length, or several GPUs with parallel.strategy: fsdp would need less."
)
SHORTEST = 512
"""Positions of a row below which none is cut: many documents would be."""


def fit_of(
    config: RunConfig,
    room: Room,
    references: Sequence[str] = (),
    work: Work = USUAL,
    device: str = "cuda",
) -> Fit:
    """Whether the run fits, and the settings that make it fit: those first that change least.

    Args:
        references, work, device: as in :func:`footprint`.
    """
    limit = room.usable * room.size
    needs = footprint(config, references, work, device)
    found = Fit(room, needs.total, "" if needs.total <= limit else f"{needs.sentence[0].upper()}{needs.sentence[1:]}.")
    if found.fits:
        return found
    for changes in _smaller(config):
        try:
            then = footprint(changed(config, changes), references, work, device).total
        except AcclimateError:  # this model takes no adapter, or cannot be quantised or computed again
            continue
        found = replace(found, changes=changes, then=then)
        if then <= limit:
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
    """Settings that take less and less memory: slower ones first, which learn the same; then states of 8 bits, an
    adapter, its base in 4 bits, and shorter rows."""
    changes: dict[str, Any] = {}
    if config.training.gradient_checkpointing is not True:
        if config.training.gradient_checkpointing != "selective":
            yield {"training.gradient_checkpointing": "selective"}
        changes = changes | {"training.gradient_checkpointing": True}
        yield changes
    rows = config.training.micro_batch_size
    while rows > 1:
        rows //= 2
        changes = changes | {"training.micro_batch_size": rows}
        yield changes
    spread = config.parallel.strategy == "fsdp"
    if config.lora is None and config.optimizer.name == "adamw" and not spread:
        yield changes | {"optimizer.name": "adamw_8bit"}
    if config.lora is None and not config.model.train and config.optimizer.name != "muon":
        rate = usual_rate(empty_network(config.model).num_parameters(), lora=True)
        changes = changes | {"lora.rank": 16, "optimizer.learning_rate": rate}
        yield changes
    section = config.model
    dense = gguf_of(section.path) is None and quantisation_of(load_config_of(section)) is None
    adapts = "lora.rank" in changes or config.lora is not None
    if adapts and section.quantization is None and dense and not spread:
        changes = changes | {"model.quantization": "nf4"}
        yield changes
    length = config.data.sequence_length
    while length > SHORTEST:
        length = max(SHORTEST, length // 2)
        changes = changes | {"data.sequence_length": length}
        yield changes


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
