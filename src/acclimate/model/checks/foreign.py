"""Adapters that other trainers wrote: which are used here, and a sentence for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open

from acclimate.types.errors import RunError

MERGE = "merge it (PEFT's merge_and_unload, then save_pretrained) and give the result as --model"
MORE_THAN_TEXT = ("POLY", "XLORA", "MULTITASK_PROMPT_TUNING")
"""PEFT's kinds whose weights depend on what is handed over beside the text."""


def check_kind(folder: Path) -> None:
    """Refuses what is no change of weights, before anything is loaded.

    Raises:
        RunError: prompt and prefix tuning, which write before every text; kinds that a call must steer.
    """
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(folder))
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if config.is_prompt_learning or kind == "CARTRIDGE":
        raise RunError(
            f"The adapter in '{folder}' is of kind {kind}: it puts vectors of its own before every text, which packed "
            "documents have no place for; give an adapter of weights (LoRA, IA3, OFT ...)."
        )
    if kind in MORE_THAN_TEXT or getattr(config, "alora_invocation_tokens", None):
        what = "aLoRA, which begins where a text invokes it" if kind == "LORA" else f"kind {kind}, steered by each call"
        raise RunError(f"The adapter in '{folder}' is of {what}, so packed documents cannot be measured with it.")


def check_vocabulary(network: Any, folder: Path) -> None:
    """Compares the rows of embeddings and head with those that the adapter brings or adapts.

    Raises:
        RunError: it was trained on another number of tokens.
    """
    rows = network.get_input_embeddings().weight.shape[0]
    names = _names(network)
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            name = next((name for name in names if f".{name}." in key), None)
            found = None if name is None else _vocabulary(key, file.get_slice(key).get_shape())
            if found not in (None, rows):
                raise RunError(
                    f"The adapter in '{folder}' is of a vocabulary of {found} tokens ('{name}'), and the base has "
                    f"{rows}, so tokens were added or taken away before it was trained. Load the base, "
                    f"resize_token_embeddings({found}), put the adapter on it with PEFT, merge_and_unload, "
                    f"resize_token_embeddings({rows}), save_pretrained; then give the result as --model."
                )


def check_head(peft: Any, folder: Path) -> None:
    """Refuses an adapter whose factors are part of the output head; a head that it brings whole is read as it is.

    Raises:
        RunError: the head's name, and what to do.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    network = peft.get_base_model()
    head = network.get_output_embeddings()
    if isinstance(head, BaseTunerLayer):
        name = next(name for name, module in network.named_modules() if module is head)
        kind = str(getattr(peft.active_peft_config.peft_type, "value", "an adapter"))
        raise RunError(
            f"The adapter in '{folder}' adapts the output head '{name}' ({kind}), where acclimate needs one matrix; "
            f"{MERGE}."
        )


def _names(network: Any) -> list[str]:
    """Of the modules with a row a token."""
    wanted = [network.get_input_embeddings(), network.get_output_embeddings()]
    return [name for name, module in network.named_modules() if any(module is one for one in wanted)]


def _vocabulary(key: str, shape: list[int]) -> int | None:
    """The side of a saved matrix that has an entry a token; None of one that has none."""
    if len(shape) != 2:
        return None
    if "lora_embedding_A" in key:
        return shape[1]
    if "lora_" in key or "lora_embedding_B" in key:
        return shape[0] if "lora_B" in key and "embed" not in key else None
    return shape[0] if key.endswith("weight") else None
