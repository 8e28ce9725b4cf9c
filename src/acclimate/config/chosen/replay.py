"""The schema of rows that the base model writes itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from acclimate.config.apart import Apart
from acclimate.config.chosen.section import Section

Way = Literal["template", "seeds", "prompts", "bos", "prefixes"]
"""From what a row begins."""


class ReplaySection(Section):
    """Rows that the base writes: how many, how long, and from what they begin. Also the settings of the verb."""

    tokens: int = Field(50_000, ge=1, description="tokens that the base writes, in rows that are kept")
    max_new_tokens: int = Field(
        512,
        ge=1,
        description="the longest answer or text; batches end at this, at half or at a quarter of it, a third of the "
        "tokens each",
    )
    temperature: float = Field(1.0, gt=0, le=10, description="1 is the base's own distribution")
    top_p: float = Field(1.0, gt=0, le=1, description="1 is the base's own distribution")
    seed: int = Field(0, ge=0, lt=2**31, description="of the tokens that are drawn, and of the order of prompts")
    batch_size: int = Field(32, ge=1, le=4096, description="rows that are written at a time")
    ways: dict[Way, float] | None = Field(
        None,
        min_length=1,
        description="from what rows begin, and how much of each: template (its own chat template, no prompt), seeds "
        "(the built-in prompts), prompts, bos (nothing at all), prefixes; default: template, seeds and what is given "
        "for a model with a chat template, else bos and what is given",
    )
    prompts: Annotated[str | None, Apart.INPUT] = Field(
        None, min_length=1, description="your own prompts, unlabelled: a file, folder or glob that a source could name"
    )
    prefixes: Annotated[str | None, Apart.INPUT] = Field(
        None, min_length=1, description="texts whose beginnings the base continues: a file, folder or glob"
    )
    prefix_tokens: int = Field(16, ge=1, description="the longest such beginning, in tokens")

    @field_validator("ways")
    @classmethod
    def _some_of_each(cls, value: dict[Way, float] | None) -> dict[Way, float] | None:
        if value is not None and any(not weight > 0 for weight in value.values()):
            raise ValueError("needs weights above 0; leave out the ways that shall have none")
        return value
