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
        tau: in nats, or ``median``: of the sequences' mean nats per token in the optimizer step.
        floor: in [0, 1].
    """

    tau: float | Literal["median"] = 1.0
    floor: float = 0.0

    @property
    def needs_means(self) -> bool:
        return self.tau == "median"

    def __call__(self, nats: Tensor, means: Tensor | None) -> Tensor:
        tau: float | Tensor
        if self.tau == "median":
            assert means is not None
            tau = means.to(nats).quantile(0.5).clamp_min(torch.finfo(nats.dtype).tiny)  # 0 where all is known by heart
        else:
            tau = self.tau
        return (-nats.detach() / tau).exp().clamp_min(self.floor)
