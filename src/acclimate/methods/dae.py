"""DAE, domain alignment from an expert."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.types.central import RoutedTerm
from acclimate.types.plan import Facts, Method


@dataclass(frozen=True, config=STRICT)
class Dae(Method):
    """Distillation from a teacher by source: a domain expert on domain tokens, the frozen base on general tokens.

    ``L = (1 - lambda) CE + lambda T^2 mean over labelled tokens of KL[q_T || p_T](. | x_<i)``, q the expert's or the
    base's distribution, both at temperature T

    lambda is ``distillation_weight``; shipped are lambda 1 and T 1 [from code]. Where the code and this differ:

    - Its mean is over a micro-batch of 8 rows, then over 64 of them [from code]. ``objective.normalise: all``, one mean
      over the step's mixed batch, is nearest; by default each route has its own mean [ours].
    - Its mask is unshifted, so it misses an answer's first token and adds one position after the end [from code]. Ours
      is shifted [ours].
    - Its ``warmup_ratio`` is never read and an import is missing, so the script does not run as shipped [from code].
    - It holds three models [from code]. Here the reference is the student's start, so another one cannot be given
      [ours].

    About 10 % of domain data are claimed to suffice [second-hand]. With a forgetful run as the expert this gives its
    behaviour back (recipes/repair.yaml) [ours].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"distillation_weight": 0.0}, "replay")
    facts: ClassVar[Facts] = Facts(
        stores="the expert, and one frozen copy of the base under full tuning",
        costs="one forward of a teacher and one head product on every row",
        needs="an expert and the base as references; a general source",
        reference=(
            '"A Teacher Is Worth A Million Instructions" (Domain Alignment from Expert), 2024, arXiv 2406.19112, and '
            "its code, github.com/flipkart-incubator/kd-dae; the attention-map stage before it is not here"
        ),
        evidence=("from code", "ours", "second-hand"),
        strength="the weight of general tokens, 1",
    )

    expert: str = Field(
        min_length=1,
        description="a run folder, model folder or hub id with the base's tokens: the teacher on the domain",
    )
    distillation_weight: float = Field(1.0, ge=0, le=1, description="lambda; cross-entropy has the rest")
    temperature: float = Field(1.0, gt=0, description="T, of teacher and student")

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        kept = 1 - self.distillation_weight
        general = ("general",)
        terms = (
            [RoutedTerm("cross_entropy", CrossEntropy(), ("domain", *general), kept, anchors=general)] if kept else []
        )
        if self.distillation_weight:
            divergence = Divergence("forward", self.temperature)
            terms += [
                RoutedTerm(divergence.name, divergence, routes, self.distillation_weight, teacher, anchors=anchors)
                for routes, teacher, anchors in ((("domain",), "expert", ()), (general, "base", general))
            ]
        return tuple(terms)

    @property
    def references(self) -> dict[str, str]:
        return {"expert": self.expert}
