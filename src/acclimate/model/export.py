"""Folders that transformers' auto classes and ``PeftModel`` load as they are."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from acclimate.disk.files import sync, unwritable
from acclimate.model.causal import CausalModel
from acclimate.model.changes import Change, write_changes
from acclimate.model.transformers4 import readable_by_4
from acclimate.model.whole.carried import carry_tensors, copy_processor
from acclimate.model.whole.noise import as_given
from acclimate.model.whole.origin import origin_of
from acclimate.types.errors import UsageError


def save_model(
    model: CausalModel,
    folder: Path,
    base_path: str,
    card: str | None = None,
    merge: bool = False,
    weights: dict[str, Tensor] | None = None,
    stops_at: Sequence[int] = (),
    changes: Sequence[Change] = (),
) -> list[str]:
    """Writes safetensors, tokenizer, chat template, changes.json and the files of a processor, atomically.

    Args:
        folder: must not exist yet or be empty.
        base_path: recorded as the adapter's base model.
        card: text of README.md, when there is one to write.
        merge: fold a LoRA adapter into the weights.
        weights: by name of ``model.network``, where the model's own are spread over ranks.
        stops_at: the ``eos_token_id`` of a whole model's ``generation_config.json``, where it is another than the
            model has; an adapter's folder has no such file that a loader reads.
        changes: what was done to the model before it was trained; of an adapter, to the model that it is put on.

    Returns:
        Sentences about tensors of the checkpoint that are not trained here, or not written under their names.

    Raises:
        UsageError: the folder holds something already.
    """
    folder = folder.resolve()
    check_empty(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        notes = _write(model, partial, base_path, card, merge, weights, stops_at)
        notes += readable_by_4(partial)
        write_changes(partial, changes)
        _open_to_readers(partial)
        for path in (*partial.rglob("*"), partial):  # a power cut must not leave a folder that looks whole
            sync(path)
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
        sync(folder.parent)
        return notes
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise unwritable(folder, error) from error


def _open_to_readers(folder: Path) -> None:
    """The modes that the folder has by the process's umask: safetensors writes files that only their owner reads."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(folder.stat().st_mode & 0o666)


def check_empty(folder: Path) -> None:
    """Nothing that exists is written over."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is a file; export into a new folder.")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"'{folder}' is not empty; export into a new folder.")


def _write(
    model: CausalModel,
    partial: Path,
    base_path: str,
    card: str | None,
    merge: bool,
    weights: dict[str, Tensor] | None,
    stops_at: Sequence[int],
) -> list[str]:
    origin, notes = origin_of(model.network), []
    if model.peft is None or merge:
        whole = model.network if model.peft is None else merged(model.peft)
        if stops_at:
            whole.generation_config.eos_token_id = list(stops_at)
        with as_given(whole.config, origin.noise):
            whole.save_pretrained(partial, state_dict=weights)
        if origin.folder is not None:
            notes = carry_tensors(whole, origin.folder, partial)
    else:
        model.peft.peft_config["default"].base_model_name_or_path = base_path
        adapter = weights and {f"base_model.model.{name}": tensor for name, tensor in weights.items()}
        # PEFT would ask the Hub whether to save embedding layers
        model.peft.save_pretrained(partial, state_dict=adapter, save_embedding_layers=False)
    model.tokenizer.save_pretrained(partial)
    if origin.folder is not None:
        copy_processor(origin.folder, partial)
    if card is not None:
        (partial / "README.md").write_text(card, encoding="utf-8")
    return notes


def merged(peft: Any) -> Any:
    """A copy of the network with the adapter in its weights: ``W + s B A`` in float32, rounded once.

    PEFT would round the product to the weights' dtype, and then the sum.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    whole = copy.deepcopy(peft)  # merging edits the weights in place
    for layer in [module for module in whole.modules() if isinstance(module, BaseTunerLayer)]:
        dtypes = {name: parameter.dtype for name, parameter in layer.named_parameters()}
        layer.float().merge()
        for name, parameter in layer.named_parameters():
            parameter.data = parameter.data.to(dtypes[name])
    return whole.unload()
