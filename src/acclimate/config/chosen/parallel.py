"""The schema of several processes: how they share a model, and how long they wait for each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from acclimate.config.source_schema import Section


class ParallelSection(Section):
    """How several processes share the work (torchrun, or --nproc); without effect in a single one."""

    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="ddp: every process holds the model; fsdp: weights and optimizer state are spread (FSDP2)"
    )
    replicate: int = Field(
        1,
        ge=1,
        description="fsdp: so many copies of the model, each spread over an equal part of the processes (HSDP); with "
        "one a machine, weights travel inside of machines only (docs/howto/cluster.md)",
    )
    cpu_offload: bool = Field(False, description="fsdp: keep weights and optimizer state in CPU memory between uses")
    reshard_after_forward: bool = Field(
        True, description="fsdp: gather a layer's weights again for its backward; false is faster and takes more memory"
    )
    timeout_minutes: float = Field(
        10.0,
        gt=0,
        description="a process for which the others have waited so long in a step counts as lost, and they end; three "
        "times as long when they meet, and in the first step",
    )

    @model_validator(mode="after")
    def _options_of_fsdp(self) -> ParallelSection:
        given = {"replicate": self.replicate > 1, "cpu_offload": self.cpu_offload}
        given["reshard_after_forward"] = not self.reshard_after_forward
        if self.strategy == "ddp" and any(given.values()):
            name = next(name for name, is_given in given.items() if is_given)
            raise ValueError(f"{name} has no effect with strategy: ddp; set strategy: fsdp or leave it out")
        return self
