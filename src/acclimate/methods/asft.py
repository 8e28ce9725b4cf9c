"""ASFT, DFT with an anchor."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.objective.weighting import Confidence
from acclimate.types.central import RoutedTerm
from acclimate.types.plan import Facts, Method
from acclimate.types.token_weighting import TokenWeighting


@dataclass(frozen=True, config=STRICT)
class Asft(Method):
    """DFT's weighted cross-entropy and a KL divergence to the frozen base, both on every domain token.

    ``L = mean over domain tokens of -sg[p(x_i | x_<i)] log p(x_i | x_<i) + kl_weight * KL[p_base || p](. | x_<i)``

    The KL is on all trained tokens, here those of the domain, so no general corpus is needed; one mean over them for
    both [from code]. The code's kl_weight is 0.1 by default and in its script, 0.05 in its README [from code]; our
    default is the README's. A port to NeMo-RL calls 0.005 to 0.01 best [second-hand]. The code's ``sft+kl`` is ``sft``
    with a source's own ``terms: {cross_entropy: 1, forward_kl: 0.1}`` [from code]. Its authors warn that low-precision
    DeepSpeed arithmetic can break variants of dft [from code].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"kl_weight": 0.0}, "dft")
    facts: ClassVar[Facts] = Facts(
        stores="one frozen copy of the model under full tuning, nothing under LoRA (the adapter is switched off)",
        costs="one forward of the base, and one product with the head, on domain rows",
        needs="the base as reference",
        reference=(
            '"Anchored Supervised Fine-Tuning" (ASFT), 2025, arXiv 2509.23753, and its code, '
            "github.com/zhuchichi56/ASFT; its DFT part arXiv 2508.05629"
        ),
        evidence=("from code", "second-hand"),
        strength="kl_weight",
    )

    kl_weight: float = Field(
        0.05, ge=0, description="weight of KL(base || model); published 0.05 to 0.1 [from code]; 0 is dft"
    )

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        terms = [RoutedTerm("cross_entropy", CrossEntropy(), ("domain",))]
        if self.kl_weight > 0:
            divergence = Divergence("forward")
            domain = ("domain",)
            terms.append(
                RoutedTerm(divergence.name, divergence, domain, self.kl_weight, reference="base", anchors=domain)
            )
        return tuple(terms)

    @property
    def weighting(self) -> TokenWeighting:
        return Confidence()
