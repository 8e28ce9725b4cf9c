"""The schema of the loop: what is measured while training, what is kept, and when it ends early."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from acclimate.config.apart import Apart
from acclimate.config.source_schema import Section
from acclimate.types.errors import nearest


class TrainingSection(Section):
    """The loop."""

    micro_batch_size: Annotated[int, Apart.WORK] = Field(4, ge=1, description="packed rows in one forward")
    gradient_checkpointing: Annotated[bool | Literal["auto", "selective"], Apart.WORK] = Field(
        "auto",
        description="compute activations again in the backward: less memory, about a third more time; selective: all "
        "but products and attention; auto: what memory asks for (docs/howto/memory.md)",
    )
    eval_steps: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        None,
        description="measure held-out text every so many steps; auto: so often that it takes 3 % of the run's "
        "work, 10 to 100 times (docs/howto/running.md); null: never, with retain auto",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="end the run when so many measurements in a row bring no new best of the domain's bits per byte "
        "(docs/howto/running.md)",
    )
    on_budget_exceeded: Literal["warn", "stop", "roll_back"] = Field(
        "warn",
        description="retain: what becomes of a run that is outside of its budget beyond doubt; roll_back: weights and "
        "moments of the last measurement inside, at half the learning rate, three times at most: "
        "docs/howto/running.md",
    )
    save_steps: Annotated[int | None, Apart.KEPT] = Field(
        None,
        ge=1,
        description="checkpoint every so many steps and at the last; null keeps no checkpoint to resume from",
    )
    keep_last: Annotated[int, Apart.KEPT] = Field(2, ge=1, description="checkpoints kept besides the best")
    save_in_background: Annotated[bool, Apart.KEPT] = Field(
        True,
        description="write a checkpoint from a copy in CPU memory while the next steps run (asynchronous "
        "checkpointing); false: the steps wait, and no copy is kept",
    )
    final: Literal["last", "best"] = Field(
        "last",
        description="which weights become the run's model/: those of the last step, or of the best measured one, which "
        "gains most on the domain less what other text loses (docs/howto/running.md)",
    )

    @field_validator("eval_steps", mode="before")
    @classmethod
    def _steps_or_auto(cls, value: Any) -> Any:
        """One sentence, where a union would give one a branch."""
        number = str(value).strip().removesuffix(".0")
        if value is None or value == "auto" or (number.isdecimal() and int(number) >= 1):
            return value
        accepted = "a number of steps from 1 on, auto or null"
        raise ValueError(f"{value!r} is not accepted; accepted: {accepted}.{nearest(str(value), ['auto'])}")

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _how(cls, value: Any) -> Any:
        """One sentence, where a union would give one a branch."""
        if isinstance(value, bool) or value in ("auto", "selective"):
            return value
        if (spelt := str(value).lower()) in ("true", "false"):
            return spelt == "true"
        accepted = "true, false, auto or selective"
        raise ValueError(f"{value!r} is not accepted; accepted: {accepted}.{nearest(spelt, ['auto', 'selective'])}")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> TrainingSection:
        if self.final == "best" and self.eval_steps is None:
            raise ValueError("final: best needs eval_steps, which measures what best is")
        if self.patience is not None and self.eval_steps is None:
            raise ValueError("patience counts measurements, and without eval_steps there are none; set eval_steps")
        if self.save_steps is None and self.keep_last != 2:
            raise ValueError("keep_last has no effect without save_steps, which keeps checkpoints")
        return self
