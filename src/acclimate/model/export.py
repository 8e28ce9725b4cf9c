"""Folders that ``AutoModelForCausalLM`` and ``PeftModel`` load as they are."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from acclimate.errors import UsageError
from acclimate.files import sync, unwritable
from acclimate.model.causal import CausalModel


def save_model(
    model: CausalModel,
    folder: Path,
    base_path: str,
    card: str | None = None,
    merge: bool = False,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Writes safetensors, tokenizer and chat template, atomically.

    Args:
        folder: must not exist yet or be empty.
        base_path: recorded as the adapter's base model.
        card: text of README.md, when there is one to write.
        merge: fold a LoRA adapter into the weights.
        weights: by name of ``model.network``, where the model's own are spread over ranks.

    Raises:
        UsageError: the folder holds something already.
    """
    folder = folder.resolve()
    check_empty(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write(model, partial, base_path, card, merge, weights)
        for path in (*partial.rglob("*"), partial):  # a power cut must not leave a folder that looks whole
            sync(path)
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise unwritable(folder, error) from error


def check_empty(folder: Path) -> None:
    """Nothing that exists is written over."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is a file; export into a new folder.")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"'{folder}' is not empty; export into a new folder.")


def _write(
    model: CausalModel, partial: Path, base_path: str, card: str | None, merge: bool, weights: dict[str, Tensor] | None
) -> None:
    if model.peft is None:
        model.network.save_pretrained(partial, state_dict=weights)
    elif merge:
        # merging edits the weights in place: on a copy, so that the run's model stays what it is
        merged = copy.deepcopy(model.peft).merge_and_unload()
        merged.save_pretrained(partial)
    else:
        model.peft.peft_config["default"].base_model_name_or_path = base_path
        adapter = weights and {f"base_model.model.{name}": tensor for name, tensor in weights.items()}
        # PEFT would ask the Hub whether to save embedding layers
        model.peft.save_pretrained(partial, state_dict=adapter, save_embedding_layers=False)
    model.tokenizer.save_pretrained(partial)
    if card is not None:
        (partial / "README.md").write_text(card, encoding="utf-8")
