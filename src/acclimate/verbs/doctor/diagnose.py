"""One diagnosis of everything, with or without a configuration."""

from __future__ import annotations

import torch

from acclimate.config.load import RunConfig
from acclimate.config.schema import DataSection
from acclimate.model.load import resolve_device
from acclimate.types.errors import AcclimateError
from acclimate.verbs.doctor import machine
from acclimate.verbs.doctor.fact import Diagnosis, Fact, Section, gib
from acclimate.verbs.doctor.versions import extras, versions
from acclimate.verbs.limits import available_memory
from acclimate.verbs.validate import validate


def diagnose(config: RunConfig | None = None) -> Diagnosis:
    """Looks at installation and machine and, with a configuration, at what that run would need.

    Nothing is trained or downloaded but what ``validate`` reads; no environment variable's value is kept.
    """
    output_dir, cache_dir = (config.output_dir, config.data.cache_dir) if config else ("runs", DataSection().cache_dir)
    sections = {
        "versions": versions(),
        "extras": extras(),
        "devices": machine.devices(),
        "dtypes": machine.dtypes(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "attention": machine.attention(),
        "memory": machine.memory(),
        "disk": machine.disk(output_dir, cache_dir),
        "caches": machine.caches(cache_dir),
        "network": machine.network(),
        "distributed": machine.distributed(),
    }
    if config is not None:
        sections["run"] = {"name": Fact(config.name, config.name)} | _run(config)
    return Diagnosis(sections)


def _run(config: RunConfig) -> Section:
    """What the run would use, or the one sentence that stops it."""
    try:
        found = validate(config)
    except AcclimateError as error:
        return {"configuration": Fact(None, "cannot be run", str(error), stops=True)}
    device = resolve_device(config.model)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
    need = int(found.memory_bytes)
    advice = (
        f"The run needs about {gib(need)} of memory and {gib(free)} are free on {device}; lower "
        "training.micro_batch_size or data.sequence_length, set training.gradient_checkpointing, or add a lora section."
    )
    notes = {f"note {i}": Fact(note, "see below", note) for i, note in enumerate(found.warnings, 1)}
    return {
        "device": Fact(str(device), str(device)),
        "dtype": Fact(found.config.model.dtype, found.config.model.dtype),
        "attention": Fact(found.attention, found.attention),
        "memory": Fact(
            {"needed": need, "free": free},
            f"about {gib(need)} of {gib(free)} free",
            advice if need > free else None,
            need > free,
        ),
        "steps": Fact(found.data["steps"], f"{found.data['steps']}"),
    } | notes
