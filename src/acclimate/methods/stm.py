"""STM, selective token masking."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.types.plan import Facts, Method
from acclimate.types.token_weighting import TokenSelection


@dataclass(frozen=True, config=STRICT)
class Stm(Method):
    """Cross-entropy on domain tokens that the untrained base finds likely enough; the others are only read.

    ``L = mean over the learned domain tokens of -log p(x_i | x_<i),  learned where exp(-log p_base(x_i | x_<i)) <= t``

    One forward of the untrained instruct model scores every label; those whose perplexity exceeds t are not learned,
    and equality is kept [paper][from code]. t is 2.5; the ablation has 1.5, 10, 25 and 1000 [paper][from code]. There
    is no default here, and on raw text a small model is above 2.5 nearly everywhere, so t may be a percentile of the
    base's perplexities over all training labels of the method [ours]. An answer's first token is masked only by its own
    perplexity [paper][from code]; ``mask_first`` masks the first label of a document, or of each learned stretch of a
    chat, at any t [ours].

    The official loss is a mean over the unmasked labels of one sample, so each sample weighs the same [from code]. Here
    it is one over the step's learned tokens; ``objective.average: sequence`` is nearer [ours]. Masked labels are taken
    out before rows are packed: trained tokens, shares and budgets count learned ones [ours]. In a list it masks the
    labels of the other method's cross-entropy, for all its terms [ours].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"percentile": 100}, "sft")
    facts: ClassVar[Facts] = Facts(
        stores="4 bytes a label in the cache and 2 bytes a token in memory, 25 while choosing",
        costs="nothing; before training, one forward of the base over the training documents",
        needs="the base's scores; sources that are not streamed",
        reference=(
            '"Mitigating Forgetting in LLM Fine-Tuning via Low-Perplexity Token Learning", first "Clear Minds Think '
            'Alike" (selective token masking, STM), NeurIPS 2025, arXiv 2501.14315, and its code, '
            "github.com/appier-research/robust-llm-finetunes"
        ),
        evidence=("paper", "from code", "ours"),
    )

    threshold: float | None = Field(None, ge=1, description="a perplexity of the base; 2.5 in the paper")
    percentile: float | None = Field(
        None, ge=0, le=100, description="in place of a threshold: labels above this percentile are masked"
    )
    mask_first: bool = Field(False, description="mask the first label of every answer or document too [ours]")

    @model_validator(mode="after")
    def _one_limit(self) -> Stm:
        given = [name for name in ("threshold", "percentile") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "stm needs exactly one of threshold (2.5 in the paper, for answers of chat models) and percentile (for "
                f"raw text), got {' and '.join(given) or 'none'}"
            )
        return self

    @property
    def selection(self) -> TokenSelection:
        return self

    def __call__(self, nats: NDArray[np.float32], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which labels are learned; see :class:`~acclimate.types.token_weighting.TokenSelection`."""
        limit = np.log(self.threshold) if self.threshold is not None else np.percentile(nats, self.percentile or 0.0)
        learned: NDArray[np.bool_] = (nats <= limit) & ~(first & self.mask_first)
        return learned
