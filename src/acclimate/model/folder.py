"""A local model folder, looked through before anything in it is loaded: whole, and safetensors only."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from acclimate.types.errors import ModelError, reason

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.*", "*.tiktoken", "spiece.model", "sentencepiece*")


def check_weights(folder: Path) -> list[Path]:
    """Opens the header of every weight file; no weight is read.

    Returns:
        The files.

    Raises:
        ModelError: no safetensors (a pickle can run code when it is loaded, so none ever is), a shard that is not
            there, a file that is cut short, or an adapter beside the model, which would be put on it in silence.
    """
    if (folder / "adapter_config.json").is_file() and any(folder.glob("model*.safetensors")):
        raise ModelError(
            f"model.path: the folder '{folder}' holds an adapter (adapter_config.json) beside a model, and "
            "transformers would load the adapter's own base in its place; move the adapter to a folder of its own."
        )
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if not whole.is_file() and not index.is_file():
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise ModelError(
                f"model.path: the weights in '{folder}' are pickles ({pickles[0]}), which can run code when they are "
                "loaded, so acclimate never does; convert them to safetensors where you trust them: "
                "AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)."
            )
        variants = sorted(path.name for path in folder.glob("model.*.safetensors*"))
        if variants:
            raise ModelError(
                f"model.path: the weights in '{folder}' are of a variant ({variants[0]}); save the one you want under "
                "plain names: AutoModelForCausalLM.from_pretrained(..., variant=...).save_pretrained(...)."
            )
        hint = ""
        if (folder / "adapter_config.json").is_file():
            hint = " It is an adapter: merge it into its base first (`acclimate export --merge`, or PEFT)."
        raise ModelError(f"model.path: the folder '{folder}' holds no weights (model.safetensors).{hint}")
    names = [whole.name] if whole.is_file() else _shards(index)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ModelError(
            f"model.path: '{folder / missing[0]}' is missing, {len(missing)} of {len(names)} weight files named in "
            f"{index.name}; the download or copy is incomplete."
        )
    for name in names:
        try:
            with safe_open(folder / name, framework="np"):  # "pt" would load torch
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"model.path: '{folder / name}' is damaged or cut short ({reason(error)}); download or copy it again."
            ) from None
    return [folder / name for name in names]


def _shards(index: Path) -> list[str]:
    document = read_object(index)
    shards = document.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) and "/" not in name for name in shards.values()):
        raise ModelError(f"model.path: '{index}' is damaged: it has no weight_map of tensor names to file names.")
    return sorted(set(shards.values()))


def tensor_files(folder: Path) -> dict[str, Path]:
    """The file of every tensor of a folder that :func:`check_weights` accepts."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    found: dict[str, Path] = {}
    for name in [whole.name] if whole.is_file() else _shards(index):
        with safe_open(folder / name, framework="np") as file:
            found |= dict.fromkeys(file.keys(), folder / name)
    return found


def read_object(path: Path) -> dict[str, object]:
    """A JSON object of a model folder.

    Raises:
        ModelError: it is not one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model.path: '{path}' is not JSON ({reason(error)}); it is damaged or cut short: download or copy it "
            "again."
        ) from None
    if not isinstance(document, dict):
        raise ModelError(f"model.path: '{path}' is not a JSON object; download or copy it again.")
    return document


def explain_folder(folder: Path, tokenizer: bool) -> None:
    """Says which file of a folder that could not be loaded is to blame, where that can be seen.

    Args:
        tokenizer: it was the tokenizer that could not be loaded.

    Raises:
        ModelError: a file that is not JSON, or no tokenizer.
    """
    for path in sorted(folder.glob("*.json")):
        read_object(path)
    if tokenizer and not any(path for pattern in TOKENIZERS for path in folder.glob(pattern)):
        raise ModelError(
            f"model.path: the folder '{folder}' holds no tokenizer; copy tokenizer.json and tokenizer_config.json of "
            "the model into it."
        )
