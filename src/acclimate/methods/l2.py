"""L2 to the base weights."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from acclimate.gradient.penalty import L2ToBase
from acclimate.methods.fields import STRICT
from acclimate.types.plan import Facts, Method, Plan, PlanContext


@dataclass(frozen=True, config=STRICT)
class L2(Method):
    """Cross-entropy on domain tokens and a penalty on the distance from the base weights.

    ``L = mean over domain tokens of -log p(x_i | x_<i) + weight * ||theta - theta_0||^2``, no factor 1/2 [second-hand].
    theta_0 are the weights that training started from, also with ``model.base`` [ours]. L2-SP's second term, decay of
    new parameters, does not apply. Under LoRA the distance is that of the adapted matrices, dW = s B A. The penalty
    enters the gradient before clipping, so AdamW rescales it with the rest; a decoupled form is another method [ours].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"weight": 0.0}, "sft")
    facts: ClassVar[Facts] = Facts(
        stores="one copy of the trained parameters under full tuning, nothing under LoRA",
        costs="one pass over the trained parameters",
        needs="nothing",
        reference=(
            'Li, Grandvalet and Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks" '
            "(L2-SP), 2018, arXiv 1802.01483"
        ),
        evidence=("second-hand", "ours"),
        strength="weight",
    )

    weight: float = Field(0.01, ge=0, description="of the squared distance; 0 is sft bitwise [ours: default]")

    def plan(self, context: PlanContext) -> Plan:
        scaling, experts = dict(context.lora_scaling), dict(context.lora_experts)
        return Plan(transforms=(L2ToBase(self.weight, scaling, experts, context.strength),))
