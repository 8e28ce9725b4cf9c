"""The schema of the optimizer: which one, its own settings, and which parameters have another rate or no decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from acclimate.config.chosen.section import Section
from acclimate.types.errors import listed, nearest

OptimizerName = Literal["adamw", "adamw_8bit", "adamw_bf16", "adafactor", "muon", "lion", "lion_8bit"]
NAMES: tuple[str, ...] = get_args(OptimizerName)
OWN: Mapping[str, tuple[str, ...]] = {
    "adamw": ("betas", "eps"),
    "adamw_8bit": ("betas", "eps"),
    "adamw_bf16": ("betas", "eps"),
    "adafactor": (),
    "muon": ("betas", "eps", "momentum"),
    "lion": ("betas",),
    "lion_8bit": ("betas",),
}
"""The settings that an optimizer has beside those of all."""
LION_BETAS = (0.9, 0.99)
"""Of Chen et al., 2023, arXiv 2302.06675 [second-hand: bitsandbytes' default]."""


class OptimizerSection(Section):
    """How a gradient moves weights. Master weights are float32 where the model is bfloat16, but for adamw_bf16."""

    name: OptimizerName = Field(
        "adamw",
        description="adamw_8bit, lion, lion_8bit: extra `qlora`; adamw_bf16 (no float32 masters, stochastic rounding): "
        "extra `torchao`; muon: hidden matrices, the rest by AdamW (docs/howto/memory.md)",
    )
    learning_rate: float = Field(
        5e-5,
        gt=0,
        le=1,
        description="the peak; full tuning wants 1e-5 to 5e-5, LoRA 2e-4; a model of 0.1B 2e-4 and 1e-3; lion a third "
        "to a tenth of these, adafactor counts in the weights' own size",
    )
    embedding_learning_rate: float | None = Field(
        None, gt=0, le=1, description="the peak of the embeddings of tokens, where it is another one"
    )
    weight_decay: float = Field(0.0, ge=0)
    no_decay: bool = Field(
        False, description="leave tensors of one dimension (norms and biases) without weight decay, as most trainers do"
    )
    betas: tuple[float, float] = Field((0.9, 0.999), description="of AdamW; lion's own default is (0.9, 0.99)")
    eps: float = Field(1e-8, gt=0, description="of AdamW")
    momentum: float = Field(0.95, ge=0, lt=1, description="of muon's hidden matrices")
    max_grad_norm: float | None = Field(1.0, gt=0, description="clip the gradient's 2-norm; null to leave it alone")

    @model_validator(mode="before")
    @classmethod
    def _betas_of_its_own(cls, value: Any) -> Any:
        if isinstance(value, dict) and str(value.get("name", "")).startswith("lion") and "betas" not in value:
            return value | {"betas": LION_BETAS}
        return value

    @field_validator("name", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value in NAMES:
            return value
        raise ValueError(f"there is no optimizer {value!r}; accepted: {listed(NAMES)}.{nearest(str(value), NAMES)}")

    @field_validator("betas")
    @classmethod
    def _betas(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("needs two numbers in [0, 1)")
        return value

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> OptimizerSection:
        """A default may be written out, as config.yaml does."""
        for key in ("betas", "eps", "momentum"):
            if key not in OWN[self.name] and getattr(self, key) != type(self).model_fields[key].default:
                having = listed(name for name, keys in OWN.items() if key in keys)
                raise ValueError(f"{key} has no effect on {self.name}; it belongs to {having}")
        if self.no_decay and not self.weight_decay:
            raise ValueError("no_decay has no effect without weight_decay; give it, or leave no_decay out")
        return self
