"""``training.gradient_checkpointing: auto``: what the memory that is free asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from acclimate.build import Job
from acclimate.build.plan import Composition
from acclimate.config.load import RunConfig
from acclimate.model.load import load_config_of, width_of
from acclimate.types.errors import ModelError
from acclimate.verbs.footprint.estimate import Estimate, Work
from acclimate.verbs.footprint.fit import footprint, room_on
from acclimate.verbs.memory import GIB, Room, activation_bytes

LITTLE = 0.05
"""Of the usable memory: activations that take less, at most, are not looked at more closely."""
CHOICES = (False, "selective", True)
"""Least time first."""


def with_checkpointing(job: Job, composition: Composition, console: Console) -> Job:
    """The job with what ``auto`` is on this machine, the same for all ranks, which is said where it costs time.

    Raises:
        ConfigError, ModelError: there is no such network.
    """
    world = job.world
    if job.config.training.gradient_checkpointing != "auto":
        return job
    with world.all_or_none():
        room = room_on(job.device)
        if job.device.type == "cpu":  # which all ranks here share
            room = replace(room, size=room.size / world.size)
        spread = world.size if job.config.parallel.strategy == "fsdp" else 1

        def needed(config: RunConfig) -> Estimate:
            work = Work(composition.terms, ranks=spread)
            return footprint(config, composition.required_references, work, job.device.type)

        config, told = job.config, None
        if not _is_little(config, room, job.device.type == "cpu"):
            config, _, told = settled(config, room, needed)
        how = config.training.gradient_checkpointing
        how = world.agree(False if how == "auto" else how)
    if told is not None:
        console.print(f"Note: {told}", style="yellow", highlight=False, markup=False)
    return replace(job, config=_with(job.config, how))


def settled(
    config: RunConfig, room: Room, needed: Callable[[RunConfig], Estimate]
) -> tuple[RunConfig, Estimate, str | None]:
    """The configuration with the choice that costs least time among those that fit, or the one that takes least; its
    estimate; and a sentence where it costs time.

    Args:
        needed: the estimate of a configuration.
    """
    if config.training.gradient_checkpointing != "auto":
        return config, needed(config), None
    limit, without = room.usable * room.size, 0.0
    chosen, found = config, None
    for how in CHOICES:
        try:
            trial = _with(config, how)
            took = needed(trial)
        except ModelError:
            if found is None:
                raise
            break  # the family cannot be computed again
        without = without or took.total
        chosen, found = trial, took
        if took.total <= limit:
            break
    assert found is not None
    how = chosen.training.gradient_checkpointing
    if how is False:
        return chosen, found, None
    said = (
        f"training.gradient_checkpointing: auto is {str(how).lower()} here: about {without / GIB:.1f} GiB without it, "
        f"{found.total / GIB:.1f} with it, of {room.size / GIB:.1f} GiB {room.where}."
    )
    return chosen, found, said


def _with(config: RunConfig, how: bool | str) -> RunConfig:
    return config.model_copy(update={"training": config.training.model_copy(update={"gradient_checkpointing": how})})


def _is_little(config: RunConfig, room: Room, cpu: bool) -> bool:
    """Whether activations matter, by a formula that takes no time."""
    shape = load_config_of(config.model).get_text_config()
    depth = getattr(shape, "num_hidden_layers", None)
    if not isinstance(depth, int):
        return False
    tokens = config.training.micro_batch_size * config.data.sequence_length
    most = activation_bytes(config, tokens, width_of(shape), depth)
    if config.model.attention == "eager":
        most += 4.0 * tokens * config.data.sequence_length * depth * getattr(shape, "num_attention_heads", 32)
    elif not cpu:
        most += 3.0 * tokens * config.data.sequence_length * depth  # masks
    return most <= LITTLE * room.usable * room.size
