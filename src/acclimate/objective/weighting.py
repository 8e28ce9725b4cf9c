"""How much each token of a cross-entropy weighs, by what the model makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Confidence:
    """``w = max(exp(-nats / tau), floor)``, without gradient: tokens the model finds unlikely weigh less.

    With tau 1 and floor 0 the weight is the probability of the label.

    Args:
        tau: in nats; None is the median over the optimizer step's sequences of their mean nats per token.
        floor: in [0, 1].
    """

    tau: float | None = 1.0
    floor: float = 0.0

    @property
    def needs_means(self) -> bool:
        return self.tau is None

    def __call__(self, nats: Tensor, means: Tensor | None) -> Tensor:
        tau: float | Tensor | None = self.tau
        if tau is None:
            assert means is not None
            tau = means.to(nats).quantile(0.5).clamp_min(torch.finfo(nats.dtype).tiny)  # 0 where all is known by heart
        return (-nats.detach() / tau).exp().clamp_min(self.floor)
