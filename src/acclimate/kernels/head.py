"""The output head as mathematics: hidden states to logits, with each family's scale and softcap."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from acclimate.types.errors import ModelError


@dataclass(frozen=True)
class Head:
    """``logits = softcap * tanh(scale * (h W^T + b) / softcap)``; without softcap ``scale * (h W^T + b)``.

    softcap: Gemma's ``final_logit_softcapping``. scale: Cohere's ``logit_scale``, Muse's ``output_multiplier``, one
    over Granite's ``logits_scaling``.
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


@dataclass(frozen=True)
class Form:
    """What a family does to ``h W^T + b`` to make logits of it."""

    scale: float = 1.0
    softcap: float | None = None


SOFTCAP = re.compile(r"(final_|output_)?logits?_soft_?cap(ping)?")
"""Names of a softcap of logits in configurations; one of attention, gates or routers is called otherwise."""
TELLING = 4.0
"""A form whose error is this many times the least one's is another function, not rounding."""


def head_of(network: Any, form: Form | None = None) -> Head:
    """Reads the head off a Hugging Face causal model, in the form that its configuration names or in this one."""
    linear = network.get_output_embeddings()
    if linear is None or not hasattr(linear, "weight"):
        raise ModelError(f"{type(network).__name__} has no linear output head that acclimate can read.")
    form = form or _named(network.config.get_text_config())
    weight, bias = linear.weight, getattr(linear, "bias", None)
    return Head(weight, bias, form.scale, form.softcap, kept=isinstance(weight, torch.nn.Parameter))


def _named(config: Any) -> Form:
    scale = _number(getattr(config, "logit_scale", None)) or _number(getattr(config, "output_multiplier", None)) or 1.0
    if divisor := _number(getattr(config, "logits_scaling", None)):
        scale /= divisor
    caps = [_number(value) for name, value in vars(config).items() if SOFTCAP.fullmatch(name)]
    return Form(scale, next((cap for cap in caps if cap), None))


def _number(value: Any) -> float | None:
    """MPT's ``logit_scale`` may be a word."""
    return float(value) if isinstance(value, int | float) else None


@torch.no_grad()
def form_of(network: Any, hidden: Tensor, expected: Tensor) -> Form:
    """The form that comes closest to the network's own logits; of equally close ones, what the configuration names.

    A multimodal class may leave out what the configuration of its language model names, or the other way round.

    Args:
        hidden: [1, T, D], what the head was given.
        expected: [1, T, V], the network's own logits of the same input.
    """
    named = [_named(config) for config in (network.config.get_text_config(), network.config)]
    forms = dict.fromkeys(form for each in named for form in (each, Form(each.scale), Form(1.0, each.softcap), Form()))
    linear = head_of(network, Form())
    raw, wanted = linear.logits(hidden[0]), expected[0].float()
    errors = {form: (replace(linear, **vars(form)).shape(raw).float() - wanted).abs().max().item() for form in forms}
    least = TELLING * min(errors.values()) + 1e-6 * wanted.abs().max().item()
    return next((form for form, error in errors.items() if error <= least), named[0])  # none where one is no number


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
    if not (difference := (expected - found).abs().max().item()) <= allowed:
        raise ModelError(
            f"{type(network).__name__} changes its logits after the output head in a way acclimate does not know "
            f"(largest difference {difference:.3g}); known are a bias, logit_scale, logits_scaling and a softcap "
            "(final_logit_softcapping, logits_soft_cap, output_logit_soft_cap)."
        )
