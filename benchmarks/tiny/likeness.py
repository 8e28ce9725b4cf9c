"""Two checkpoints held against each other: tensors, configurations, logits, and losses of documents alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from benchmarks.tiny.checkpoint import SOURCES, texts
from safetensors import safe_open
from torch import Tensor

from acclimate.model.transformers4 import with_old_names
from acclimate.runs.scores import read_lines

NOT_THE_MODELS = {"transformers_version", "_name_or_path", "dtype"}
"""Settings that a program writes; the dtype is that of the tensors, which are compared."""
PROBE = torch.tensor([list(range(1, 41)), list(range(60, 100))])  # [2, 40]
"""Tokens whose logits are compared; more of them than a window is wide."""
FEW = 8
"""Names that are kept of a long list."""

Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Tensor -> its dtype and shape."""


def shapes(folder: Path) -> Shapes:
    """Of a folder's safetensors."""
    found: Shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                found[name] = part.get_dtype(), tuple(part.get_shape())
    return found


def digests(folder: Path) -> dict[str, str]:
    """Of a folder's safetensors, by file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}


def unlike(source: Path, exported: Path) -> dict[str, Any]:
    """What an exported folder has otherwise than its source; empty where only values of tensors differ."""
    before, after = shapes(source), shapes(exported)
    read = (json.loads((folder / "config.json").read_text()) for folder in (source, exported))
    configs = [with_old_names(config) for config in read]  # which an exported one has beside the new names
    files = {path.name for path in source.glob("*processor*") if not (exported / path.name).is_file()}
    found = {
        "lost": patterns(before.keys() - after.keys()),
        "new": patterns(after.keys() - before.keys()),
        "reshaped": patterns(name for name in before.keys() & after.keys() if before[name] != after[name]),
        "config": changed(*configs),
        "files": sorted(files),
    }
    return {key: value for key, value in found.items() if value}


def patterns(names: Iterable[str]) -> list[str]:
    """Names with layers and experts as stars, each once; the first :data:`FEW`."""
    found = sorted({re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names})
    return found if len(found) <= FEW else [*found[:FEW], f"and {len(found) - FEW} more"]


def changed(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> list[str]:
    """``place.key: old -> new`` of every setting of a config.json that differs."""
    found = []
    for key in sorted((before.keys() | after.keys()) - NOT_THE_MODELS):
        old, new = before.get(key, "absent"), after.get(key, "absent")
        if isinstance(old, dict) and isinstance(new, dict):
            found += changed(old, new, f"{place}{key}.")
        elif old != new:
            found.append(f"{place}{key}: {str(old)[:40]} -> {str(new)[:40]}")
    return found


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return ((ours - theirs).abs().max() / ours.abs().max()).item()


def logits(network: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(input_ids=PROBE, use_cache=False).logits.detach().clone()
    return found


def nats_alone(network: Any, tokenizer: Any, run: Path) -> dict[str, float]:
    """``source:number`` -> nats of each held-out document of a run, by a plain forward of it alone."""
    return {place: _nats(network, tokenizer, text) for place, text, _ in _held_out(run)}


def error(alone: Mapping[str, float], run: Path, column: str) -> float:
    """The largest relative difference between a run's nats by document and those of the document alone."""
    return max(abs(row[column] - alone[place]) / alone[place] for place, _, row in _held_out(run))


def _held_out(run: Path) -> Iterable[tuple[str, str, dict[str, Any]]]:
    for source in SOURCES:
        known = texts(source)
        for row in read_lines(run / "eval" / f"{source}.jsonl"):
            number = int(row["where"].rpartition(":")[2])
            yield f"{source}:{number}", known[number - 1], row


def _nats(network: Any, tokenizer: Any, text: str) -> float:
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        scores = network(input_ids=ids, use_cache=False).logits[0].double()  # [T, V]
    return torch.nn.functional.cross_entropy(scores[:-1], ids[0, 1:], reduction="sum").item()
