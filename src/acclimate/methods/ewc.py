"""Elastic weight consolidation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from acclimate.gradient.importance import ImportancePenalty
from acclimate.methods.fields import STRICT
from acclimate.stores.store import Statistic, open_store
from acclimate.types.plan import Facts, Method, Plan, PlanContext


@dataclass(frozen=True, config=STRICT)
class Ewc(Method):
    """Cross-entropy on domain tokens and a penalty on the distance from the base, weighted by the Fisher information.

    ``L = mean over domain tokens of -log p(x_i | x_<i) + weight * sum_i F_i (theta_i - theta_0,i)^2``, no factor 1/2:
    the gradient is ``2 weight F (theta - theta_0)``. F is the mean over sequences of general text of the squared
    gradient of *one* sequence (a squared batch mean is another quantity and changes what a weight means), by labels
    of the text (``true``) or drawn from the model (``sampled``): ``acclimate stats fisher``. Under LoRA F is of the
    adapted dense matrices and dW = s B A stands in place of the difference (EWC-LoRA [from code]); there
    lambda is 1 by default, 0.5 and 2 in scripts, with a Fisher over all weights [from code], so ``weight: 1`` is the
    source's. l_s is the mean over a sequence's tokens, not their sum, there as here [from code]. Under full tuning the
    source has no weight: about 1e4 held a little and 1e6 learned nothing [ours, measured].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"weight": 0.0}, "sft")
    facts: ClassVar[Facts] = Facts(
        stores=(
            "the Fisher in float32 (of the adapted matrices under LoRA), one copy of the trained parameters under "
            "full tuning"
        ),
        costs="one pass over the trained parameters; under LoRA three products of rank r with each adapted matrix",
        needs="a store of `acclimate stats fisher`",
        reference=(
            'Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017, arXiv 1612.00796; '
            "EWC-LoRA, 2023, arXiv 2305.10626, and its code, github.com/szxiangjn/world-model-for-language-model"
        ),
        evidence=("from code", "ours"),
        strength="weight",
    )

    store: Annotated[str, Statistic("fisher")] = Field(min_length=1, description="of `acclimate stats fisher`")
    weight: float = Field(1.0, ge=0, description="lambda; 0 is sft bitwise")

    def plan(self, context: PlanContext) -> Plan:
        store = open_store(self.store, "fisher")
        penalty = ImportancePenalty(
            "ewc", self.weight, store.tensors, dict(context.lora_scaling), strength=context.strength
        )
        return Plan(transforms=(penalty,) if self.weight > 0 else ())
