"""DFT, cross-entropy weighted by the probability of the label."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.weighting import Confidence
from acclimate.types.plan import Facts, Method
from acclimate.types.token_weighting import TokenWeighting


@dataclass(frozen=True, config=STRICT)
class Dft(Method):
    """Cross-entropy on domain tokens, each weighted by the model's own probability of it: surprises teach little.

    ``L = mean over domain tokens of -sg[p(x_i | x_<i)] log p(x_i | x_<i)``, sg without gradient

    The weight is the detached token probability; the mean is over all trained tokens and weights are not renormalised
    [from code], so the pull shrinks where the model is unsure. The code divides by the tokens of a micro-batch [from
    code], here it is those of the step [ours]. Only maths and code were tested, and its README does not claim that dft
    replaces sft: it failed on literary and financial tasks [from code]. In a list it weighs the tokens of the other
    method's cross-entropy [ours].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = None
    facts: ClassVar[Facts] = Facts(
        stores="nothing",
        costs="nothing to speak of",
        needs="nothing",
        reference=(
            'Wu et al., "On the Generalization of SFT" (dynamic fine-tuning), 2025, arXiv 2508.05629, and its code, '
            "github.com/yongliang-wu/DFT"
        ),
        evidence=("from code", "ours"),
    )

    @property
    def weighting(self) -> TokenWeighting:
        return Confidence()
