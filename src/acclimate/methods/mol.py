"""MoL, Mixture of Losses."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.types.central import RoutedTerm
from acclimate.types.plan import Facts, Method


@dataclass(frozen=True, config=STRICT)
class MoL(Method):
    """Cross-entropy on domain tokens, KL divergence to the frozen base on general tokens.

    ``L = mean over domain tokens of -log p(x_i | x_<i)
    + kl_weight * mean over general tokens of KL[p || p_base](. | x_<i)``

    The corpus of a sample picks its loss; no weight, temperature or clipping appears, and a ratio of 1:1 is called best
    [paper]. Direction ``KL(p || p_base)``, "reverse", is the authors' restatement in arXiv 2509.06650 [paper]; forward
    and Jensen-Shannon are options [ours]. The full vocabulary [ours].

    Each mean is over the term's own trained tokens of the optimizer step, so CE to KL stays 1 : ``kl_weight`` at any
    ratio of the corpora [ours]. MoL as restated by its authors means over each sequence, then over the sequences of a
    mixed batch, so that the corpus ratio *is* the weight: ``objective: {normalise: all, average: sequence}`` [paper for
    the sequence means; ours for the batch mean, which follows from the form].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"kl_weight": 0.0}, "sft")
    facts: ClassVar[Facts] = Facts(
        stores="one frozen copy of the model under full tuning, nothing under LoRA (the adapter is switched off)",
        costs="one forward of the base, and one product with the head, on general rows",
        needs="the base as reference; a general source",
        reference=(
            '"MoL" (Mixture of Losses), 2025, arXiv 2505.12043; loss as restated by the same group in arXiv '
            "2509.06650. Their full text was not available to us: this is a reconstruction"
        ),
        evidence=("paper", "ours"),
        strength="kl_weight",
    )

    direction: Literal["reverse", "forward", "js"] = Field("reverse", description="of the divergence to the base")
    kl_weight: float = Field(1.0, ge=0, description="weight of the KL term; 0 is sft on the domain, step for step")

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        terms = [RoutedTerm("cross_entropy", CrossEntropy(), ("domain",))]
        if self.kl_weight > 0:
            divergence = Divergence(self.direction)
            general = ("general",)
            terms.append(
                RoutedTerm(divergence.name, divergence, general, self.kl_weight, reference="base", anchors=general)
            )
        return tuple(terms)
