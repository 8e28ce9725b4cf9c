"""LoRA adapters: attached fresh, or read again from a folder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoTokenizer

from acclimate.config.lora_schema import LoraSection
from acclimate.model.changes import token_tables
from acclimate.model.folder import TOKENIZERS
from acclimate.model.lora.keys import check_keys, check_reached
from acclimate.model.lora.targets import targets_of
from acclimate.types.errors import ModelError, RunError, is_out_of_memory, reason


def attach_lora(network: Any, section: LoraSection, new_tokens: Sequence[int] = ()) -> Any:
    """Wraps ``network`` with a fresh PEFT adapter (B = 0, so the outputs are the base's).

    Args:
        new_tokens: ids whose rows of embeddings and head are trained, and saved in the adapter, beside the factors.

    Raises:
        ModelError: ``target_modules`` matches nothing, or something that LoRA does not adapt here.
    """
    from peft import LoraConfig, get_peft_model
    from peft.utils import TrainableTokensWrapper

    from acclimate.kernels.lora_linear import fuse

    as_peft = section.experts is None  # what a run that goes on began with
    targets = None if as_peft else targets_of(network, section)
    try:
        peft = get_peft_model(
            network,
            LoraConfig(
                r=section.rank,
                lora_alpha=section.alpha,  # type: ignore[arg-type, unused-ignore]
                lora_dropout=section.dropout,
                target_modules=section.target_modules if targets is None else list(targets.modules),
                target_parameters=None if targets is None else list(targets.parameters) or None,
                use_rslora=section.rslora,
                trainable_token_indices=_new_rows(network, new_tokens),
                task_type="CAUSAL_LM",
            ),
            autocast_adapter_dtype=False,  # masters are float32; an adapter in float32 would cast every activation
        )
    except Exception as error:  # PEFT raises many types; each becomes one sentence with its first line
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"lora.target_modules: PEFT cannot adapt {section.target_modules!r} of this model: {reason(error)}"
        ) from None
    if targets is not None:
        check_reached(network, [matrix.name for matrix in targets.chosen])
    fuse(network)
    if new_tokens and not isinstance(network.get_output_embeddings(), TrainableTokensWrapper):
        raise ModelError(
            "model.add_tokens: PEFT does not tie the head of this model to its embeddings, so an adapter would train "
            "the new tokens in one of them only; leave lora out, which tunes the whole model."
        )
    return peft


def _new_rows(network: Any, ids: Sequence[int]) -> dict[str, list[int]] | None:
    """PEFT's ``trainable_token_indices``: rows of every table of tokens. Of tied ones the first, which PEFT trains as
    one with the others; ``modules_to_save`` would untie them, and train and save all rows [from code: PEFT].

    Raises:
        ModelError: PEFT's layer would compute another head.
    """
    if not ids:
        return None
    if getattr(network.get_output_embeddings(), "bias", None) is not None:
        raise ModelError(
            "model.add_tokens: the head of this model has a bias, which PEFT leaves out where it trains rows of a "
            "head; leave lora out, which tunes the whole model."
        )
    tables: dict[int, Any] = {}
    for table in token_tables(network):
        tables.setdefault(id(table.weight), table)
    names = {id(module): name for name, module in network.named_modules()}
    return {names[id(table)]: list(ids) for table in tables.values()}


def load_adapter(network: Any, folder: Path) -> Any:
    """Wraps ``network`` with the adapter that a run wrote.

    Raises:
        RunError: it is missing or damaged, of a kind that is not used here, or of another base.
    """
    from peft import PeftModel

    from acclimate.kernels.lora_linear import fuse
    from acclimate.model.checks.foreign import check_head, check_kind, check_vocabulary

    if not (folder / "adapter_model.safetensors").is_file():  # PEFT would go on to pickles, and to the Hub
        raise RunError(f"The adapter in '{folder}' could not be read: there is no adapter_model.safetensors.")
    try:
        check_kind(folder)
        check_vocabulary(network, folder)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            peft = PeftModel.from_pretrained(network, str(folder), is_trainable=True, autocast_adapter_dtype=False)
    except RunError:
        raise
    except Exception as error:  # PEFT raises many types; each becomes one sentence with its first line
        raise RunError(f"The adapter in '{folder}' could not be read: {reason(error)}") from None
    check_keys(peft, folder)
    for warning in told:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    check_head(peft, folder)
    fuse(network)
    return peft


def load_adapter_tokenizer(folder: Path) -> Any | None:
    """What the adapter was trained with, where its folder has it.

    Raises:
        RunError: it cannot be read.
    """
    if not any(path for pattern in TOKENIZERS for path in folder.glob(pattern)):
        return None
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many types; each becomes one sentence with its first line
        raise RunError(
            f"The tokenizer in the adapter's folder '{folder}' could not be read: {reason(error)}. Without its files "
            "the base's own is used."
        ) from None


def adapted_layers(network: Any) -> dict[str, nn.Linear]:
    """The frozen layer beside the factors of every adapted module, by the module's name.

    Raises:
        ModelError: one keeps its matrix transposed (GPT-2's Conv1D), so that a gradient of it would be, too.
    """
    found = {}
    for name, module in network.named_modules():
        if isinstance(getattr(module, "scaling", None), dict) and "default" in module.scaling:
            if not isinstance(module.base_layer, nn.Linear):
                raise ModelError(
                    f"lora.target_modules: statistics are not kept for '{name}', a {type(module.base_layer).__name__}; "
                    "they are for linear layers."
                )
            found[name] = module.base_layer
    return found
