"""WiSE-FT, interpolation of base and tuned weights after training."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.training.interpolation import Interpolation
from acclimate.types.plan import Facts, Method, Plan, PlanContext

MAX_GENERAL_RISE = 0.02
ALPHA = 0.5


@dataclass(frozen=True, config=STRICT)
class Wise(Method):
    """Training as the other methods of the list have it, or as sft; then the weights move back towards the base.

    ``theta = (1 - alpha) theta_base + alpha theta_tuned``; under LoRA ``dW = alpha s B A``

    Interpolation after training over all weights, for a list of alphas; the code has no rule to choose one [from code].
    With a list, alpha is chosen on ``evaluation.
    validation_documents``, which no report uses: least bits per byte on the domain among the alphas where no other set
    rises by more than ``max_general_rise`` over the base [ours]. Every alpha's numbers are kept in
    ``interpolation.json``. With ``training.final: best`` the best weights are interpolated [ours]. With ``model.base``
    theta_base are the weights that training started from, as WiSE-FT's zero-shot weights are; the rise is over
    ``model.base`` [ours].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"alpha": 1.0}, "sft")
    facts: ClassVar[Facts] = Facts(
        stores="after training, the trained parameters twice",
        costs="nothing; after training, one pass over the validation documents for each alpha of a list",
        needs="for a list, validation documents",
        reference=(
            'Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models" (WiSE-FT), 2021, arXiv 2109.01903, and its '
            "code, github.com/mlfoundations/wise-ft"
        ),
        evidence=("from code", "ours"),
        strength="alpha, after training",
    )

    alpha: float | list[float] = Field(
        ALPHA, description="part of the way from base (0) to tuned (1), or a list to choose from [ours: default]"
    )
    max_general_rise: float = Field(
        MAX_GENERAL_RISE,
        ge=0,
        description="of a list: allowed rise of other sets' bits per byte, as a part of the base's",
    )

    @field_validator("alpha")
    @classmethod
    def _between_base_and_tuned(cls, value: float | list[float]) -> float | list[float]:
        given = value if isinstance(value, list) else [value]
        if not given:
            raise ValueError("is an empty list; accepted: a number in [0, 1], or several to choose from")
        if outside := [alpha for alpha in given if not 0 <= alpha <= 1]:
            raise ValueError(f"{outside[0]:g} is not in [0, 1], from the base to the tuned weights")
        return value

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Wise:
        if not isinstance(self.alpha, list) and self.max_general_rise != MAX_GENERAL_RISE:
            raise ValueError("max_general_rise has no effect on a single alpha; give a list to choose from")
        return self

    @model_validator(mode="after")
    def _documents_to_choose_by(self, info: ValidationInfo) -> Wise:
        """Within a run, whose configuration is the context."""
        if isinstance(self.alpha, list) and info.context and not info.context.evaluation.validation_documents:
            raise ValueError(
                "wise chooses from a list of alphas by held-out documents that no report uses; set "
                "evaluation.validation_documents, or give a single alpha"
            )
        return self

    @model_validator(mode="after")
    def _alpha_of_a_budget(self, info: ValidationInfo) -> Wise:
        """Within a run with a forgetting budget."""
        if info.context and (section := info.context.retain) is not None:
            if self.alpha != ALPHA:
                raise ValueError(
                    "alpha has no effect with retain, whose budget chooses it: the furthest from the start that is "
                    "inside; leave it out"
                )
            if not section.rescale:
                raise ValueError("wise has no effect with retain.rescale: false; leave one of them out")
        return self

    def plan(self, context: PlanContext) -> Plan:
        if context.budgeted:  # which places the weights itself
            return Plan()
        alphas = tuple(self.alpha) if isinstance(self.alpha, list) else (self.alpha,)
        return Plan(after=Interpolation(alphas, self.max_general_rise))
