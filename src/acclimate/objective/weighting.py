"""How much each token of a cross-entropy weighs, by what the model makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Confidence:
    """``w = max(exp(-nats / tau), floor)``, without gradient: tokens the model finds unlikely weigh less.

    With tau 1 and floor 0 the weight is the probability of the label.

    Args:
        tau: in nats, or a median over sequences of their mean nats per token: ``batch``, the lower one over the
            micro-batch; ``median`` and ``lower_median`` over the optimizer step. Of an even number of sequences the
            lower median is one of the two in the middle, the median is between them.
        floor: in [0, 1].
    """

    tau: float | str = 1.0
    floor: float = 0.0

    @property
    def means_of(self) -> Literal["batch", "step"] | None:
        if isinstance(self.tau, str):
            return "batch" if self.tau == "batch" else "step"
        return None

    def __call__(self, nats: Tensor, means: Tensor | None) -> Tensor:
        tau: float | Tensor
        if isinstance(self.tau, str):
            assert means is not None
            middle: Literal["linear", "lower"] = "linear" if self.tau == "median" else "lower"
            tau = means.to(nats).quantile(0.5, interpolation=middle)
            tau = tau.clamp_min(torch.finfo(nats.dtype).tiny)  # 0 where all is known by heart
        else:
            tau = self.tau
        return (-nats.detach() / tau).exp().clamp_min(self.floor)
