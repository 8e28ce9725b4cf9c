"""What a checkpoint's folder holds beside what its class loads: tensors for other programs, files of a processor."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from acclimate.model.folder import read_object, tensor_files
from acclimate.model.whole.towers import kinds

PROCESSOR = ("*processor*.json", "audio_tokenizer_config.json", "chat_template.json")
"""preprocessor_config.json, processor_config.json, video_preprocessor_config.json ..."""
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def copy_processor(source: Path, target: Path) -> None:
    """Copies what reads images and sound; what a tokenizer wrote stays."""
    for pattern in PROCESSOR:
        for path in source.glob(pattern):
            if path.is_file() and not (target / path.name).exists():
                shutil.copyfile(path, target / path.name)


def carry_tensors(network: Any, source: Path, target: Path) -> list[str]:
    """Copies the tensors that the network's class does not read from one folder to another, as they are.

    Multi-token prediction is such: transformers leaves it to programs that serve models. Configuration and tensors
    keep their promises to these; what is drafted with it is checked by the model itself, so a tuned body makes it
    slower, never wrong. Of a checkpoint that was dequantised nothing is carried: its scales would stand beside weights
    that need none.

    Args:
        target: a model that was just saved.

    Returns:
        A sentence about what was carried over, and one about tensors that are not there under their names.
    """
    files, written = tensor_files(source), tensor_files(target)
    absent = [name for name in files if name not in written]
    unread, notes = _unread(network, absent), []
    if unread:
        what = f"{len(unread)} tensors that {type(network).__name__} does not read"
        if _is_quantised(source) and not _is_quantised(target):
            notes.append(f"{what} are not exported: they are of a quantised checkpoint ({kinds(unread)}).")
        else:
            _add(target, written, {name: files[name] for name in unread})
            notes.append(
                f"{what} are in the exported model as they were ({kinds(unread)}): they were made for the model "
                "before it was tuned."
            )
    if renamed := sorted(set(absent) - set(unread)):
        notes.append(
            f"{len(renamed)} tensors of the checkpoint are not written under their names ('{renamed[0]}' first): "
            f"{type(network).__name__} reads them under others, or keeps one tensor for two that are tied."
        )
    return notes


def _is_quantised(folder: Path) -> bool:
    config = read_object(folder / "config.json")
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    return any(part.get("quantization_config") for part in parts)


def _unread(network: Any, names: Iterable[str]) -> list[str]:
    """Those that loading leaves aside, by the same renaming."""
    transforms = copy.deepcopy(getattr(network, "_weight_conversions", None) or [])  # they keep what they have seen
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    known = network.state_dict()
    unread = []
    for name in sorted(names):
        found, _ = rename_source_key(name, renamings, converters, network.base_model_prefix, known)
        plain, _ = rename_source_key(name, [], [], network.base_model_prefix, known)
        if found not in known and plain not in known:
            unread.append(name)
    return unread


def _add(target: Path, written: Mapping[str, Path], carried: Mapping[str, Path]) -> None:
    """One more file of weights for each that some are read from, and an index over all."""
    old = sorted({path.name for path in written.values()})
    sources = sorted(set(carried.values()))
    names = [
        f"model-{n:05d}-of-{len(old) + len(sources):05d}.safetensors" for n in range(1, len(old) + len(sources) + 1)
    ]
    new = dict(zip(old, names, strict=False))
    for name in reversed(old):
        (target / name).rename(target / new[name])
    weight_map = {name: new[path.name] for name, path in written.items()}
    for source, file_name in zip(sources, names[len(old) :], strict=True):
        with safe_open(source, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name, path in carried.items() if path == source}
        save_file(tensors, target / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file_name)
    size = sum((target / name).stat().st_size for name in names)
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (target / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
