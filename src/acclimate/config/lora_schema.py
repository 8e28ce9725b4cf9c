"""The schema of `lora`: an adapter instead of all weights."""

from __future__ import annotations

from pydantic import Field

from acclimate.config.source_schema import Section


class LoraSection(Section):
    """A PEFT LoRA adapter. Leave the section out for full tuning."""

    rank: int = Field(16, ge=1, le=8192, description="r of the product B·A")
    alpha: float = Field(32.0, gt=0, description="the product is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = Field(
        "all-linear",
        min_length=1,
        description="names of layers, or a regular expression over whole names; all-linear: attention, dense MLP, "
        "shared experts and state space, in every family",
    )
    experts: bool | None = Field(
        False, description="the experts of a mixture, too; null: as PEFT has it, which runs of 0.1.0 go on with"
    )
    rslora: bool = Field(False, description="rank-stabilised scaling alpha / sqrt(rank)")
