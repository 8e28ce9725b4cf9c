"""The output head as mathematics: hidden states to logits, with each family's scale and softcap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acclimate.types.errors import ModelError


@dataclass(frozen=True)
class Head:
    """``logits = softcap * tanh(scale * (h W^T + b) / softcap)``; without softcap ``scale * (h W^T + b)``.

    softcap: Gemma's ``final_logit_softcapping``. scale: Cohere's ``logit_scale``, one over Granite's
    ``logits_scaling``.
    """

    weight: Tensor  # [V, D]
    bias: Tensor | None = None  # [V]
    scale: float = 1.0
    softcap: float | None = None
    kept: bool = True
    """False of a weight that was put together for this head alone, as PEFT does where it trains some rows."""

    def shape(self, raw: Tensor) -> Tensor:
        """``h W^T + b`` to logits."""
        if self.scale != 1.0:
            raw = raw * self.scale
        return raw if self.softcap is None else torch.tanh(raw / self.softcap) * self.softcap

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] to [N, V], in the head's own dtype."""
        return self.shape(torch.nn.functional.linear(hidden.to(self.weight.dtype), self.weight, self.bias))


def head_of(network: Any) -> Head:
    """Reads the head off a Hugging Face causal model."""
    linear = network.get_output_embeddings()
    if linear is None or not hasattr(linear, "weight"):
        raise ModelError(f"{type(network).__name__} has no linear output head that acclimate can read.")
    config = network.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    if divisor := getattr(config, "logits_scaling", None):
        scale /= float(divisor)
    softcap = getattr(config, "final_logit_softcapping", None)
    weight, bias = linear.weight, getattr(linear, "bias", None)
    kept = isinstance(weight, torch.nn.Parameter)
    return Head(weight, bias, scale, None if softcap is None else float(softcap), kept)


@torch.no_grad()
def check_head(network: Any, head: Head, hidden: Tensor, expected: Tensor) -> None:
    """Compares the head with the network's own logits, so that an unknown family is refused, not mistrained.

    Args:
        hidden: [1, T, D], final hidden states.
        expected: [1, T, V], the network's own logits of the same input.

    Raises:
        ModelError: the logits differ by more than rounding.
    """
    expected, found = expected[0].float(), head.logits(hidden[0]).float()
    allowed = (0.05 if head.weight.dtype == torch.bfloat16 else 1e-3) * max(1.0, expected.abs().max().item())
    if (difference := (expected - found).abs().max().item()) > allowed:
        raise ModelError(
            f"{type(network).__name__} changes its logits after the output head in a way acclimate does not know "
            f"(largest difference {difference:.3g}); known are a bias, logit_scale, logits_scaling and "
            "final_logit_softcapping."
        )
