"""A pico network that says what a test wants, token by token."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import Tensor

from acclimate.model.causal import CausalModel
from acclimate.verbs.chat import Conversation
from tests.fixtures.pico import CHAT_TEMPLATE, pico_model, pico_tokenizer


def scripted(*answers: str, name: str = "tuned", template: str | None = CHAT_TEMPLATE, **options: Any) -> Conversation:
    """A conversation whose model says ``answers``, one after the other, each ended by the end of the turn."""
    tokenizer, network = pico_tokenizer(template), pico_model()
    ids = [i for answer in answers for i in tokenizer(answer + "<|im_end|>")["input_ids"]]

    def say(module: Any, inputs: Any, logits: Tensor) -> Tensor:
        logits[..., ids.pop(0) if ids else 0] = 1e4
        return logits

    model = CausalModel(network, tokenizer)
    network.lm_head.register_forward_hook(say)
    return Conversation(name, lambda: nullcontext(model), tokenizer, **options)
