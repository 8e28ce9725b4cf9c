"""ASFT, DFT with an anchor."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.objective.weighting import Confidence
from acclimate.types import Plan, PlanContext, RoutedTerm


@dataclass(frozen=True, config=STRICT)
class Asft:
    """DFT's weighted cross-entropy and a KL divergence to the frozen base, both on every domain token.

    ``L = mean over domain tokens of -sg[p(x_i | x_<i)] log p(x_i | x_<i) + kl_weight * KL[p_base || p](. | x_<i)``

    The KL is on all trained tokens, here those of the domain, so no general corpus is needed; weights of 0.005 to 0.05
    are published [second-hand]. The default within that range [ours].

    Stores: one frozen copy of the model under full tuning, nothing under LoRA (the adapter is switched off).
    Costs per step: one forward of the base, and one product with the head, on domain rows.
    Needs: the base as reference.

    Reference: "Anchored Supervised Fine-Tuning" (ASFT), 2025, arXiv 2509.23753 [unverified]; its DFT part
    arXiv 2508.05629.
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"kl_weight": 0.0}, "dft")

    kl_weight: float = Field(0.05, ge=0, description="weight of KL(base || model); published 0.005 to 0.05; 0 is dft")

    def plan(self, context: PlanContext) -> Plan:
        terms = [RoutedTerm("cross_entropy", CrossEntropy(), ("domain",))]
        if self.kl_weight > 0:
            divergence = Divergence("forward")
            terms.append(RoutedTerm(divergence.name, divergence, ("domain",), self.kl_weight, reference="base"))
        return Plan(terms=tuple(terms), weighting=Confidence())
