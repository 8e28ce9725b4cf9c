"""Whether a token of a text sees only those before it."""

from __future__ import annotations

from typing import Any

import torch

from acclimate.model.whole.towers import decoder_of
from acclimate.types.errors import ModelError

TOKENS = 8
SEEN = 1e-2
"""Part of a hidden state that rounding does not change; a token that is seen changes it by more."""


@torch.no_grad()
def check_causality(network: Any, path: str) -> None:
    """Refuses a language model whose tokens see the ones behind them, as PaliGemma's prefix and encoders do.

    It would learn to copy what it shall predict. Only networks with attention that is not causal are run.

    Raises:
        ModelError: another last token changes what is computed of the first ones.
    """
    decoder = decoder_of(network)
    if all(getattr(module, "is_causal", True) for module in decoder.modules()):
        return
    ids = torch.arange(1, TOKENS + 1, device=network.get_input_embeddings().weight.device)[None]
    other = ids.clone()
    other[:, -1] = 1
    try:
        first, second = (decoder(input_ids=one, use_cache=False).last_hidden_state[:, :-1] for one in (ids, other))
    except Exception:  # families raise many types; what text cannot run is refused with a sentence where it is wrapped
        return
    if (first - second).norm() > SEEN * first.norm():
        raise ModelError(
            f"model.path: in '{path}', a {type(network).__name__}, a token of a text sees those behind it, so it "
            "cannot learn to predict them; acclimate adapts causal language models (LlamaForCausalLM, "
            "Qwen3ForCausalLM ...)."
        )
