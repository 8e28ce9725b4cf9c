"""DBA, dynamic boosted annealing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from acclimate.gradient.boost import Boost
from acclimate.methods.fields import STRICT
from acclimate.stores.lowrank import Matrices
from acclimate.stores.store import Statistic, open_store
from acclimate.types.central import Metrics
from acclimate.types.plan import Facts, Method, Plan, PlanContext

FULL_BOOST_STEPS = 200
"""k0 = 200 / T: the integral of gamma over the run is 100 steps whatever its length."""


@dataclass(frozen=True, config=STRICT)
class Dba(Method):
    """Cross-entropy on domain tokens whose gradient is mixed with a stored gradient of general text.

    ``g_t = gamma_t g_G + (1 - gamma_t) g_D,t`` with ``gamma_t = clip(k0 (1 - t/T), 0, 1)``, ``k0 = 200/T``
    [second-hand; the clip is ours]. g_G is the mean gradient of general text at the base (`acclimate stats
    mean-gradient`), taken once at learning rate 0 [second-hand]; a rank-512 SVD of every matrix [second-hand],
    here of any rank, dense by default. The domain gradient is scaled too, so g_G = 0 is not plain tuning; k0 = 0 is.
    Under T = 200 steps gamma would be clipped to 1 for most of the run: ``k_max`` limits k0 [ours].

    Dynamic correction scales the update by how far the two gradients differ; its formula is not known to us:
    ``c_t = clip(1 - cos(g_D, g_G), correction_min, correction_max)`` [ours], off by default, applied to the learning
    rate, since AdamW cancels a factor on the gradient. The cosine is logged at every step. The annealed learning rate
    is the schedule section's: a small peak, no warmup, cosine or linear.

    The paper tunes all weights. Under LoRA g_G is of the dense adapted matrices and is projected onto A and B by the
    chain rule at their current values [ours]; at B = 0 that leaves A alone, as the domain's own gradient does.
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"k0": 0.0}, "sft")
    facts: ClassVar[Facts] = Facts(
        stores="one gradient of the trained matrices in bfloat16, in memory dense whatever its rank on disk",
        costs="one pass over the trained parameters; under LoRA two products of rank r with each adapted matrix",
        needs="a store of `acclimate stats mean-gradient`",
        reference=(
            '"Dynamic Boosted Annealing", 2025, arXiv 2509.26242; its full text was not available to us: this is a '
            "reconstruction"
        ),
        evidence=("second-hand", "ours"),
        strength="k0",
    )

    store: Annotated[str, Statistic("mean-gradient")] = Field(
        min_length=1, description="of `acclimate stats mean-gradient`"
    )
    k0: float | None = Field(None, ge=0, description="gamma of the first step; null is 200/T; 0 is sft bitwise")
    k_max: float | None = Field(None, gt=0, le=1, description="largest 200/T, for runs under 200 steps [ours]")
    correction: bool = Field(False, description="scale the update by 1 - cos(g_D, g_G) [ours: formula]")
    correction_min: float = Field(0.1, ge=0, description="of the correction's factor")
    correction_max: float = Field(2.0, ge=0, le=2, description="of the correction's factor")

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Dba:
        if self.k0 is not None and self.k_max is not None:
            raise ValueError("k_max limits 200/T, so it has no effect beside k0; keep one")
        if not self.correction and (self.correction_min, self.correction_max) != (0.1, 2.0):
            raise ValueError("correction_min and correction_max have no effect without correction: true")
        if self.correction_min > self.correction_max:
            raise ValueError(f"correction_min {self.correction_min:g} is above correction_max {self.correction_max:g}")
        return self

    def plan(self, context: PlanContext) -> Plan:
        store, steps = open_store(self.store, "mean-gradient"), max(context.total_steps, 1)
        k0 = self.k0 if self.k0 is not None else min(FULL_BOOST_STEPS / steps, self.k_max or float("inf"))
        boost = Boost(Matrices(store.tensors), k0, steps, dict(context.lora_scaling), context.strength)
        alone = sum(boost.gamma(step) == 1 for step in range(steps))
        note = (
            f"dba: in the first {alone} of {steps} steps gamma is 1, so the general gradient decides alone; k_max "
            "below 1 leaves the domain a part of every step."
        )
        return Plan(
            transforms=(boost,),
            update_scale=self._corrected if self.correction else None,
            notes=(note,) if alone > 1 else (),
        )

    def _corrected(self, metrics: Metrics) -> float:
        return min(max(1 - metrics["boost/cosine"], self.correction_min), self.correction_max)
